/**
 * LoRA's files as the peft package writes them: a folder with adapter_config.json and adapter_model.safetensors, whose
 * tensors are `base_model.model.LAYER.lora_A.weight` [rank, in] and `….lora_B.weight` [out, rank].
 */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { sizeOf, type TensorData } from '../tensor/data.ts'
import type { Checkpoint, TensorInfo } from './checkpoint.ts'
import { quote } from './file.ts'
import { readJsonObject, readTensors } from './safetensors.ts'
import { writeSafetensors } from './safetensors-write.ts'

const [CONFIG, WEIGHTS] = ['adapter_config.json', 'adapter_model.safetensors']

/** Before a layer's name. */
export const PEFT_PREFIX = 'base_model.model.'

/** B A, which is added to a weight [out, in]. */
export interface LowRank {
  /** [rank, in] */
  readonly a: TensorData
  /** [out, rank] */
  readonly b: TensorData
}

export interface LoraAdapter {
  readonly rank: number
  /** BA is multiplied by α / r. */
  readonly alpha: number
  readonly dropout: number
  /** The model that it was made for, as the file names it. */
  readonly base?: string
  /** Whether weights are kept as [in, out]. */
  readonly inFirst: boolean
  /** By a layer's name: `model.layers.0.mlp.up_proj`. */
  readonly layers: ReadonlyMap<string, LowRank>
}

/** Whether a folder holds an adapter, and no model. */
export const isAdapterFolder = (path: string): boolean =>
  existsSync(join(path, CONFIG)) && !existsSync(join(path, 'config.json'))

/** What changes what is computed and is not done here; absent, null, false and empty all mean that it is not asked for. */
const UNREAD = [
  'use_dora',
  'rank_pattern',
  'alpha_pattern',
  'modules_to_save',
  'megatron_config',
  'use_qalora',
  'layer_replication',
  'trainable_token_indices',
] as const

const config = z.looseObject({
  peft_type: z.string(),
  r: z.int().positive().optional(),
  lora_alpha: z.number().positive().optional(),
  lora_dropout: z.number().min(0).lt(1).nullish(),
  fan_in_fan_out: z.boolean().nullish(),
  use_rslora: z.boolean().nullish(),
  bias: z.string().nullish(),
  base_model_name_or_path: z.string().nullish(),
})

/** @throws Error with one sentence where the folder holds no adapter, or one of another kind, or is damaged */
export function readAdapter(folder: string): LoraAdapter {
  const path = join(folder, CONFIG)
  const { data, error } = config.safeParse(readJsonObject(path))
  if (!data) throw new Error(`${path}: ${error.issues[0].path.join('.')}: ${error.issues[0].message}`)
  if (data.peft_type !== 'LORA') throw new Error(`${path}: an adapter of type ${quote(data.peft_type)}, not LORA`)
  const { r: rank, lora_alpha: alpha } = data
  if (rank === undefined || alpha === undefined) throw new Error(`${path}: has no r or no lora_alpha`)
  const isSet = (value: unknown): boolean =>
    value !== undefined &&
    value !== null &&
    value !== false &&
    Object.keys(Object(value)).length + +(value === true) > 0
  const asked = UNREAD.find((name) => isSet(data[name]))
  if (asked) throw new Error(`${path}: ${asked} is set, which is not read here`)
  if (data.bias && data.bias !== 'none')
    throw new Error(`${path}: bias is ${quote(data.bias)}, and only none is read here`)

  const file = join(folder, WEIGHTS)
  const parts = new Map<string, Partial<Record<'a' | 'b', TensorData>>>()
  for (const [name, tensor] of Object.entries(readTensors(file))) {
    const [, layer, which] = /^base_model\.model\.(.+)\.lora_(A|B)\.weight$/.exec(name) ?? []
    if (!layer) throw new Error(`${file}: ${quote(name)} is no part of a LoRA of linear layers`)
    parts.set(layer, { ...parts.get(layer), [which === 'A' ? 'a' : 'b']: tensor })
  }
  const layers = new Map<string, LowRank>()
  for (const [layer, { a, b }] of parts) {
    if (!a || !b) throw new Error(`${file}: ${quote(layer)} has only one of lora_A and lora_B`)
    if (a.shape.length !== 2 || b.shape.length !== 2 || a.shape[0] !== rank || b.shape[1] !== rank) {
      throw new Error(
        `${file}: lora_A and lora_B of ${quote(layer)} are [${a.shape}] and [${b.shape}]; with r ${rank} they are [${rank}, in] and [out, ${rank}]`,
      )
    }
    layers.set(layer, { a, b })
  }
  if (layers.size === 0) throw new Error(`${file}: has no tensors`)
  return {
    rank,
    // Rank-stabilised, it is multiplied by α / √r (Kalajdzievski, 2023, arXiv 2312.03732).
    alpha: data.use_rslora ? alpha * Math.sqrt(rank) : alpha,
    dropout: data.lora_dropout ?? 0,
    base: data.base_model_name_or_path ?? undefined,
    inFirst: data.fan_in_fan_out ?? false,
    layers,
  }
}

