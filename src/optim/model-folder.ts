import { existsSync, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { openSafetensors, weightsFile } from '../hub/safetensors.ts'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import { type Model, traceModel } from '../nn/model.ts'
import type { TensorData } from '../tensor/index.ts'
import { toJson, writeWhole } from './files.ts'
import type { ModelProduct } from './recipe.ts'
import { Trainer } from './trainer.ts'

const CONFIG = 'config.json'

/** Names of all that a checkpoint of the model holds: what tracing it asks for. */
const parameterNames = (model: Model): string[] => [...traceModel(model).parameters.keys()]

/**
 * Says before a long training what would only be found out after it.
 *
 * @throws Error where the trainer keeps no average to save, or does not train the model
 */
export function requireSaveable({ model, averaged }: Omit<ModelProduct, 'weights'>, trainer: Trainer): void {
  if (averaged && !trainer.options.emaDecay) {
    throw new Error('the recipe saves averaged parameters but its trainer keeps no average: it needs an emaDecay')
  }
  const { trained, fixed } = trainer.layout
  requireAll(parameterNames(model), new Set([...trained, ...fixed].map(({ name }) => name)))
}

function requireAll(names: readonly string[], held: { has(name: string): boolean }): void {
  const missing = names.filter((name) => !held.has(name))
  if (missing.length === 0) return
  throw new Error(`the model cannot be saved: ${missing.length} of its parameters are not there, ${missing[0]} first`)
}

/** A model folder: its weights, config.json and whatever belongs beside them, each written whole. */
export async function saveModel(folder: string, { model, weights, averaged, files }: ModelProduct): Promise<void> {
  const values: ReadonlyMap<string, TensorData> =
    weights instanceof Trainer ? await weights.weights({ averaged }) : weights
  const names = parameterNames(model)
  requireAll(names, values)
  const config = model.toConfig()
  await mkdir(folder, { recursive: true })
  await writeSafetensors(
    join(folder, weightsFile(config)),
    names.map((name) => [name, values.get(name) as TensorData] as const),
  )
  await writeWhole(join(folder, CONFIG), toJson(config))
  for (const [name, text] of Object.entries(files ?? {})) await writeWhole(join(folder, name), text)
}

/** The weights of a folder that `saveModel` wrote. */
export function savedWeights(folder: string): Map<string, TensorData> {
  const path = join(folder, CONFIG)
  if (!existsSync(path)) throw new Error(`${folder} holds no model: the stage has to save one`)
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
  const file = openSafetensors(join(folder, weightsFile(config)))
  try {
    return new Map(
      file.names().map((name) => [name, { dtype: 'float32', shape: file.info(name).shape, data: file.read(name) }]),
    )
  } finally {
    file.close()
  }
}
