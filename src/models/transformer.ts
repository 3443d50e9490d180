/**
 * Attention Is All You Need — the Transformer
 * Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin, Google, 2017. arXiv 1706.03762
 *
 * New here (§3):
 * - no recurrence and no convolution: positions see each other by attention alone, softmax(QKᵀ / √d_k) V, in several heads;
 * - an encoder whose positions all see each other, a decoder that sees what it has written and, by cross-attention, all
 *   of the source;
 * - what goes through a sub-layer is added to it and then normalised: LayerNorm(x + Sublayer(x));
 * - where tokens stand is told by sines and cosines of wavelengths from 2π to 10000 · 2π;
 * - one matrix embeds source and target, times √d_model, and is the head.
 *
 * Departures: the layout of Marian's checkpoints (Junczys-Dowmunt et al., 2018, arXiv 1804.00344), the paper's own were
 * not published: sines in the first half of the features and cosines in the second (`interleaved` is the paper's order),
 * a bias on the logits that training leaves alone, and dictionaries that may differ. Rows that padding looks up learn
 * nothing from it, as in the reference implementation.
 *
 * | paper                | here                                 |
 * |----------------------|--------------------------------------|
 * | N, d_model, d_ff, h  | `nLayers`, `dModel`, `dInner`, `nHeads` |
 * | P_drop               | `dropout`                            |
 * | ε_ls (§5.4), lrate (eq. 3) | `labelSmoothing` of a loss, `transformerSchedule` |
 */

import { type AttentionOptions, attention } from '../nn/attention.ts'
import {
  type ConfigOf,
  config,
  flag,
  nullMeans,
  oneOf,
  ownSetting,
  positive,
  rate,
  readField,
  singleTokens,
  size,
  text,
  tokenId,
  tokenIds,
} from '../nn/config.ts'
import { normal, zeros } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import {
  type CausalOptions,
  causalOutputs,
  type DecodeInputs,
  type EncoderDecoderInputs,
  EncoderDecoderNetwork,
  embedTokens,
  type KeysValues,
} from '../nn/model.ts'
import { sinusoidInit, sinusoidTable } from '../nn/positions.ts'
import type { Scope } from '../nn/scope.ts'
import { activation, embedding, type Tensor } from '../tensor/index.ts'

/** What is left out is as in the reference implementation of Marian. */
export const TransformerConfig = config(
  'Transformer',
  ['MarianMTModel'],
  {
    vocabSize: ['vocab_size', size, 58101],
    /** Of the target, where it has a dictionary of its own. */
    decoderVocabSize: ['decoder_vocab_size', size, (c) => c.vocabSize],
    maxPositions: ['max_position_embeddings', size, 1024],
    dModel: ['d_model', size, 1024],
    nLayers: ['encoder_layers', size, 12],
    nDecoderLayers: ['decoder_layers', size, (c) => c.nLayers],
    nHeads: ['encoder_attention_heads', size, 16],
    nDecoderHeads: ['decoder_attention_heads', size, (c) => c.nHeads],
    dInner: ['encoder_ffn_dim', size, 4096],
    dDecoderInner: ['decoder_ffn_dim', size, (c) => c.dInner],
    activation: ['activation_function', text, 'gelu'],
    dropout: ['dropout', rate, 0.1],
    attentionDropout: ['attention_dropout', rate, 0],
    activationDropout: ['activation_dropout', rate, 0],
    initializerRange: ['init_std', positive, 0.02],
    /** Multiply embeddings by √dModel (§3.4). */
    scaleEmbedding: ['scale_embedding', flag, false],
    /** Where the sines and cosines of a wavelength stand: each in a half of the features, or side by side (§3.5). */
    positionEncoding: ownSetting('position_encoding', oneOf('halves', 'interleaved'), 'halves'),
    tieWordEmbeddings: ['tie_word_embeddings', flag, true],
    /** Whether source and target have one table; where the head has its own, a checkpoint may still have two. */
    shareEmbeddings: {
      type: flag,
      default: true,
      read(json, c, stored) {
        const share = readField(json, 'share_encoder_decoder_embeddings', flag) ?? true
        return share && (c.tieWordEmbeddings || !stored?.has('model.encoder.embed_tokens.weight'))
      },
      write: (share) => ({ share_encoder_decoder_embeddings: share }),
    },
    /** Whether the checkpoint brings the sines and cosines: older ones do, and those in the paper's order. */
    storedPositions: {
      type: flag,
      default: false,
      read: (_json, c, stored) =>
        c.positionEncoding === 'halves' ? stored?.has('model.encoder.embed_positions.weight') : false,
      write: () => ({}),
    },
    /** Whether there is a bias on the logits, which gradients leave alone. */
    logitsBias: {
      type: flag,
      default: true,
      read: (_json, _c, stored) => stored?.has('final_logits_bias'),
      write: () => ({}),
    },
    padTokenId: ['pad_token_id', tokenId, 58100],
    decoderStartTokenId: ['decoder_start_token_id', tokenId, (c) => c.padTokenId],
    endTokenIds: tokenIds('eos_token_id', [0]),
    /** Ends an answer that reaches its greatest length. */
    forcedEndTokenId: nullMeans('none', 'forced_eos_token_id', tokenId, 0),
    /** Tokens that are never written. */
    barredTokenIds: singleTokens('bad_words_ids'),
  },
  {
    modelType: 'marian',
    constants: { is_encoder_decoder: true },
    check(c) {
      for (const heads of [c.nHeads, c.nDecoderHeads]) {
        if (c.dModel % heads !== 0) return `d_model: ${heads} heads cannot share ${c.dModel} features`
      }
      const sharesSizes = c.vocabSize === c.decoderVocabSize
      if (c.shareEmbeddings && !sharesSizes) {
        return `decoder_vocab_size: must be vocab_size, ${c.vocabSize}, where the embeddings are shared`
      }
    },
  },
)
export type TransformerConfig = ConfigOf<typeof TransformerConfig>

