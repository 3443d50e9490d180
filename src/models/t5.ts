/**
 * Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer — T5
 * Raffel, Shazeer, Roberts et al., Google, 2019. arXiv 1910.10683
 *
 * New over the Transformer (§2.1):
 * - every task is text to text: the encoder reads the question, the decoder writes the answer;
 * - layer normalisation without a shift, moved to the input of each sub-layer: the root mean square alone;
 * - no absolute positions: a learned number is added to each score, by the head and the distance between query and key;
 *   distances share 32 buckets that widen logarithmically to 128, and all layers of a stack share the table;
 * - no biases, and no 1/√d_kv on the scores: the initial weights of the queries are smaller instead.
 *
 * Departures: the layout of the released checkpoints. T5 1.1 and Flan-T5 (Chung et al., 2022, arXiv 2210.11416) gate the
 * feed-forward network (GEGLU; Shazeer, 2020, arXiv 2002.05202) and have a head of their own, which reads the decoder's
 * states as they are; 1.0 shares the head with the embeddings, and scales the states by 1/√d_model.
 *
 * | paper             | here                                  |
 * |-------------------|---------------------------------------|
 * | d_model, d_ff     | `dModel`, `dInner`                    |
 * | d_kv, heads       | `headDim`, `nHeads`                   |
 * | inputs, targets   | `inputIds`, `labels`                  |
 * | b_ij (simplified) | `relative_attention_bias.weight`      |
 */

import { z } from 'zod'
import { attention } from '../nn/attention.ts'
import { parseConfig } from '../nn/config.ts'
import { constantInit, normal } from '../nn/initializers.ts'
import type { KvCache } from '../nn/kv-cache.ts'
import { linear } from '../nn/layers.ts'
import {
  type CausalOptions,
  type CausalOutputs,
  type DecodeInputs,
  type EncoderDecoderInputs,
  type EncoderDecoderLm,
  type KeysValues,
  tokenInputs,
} from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import {
  activation,
  arange,
  clamp,
  concat,
  constant,
  countTo,
  crossEntropy,
  embedding,
  expandDims,
  full,
  input,
  linear as project,
  rmsNorm,
  symbol,
  type Tensor,
  takeRows,
  where,
} from '../tensor/index.ts'

export interface T5Config {
  vocabSize: number
  dModel: number
  /** Features of one head; nHeads * headDim need not be dModel. */
  headDim: number
  dInner: number
  nLayers: number
  nDecoderLayers: number
  nHeads: number
  relativeBuckets: number
  /** Distances from here on share the last bucket. */
  relativeMaxDistance: number
  dropout: number
  layerNormEpsilon: number
  initializerFactor: number
  activation: string
  /** GEGLU and its kin: activation(x W₀) ⊙ x W₁. */
  gated: boolean
  tieWordEmbeddings: boolean
  /** Multiply the decoder's states by 1/√dModel before the head. */
  scaleDecoderOutputs: boolean
  padTokenId: number
  decoderStartTokenId: number
  endTokenIds: readonly number[]
}

const tokenId = z.int().nonnegative()

const CONFIG = z.object({
  vocab_size: z.int().positive().default(32128),
  d_model: z.int().positive().default(512),
  d_kv: z.int().positive().default(64),
  d_ff: z.int().positive().default(2048),
  num_layers: z.int().positive().default(6),
  num_decoder_layers: z.int().positive().nullish(),
  num_heads: z.int().positive().default(8),
  relative_attention_num_buckets: z.int().min(4).default(32),
  relative_attention_max_distance: z
    .int()
    .positive()
    .max(2 ** 20)
    .default(128),
  dropout_rate: z.number().min(0).max(1).default(0.1),
  layer_norm_epsilon: z.number().positive().default(1e-6),
  initializer_factor: z.number().positive().default(1),
  feed_forward_proj: z
    .string()
    .regex(/^(gated-)?[^-]+$/, 'must be an activation such as "relu", or "gated-" and an activation')
    .default('relu'),
  dense_act_fn: z.string().optional(),
  is_gated_act: z.boolean().optional(),
  tie_word_embeddings: z.boolean().optional(),
  scale_decoder_outputs: z.boolean().optional(),
  pad_token_id: tokenId.nullish(),
  decoder_start_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish(),
})

