import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import type { Checkpoint } from '../hub/checkpoint.ts'
import { syncFolder, writeAtomically } from '../hub/file.ts'
import { openSafetensors } from '../hub/safetensors.ts'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import type { HostTensor, TrainingState } from './flat-parameters.ts'
import type { Scalars } from './recipe.ts'
import type { Trainer } from './trainer.ts'

/**
 * A training run on disk, so that it goes on bit for bit: all its trainers at one and the same point, and what the loop
 * around them carries. Flat arrays are written as they lie in memory, to a folder under a temporary name that is renamed
 * when it is whole and on the disk. A checksum of every array, and one of the state, tell later whether a disk gave back
 * what it was given: to weights any bit pattern is a number, and training would go on from it.
 */

const FOLDER = /^step-(\d+)$/
const PARTIAL = /^\.step-\d+\.partial$/
const STATE = 'state.json'

/** Arrays are summed up in pieces of this many bytes: between two of them others have their turn. */
const SUM_BYTES = 16 << 20

const COUNT = z.int().nonnegative()

const STATE_SCHEMA = z.object({
  /** Of the loop. */
  step: COUNT,
  ended: z.boolean(),
  state: z.record(z.string(), z.unknown()),
  evaluation: z.object({ step: COUNT, scores: z.record(z.string(), z.number().nullable()) }).optional(),
  metrics: COUNT,
  trainers: z.record(
    z.string(),
    z.object({
      /** Of the trainer, which may take several in one of the loop. */
      step: COUNT,
      /** What the arrays mean: which are kept, how long they are, and where in them each parameter begins. */
      kept: z.array(z.string()),
      length: COUNT,
      offsets: z.record(z.string(), COUNT),
      /** CRC-32 of each array's bytes. Snapshots of before there were any have none. */
      checksums: z.record(z.string(), COUNT).optional(),
    }),
  ),
})

type State = z.infer<typeof STATE_SCHEMA>

/** Where a loop stands. */
export interface LoopPoint {
  /** Steps done. */
  readonly step: number
  /** Whether the loop was over before its time. */
  readonly ended?: boolean
  /** What the loop carries from step to step, as JSON. */
  readonly state?: object
  /** The latest, and after which step it was. */
  readonly evaluation?: { readonly step: number; readonly scores: Scalars }
  /** The length of metrics.jsonl, in bytes. */
  readonly metrics?: number
}

type SavedPoint = LoopPoint & Required<Pick<LoopPoint, 'state' | 'metrics'>>

export type Trainers = Readonly<Record<string, Trainer>>

type Saved = Pick<TrainingState, 'flat' | 'fixed' | 'layout'>

const describe = ({ flat, layout: { length, offsets } }: Saved) => ({
  kept: [...flat.keys()],
  length,
  offsets: Object.fromEntries(offsets),
})

function tensorsOf({ flat, fixed }: Saved): [string, HostTensor][] {
  return [
    ...Array.from(flat, ([name, data]): [string, HostTensor] => [
      name,
      { dtype: 'float32', shape: [data.length], data },
    ]),
    ...Array.from(fixed, ([name, tensor]): [string, HostTensor] => [`fixed.${name}`, tensor]),
  ]
}

export interface SnapshotOptions {
  /** How many of the newest snapshots stay. Default 2. */
  keep?: number
}

/** Writes `folder/step-N` and removes all but the newest. */
export async function saveSnapshot(
  folder: string,
  trainers: Trainers,
  point: LoopPoint,
  options?: SnapshotOptions,
): Promise<string> {
  return (await startSnapshot(folder, trainers, point, options)).written
}

/**
 * The same beside training: resolves when the trainers may go on. Only their next updates wait until the arrays are
 * written, so that a disk that keeps up with a forward and backward pass costs no time.
 *
 * @returns `written`, the folder's path once it is whole; it rejects, as do the trainers' next steps, where writing fails
 */
