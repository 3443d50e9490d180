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

import { type AttentionOptions, attention } from '../nn/attention.ts'
import {
  between,
  type ConfigOf,
  config,
  flag,
  positive,
  rate,
  readField,
  size,
  text,
  textLike,
  tokenId,
  tokenIds,
} from '../nn/config.ts'
import { constantInit, normal } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import {
  type CausalOptions,
  causalOutputs,
  type DecodeInputs,
  type EncoderDecoderInputs,
  EncoderDecoderNetwork,
  embedTokens,
  type KeysValues,
} from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import {
  activation,
  arange,
  causalMask,
  clamp,
  constant,
  countTo,
  embedding,
  expandDims,
  hideKeys,
  rmsNorm,
  type Tensor,
} from '../tensor/index.ts'

const kind = textLike(/^(gated-)?[^-]+$/, 'must be an activation such as "relu", or "gated-" and an activation')
const feedForwardKind = (json: Readonly<Record<string, unknown>>): string =>
  readField(json, 'feed_forward_proj', kind) ?? 'relu'

/** What is left out is as in the paper's small model. */
export const T5Config = config(
  'T5',
  ['T5ForConditionalGeneration'],
  {
    vocabSize: ['vocab_size', size, 32128],
    dModel: ['d_model', size, 512],
    /** Features of one head; nHeads * headDim need not be dModel. */
    headDim: ['d_kv', size, 64],
    dInner: ['d_ff', size, 2048],
    nLayers: ['num_layers', size, 6],
    nDecoderLayers: ['num_decoder_layers', size, (c) => c.nLayers],
    nHeads: ['num_heads', size, 8],
    relativeBuckets: ['relative_attention_num_buckets', between(4, 2 ** 20), 32],
    /** Distances from here on share the last bucket. */
    relativeMaxDistance: ['relative_attention_max_distance', between(1, 2 ** 20), 128],
    dropout: ['dropout_rate', rate, 0.1],
    layerNormEpsilon: ['layer_norm_epsilon', positive, 1e-6],
    initializerFactor: ['initializer_factor', positive, 1],
    activation: {
      type: text,
      default: 'relu',
      read(json) {
        // "gated-gelu" was written before the approximation of GELU had a name of its own.
        const named = feedForwardKind(json) === 'gated-gelu' ? 'gelu_new' : feedForwardKind(json).replace('gated-', '')
        return readField(json, 'dense_act_fn', text) ?? named
      },
      write: (activation) => ({ dense_act_fn: activation }),
    },
    /** GEGLU and its kin: activation(x W₀) ⊙ x W₁. */
    gated: {
      type: flag,
      default: false,
      read: (json) => readField(json, 'is_gated_act', flag) ?? feedForwardKind(json).startsWith('gated-'),
      write: (gated, c) => ({ is_gated_act: gated, feed_forward_proj: `${gated ? 'gated-' : ''}${c.activation}` }),
    },
    /** Multiply the decoder's states by 1/√dModel before the head. */
    scaleDecoderOutputs: ['scale_decoder_outputs', flag, (c) => c.tieWordEmbeddings],
    /**
     * Whether the head is the embedding table. Up to transformers 4, `tie_word_embeddings` says so. Since 5 it always
     * reads true, `scale_decoder_outputs` is written too, and a head in the file counts.
     */
    tieWordEmbeddings: {
      type: flag,
      default: true,
      read(json, _, stored) {
        const ownHead = readField(json, 'scale_decoder_outputs', flag) !== undefined && stored?.has('lm_head.weight')
        return ownHead ? false : readField(json, 'tie_word_embeddings', flag)
      },
      write: (tied) => ({ tie_word_embeddings: tied }),
    },
    padTokenId: ['pad_token_id', tokenId, 0],
    decoderStartTokenId: ['decoder_start_token_id', tokenId, (c) => c.padTokenId],
    endTokenIds: tokenIds('eos_token_id', [1]),
  },
  { constants: { is_encoder_decoder: true } },
)
export type T5Config = ConfigOf<typeof T5Config>

/** Sizes of the paper (§3.7). */
export const T5_SIZES = {
  small: { dModel: 512, dInner: 2048, headDim: 64, nHeads: 8, nLayers: 6 },
  base: { dModel: 768, dInner: 3072, headDim: 64, nHeads: 12, nLayers: 12 },
  large: { dModel: 1024, dInner: 4096, headDim: 64, nHeads: 16, nLayers: 24 },
  '3B': { dModel: 1024, dInner: 16384, headDim: 128, nHeads: 32, nLayers: 24 },
  '11B': { dModel: 1024, dInner: 65536, headDim: 128, nHeads: 128, nLayers: 24 },
} as const

/** What self-attention is told beside its input. */
export type T5Context = Pick<AttentionOptions, 'causal' | 'attentionMask' | 'bias' | 'cache'>