/** Sizes of the paper (§3.7). */
export const T5_SIZES = {
  small: { dModel: 512, dInner: 2048, headDim: 64, nHeads: 8, nLayers: 6 },
  base: { dModel: 768, dInner: 3072, headDim: 64, nHeads: 12, nLayers: 12 },
  large: { dModel: 1024, dInner: 4096, headDim: 64, nHeads: 16, nLayers: 24 },
  '3B': { dModel: 1024, dInner: 16384, headDim: 128, nHeads: 32, nLayers: 24 },
  '11B': { dModel: 1024, dInner: 65536, headDim: 128, nHeads: 128, nLayers: 24 },
} as const

const HEAD = 'lm_head.weight'

export class T5 implements EncoderDecoderLm {
  static readonly architectures = ['T5ForConditionalGeneration']
  static readonly baseModelPrefix = ''

  readonly config: T5Config

  /** What is left out is as in the paper's small model. */
  constructor(config: Partial<T5Config> = {}) {
    const nLayers = config.nLayers ?? T5_SIZES.small.nLayers
    this.config = {
      vocabSize: 32128,
      ...T5_SIZES.small,
      nLayers,
      nDecoderLayers: nLayers,
      relativeBuckets: 32,
      relativeMaxDistance: 128,
      dropout: 0.1,
      layerNormEpsilon: 1e-6,
      initializerFactor: 1,
      activation: 'relu',
      gated: false,
      tieWordEmbeddings: true,
      scaleDecoderOutputs: true,
      padTokenId: 0,
      decoderStartTokenId: 0,
      endTokenIds: [1],
      ...config,
    }
  }

  static fromConfig(json: Record<string, unknown>, stored?: ReadonlySet<string>): T5 {
    const c = parseConfig('T5', CONFIG, json)
    // "gated-gelu" was written before the approximation of GELU had a name of its own.
    const named = c.feed_forward_proj === 'gated-gelu' ? 'gelu_new' : c.feed_forward_proj.replace(/^gated-/, '')
    const padTokenId = c.pad_token_id ?? 0
    return new T5({
      vocabSize: c.vocab_size,
      dModel: c.d_model,
      headDim: c.d_kv,
      dInner: c.d_ff,
      nLayers: c.num_layers,
      nDecoderLayers: c.num_decoder_layers ?? c.num_layers,
      nHeads: c.num_heads,
      relativeBuckets: c.relative_attention_num_buckets,
      relativeMaxDistance: c.relative_attention_max_distance,
      dropout: c.dropout_rate,
      layerNormEpsilon: c.layer_norm_epsilon,
      initializerFactor: c.initializer_factor,
      activation: c.dense_act_fn ?? named,
      gated: c.is_gated_act ?? c.feed_forward_proj.startsWith('gated-'),
      tieWordEmbeddings: isTied(c, stored),
      scaleDecoderOutputs: c.scale_decoder_outputs ?? c.tie_word_embeddings ?? true,
      padTokenId,
      decoderStartTokenId: c.decoder_start_token_id ?? padTokenId,
      endTokenIds: [c.eos_token_id ?? 1].flat(),
    })
  }

  toConfig(): Record<string, unknown> {
    const { config } = this
    const { endTokenIds } = config
    return {
      architectures: T5.architectures,
      model_type: 't5',
      is_encoder_decoder: true,
      vocab_size: config.vocabSize,
      d_model: config.dModel,
      d_kv: config.headDim,
      d_ff: config.dInner,
      num_layers: config.nLayers,
      num_decoder_layers: config.nDecoderLayers,
      num_heads: config.nHeads,
      relative_attention_num_buckets: config.relativeBuckets,
      relative_attention_max_distance: config.relativeMaxDistance,
      dropout_rate: config.dropout,
      layer_norm_epsilon: config.layerNormEpsilon,
      initializer_factor: config.initializerFactor,
      feed_forward_proj: `${config.gated ? 'gated-' : ''}${config.activation}`,
      dense_act_fn: config.activation,
      is_gated_act: config.gated,
      tie_word_embeddings: config.tieWordEmbeddings,
      scale_decoder_outputs: config.scaleDecoderOutputs,
      pad_token_id: config.padTokenId,
      decoder_start_token_id: config.decoderStartTokenId,
      eos_token_id: endTokenIds.length === 1 ? endTokenIds[0] : endTokenIds,
    }
  }