export async function startSnapshot(
  folder: string,
  trainers: Trainers,
  { step, ended = false, state = {}, evaluation, metrics = 0 }: LoopPoint,
  options?: SnapshotOptions,
): Promise<{ written: Promise<string> }> {
  const saved = new Map<string, Saved>()
  const described: State['trainers'] = {}
  for (const [name, trainer] of Object.entries(trainers)) {
    const { flat, layout, fixed } = await trainer.snapshot()
    // Running statistics change with every pass, so these are copied; the flat arrays, which are large, wait.
    const copied = new Map(Array.from(fixed, ([key, tensor]) => [key, { ...tensor, data: tensor.data.slice() }]))
    saved.set(name, { flat, layout, fixed: copied })
    described[name] = { step: trainer.step, ...describe({ flat, layout, fixed }) }
  }
  // As it is now: the loop's own state changes with its next step.
  const text = JSON.stringify({ step, ended, state, evaluation, metrics, trainers: described })
  const written = writeSnapshot(folder, step, JSON.parse(text) as State, saved, options)
  for (const trainer of Object.values(trainers)) trainer.holdState(written)
  return { written }
}

async function writeSnapshot(
  folder: string,
  step: number,
  state: State,
  saved: ReadonlyMap<string, Saved>,
  { keep = 2 }: SnapshotOptions = {},
): Promise<string> {
  await mkdir(folder, { recursive: true })
  const name = `step-${`${step}`.padStart(8, '0')}`
  const [partial, target] = [join(folder, `.${name}.partial`), join(folder, name)]
  for (const left of (await readdir(folder)).filter((entry) => PARTIAL.test(entry))) {
    await rm(join(folder, left), { recursive: true, force: true })
  }
  await mkdir(partial)
  for (const [trainer, arrays] of saved) {
    const tensors = tensorsOf(arrays)
    const [checksums] = await Promise.all([
      checksumsOf(tensors),
      writeSafetensors(join(partial, fileOf(trainer)), tensors),
    ])
    state.trainers[trainer].checksums = checksums
  }
  const text = `${JSON.stringify({ checksum: textChecksum(state), ...state })}\n`
  await writeAtomically(join(partial, STATE), (write) => write(Buffer.from(text)))
  await rm(target, { recursive: true, force: true })
  await rename(partial, target)
  // Before older ones are removed.
  await syncFolder(folder)
  for (const old of (await snapshotNames(folder)).slice(0, -keep)) {
    await rm(join(folder, old), { recursive: true, force: true })
  }
  return target
}

const fileOf = (trainer: string): string => `${trainer}.safetensors`

async function checksumsOf(tensors: readonly (readonly [string, HostTensor])[]): Promise<Record<string, number>> {
  const sums: Record<string, number> = {}
  for (const [name, { data }] of tensors) sums[name] = await checksum(data)
  return sums
}

async function checksum({ buffer, byteOffset, byteLength }: ArrayBufferView): Promise<number> {
  const bytes = new Uint8Array(buffer, byteOffset, byteLength)
  let sum = 0
  for (let start = 0; start < byteLength; start += SUM_BYTES) {
    if (start > 0) await turn()
    sum = crc32(bytes.subarray(start, start + SUM_BYTES), sum)
  }
  return sum
}

const textChecksum = (state: object): number => crc32(JSON.stringify(state))

/** Snapshots under their final name, the oldest first. */
async function snapshotNames(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return []
  const names = (await readdir(folder)).filter((name) => FOLDER.test(name))
  return names.sort((a, b) => Number(FOLDER.exec(a)?.[1]) - Number(FOLDER.exec(b)?.[1]))
}

export async function newestSnapshot(folder: string): Promise<string | undefined> {
  const name = (await snapshotNames(folder)).at(-1)
  return name && join(folder, name)
}

/**
 * Sets damaged snapshots aside that are newer than the newest whole one, so that a run goes on from that.
 *
 * @param say - told of each that is set aside, in a sentence
 * @throws Error where there are snapshots and none is whole: to begin anew is for the user to say
 */
export async function setDamagedAside(folder: string, say: (message: string) => void): Promise<void> {
  const aside: { snapshot: string; error: unknown }[] = []
  for (const name of (await snapshotNames(folder)).reverse()) {
    const snapshot = join(folder, name)
    try {
      await verifySnapshot(snapshot)
    } catch (error) {
      aside.push({ snapshot, error })
      continue
    }
    for (const { snapshot: left, error } of aside) {
      await rm(`${left}.damaged`, { recursive: true, force: true })
      await rename(left, `${left}.damaged`)
      say(`${(error as DamagedError).found}: set aside as ${basename(left)}.damaged, going on from ${name}`)
    }
    return
  }
  if (aside.length > 0) throw aside[0].error
}

