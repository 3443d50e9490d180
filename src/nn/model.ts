import { concat, crossEntropy, full, type Tensor } from '../tensor/index.ts'
import type { KvCache } from './kv-cache.ts'
import type { Scope } from './scope.ts'

/** What the parts above models may rely on: a model is a function of a scope and named tensors. */

export type Tensors = Readonly<Record<string, Tensor | undefined>>

export interface Model {
  /** The checkpoint's own configuration, saved with the weights as config.json. */
  toConfig(): Record<string, unknown>
  /**
   * Records the computation. Inputs and outputs have the reference implementation's names in camelCase: `inputIds`,
   * `attentionMask`, `labels` → `logits`, and `loss` where labels are given.
   */
  forward(scope: Scope, inputs: Tensors): Tensors
}

/** How a class of models is made from a checkpoint's config.json. */
export interface ModelClass {
  /** Values of `architectures` in config.json that this class implements. */
  readonly architectures: readonly string[]
  /** Names under which checkpoints without a head leave parameters out: `transformer.`. */
  readonly baseModelPrefix: string
  /** @throws Error with one sentence for a configuration that is not of this kind. */
  fromConfig(json: Record<string, unknown>): Model
}

export type CausalInputs = {
  /** int32 [batch, seq] */
  readonly inputIds: Tensor
  /** [batch, seq], 1 for tokens and 0 for padding. */
  readonly attentionMask?: Tensor
  /** int32 [batch, seq]; counted from 0, or on from what is cached, where left out. */
  readonly positionIds?: Tensor
  /** int32 [batch, seq]: the input ids again, −100 where they do not count. Token t is predicted from those before it. */
  readonly labels?: Tensor
}

export type CausalOptions = {
  /** Decode over cached keys and values. */
  readonly cache?: KvCache
  /** int32 [batch]: compute logits only at these positions of the step, for [batch, vocabSize]. */
  readonly logitsAt?: Tensor
}

/** A decoder that continues text. */
export interface CausalLm extends Model {
  readonly vocabSize: number
  /** The longest sequence it can take. */
  readonly maxPositions: number
  forward(scope: Scope, inputs: CausalInputs, options?: CausalOptions): { logits: Tensor; loss?: Tensor }
}

/** What every position is to predict: the next position's token, and nothing at the end. int32 [batch, seq]. */
export function nextTokens(labels: Tensor): Tensor {
  const [batch] = labels.shape
  return concat([labels.slice({ axis: 1, start: 1 }), full([batch, 1], -100, labels.dtype)], 1)
}

/** The mean cross-entropy of every token given those before it. */
export const nextTokenLoss = (logits: Tensor, labels: Tensor): Tensor => crossEntropy(logits, nextTokens(labels))