  get vocabSize(): number {
    return this.config.vocabSize
  }

  get decoderStartTokenId(): number {
    return this.config.decoderStartTokenId
  }

  exampleInputs(): Record<string, Tensor> {
    return {
      ...tokenInputs(),
      decoderInputIds: input('decoderInputIds', [symbol('batch'), symbol('targetSeq')], 'int32'),
    }
  }

  /**
   * @param inputs.decoderInputIds - int32 [batch, targetSeq]; the labels one place later where left out
   * @returns logits [batch, targetSeq, vocabSize]
   */
  forward(
    scope: Scope,
    inputs: EncoderDecoderInputs,
  ): { logits: Tensor; loss?: Tensor; encoderLastHiddenState: Tensor } {
    const { attentionMask, labels } = inputs
    const decoderInputIds = inputs.decoderInputIds ?? (labels && this.shiftRight(labels))
    if (!decoderInputIds) throw new Error('T5 needs decoder_input_ids, or labels to make them from')
    const encoderLastHiddenState = this.encode(scope, inputs)
    const { logits } = this.decode(scope, {
      inputIds: decoderInputIds,
      attentionMask: inputs.decoderAttentionMask,
      crossKeysValues: this.crossKeysValues(scope, encoderLastHiddenState),
      crossAttentionMask: attentionMask,
    })
    return { logits, loss: labels && crossEntropy(logits, labels), encoderLastHiddenState }
  }

  /** @returns [batch, seq, dModel] */
  encode(scope: Scope, { inputIds, attentionMask }: Pick<EncoderDecoderInputs, 'inputIds' | 'attentionMask'>): Tensor {
    const positions = arange(inputIds.shape[1])
    const encoder = scope.at('encoder')
    const bias = this.relativeBias(encoder, expandDims(positions, 0).sub(expandDims(positions, 1)), true)
    let x = this.embed(scope, inputIds)
    for (let layer = 0; layer < this.config.nLayers; layer++) {
      const block = encoder.at('block', layer)
      x = this.selfAttention(block.at('layer', 0), x, { attentionMask, bias: expandDims(bias, 0) })
      x = this.feedForward(block.at('layer', 1), x)
    }
    return this.finalNorm(encoder, x)
  }

  /** What every decoder layer's cross-attention sees of the source: the same for every token that is decoded. */
  crossKeysValues(scope: Scope, encoderHiddenStates: Tensor): KeysValues[] {
    return Array.from({ length: this.config.nDecoderLayers }, (_, layer) => {
      const cross = scope.at('decoder', 'block', layer, 'layer', 1, 'EncDecAttention')
      return {
        key: this.projectKeyValue(cross.at('k'), encoderHiddenStates),
        value: this.projectKeyValue(cross.at('v'), encoderHiddenStates),
      }
    })
  }

  /** @returns logits [batch, seq, vocabSize], or [batch, vocabSize] at the positions asked for */
  decode(
    scope: Scope,
    { inputIds, attentionMask, crossKeysValues, crossAttentionMask }: DecodeInputs,
    { cache, logitsAt }: CausalOptions = {},
  ): CausalOutputs {
    const { config } = this
    const decoder = scope.at('decoder')
    const bias = this.decoderBias(decoder, inputIds, cache)
    let x = this.embed(scope, inputIds)
    for (let layer = 0; layer < config.nDecoderLayers; layer++) {
      const block = decoder.at('block', layer)
      x = this.selfAttention(block.at('layer', 0), x, { causal: true, attentionMask, bias, cache })
      x = this.crossAttention(block.at('layer', 1), x, crossKeysValues[layer], crossAttentionMask)
      x = this.feedForward(block.at('layer', 2), x)
    }
    x = this.finalNorm(decoder, x)
    const last = logitsAt ? takeRows(x, logitsAt) : x
    const head = config.tieWordEmbeddings
      ? this.embeddings(scope)
      : scope.at('lm_head').param('weight', [config.vocabSize, config.dModel], normal(config.initializerFactor))
    const logits = project(config.scaleDecoderOutputs ? last.mul(config.dModel ** -0.5) : last, head)
    return { logits, lastHiddenState: x }
  }

