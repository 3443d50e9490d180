import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { openSafetensors } from '../hub/safetensors.ts'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import type { HostTensor, TrainingState } from './flat-parameters.ts'
import type { Scalars } from './recipe.ts'
import type { Trainer } from './trainer.ts'

/**
 * A training run on disk, so that it goes on bit for bit: all its trainers at one and the same point, and what the loop
 * around them carries. Flat arrays are written as they lie in memory, to a folder under a temporary name that is renamed
 * when it is whole.
 */

const FOLDER = /^step-(\d+)$/
const PARTIAL = /^\.step-\d+\.partial$/
const STATE = 'state.json'

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
    }),
  ),
})

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
  const described: z.infer<typeof STATE_SCHEMA>['trainers'] = {}
  for (const [name, trainer] of Object.entries(trainers)) {
    const { flat, layout, fixed } = await trainer.snapshot()
    // Running statistics change with every pass, so these are copied; the flat arrays, which are large, wait.
    const copied = new Map(Array.from(fixed, ([key, tensor]) => [key, { ...tensor, data: tensor.data.slice() }]))
    saved.set(name, { flat, layout, fixed: copied })
    described[name] = { step: trainer.step, ...describe({ flat, layout, fixed }) }
  }
  const text = `${JSON.stringify({ step, ended, state, evaluation, metrics, trainers: described })}\n`
  const written = writeSnapshot(folder, step, text, saved, options)
  for (const trainer of Object.values(trainers)) trainer.holdState(written)
  return { written }
}

async function writeSnapshot(
  folder: string,
  step: number,
  state: string,
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
  for (const [trainer, arrays] of saved) await writeSafetensors(join(partial, fileOf(trainer)), tensorsOf(arrays))
  await writeFile(join(partial, STATE), state)
  await rm(target, { recursive: true, force: true })
  await rename(partial, target)
  for (const old of (await snapshotNames(folder)).slice(0, -keep)) {
    await rm(join(folder, old), { recursive: true, force: true })
  }
  return target
}

const fileOf = (trainer: string): string => `${trainer}.safetensors`

/** Whole snapshots, the oldest first. */
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
  const written = Object.entries(stored).map(([name, { step, ...arrays }]) => [name, arrays])
  if (JSON.stringify(written) !== JSON.stringify(Array.from(states, ([name, state]) => [name, describe(state)]))) {
    throw new Error(
      `${snapshot} was written by a run of another model or optimiser: name another --out, or take its settings`,
    )
  }
  for (const [name, state] of states) {
    try {
      const file = openSafetensors(join(snapshot, fileOf(name)))
      try {
        for (const [key, { data }] of tensorsOf(state)) file.read(key, data)
      } finally {
        file.close()
      }
    } catch (error) {
      throw damaged(snapshot, error)
    }
  }
  for (const [name, trainer] of Object.entries(trainers)) trainer.restore(stored[name].step)
  return readSnapshot(snapshot)
}

const damaged = (snapshot: string, error: unknown): Error =>
  new Error(
    `${snapshot} is damaged (${(error as Error).message}): remove it to go on from the one before, if there is one`,
  )

async function readState(snapshot: string): Promise<z.infer<typeof STATE_SCHEMA>> {
  const text = await readFile(join(snapshot, STATE), 'utf8').catch(() => {
    throw damaged(snapshot, new Error(`${STATE} is missing`))
  })
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw damaged(snapshot, new Error(`${STATE} is not JSON`))
  }
  const result = STATE_SCHEMA.safeParse(json)
  if (result.success) return result.data
  throw damaged(snapshot, new Error(`${STATE} lacks ${result.error.issues[0].path.join('.') || 'everything'}`))
}
