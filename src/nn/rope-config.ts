import { z } from 'zod'
import type { Tensor } from '../tensor/index.ts'
import { type FieldCodec, positive, readField, text } from './config.ts'
import type { KvCache } from './kv-cache.ts'
import { type RopeScaling, rotaryTables } from './positions.ts'

/** How checkpoints write rotary positions down: `rope_parameters` today, `rope_theta` and `rope_scaling` before. */

const SCALING = z.looseObject({
  rope_type: text.optional(),
  type: text.optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.int().positive().optional(),
  beta_fast: z.number().positive().nullish(),
  beta_slow: z.number().positive().nullish(),
  attention_factor: z.number().positive().nullish(),
})

type Settings = { maxPositions: number; ropeTheta: number }

/**
 * The two settings of rotary positions, for the table of a configuration that has `maxPositions`.
 *
 * @param theta - where the file does not say
 */
export const ropeFields = (theta = 10000) => ({
  ropeTheta: {
    type: positive,
    default: theta,
    read: (json) => readField(json, 'rope_parameters', SCALING)?.rope_theta ?? readField(json, 'rope_theta', positive),
    write: (ropeTheta) => ({ rope_theta: ropeTheta }),
  } as FieldCodec<number, object>,
  ropeScaling: {
    default: undefined,
    read(json, c) {
      const before = readField(json, 'rope_scaling', SCALING)
      return readScaling(readField(json, 'rope_parameters', SCALING) ?? before ?? {}, c.maxPositions)
    },
    write: (scaling, c) => ({ rope_parameters: { ...writeScaling(scaling), rope_theta: c.ropeTheta } }),
  } as FieldCodec<RopeScaling | undefined, Settings>,
})

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
  const counted = typeof seq === 'number' && positionIds === undefined ? seq : MOST_ROWS
  const rows = Math.min(c.maxPositions, cache ? (cache.capacity ?? MOST_ROWS) : counted)
  return rotaryTables({ rotaryDim: c.headDim, theta: c.ropeTheta, rows, scaling: c.ropeScaling })
}

function readScaling(scaling: z.infer<typeof SCALING>, maxPositions: number): RopeScaling | undefined {
  const type = scaling.rope_type ?? scaling.type ?? 'default'
  const need = (field: 'factor' | 'low_freq_factor' | 'high_freq_factor'): number => {
    const value = scaling[field]
    if (value === undefined) throw new Error(`config.json: rope scaling of type '${type}' needs ${field}`)
    return value
  }
  const originalMaxPositions = scaling.original_max_position_embeddings ?? maxPositions
  switch (type) {
    case 'default':
      return undefined
    case 'linear':
      return { type, factor: need('factor') }
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
        factor: need('factor'),
        originalMaxPositions,
        betaFast: scaling.beta_fast ?? 32,
        betaSlow: scaling.beta_slow ?? 1,
        attentionFactor: scaling.attention_factor ?? undefined,
      }
    default:
      throw new Error(
        `config.json: rope scaling of type '${type}' is not known; known are default, linear, llama3, yarn`,
      )
  }
}

function writeScaling(scaling: RopeScaling | undefined): Record<string, unknown> {
  if (!scaling) return { rope_type: 'default' }
  const common = { rope_type: scaling.type, factor: scaling.factor }
  switch (scaling.type) {
    case 'linear':
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
      }
  }
}
