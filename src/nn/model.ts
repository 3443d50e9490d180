import { concat, crossEntropy, full, input, symbol, type Tensor } from '../tensor/index.ts'
import type { KvCache } from './kv-cache.ts'
import type { Scope } from './scope.ts'
import type { Tensors } from './trace.ts'

/** What the parts above models may rely on: a model is a function of a scope and named tensors. */

export interface Model {
  /** The checkpoint's own configuration, saved with the weights as config.json. */
  toConfig(): Record<string, unknown>
  /** Inputs of the plainest run, as leaves of any size: what tracing the model, or exporting it, starts from. */
  exampleInputs(): Record<string, Tensor>
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
  /**
   * @param stored - names of the parameters in the checkpoint, where there is one
   * @throws Error with one sentence for a configuration that is not of this kind.
   */
  fromConfig(json: Record<string, unknown>, stored?: ReadonlySet<string>): Model
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

export type CausalOutputs = {
  /** [batch, seq, vocabSize], or [batch, vocabSize] with `logitsAt` */
  readonly logits: Tensor
  /** [batch, seq, dModel], after the last normalisation */
  readonly lastHiddenState: Tensor
  readonly loss?: Tensor
}

/** A decoder that continues text. */
export interface CausalLm extends Model {
  readonly vocabSize: number
  /** The longest sequence it can take. */
  readonly maxPositions: number
  forward(scope: Scope, inputs: CausalInputs, options?: CausalOptions): CausalOutputs
}

/** Token ids of any length: int32 [batch, seq]. */
export const tokenInputs = (): { inputIds: Tensor } => ({
  inputIds: input('inputIds', [symbol('batch'), symbol('seq')], 'int32'),
})

/** Keys and values of one attention layer, each [batch, seq, nHeads * headDim]. */
export interface KeysValues {
  readonly key: Tensor
  readonly value: Tensor
}

export type EncoderDecoderInputs = {
  /** int32 [batch, sourceSeq] */
  readonly inputIds: Tensor
  /** [batch, sourceSeq], 1 for tokens and 0 for padding. */
  readonly attentionMask?: Tensor
  /** int32 [batch, targetSeq]; the labels, one place later, where left out. */
  readonly decoderInputIds?: Tensor
  /** [batch, targetSeq] */
  readonly decoderAttentionMask?: Tensor
  /** int32 [batch, targetSeq], −100 where they do not count. */
  readonly labels?: Tensor
}

export type DecodeInputs = {
  /** int32 [batch, seq] */
  readonly inputIds: Tensor
  /** [batch, seq]; not over a cache. */
  readonly attentionMask?: Tensor
  /** Of every decoder layer. A batch of 1 serves all sequences. */
  readonly crossKeysValues: readonly KeysValues[]
  /** [batch or 1, sourceSeq] */
  readonly crossAttentionMask?: Tensor
}

/** An encoder that reads a text, and a decoder that answers it. */
export interface EncoderDecoderLm extends Model {
  readonly vocabSize: number
  /** What every answer starts from. */
  readonly decoderStartTokenId: number
  forward(scope: Scope, inputs: EncoderDecoderInputs): { logits: Tensor; loss?: Tensor }
  /** @returns [batch, sourceSeq, dModel] */
  encode(scope: Scope, inputs: Pick<EncoderDecoderInputs, 'inputIds' | 'attentionMask'>): Tensor
  /** What each decoder layer sees of the source: the same for every token, so it is computed once. */
  crossKeysValues(scope: Scope, encoderHiddenStates: Tensor): KeysValues[]
  decode(scope: Scope, inputs: DecodeInputs, options?: CausalOptions): CausalOutputs
}

/** What every position is to predict: the next position's token, and nothing at the end. int32 [batch, seq]. */
export function nextTokens(labels: Tensor): Tensor {
  const [batch] = labels.shape
  return concat([labels.slice({ axis: 1, start: 1 }), full([batch, 1], -100, labels.dtype)], 1)
}

/** The mean cross-entropy of every token given those before it. */
export const nextTokenLoss = (logits: Tensor, labels: Tensor): Tensor => crossEntropy(logits, nextTokens(labels))