  /** The decoder reads the answer one place late, from the start token on; places that do not count read as padding. */
  private shiftRight(labels: Tensor): Tensor {
    const { decoderStartTokenId, padTokenId } = this.config
    const [batch] = labels.shape
    const ids = where(labels.equal(-100), full(labels.shape, padTokenId, labels.dtype), labels)
    return concat([full([batch, 1], decoderStartTokenId, labels.dtype), ids.slice({ axis: 1, end: -1 })], 1)
  }

  private embeddings(scope: Scope): Tensor {
    const { vocabSize, dModel, initializerFactor } = this.config
    return scope.at('shared').param('weight', [vocabSize, dModel], normal(initializerFactor))
  }

  private embed(scope: Scope, ids: Tensor): Tensor {
    return scope.dropout(embedding(this.embeddings(scope), ids), this.config.dropout)
  }

  private norm(scope: Scope, x: Tensor): Tensor {
    const { dModel, initializerFactor, layerNormEpsilon } = this.config
    return rmsNorm(x, scope.param('weight', [dModel], constantInit(initializerFactor)), layerNormEpsilon)
  }

  private finalNorm(stack: Scope, x: Tensor): Tensor {
    return stack.dropout(this.norm(stack.at('final_layer_norm'), x), this.config.dropout)
  }

  private selfAttention(
    scope: Scope,
    x: Tensor,
    context: { causal?: boolean; attentionMask?: Tensor; bias: Tensor; cache?: KvCache },
  ): Tensor {
    const part = scope.at('SelfAttention')
    const normed = this.norm(scope.at('layer_norm'), x)
    const key = this.projectKeyValue(part.at('k'), normed)
    const value = this.projectKeyValue(part.at('v'), normed)
    return this.residual(scope, x, this.attend(part, normed, key, value, context))
  }

  private crossAttention(scope: Scope, x: Tensor, { key, value }: KeysValues, attentionMask?: Tensor): Tensor {
    const part = scope.at('EncDecAttention')
    const normed = this.norm(scope.at('layer_norm'), x)
    // Sequences that read one source are as one long sequence, and share products: order does not matter here.
    const bySource = normed.reshape([key.shape[0], -1, x.shape[2]])
    const attended = this.attend(part, bySource, key, value, { attentionMask })
    return this.residual(scope, x, attended.reshape(x.shape))
  }

  private attend(
    scope: Scope,
    x: Tensor,
    key: Tensor,
    value: Tensor,
    context: { causal?: boolean; attentionMask?: Tensor; bias?: Tensor; cache?: KvCache },
  ): Tensor {
    const { nHeads, headDim, dModel, dropout } = this.config
    const query = linear(scope.at('q'), x, nHeads * headDim, this.projection(dModel * headDim))
    const options = { nHeads, scale: 1, dropout: { scope, rate: dropout }, ...context }
    return linear(scope.at('o'), attention(query, key, value, options), dModel, this.projection(nHeads * headDim))
  }

  private projectKeyValue(scope: Scope, x: Tensor): Tensor {
    const { nHeads, headDim, dModel } = this.config
    return linear(scope, x, nHeads * headDim, this.projection(dModel))
  }

  private feedForward(scope: Scope, x: Tensor): Tensor {
    const { dModel, dInner, gated, dropout } = this.config
    const part = scope.at('DenseReluDense')
    const normed = this.norm(scope.at('layer_norm'), x)
    const widen = (name: string) => linear(part.at(name), normed, dInner, this.projection(dModel))
    const act = activation(this.config.activation)
    const hidden = gated ? act(widen('wi_0')).mul(widen('wi_1')) : act(widen('wi'))
    return this.residual(
      scope,
      x,
      linear(part.at('wo'), scope.dropout(hidden, dropout), dModel, this.projection(dInner)),
    )
  }

  private residual(scope: Scope, x: Tensor, update: Tensor): Tensor {
    return x.add(scope.dropout(update, this.config.dropout))
  }

