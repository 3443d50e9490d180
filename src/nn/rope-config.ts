import { z } from 'zod'
import type { RopeScaling } from './positions.ts'

/** How checkpoints write rotary positions down: `rope_parameters` today, `rope_theta` and `rope_scaling` before. */

const SCALING = z.looseObject({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: z.number().positive().optional(),
  factor: z.number().positive().optional(),
  low_freq_factor: z.number().positive().optional(),
  high_freq_factor: z.number().positive().optional(),
  original_max_position_embeddings: z.int().positive().optional(),
  beta_fast: z.number().positive().nullish(),
  beta_slow: z.number().positive().nullish(),
  attention_factor: z.number().positive().nullish(),
})

export const ROPE_FIELDS = {
  rope_theta: z.number().positive().optional(),
  rope_scaling: SCALING.nullish(),
  rope_parameters: SCALING.nullish(),
}

interface RopeFields {
  rope_theta?: number
  rope_scaling?: z.infer<typeof SCALING> | null
  rope_parameters?: z.infer<typeof SCALING> | null
  max_position_embeddings: number
}

export function readRope(fields: RopeFields): { ropeTheta: number; ropeScaling?: RopeScaling } {
  const scaling = fields.rope_parameters ?? fields.rope_scaling ?? {}
  const ropeTheta = fields.rope_parameters?.rope_theta ?? fields.rope_theta ?? 10000
  return { ropeTheta, ropeScaling: readScaling(scaling, fields.max_position_embeddings) }
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

export function writeRope({
  ropeTheta,
  ropeScaling,
}: {
  ropeTheta: number
  ropeScaling?: RopeScaling
}): Record<string, unknown> {
  if (!ropeScaling) return { rope_theta: ropeTheta, rope_parameters: { rope_type: 'default', rope_theta: ropeTheta } }
  const common = { rope_type: ropeScaling.type, rope_theta: ropeTheta, factor: ropeScaling.factor }
  switch (ropeScaling.type) {
    case 'linear':
      return { rope_theta: ropeTheta, rope_parameters: common }
    case 'llama3':
      return {
        rope_theta: ropeTheta,
        rope_parameters: {
          ...common,
          low_freq_factor: ropeScaling.lowFreqFactor,
          high_freq_factor: ropeScaling.highFreqFactor,
          original_max_position_embeddings: ropeScaling.originalMaxPositions,
        },
      }
    case 'yarn':
      return {
        rope_theta: ropeTheta,
        rope_parameters: {
          ...common,
          original_max_position_embeddings: ropeScaling.originalMaxPositions,
          beta_fast: ropeScaling.betaFast,
          beta_slow: ropeScaling.betaSlow,
          attention_factor: ropeScaling.attentionFactor,
        },
      }
  }
}