/**
 * What an adapter's base is called here: a folder or file, seen from where the program runs or from the adapter, or else
 * a model of the hub.
 */
export function adapterBase(folder: string, { base }: Pick<LoraAdapter, 'base'>): string {
  if (!base) throw new Error(`${join(folder, CONFIG)}: base_model_name_or_path does not say what it is an adapter of`)
  const path = [resolve(base), resolve(folder, base)].find((candidate) => existsSync(candidate))
  return path ?? (/^[\w.-]+(\/[\w.-]+)?$/.test(base) && base.includes('/') ? `hf:${base}` : base)
}

/** @param targets - names of layers, or their last parts: PEFT adapts every linear layer whose name ends so */
export async function writeAdapter(
  folder: string,
  { rank, alpha, dropout, base, inFirst, layers }: LoraAdapter,
  targets: readonly string[],
): Promise<void> {
  const settings = {
    base_model_name_or_path: base ?? null,
    bias: 'none',
    fan_in_fan_out: inFirst,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: alpha,
    lora_dropout: dropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: rank,
    revision: null,
    target_modules: targets,
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  }
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, CONFIG), `${JSON.stringify(settings, null, 2)}\n`)
  await writeSafetensors(
    join(folder, WEIGHTS),
    [...layers].flatMap(([layer, { a, b }]): [string, TensorData][] => [
      [`${PEFT_PREFIX}${layer}.lora_A.weight`, a],
      [`${PEFT_PREFIX}${layer}.lora_B.weight`, b],
    ]),
  )
}

/**
 * W + (α / r) BA, in place.
 *
 * @param rows - of W, from `firstRow` on; W is [out, in], or the reverse with `inFirst`
 */
export function addLowRank(
  rows: Float32Array,
  { a, b }: LowRank,
  { alpha, inFirst, firstRow = 0 }: { alpha: number; inFirst: boolean; firstRow?: number },
): void {
  const [rank, inFeatures] = a.shape
  const [outFeatures] = b.shape
  const [down, up] = [a.data as Float32Array, b.data as Float32Array]
  const columns = inFirst ? outFeatures : inFeatures
  for (let at = 0, row = firstRow; at < rows.length; at += columns, row++) {
    for (let k = 0; k < rank; k++) {
      const left = (alpha / rank) * (inFirst ? down[k * inFeatures + row] : up[row * rank + k])
      if (left === 0) continue
      const [from, step] = inFirst ? [k, rank] : [k * inFeatures, 1]
      const right = inFirst ? up : down
      for (let column = 0; column < columns; column++) rows[at + column] += left * right[from + column * step]
    }
  }
}

/**
 * A model's checkpoint with an adapter merged into it: what adapted layers read is in float32.
 *
 * @throws Error where the model has no such layer, or one of another shape
 */
export function mergedCheckpoint(base: Checkpoint, adapter: LoraAdapter): Checkpoint {
  const { inFirst, layers } = adapter
  const stored = new Set(base.names())
  const merged = new Map<string, LowRank>()
  for (const [layer, lowRank] of layers) {
    const name = `${layer}.weight`
    // Checkpoints of a model without its head leave the first part of names out.
    const found = [name, name.slice(name.indexOf('.') + 1)].find((candidate) => stored.has(candidate))
    if (!found) throw new Error(`the adapter changes ${quote(layer)}, and its base has no such layer`)
    const shape = [lowRank.b.shape[0], lowRank.a.shape[1]]
    const expected = inFirst ? shape.reverse() : shape
    if (`${base.info(found).shape}` !== `${expected}`) {
      throw new Error(
        `the adapter takes ${quote(layer)} to be [${expected}], and in its base it is [${base.info(found).shape}]`,
      )
    }
    merged.set(found, lowRank)
  }
  const read = (name: string, into?: Float32Array, firstRow = 0): Float32Array => {
    const values = base.read(name, into, firstRow)
    const lowRank = merged.get(name)
    if (lowRank) addLowRank(values, lowRank, { ...adapter, firstRow })
    return values
  }
  return {
    config: base.config,
    metadata: base.metadata,
    names: () => base.names(),
    info(name): TensorInfo {
      const info = base.info(name)
      return merged.has(name) ? { type: 'F32', shape: info.shape, byteLength: 4 * sizeOf(info.shape) } : info
    },
    read,
    readRaw: (name) => (merged.has(name) ? new Uint8Array(read(name).slice().buffer) : base.readRaw(name)),
    place: (name) => (merged.has(name) ? undefined : base.place(name)),
    close: () => base.close(),
  }
}
