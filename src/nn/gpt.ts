import { activation, type Tensor } from '../tensor/index.ts'
import { type AttentionOptions, attention } from './attention.ts'
import { normal } from './initializers.ts'
import { linear } from './layers.ts'
import type { Scope } from './scope.ts'

/**
 * GPT-1's sub-layers, which GPT-2 keeps: projections stored [in, out], query, key and value in one, under the names of
 * the released checkpoints.
 */

export interface GptSettings {
  readonly dModel: number
  readonly nHeads: number
  readonly dInner: number
  /** The name of an activation function. */
  readonly activation: string
  readonly attentionDropout: number
  readonly residualDropout: number
  /** The standard deviation of first weights. */
  readonly initializerRange: number
  /** The same of projections into the residual stream. Default: `initializerRange`. */
  readonly residualInitializerRange?: number
  /** Default true. */
  readonly bias?: boolean
}

/** What attention is told beside its input. */
export interface GptContext
  extends Pick<AttentionOptions, 'attentionMask' | 'bias' | 'cache' | 'causal' | 'scale' | 'zeroBlind'> {
  /** [batch, seq, 1]: 0 for queries whose scores are all 0, so that they attend evenly and learn nothing. */
  readonly asks?: Tensor
}

/** y = xW + b, with W as [in, out]. */
function project(scope: Scope, x: Tensor, outFeatures: number, c: GptSettings, std = c.initializerRange): Tensor {
  return linear(scope, x, outFeatures, { inFirst: true, bias: c.bias, init: normal(std) })
}

/** Into the residual stream. */
function projectBack(scope: Scope, x: Tensor, c: GptSettings): Tensor {
  return scope.dropout(project(scope, x, c.dModel, c, c.residualInitializerRange), c.residualDropout)
}

/** Attention to oneself and what came before. */
export function gptAttention(scope: Scope, x: Tensor, c: GptSettings, { asks, ...context }: GptContext): Tensor {
  const [query, key, value] = project(scope.at('c_attn'), x, 3 * c.dModel, c).split(3)
  const dropout = { scope, rate: c.attentionDropout }
  const options = { nHeads: c.nHeads, causal: true, dropout, ...context }
  const attended = attention(asks ? query.mul(asks) : query, key, value, options)
  return projectBack(scope.at('c_proj'), attended, c)
}

/** Wider, activated, and back. */
export function gptMlp(scope: Scope, x: Tensor, c: GptSettings): Tensor {
  const hidden = activation(c.activation)(project(scope.at('c_fc'), x, c.dInner, c))
  return projectBack(scope.at('c_proj'), hidden, c)
}