  /** Initial weights of variance 1 / size (the paper's code, and its successor's). */
  private projection(size: number) {
    return { bias: false, init: normal(this.config.initializerFactor * size ** -0.5) }
  }

  /** The bias of self-attention in the decoder: [1, nHeads, seq, seq], or [batch, nHeads, seq, total] over a cache. */
  private decoderBias(decoder: Scope, inputIds: Tensor, cache?: KvCache): Tensor {
    if (!cache) {
      const positions = arange(inputIds.shape[1])
      return expandDims(this.relativeBias(decoder, expandDims(positions, 0).sub(expandDims(positions, 1)), false), 0)
    }
    const keys = countTo(cache.totalLength, 'total').reshape([1, 1, -1])
    return this.relativeBias(decoder, keys.sub(expandDims(cache.positionIds, 2)), false)
  }

  /**
   * What each head adds to its scores, by how far the key is from the query.
   *
   * @param stack - the encoder's scope, or the decoder's: its first layer holds the table for all
   * @param offsets - int32 [..., queries, keys], the key's position less the query's
   * @returns [..., nHeads, queries, keys]
   */
  private relativeBias(stack: Scope, offsets: Tensor, bidirectional: boolean): Tensor {
    const { relativeBuckets, relativeMaxDistance, nHeads, dModel, initializerFactor } = this.config
    const table = stack
      .at('block', 0, 'layer', 0, 'SelfAttention', 'relative_attention_bias')
      .param('weight', [relativeBuckets, nHeads], normal(initializerFactor * dModel ** -0.5))
    const data = bucketsByOffset(relativeBuckets, relativeMaxDistance, bidirectional)
    const buckets = constant({ dtype: 'int32', shape: [data.length], data })
    const reach = (data.length - 1) / 2
    const places = clamp(offsets, -reach, reach).add(reach)
    const bias = embedding(table, embedding(buckets, places)) // [..., queries, keys, nHeads]
    const rank = bias.rank
    return bias.transpose([...Array.from({ length: rank - 3 }, (_, i) => i), rank - 1, rank - 3, rank - 2])
  }
}

/**
 * Whether the head is the embedding table. Up to transformers 4, `tie_word_embeddings` says so. Since 5 it always reads
 * true, `scale_decoder_outputs` is written too, and a head in the file counts.
 */
function isTied(
  { tie_word_embeddings = true, scale_decoder_outputs }: z.infer<typeof CONFIG>,
  stored?: ReadonlySet<string>,
): boolean {
  return tie_word_embeddings && !(scale_decoder_outputs !== undefined && stored?.has(HEAD))
}

/**
 * The bucket of every offset of a key from its query, from −d to d, where d is a distance at which the last bucket is
 * reached (Mesh TensorFlow's `_relative_position_bucket`). Half of the buckets have one distance each, the others widen
 * logarithmically up to the maximum. In both directions, keys before and after the query have half of the buckets each;
 * otherwise keys after the query count as being at its place.
 */
export function bucketsByOffset(count: number, maxDistance: number, bidirectional: boolean): Int32Array {
  const buckets = bidirectional ? Math.floor(count / 2) : count
  const exact = Math.floor(buckets / 2)
  if (exact < 1 || maxDistance <= exact) {
    throw new RangeError(
      `relative positions need at least 4 buckets and a largest distance beyond ${Math.floor(count / 2)}, half of the buckets; got ${count} buckets up to ${maxDistance}`,
    )
  }
  const bucketOf = (distance: number): number => {
    if (distance < exact) return distance
    // In fp32, as the reference computes it: whole numbers are the edges of buckets.
    const turns = Math.fround(Math.fround(Math.log(distance / exact)) / Math.fround(Math.log(maxDistance / exact)))
    return Math.min(exact + Math.trunc(Math.fround(turns * (buckets - exact))), buckets - 1)
  }
  return Int32Array.from({ length: 2 * maxDistance + 1 }, (_, i) => {
    const offset = i - maxDistance
    if (!bidirectional) return bucketOf(Math.max(-offset, 0))
    return bucketOf(Math.abs(offset)) + (offset > 0 ? buckets : 0)
  })
}