/** The models of the paper (table 3). */
export const TRANSFORMER_SIZES = {
  base: { nLayers: 6, dModel: 512, dInner: 2048, nHeads: 8, dropout: 0.1 },
  big: { nLayers: 6, dModel: 1024, dInner: 4096, nHeads: 16, dropout: 0.3 },
} as const

/** What the paper has where Marian differs. */
export const AS_IN_THE_PAPER = {
  activation: 'relu',
  scaleEmbedding: true,
  positionEncoding: 'interleaved',
} as const satisfies Partial<TransformerConfig>

/** What self-attention is told beside its input. */
export type TransformerContext = Pick<AttentionOptions, 'causal' | 'attentionMask' | 'cache'>

/** Of one of the two stacks. */
interface Stack {
  readonly nHeads: number
  readonly dInner: number
}

const encoderStack = ({ nHeads, dInner }: TransformerConfig): Stack => ({ nHeads, dInner })
const decoderStack = (c: TransformerConfig): Stack => ({ nHeads: c.nDecoderHeads, dInner: c.dDecoderInner })

const project = (scope: Scope, x: Tensor, outFeatures: number, c: TransformerConfig): Tensor =>
  linear(scope, x, outFeatures, { init: normal(c.initializerRange) })

/** Keys and values of x, each [batch, seq, dModel]. */
function keysValues(scope: Scope, x: Tensor, c: TransformerConfig): KeysValues {
  return { key: project(scope.at('k_proj'), x, c.dModel, c), value: project(scope.at('v_proj'), x, c.dModel, c) }
}

/** MultiHead(Q, K, V) = Concat(head₁, …, head_h) W^O (§3.2.2). */
export function multiHeadAttention(
  scope: Scope,
  x: Tensor,
  { key, value }: KeysValues,
  nHeads: number,
  c: TransformerConfig,
  context: TransformerContext,
): Tensor {
  const query = project(scope.at('q_proj'), x, c.dModel, c)
  const options = { nHeads, zeroBlind: true, dropout: { scope, rate: c.attentionDropout }, ...context }
  return project(scope.at('out_proj'), attention(query, key, value, options), c.dModel, c)
}

/** FFN(x) = max(0, x W₁ + b₁) W₂ + b₂ (eq. 2). */
export function feedForward(scope: Scope, x: Tensor, dInner: number, c: TransformerConfig): Tensor {
  const hidden = activation(c.activation)(project(scope.at('fc1'), x, dInner, c))
  return project(scope.at('fc2'), scope.dropout(hidden, c.activationDropout), c.dModel, c)
}

/** LayerNorm(x + Sublayer(x)) (§3.1), with dropout on what is added (§5.4). */
const addAndNorm = (scope: Scope, name: string, x: Tensor, sublayer: Tensor, c: TransformerConfig): Tensor =>
  layerNorm(scope.at(name), x.add(scope.dropout(sublayer, c.dropout)))

const selfAttention = (scope: Scope, x: Tensor, nHeads: number, c: TransformerConfig, context: TransformerContext) =>
  multiHeadAttention(scope.at('self_attn'), x, keysValues(scope.at('self_attn'), x, c), nHeads, c, context)

/** Figure 1, left. */
export function encoderLayer(scope: Scope, x: Tensor, c: TransformerConfig, context: TransformerContext): Tensor {
  const { nHeads, dInner } = encoderStack(c)
  x = addAndNorm(scope, 'self_attn_layer_norm', x, selfAttention(scope, x, nHeads, c, context), c)
  return addAndNorm(scope, 'final_layer_norm', x, feedForward(scope, x, dInner, c), c)
}

/** Figure 1, right. */
export function decoderLayer(
  scope: Scope,
  x: Tensor,
  c: TransformerConfig,
  context: TransformerContext,
  source: KeysValues,
  sourceMask?: Tensor,
): Tensor {
  const { nHeads, dInner } = decoderStack(c)
  x = addAndNorm(scope, 'self_attn_layer_norm', x, selfAttention(scope, x, nHeads, c, context), c)
  // Sequences that read one source are as one long sequence, and share products: order does not matter here.
  const bySource = x.reshape([source.key.shape[0], -1, c.dModel])
  const cross = multiHeadAttention(scope.at('encoder_attn'), bySource, source, nHeads, c, { attentionMask: sourceMask })
  x = addAndNorm(scope, 'encoder_attn_layer_norm', x, cross.reshape(x.shape), c)
  return addAndNorm(scope, 'final_layer_norm', x, feedForward(scope, x, dInner, c), c)
}