/** x Wᵀ, from weights of variance 1 / `fan` (the paper's code, and its successor's). */
function project(scope: Scope, x: Tensor, outFeatures: number, fan: number, c: T5Config): Tensor {
  return linear(scope, x, outFeatures, { bias: false, init: normal(c.initializerFactor * fan ** -0.5) })
}

/** Layer normalisation without a shift and without a mean (§2.1). */
export function t5Norm(scope: Scope, x: Tensor, c: T5Config): Tensor {
  return rmsNorm(x, scope.param('weight', [c.dModel], constantInit(c.initializerFactor)), c.layerNormEpsilon)
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

/**
 * What each head adds to its scores, by how far the key is from the query (§2.1).
 *
 * @param stack - the encoder's scope, or the decoder's: its first layer holds the table for all
 * @param offsets - int32 [..., queries, keys], the key's position less the query's
 * @returns [..., nHeads, queries, keys]
 */
export function relativeBias(stack: Scope, offsets: Tensor, bidirectional: boolean, c: T5Config): Tensor {
  const table = stack
    .at('block', 0, 'layer', 0, 'SelfAttention', 'relative_attention_bias')
    .param('weight', [c.relativeBuckets, c.nHeads], normal(c.initializerFactor * c.dModel ** -0.5))
  const data = bucketsByOffset(c.relativeBuckets, c.relativeMaxDistance, bidirectional)
  const buckets = constant({ dtype: 'int32', shape: [data.length], data })
  const reach = (data.length - 1) / 2
  const places = clamp(offsets, -reach, reach).add(reach)
  const bias = embedding(table, embedding(buckets, places)) // [..., queries, keys, nHeads]
  const rank = bias.rank
  return bias.transpose([...Array.from({ length: rank - 3 }, (_, i) => i), rank - 1, rank - 3, rank - 2])
}

/** The same for every sequence, whose tokens stand at 0, 1, 2, …: [1, nHeads, seq, seq]. */
function plainBias(stack: Scope, seq: Tensor['shape'][number], bidirectional: boolean, c: T5Config): Tensor {
  const positions = arange(seq)
  const offsets = expandDims(positions, 0).sub(expandDims(positions, 1))
  return expandDims(relativeBias(stack, offsets, bidirectional, c), 0)
}

/** Keys and values of x, each [batch, seq, nHeads * headDim]. */
function keysValues(scope: Scope, x: Tensor, c: T5Config): KeysValues {
  const width = c.nHeads * c.headDim
  return { key: project(scope.at('k'), x, width, c.dModel, c), value: project(scope.at('v'), x, width, c.dModel, c) }
}

/** Attention without 1/√d_kv on the scores: the weights of the queries start smaller instead. */
function attend(scope: Scope, x: Tensor, { key, value }: KeysValues, c: T5Config, context: T5Context): Tensor {
  const width = c.nHeads * c.headDim
  const query = project(scope.at('q'), x, width, c.dModel * c.headDim, c)
  const options = { nHeads: c.nHeads, scale: 1, dropout: { scope, rate: c.dropout }, ...context }
  return project(scope.at('o'), attention(query, key, value, options), c.dModel, width, c)
}

export function t5SelfAttention(scope: Scope, x: Tensor, c: T5Config, context: T5Context): Tensor {
  return attend(scope, x, keysValues(scope, x, c), c, context)
}

export function t5CrossAttention(
  scope: Scope,
  x: Tensor,
  c: T5Config,
  source: KeysValues,
  attentionMask?: Tensor,
): Tensor {
  // Sequences that read one source are as one long sequence, and share products: order does not matter here.
  const bySource = x.reshape([source.key.shape[0], -1, c.dModel])
  return attend(scope, bySource, source, c, { attentionMask }).reshape(x.shape)
}

export function t5FeedForward(scope: Scope, x: Tensor, c: T5Config): Tensor {
  const widen = (name: string) => project(scope.at(name), x, c.dInner, c.dModel, c)
  const act = activation(c.activation)
  const hidden = c.gated ? act(widen('wi_0')).mul(widen('wi_1')) : act(widen('wi'))
  return project(scope.at('wo'), scope.dropout(hidden, c.dropout), c.dModel, c.dInner, c)
}

/** x + attention(norm(x)), then x + feedForward(norm(x)). */
export function t5EncoderBlock(scope: Scope, x: Tensor, c: T5Config, context: T5Context): Tensor {
  const [attention, feedForward] = [0, 1].map((i) => scope.at('layer', i))
  const norm = (layer: Scope, x: Tensor) => t5Norm(layer.at('layer_norm'), x, c)
  const drop = (x: Tensor) => scope.dropout(x, c.dropout)
  x = x.add(drop(t5SelfAttention(attention.at('SelfAttention'), norm(attention, x), c, context)))
  return x.add(drop(t5FeedForward(feedForward.at('DenseReluDense'), norm(feedForward, x), c)))
}

/** The same, with attention to the source in between. */
export function t5DecoderBlock(
  scope: Scope,
  x: Tensor,
  c: T5Config,
  context: T5Context,
  source: KeysValues,
  sourceMask?: Tensor,
): Tensor {
  const [attention, cross, feedForward] = [0, 1, 2].map((i) => scope.at('layer', i))
  const norm = (layer: Scope, x: Tensor) => t5Norm(layer.at('layer_norm'), x, c)
  const drop = (x: Tensor) => scope.dropout(x, c.dropout)
  x = x.add(drop(t5SelfAttention(attention.at('SelfAttention'), norm(attention, x), c, context)))
  x = x.add(drop(t5CrossAttention(cross.at('EncDecAttention'), norm(cross, x), c, source, sourceMask)))
  return x.add(drop(t5FeedForward(feedForward.at('DenseReluDense'), norm(feedForward, x), c)))
}

export class T5 extends EncoderDecoderNetwork<T5Config> {
  static readonly table = T5Config
  static readonly tiedHead = { head: 'lm_head.weight', table: 'shared.weight' }

  /** @returns [batch, seq, dModel] */
  encode(scope: Scope, { inputIds, attentionMask }: Pick<EncoderDecoderInputs, 'inputIds' | 'attentionMask'>): Tensor {
    const { config: c } = this
    const encoder = scope.at('encoder')
    const context = { attentionMask, bias: plainBias(encoder, inputIds.shape[1], true, c) }
    let x = scope.dropout(
      embedTokens(() => this.embeddings(scope.at('shared')), { inputIds }),
      c.dropout,
    )
    for (let i = 0; i < c.nLayers; i++) x = scope.block(t5EncoderBlock, encoder.at('block', i), x, c, context)
    return scope.dropout(t5Norm(encoder.at('final_layer_norm'), x, c), c.dropout)
  }

  /** What every decoder layer's cross-attention sees of the source: the same for every token that is decoded. */
  crossKeysValues(scope: Scope, encoderHiddenStates: Tensor): KeysValues[] {
    const { config: c } = this
    const all: KeysValues[] = []
    for (let i = 0; i < c.nDecoderLayers; i++) {
      const part = scope.at('decoder', 'block', i, 'layer', 1, 'EncDecAttention')
      all.push(keysValues(part, encoderHiddenStates, c))
    }
    return all
  }

  /** @returns logits [batch, seq, vocabSize], or [batch, vocabSize] at the positions asked for */
  decode(scope: Scope, inputs: DecodeInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask, crossKeysValues, crossAttentionMask } = inputs
    const { cache } = options
    const decoder = scope.at('decoder')
    const distances = this.decoderBias(decoder, inputs, options)
    // The reference hides padding and the future alike. It shows where a query has nothing but padding before it.
    const seen = attentionMask && causalMask(attentionMask.shape[1]).and(expandDims(attentionMask, 1).greater(0))
    const bias = seen ? distances.add(expandDims(hideKeys(seen), 1)) : distances
    const context = { causal: seen === undefined, bias, cache }
    let x = scope.dropout(
      embedTokens(() => this.embeddings(scope.at('shared')), inputs),
      c.dropout,
    )
    for (let i = 0; i < c.nDecoderLayers; i++) {
      x = scope.block(t5DecoderBlock, decoder.at('block', i), x, c, context, crossKeysValues[i], crossAttentionMask)
    }
    x = scope.dropout(t5Norm(decoder.at('final_layer_norm'), x, c), c.dropout)
    const head = this.embeddings(scope.at(c.tieWordEmbeddings ? 'shared' : 'lm_head'))
    const { logits } = causalOutputs(c.scaleDecoderOutputs ? x.mul(c.dModel ** -0.5) : x, head, {}, options)
    return { logits, lastHiddenState: x }
  }

  private embeddings(scope: Scope): Tensor {
    const { vocabSize, dModel, initializerFactor } = this.config
    return scope.param('weight', [vocabSize, dModel], normal(initializerFactor))
  }

  /** The bias of self-attention in the decoder: [1, nHeads, seq, seq], or [batch, nHeads, seq, total] over a cache. */
  private decoderBias(decoder: Scope, { inputIds, inputsEmbeds }: DecodeInputs, { cache }: CausalOptions): Tensor {
    if (!cache) return plainBias(decoder, (inputsEmbeds ?? (inputIds as Tensor)).shape[1], false, this.config)
    const keys = countTo(cache.totalLength, 'total').reshape([1, 1, -1])
    return relativeBias(decoder, keys.sub(expandDims(cache.positionIds, 2)), false, this.config)
  }
}