/** @throws Error where a file is missing or cannot be read, or an array is not what was written */
async function verifySnapshot(snapshot: string): Promise<void> {
  const { trainers } = await readState(snapshot)
  for (const [trainer, { checksums = {} }] of Object.entries(trainers)) {
    await reading(snapshot, trainer, async (file) => {
      for (const [name, sum] of Object.entries(checksums)) requireSum(name, sum, await checksum(file.readRaw(name)))
    })
  }
}

function requireSum(name: string, expected: number, got: number): void {
  if (got !== expected) throw new Error(`${name} is not what was written`)
}

/** @throws Error that names the snapshot where it fails */
async function reading(snapshot: string, trainer: string, read: (file: Checkpoint) => Promise<void>): Promise<void> {
  try {
    const file = openSafetensors(join(snapshot, fileOf(trainer)))
    try {
      await read(file)
    } finally {
      file.close()
    }
  } catch (error) {
    throw new DamagedError(snapshot, (error as Error).message)
  }
}

/**
 * Where the loop stood that wrote a snapshot.
 *
 * @throws Error where the snapshot is damaged
 */
export async function readSnapshot(snapshot: string): Promise<SavedPoint> {
  const { step, ended, state, evaluation, metrics } = await readState(snapshot)
  // JSON has no word for what is no number.
  const scores = Object.entries(evaluation?.scores ?? {}).map(([name, value]) => [name, value ?? Number.NaN])
  return {
    step,
    ended,
    state,
    metrics,
    evaluation: evaluation && { ...evaluation, scores: Object.fromEntries(scores) },
  }
}

/**
 * Puts trainers where the snapshot was written.
 *
 * @throws Error where the snapshot is of other models, or damaged
 */
export async function loadSnapshot(snapshot: string, trainers: Trainers): Promise<SavedPoint> {
  const { trainers: stored } = await readState(snapshot)
  const states = new Map<string, TrainingState>()
  for (const [name, trainer] of Object.entries(trainers)) states.set(name, await trainer.snapshot())
  const written = Object.entries(stored).map(([name, { step, checksums, ...arrays }]) => [name, arrays])
  if (JSON.stringify(written) !== JSON.stringify(Array.from(states, ([name, state]) => [name, describe(state)]))) {
    throw new Error(
      `${snapshot} was written by a run of another model or optimiser: name another --out, or take its settings`,
    )
  }
  for (const [name, state] of states) {
    const { checksums } = stored[name]
    await reading(snapshot, name, async (file) => {
      for (const [key, { data }] of tensorsOf(state)) {
        file.read(key, data)
        if (checksums) requireSum(key, checksums[key], await checksum(data))
      }
    })
  }
  for (const [name, trainer] of Object.entries(trainers)) trainer.restore(stored[name].step)
  return readSnapshot(snapshot)
}

class DamagedError extends Error {
  /** Without what to do about it. */
  readonly found: string

  constructor(snapshot: string, what: string) {
    const found = `${snapshot} is damaged (${what})`
    super(`${found}: remove it to go on from the one before, if there is one`)
    this.found = found
  }
}

async function readState(snapshot: string): Promise<State> {
  const text = await readFile(join(snapshot, STATE), 'utf8').catch(() => {
    throw new DamagedError(snapshot, `${STATE} is missing`)
  })
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new DamagedError(snapshot, `${STATE} is not JSON`)
  }
  if (typeof json === 'object' && json !== null && 'checksum' in json) {
    const { checksum, ...state } = json
    if (checksum !== textChecksum(state)) throw new DamagedError(snapshot, `${STATE} is not what was written`)
  }
  const result = STATE_SCHEMA.safeParse(json)
  if (result.success) return result.data
  throw new DamagedError(snapshot, `${STATE} lacks ${result.error.issues[0].path.join('.') || 'everything'}`)
}