export class Transformer extends EncoderDecoderNetwork<TransformerConfig> {
  static readonly table = TransformerConfig
  static override readonly baseModelPrefix = 'model.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'model.shared.weight' }

  override get vocabSize(): number {
    return this.config.decoderVocabSize
  }

  override get maxPositions(): number {
    return this.config.maxPositions
  }

  override get forcedEndTokenId(): number | undefined {
    const { forcedEndTokenId } = this.config
    return forcedEndTokenId === 'none' ? undefined : forcedEndTokenId
  }

  override get barredTokenIds(): readonly number[] {
    return this.config.barredTokenIds
  }

  /** @returns [batch, seq, dModel] */
  encode(scope: Scope, { inputIds, attentionMask }: Pick<EncoderDecoderInputs, 'inputIds' | 'attentionMask'>): Tensor {
    const { config: c } = this
    const encoder = scope.at('model', 'encoder')
    let x = this.embed(encoder, this.table(scope, 'encoder'), { inputIds })
    for (let i = 0; i < c.nLayers; i++) x = scope.block(encoderLayer, encoder.at('layers', i), x, c, { attentionMask })
    return x
  }

  /** What every decoder layer's cross-attention sees of the source: the same for every token that is decoded. */
  crossKeysValues(scope: Scope, encoderHiddenStates: Tensor): KeysValues[] {
    return Array.from({ length: this.config.nDecoderLayers }, (_, i) =>
      keysValues(scope.at('model', 'decoder', 'layers', i, 'encoder_attn'), encoderHiddenStates, this.config),
    )
  }

  /** @returns logits [batch, seq, decoderVocabSize], or [batch, decoderVocabSize] at the positions asked for */
  decode(scope: Scope, inputs: DecodeInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask, crossKeysValues, crossAttentionMask } = inputs
    const { cache } = options
    const decoder = scope.at('model', 'decoder')
    const context = { causal: true, attentionMask, cache }
    const table = this.table(scope, 'decoder')
    let x = this.embed(decoder, table, inputs, cache?.positionIds)
    for (let i = 0; i < c.nDecoderLayers; i++) {
      x = scope.block(decoderLayer, decoder.at('layers', i), x, c, context, crossKeysValues[i], crossAttentionMask)
    }
    const head = c.tieWordEmbeddings ? table : this.rows(scope.at('lm_head'), c.decoderVocabSize)
    const { logits } = causalOutputs(x, head, {}, options)
    if (!c.logitsBias) return { logits, lastHiddenState: x }
    const bias = scope.buffer('final_logits_bias', [1, c.decoderVocabSize], zeros)
    return { logits: logits.add(bias), lastHiddenState: x }
  }

  /** Embeddings · √d_model + positions (§3.4, §3.5). */
  private embed(
    stack: Scope,
    table: Tensor,
    inputs: Pick<DecodeInputs, 'inputIds' | 'inputsEmbeds'>,
    positionIds?: Tensor,
  ): Tensor {
    const { config: c } = this
    const tokens = embedTokens(() => table, inputs, c.padTokenId)
    const seq = tokens.shape[1]
    if (typeof seq === 'number' && seq > c.maxPositions) {
      throw new RangeError(`the Transformer has ${c.maxPositions} positions, and a text has ${seq} tokens`)
    }
    const positions = this.positions(stack.at('embed_positions'))
    const scaled = c.scaleEmbedding ? tokens.mul(Math.sqrt(c.dModel)) : tokens
    const x = scaled.add(positionIds ? embedding(positions, positionIds) : positions.slice({ axis: 0, end: seq }))
    return stack.dropout(x, c.dropout)
  }

  private positions(scope: Scope): Tensor {
    const { maxPositions, dModel, positionEncoding, storedPositions } = this.config
    const order = { interleaved: positionEncoding === 'interleaved' }
    // In the checkpoint, so that the reference implementation, which has halves, computes the same from it.
    if (storedPositions || order.interleaved) return scope.buffer('weight', [maxPositions, dModel], sinusoidInit(order))
    return sinusoidTable(maxPositions, dModel, order)
  }

  private table(scope: Scope, side: 'encoder' | 'decoder'): Tensor {
    const { shareEmbeddings, vocabSize, decoderVocabSize } = this.config
    const model = scope.at('model')
    if (shareEmbeddings) return this.rows(model.at('shared'), vocabSize)
    return this.rows(model.at(side, 'embed_tokens'), side === 'encoder' ? vocabSize : decoderVocabSize)
  }

  private rows(scope: Scope, count: number): Tensor {
    return scope.param('weight', [count, this.config.dModel], normal(this.config.initializerRange))
  }
}
