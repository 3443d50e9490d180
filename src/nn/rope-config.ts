import { z } from 'zod'
import type { Tensor } from '../tensor/index.ts'
import { type FieldCodec, positive, readField, size, text } from './config.ts'
import type { KvCache } from './kv-cache.ts'
import { type RopeScaling, rotaryTables } from './positions.ts'

/** How checkpoints write rotary positions down: `rope_parameters` today, `rope_theta` and `rope_scaling` before. */

const SCALING = z.looseObject({
  rope_type: text.optional(),
  type: text.optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().nullish(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.int().positive().optional(),
  beta_fast: z.number().positive().nullish(),
  beta_slow: z.number().positive().nullish(),
  attention_factor: z.number().positive().nullish(),
  mscale: z.number().nullish(),
  mscale_all_dim: z.number().nullish(),
  truncate: z.boolean().nullish(),
  partial_rotary_factor: z.number().nullish(),
})
type Scaling = z.infer<typeof SCALING>

/** Layers that see everything and layers that see a window may turn differently (Gemma 3). */
const LAYERED = z.looseObject({ full_attention: SCALING.nullish(), sliding_attention: SCALING.nullish() })

type Settings = { maxPositions: number; ropeTheta: number; ropeScaling?: RopeScaling }
type LocalSettings = Settings & { ropeLocalTheta: number; ropeLocalScaling?: RopeScaling }

/**
 * The two settings of rotary positions, for the table of a configuration that has `maxPositions`.
 *
 * @param theta - where the file does not say
 */
export const ropeFields = (theta = 10000) => ({
  ropeTheta: {
    type: positive,
    default: theta,
    read: (json) => flatParameters(json).rope_theta ?? readField(json, 'rope_theta', positive),
    write: (ropeTheta) => ({ rope_theta: ropeTheta }),
  } as FieldCodec<number, object>,
  ropeScaling: {
    default: undefined,
    read(json, c) {
      // Some files keep these two beside the rest, where they count first.
      const context = readField(json, 'original_max_position_embeddings', size)
      const part = readField(json, 'partial_rotary_factor', z.number())
      const given = { partial_rotary_factor: part, ...flatParameters(json) }
      return readScaling(
        context === undefined ? given : { ...given, original_max_position_embeddings: context },
        c.maxPositions,
      )
    },
    write: (scaling, c) => ({ rope_parameters: writeRotary(c.ropeTheta, scaling) }),
  } as FieldCodec<RopeScaling | undefined, Settings>,
})

/**
 * The same for a model whose layers with a window turn by a base of their own: `ropeTheta` and `ropeScaling` are for
 * layers that see everything, `ropeLocalTheta` and `ropeLocalScaling` for those with a window.
 */
export const layeredRopeFields = (theta: number, localTheta: number) => ({
  ropeTheta: {
    type: positive,
    default: theta,
    read: (json) => layered(json).full_attention?.rope_theta ?? readField(json, 'rope_theta', positive),
    write: () => ({}),
  } as FieldCodec<number, object>,
  ropeScaling: {
    default: undefined,
    read: (json, c) => readLayer({ ...layered(json).full_attention, ...readField(json, 'rope_scaling', SCALING) }, c),
    write: () => ({}),
  } as FieldCodec<RopeScaling | undefined, Settings>,
  ropeLocalTheta: {
    type: positive,
    default: localTheta,
    read: (json) => layered(json).sliding_attention?.rope_theta ?? readField(json, 'rope_local_base_freq', positive),
    write: () => ({}),
  } as FieldCodec<number, object>,
  ropeLocalScaling: {
    default: undefined,
    read: (json, c) => readLayer(layered(json).sliding_attention ?? {}, c),
    write: (localScaling, c) => ({
      rope_parameters: {
        full_attention: writeRotary(c.ropeTheta, c.ropeScaling),
        sliding_attention: writeRotary(c.ropeLocalTheta, localScaling),
      },
    }),
  } as FieldCodec<RopeScaling | undefined, LocalSettings>,
})

type Json = Readonly<Record<string, unknown>>

/** What a file says for all layers alike. */
function flatParameters(json: Json): Scaling {
  const before = readField(json, 'rope_scaling', SCALING)
  const parameters = readField(json, 'rope_parameters', SCALING)
  if (parameters && ('full_attention' in parameters || 'sliding_attention' in parameters)) {
    throw new Error('config.json: rope_parameters tells kinds of layers apart, and this model has one kind only')
  }
  return (before && Object.keys(before).length > 0 ? before : parameters) ?? {}
}

function layered(json: Json): z.infer<typeof LAYERED> {
  const parameters = readField(json, 'rope_parameters', LAYERED) ?? {}
  if ('rope_type' in parameters || 'rope_theta' in parameters) {
    throw new Error('config.json: rope_parameters needs full_attention and sliding_attention for this model')
  }
  return parameters
}

/** The reference implementation rounds a layer's range of YaRN whatever its `truncate` says. */
const readLayer = (scaling: Scaling, c: Settings): RopeScaling | undefined =>
  readScaling({ ...scaling, truncate: undefined }, c.maxPositions)

/**
 * Rows of the tables in a graph that takes sequences of any length. Attention over more without a cache would hold
 * scores by the square of that.
 */
const MOST_ROWS = 1 << 17

/** Where the tokens stand that the tables are for. */
export interface Positions {
  /** [batch, seq] */
  readonly inputIds?: Tensor
  /** [batch, seq, dModel] */
  readonly inputsEmbeds?: Tensor
  readonly positionIds?: Tensor
  readonly cache?: KvCache
}

/**
 * The tables of cosines and sines for these settings. They are as long as the cache or the sequence asks for:
 * `max_position_embeddings` costs nothing by itself, whatever a file says.
 */
export function ropeTables(
  c: Settings & { headDim: number; ropeScaling?: RopeScaling },
  { inputIds, inputsEmbeds, positionIds, cache }: Positions = {},
): { cos: Tensor; sin: Tensor } {
  const seq = (inputIds ?? inputsEmbeds)?.shape[1]
  const isCounted = typeof seq === 'number' && positionIds === undefined && !cache
  const rows = isCounted ? seq : Math.min(c.maxPositions, cache?.capacity ?? MOST_ROWS)
  return rotaryTables({ rotaryDim: c.headDim, theta: c.ropeTheta, rows, scaling: c.ropeScaling })
}

function readScaling(scaling: Scaling, maxPositions: number): RopeScaling | undefined {
  const type = scaling.rope_type ?? scaling.type ?? 'default'
  const need = (field: 'factor' | 'low_freq_factor' | 'high_freq_factor'): number => {
    const value = scaling[field]
    if (value === undefined || value === null) {
      throw new Error(`config.json: rope scaling of type '${type}' needs ${field}`)
    }
    return value
  }
  const part = scaling.partial_rotary_factor ?? 1
  if (part !== 1 && type !== 'default') {
    throw new Error(`config.json: partial_rotary_factor is ${part}; heads of this model turn as a whole`)
  }
  const originalMaxPositions = scaling.original_max_position_embeddings ?? maxPositions
  switch (type) {
    case 'default':
      return undefined
    case 'linear':
      return { type, factor: need('factor') }
    case 'dynamic':
      return { type, factor: need('factor'), originalMaxPositions: maxPositions }
    case 'llama3':
      return {
        type,
        factor: need('factor'),
        lowFreqFactor: need('low_freq_factor'),
        highFreqFactor: need('high_freq_factor'),
        originalMaxPositions,
      }
    case 'yarn':
      return {
        type,
        factor: scaling.factor ?? maxPositions / originalMaxPositions,
        originalMaxPositions,
        betaFast: scaling.beta_fast ?? 32,
        betaSlow: scaling.beta_slow ?? 1,
        attentionFactor: scaling.attention_factor ?? sharpness(scaling, maxPositions / originalMaxPositions),
        truncate: scaling.truncate ?? true,
      }
    default:
      throw new Error(
        `config.json: rope scaling of type '${type}' is not known; known are default, linear, dynamic, llama3, yarn`,
      )
  }
}

/** YaRN's factor on both tables where a file gives the two parts that it is the quotient of (DeepSeek's files). */
function sharpness({ mscale, mscale_all_dim: ofAll, factor }: Scaling, implied: number): number | undefined {
  if (!mscale || !ofAll) return undefined
  const growth = Math.log(Math.max(factor ?? implied, 1))
  return (0.1 * mscale * growth + 1) / (0.1 * ofAll * growth + 1)
}

const writeRotary = (ropeTheta: number, scaling: RopeScaling | undefined) => ({
  ...writeScaling(scaling),
  rope_theta: ropeTheta,
})

function writeScaling(scaling: RopeScaling | undefined): Record<string, unknown> {
  if (!scaling) return { rope_type: 'default' }
  const common = { rope_type: scaling.type, factor: scaling.factor }
  switch (scaling.type) {
    case 'linear':
    case 'dynamic': // from `max_position_embeddings` on
      return common
    case 'llama3':
      return {
        ...common,
        low_freq_factor: scaling.lowFreqFactor,
        high_freq_factor: scaling.highFreqFactor,
        original_max_position_embeddings: scaling.originalMaxPositions,
      }
    case 'yarn':
      return {
        ...common,
        original_max_position_embeddings: scaling.originalMaxPositions,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        attention_factor: scaling.attentionFactor,
        ...(scaling.truncate === false ? { truncate: false } : {}),
      }
  }
}
