import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { openSafetensors } from '../hub/safetensors.ts'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import type { HostTensor, TrainingState } from './flat-parameters.ts'
import type { Trainer } from './trainer.ts'

/**
 * A training run on disk, so that it goes on bit for bit. Flat arrays are written as they lie in memory, to a folder
 * under a temporary name that is renamed when it is whole.
 */

const FOLDER = /^step-(\d+)$/
const PARTIAL = /^\.step-\d+\.partial$/
const STATE = 'state.json'
const TENSORS = 'training.safetensors'

const STATE_SCHEMA = z.object({
  step: z.int().nonnegative(),
  /** What the arrays mean: which are kept, how long they are, and where in them each parameter begins. */
  kept: z.array(z.string()),
  length: z.int().nonnegative(),
  offsets: z.record(z.string(), z.int().nonnegative()),
})

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
  /** How many of the newest checkpoints stay. Default 2. */
  keep?: number
}

/** Writes `folder/step-N` and removes all but the newest. */
export async function saveSnapshot(folder: string, trainer: Trainer, options?: SnapshotOptions): Promise<string> {
  return (await startSnapshot(folder, trainer, options)).written
}

/**
 * The same beside training: resolves when the trainer may go on. Only its next update waits until the arrays are
 * written, so that a disk that keeps up with a forward and backward pass costs no time.
 *
 * @returns `written`, the folder's path once it is whole; it rejects, as does the trainer's next step, where writing fails
 */
export async function startSnapshot(
  folder: string,
  trainer: Trainer,
  options?: SnapshotOptions,
): Promise<{ written: Promise<string> }> {
  const state = await trainer.snapshot()
  // Running statistics change with every pass, so these are copied; the flat arrays, which are large, wait.
  const fixed = new Map(Array.from(state.fixed, ([name, tensor]) => [name, { ...tensor, data: tensor.data.slice() }]))
  const { flat, layout } = state
  const written = writeSnapshot(folder, trainer.step, { flat, layout, fixed }, options)
  trainer.holdState(written)
  return { written }
}

async function writeSnapshot(
  folder: string,
  step: number,
  state: Saved,
  { keep = 2 }: SnapshotOptions = {},
): Promise<string> {
  await mkdir(folder, { recursive: true })
  const name = `step-${`${step}`.padStart(8, '0')}`
  const [partial, target] = [join(folder, `.${name}.partial`), join(folder, name)]
  for (const left of (await readdir(folder)).filter((entry) => PARTIAL.test(entry))) {
    await rm(join(folder, left), { recursive: true, force: true })
  }
  await mkdir(partial)
  await writeSafetensors(join(partial, TENSORS), tensorsOf(state))
  await writeFile(join(partial, STATE), `${JSON.stringify({ step, ...describe(state) })}\n`)
  await rm(target, { recursive: true, force: true })
  await rename(partial, target)
  for (const old of (await snapshotNames(folder)).slice(0, -keep)) {
    await rm(join(folder, old), { recursive: true, force: true })
  }
  return target
}

/** Whole checkpoints, the oldest first. */
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
 * Puts a trainer where the checkpoint was written.
 *
 * @throws Error where the checkpoint is of another model, or damaged
 */
export async function loadSnapshot(checkpoint: string, trainer: Trainer): Promise<void> {
  const damaged = (error: unknown): never => {
    const { message } = error as Error
    throw new Error(`${checkpoint} is damaged (${message}): remove it to go on from the one before, if there is one`)
  }
  const { step, ...stored } = await readState(join(checkpoint, STATE)).catch(damaged)
  const state = await trainer.snapshot()
  if (JSON.stringify(stored) !== JSON.stringify(describe(state))) {
    throw new Error(
      `${checkpoint} was written by a run of another model or optimiser: name another --out, or take its settings`,
    )
  }
  try {
    const file = openSafetensors(join(checkpoint, TENSORS))
    try {
      for (const [name, { data }] of tensorsOf(state)) file.read(name, data)
    } finally {
      file.close()
    }
  } catch (error) {
    damaged(error)
  }
  trainer.restore(step)
}

async function readState(path: string): Promise<z.infer<typeof STATE_SCHEMA>> {
  const text = await readFile(path, 'utf8').catch(() => {
    throw new Error(`${STATE} is missing`)
  })
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new Error(`${STATE} is not JSON`)
  }
  const result = STATE_SCHEMA.safeParse(json)
  if (!result.success) throw new Error(`${STATE} lacks ${result.error.issues[0].path.join('.') || 'everything'}`)
  return result.data
}
