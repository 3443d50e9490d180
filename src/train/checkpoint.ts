import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openSafetensors } from '../hub/safetensors.ts'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import type { TensorData } from '../tensor/data.ts'
import type { Trainer } from './trainer.ts'

/**
 * A training run on disk, so that it goes on bit for bit. Flat arrays are written as they lie in memory, to a folder
 * under a temporary name that is renamed when it is whole.
 */

const FOLDER = /^step-(\d+)$/
const STATE = 'state.json'
const TENSORS = 'training.safetensors'

const flat = (data: Float32Array): TensorData => ({ dtype: 'float32', shape: [data.length], data })

function arraysOf(trainer: Trainer): [string, TensorData][] {
  return [
    ['parameters', flat(trainer.parameters)],
    ['firstMoment', flat(trainer.firstMoment)],
    ['secondMoment', flat(trainer.secondMoment)],
    ...(trainer.ema ? [['ema', flat(trainer.ema)] as [string, TensorData]] : []),
    ...[...trainer.buffers].map(([name, value]): [string, TensorData] => [`buffer.${name}`, value]),
  ]
}

/** Writes `folder/step-N` and removes all but the newest `keep`. */
export async function saveCheckpoint(folder: string, trainer: Trainer, { keep = 2 } = {}): Promise<string> {
  await mkdir(folder, { recursive: true })
  const name = `step-${`${trainer.step}`.padStart(8, '0')}`
  const [partial, target] = [join(folder, `.${name}.partial`), join(folder, name)]
  await rm(partial, { recursive: true, force: true })
  await mkdir(partial)
  await writeSafetensors(join(partial, TENSORS), arraysOf(trainer))
  const layout = Object.fromEntries(trainer.layout.offsets)
  await writeFile(
    join(partial, STATE),
    `${JSON.stringify({ step: trainer.step, length: trainer.layout.length, layout })}\n`,
  )
  await rm(target, { recursive: true, force: true })
  await rename(partial, target)
  const all = await checkpointNames(folder)
  for (const old of all.slice(0, -keep)) await rm(join(folder, old), { recursive: true, force: true })
  return target
}

/** Whole checkpoints, the oldest first. */
async function checkpointNames(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return []
  const names = (await readdir(folder)).filter((name) => FOLDER.test(name))
  return names.sort((a, b) => Number(FOLDER.exec(a)?.[1]) - Number(FOLDER.exec(b)?.[1]))
}

export async function newestCheckpoint(folder: string): Promise<string | undefined> {
  const name = (await checkpointNames(folder)).at(-1)
  return name && join(folder, name)
}

/**
 * Puts a trainer where the checkpoint was written.
 *
 * @throws Error where the checkpoint is of another model
 */
export async function loadCheckpoint(checkpoint: string, trainer: Trainer): Promise<void> {
  const state = JSON.parse(await readFile(join(checkpoint, STATE), 'utf8')) as {
    step: number
    length: number
    layout: Record<string, number>
  }
  const layout = JSON.stringify(Object.fromEntries(trainer.layout.offsets))
  if (state.length !== trainer.layout.length || JSON.stringify(state.layout) !== layout) {
    throw new Error(
      `${checkpoint} was written by a run of another model: start with another --out, or with its settings`,
    )
  }
  const stored = openSafetensors(join(checkpoint, TENSORS))
  try {
    for (const [name, { data }] of arraysOf(trainer)) stored.read(name, data as Float32Array)
  } finally {
    stored.close()
  }
  trainer.step = state.step
}
