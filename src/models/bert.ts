/**
 * BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding
 * Devlin, Chang, Lee and Toutanova, Google, 2018. arXiv 1810.04805
 *
 * New over GPT-1 (§3):
 * - every position sees every other, in all layers: the Transformer's encoder alone;
 * - it learns from 15 % of the tokens, hidden among the others (masked LM), and from whether two segments follow each
 *   other (next sentence): data/masked-lm.ts makes such examples;
 * - one input for one text or two: [CLS] A [SEP] B [SEP], the sum of token, position and segment embeddings;
 * - one more layer fine-tunes it, on the state of [CLS] or on that of each token.
 *
 * Departures: the layout of the released checkpoints. The state of [CLS] goes through a layer with tanh (the pooler)
 * before it classifies, and a token's state through a layer of its own before it meets the embeddings, as in the released
 * code. Rows that padding looks up learn nothing from it, as in the reference implementation.
 *
 * | paper                | here                                          |
 * |----------------------|-----------------------------------------------|
 * | L, H, A              | `nLayers`, `dModel`, `nHeads`                 |
 * | segment A, B         | `tokenTypeIds` 0, 1                           |
 * | C, T_i               | `poolerOutput` (of C), `lastHiddenState`      |
 * | IsNext, NotNext      | `nextSentenceLabel` 0, 1                      |
 */

import { attention } from '../nn/attention.ts'
import {
  type ConfigOf,
  classes,
  config,
  type FieldCodec,
  flag,
  listOf,
  off,
  oneOf,
  paddingToken,
  positive,
  rate,
  readField,
  size,
  text,
} from '../nn/config.ts'
import { normal, zeros } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import { embedTokens, paddingRow, type TextEncoderInputs, TextEncoderNetwork } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { int32, optional } from '../nn/trace.ts'
import { activation, at, crossEntropy, embedding, linear as project, type Tensor, tanh } from '../tensor/index.ts'

/** What stands on the encoder, by the checkpoint's architecture. */
const HEADS = {
  BertForPreTraining: 'pre-training',
  BertForMaskedLM: 'masked-lm',
  BertForSequenceClassification: 'classification',
  BertModel: 'none',
} as const
const ARCHITECTURES = Object.keys(HEADS) as (keyof typeof HEADS)[]

const head: FieldCodec<(typeof HEADS)[keyof typeof HEADS], object> = {
  default: 'pre-training',
  read(json) {
    readField(json, 'position_embedding_type', oneOf('absolute'))
    readField(json, 'is_decoder', off('must be false: this model reads in both directions'))
    const named = readField(json, 'architectures', listOf(text)) ?? []
    const known = ARCHITECTURES.find((architecture) => named.includes(architecture))
    return known && HEADS[known]
  },
  write: () => ({}), // `architectures` says it
}

const labels = classes('BertModel', 2)

/** What is left out is as in the paper's base model. */
export const BertConfig = config(
  'BERT',
  ARCHITECTURES,
  {
    vocabSize: ['vocab_size', size, 30522],
    maxPositions: ['max_position_embeddings', size, 512],
    dModel: ['hidden_size', size, 768],
    nLayers: ['num_hidden_layers', size, 12],
    nHeads: ['num_attention_heads', size, 12],
    dInner: ['intermediate_size', size, (c) => 4 * c.dModel],
    nTokenTypes: ['type_vocab_size', size, 2],
    activation: ['hidden_act', text, 'gelu'],
    layerNormEpsilon: ['layer_norm_eps', positive, 1e-12],
    hiddenDropout: ['hidden_dropout_prob', rate, 0.1],
    attentionDropout: ['attention_probs_dropout_prob', rate, 0.1],
    /** Before the classifier. */
    classifierDropout: ['classifier_dropout', rate, (c) => c.hiddenDropout],
    initializerRange: ['initializer_range', positive, 0.02],
    padTokenId: paddingToken(0),
    tieWordEmbeddings: ['tie_word_embeddings', flag, true],
    head,
    /** Of the classifier. */
    nLabels: {
      ...labels,
      read: (json, c, stored) => (c.head === 'classification' ? labels.read(json, c, stored) : undefined),
      write: (value, c) => (c.head === 'classification' ? labels.write(value, c) : {}),
    },
    /** Whether there is a pooler: some encoders are published without. */
    pooler: {
      type: flag,
      default: true,
      read: (_json, c, stored) =>
        c.head === 'none' && stored ? [...stored].some((name) => name.endsWith('pooler.dense.weight')) : undefined,
      write: () => ({}),
    },
  },
  {
    architecture: (c) => ARCHITECTURES.find((architecture) => HEADS[architecture] === c.head) ?? 'BertModel',
    check(c) {
      if (c.dModel % c.nHeads !== 0) return `num_attention_heads: ${c.nHeads} heads cannot share ${c.dModel} features`
      if (c.head === 'classification' && c.nLabels < 2) return 'id2label: a classifier needs at least two classes'
    },
  },
)
export type BertConfig = ConfigOf<typeof BertConfig>

/** Sizes of the paper (§3), and of the small models that followed it (Turc et al., 2019, arXiv 1908.08962). */
export const BERT_SIZES = {
  tiny: { nLayers: 2, dModel: 128, nHeads: 2 },
  mini: { nLayers: 4, dModel: 256, nHeads: 4 },
  small: { nLayers: 4, dModel: 512, nHeads: 8 },
  base: { nLayers: 12, dModel: 768, nHeads: 12 },
  large: { nLayers: 24, dModel: 1024, nHeads: 16 },
} as const

export type BertInputs = TextEncoderInputs & {
  /** int32 [batch, seq]: the original tokens where some were hidden, −100 elsewhere; [batch] classes for a classifier. */
  readonly labels?: Tensor
  /** int32 [batch]: 0 where the second segment follows the first, 1 where it does not. */
  readonly nextSentenceLabel?: Tensor
}

export type BertOutputs = {
  readonly loss?: Tensor
  /** [batch, seq, vocabSize], or [batch, nLabels] of a classifier. */
  readonly logits?: Tensor
  /** The same of a model with both heads of pre-training: [batch, seq, vocabSize], [batch, 2]. */
  readonly predictionLogits?: Tensor
  readonly seqRelationshipLogits?: Tensor
  /** Of a model without a head: [batch, seq, dModel]. */
  readonly lastHiddenState?: Tensor
  /** [batch, dModel] */
  readonly poolerOutput?: Tensor
}

const dense = (scope: Scope, x: Tensor, outFeatures: number, c: BertConfig): Tensor =>
  linear(scope, x, outFeatures, { init: normal(c.initializerRange) })

const norm = (scope: Scope, x: Tensor, c: BertConfig): Tensor => layerNorm(scope.at('LayerNorm'), x, c.layerNormEpsilon)

const wordTable = (bert: Scope, c: BertConfig): Tensor =>
  bert.at('embeddings', 'word_embeddings').param('weight', [c.vocabSize, c.dModel], normal(c.initializerRange))

/** The sum of token, segment and position embeddings (§3, figure 2), normalised. */
export function bertEmbeddings(bert: Scope, inputs: TextEncoderInputs, c: BertConfig): Tensor {
  const scope = bert.at('embeddings')
  const table = (name: string, rows: number) =>
    scope.at(name).param('weight', [rows, c.dModel], normal(c.initializerRange))
  const { inputIds, inputsEmbeds } = inputs
  const words = embedTokens(() => wordTable(bert, c), { inputIds, inputsEmbeds }, paddingRow(c))
  const segments = table('token_type_embeddings', c.nTokenTypes)
  const positions = table('position_embeddings', c.maxPositions)
  const { tokenTypeIds, positionIds } = inputs
  const x = words
    .add(tokenTypeIds ? embedding(segments, tokenTypeIds) : segments.slice({ axis: 0, end: 1 }))
    .add(positionIds ? embedding(positions, positionIds) : positions.slice({ axis: 0, end: words.shape[1] }))
  return scope.dropout(norm(scope, x, c), c.hiddenDropout)
}

/** Back to dModel features, and LN(x + …): what ends each half of a layer. */
function addAndNorm(scope: Scope, x: Tensor, hidden: Tensor, c: BertConfig): Tensor {
  return norm(scope, scope.dropout(dense(scope.at('dense'), hidden, c.dModel, c), c.hiddenDropout).add(x), c)
}

/** LN(x + attention(x)), then LN(x + MLP(x)): the Transformer's encoder layer. */
export function bertLayer(scope: Scope, x: Tensor, c: BertConfig, attentionMask?: Tensor): Tensor {
  const self = scope.at('attention', 'self')
  const [query, key, value] = ['query', 'key', 'value'].map((name) => dense(self.at(name), x, c.dModel, c))
  const dropout = { scope, rate: c.attentionDropout }
  const attended = attention(query, key, value, { nHeads: c.nHeads, attentionMask, zeroBlind: true, dropout })
  x = addAndNorm(scope.at('attention', 'output'), x, attended, c)
  const hidden = activation(c.activation)(dense(scope.at('intermediate', 'dense'), x, c.dInner, c))
  return addAndNorm(scope.at('output'), x, hidden, c)
}

/** tanh(W C + b), C the state of [CLS]. */
export const bertPooler = (bert: Scope, x: Tensor, c: BertConfig): Tensor =>
  tanh(dense(bert.at('pooler', 'dense'), at(x, 1, 0), c.dModel, c))

/**
 * Scores of every token of the vocabulary for every position (§3.1, task 1).
 *
 * @param x - [..., dModel], such as the last states at positions that were hidden
 */
export function maskedLmHead(scope: Scope, bert: Scope, x: Tensor, c: BertConfig): Tensor {
  const head = scope.at('cls', 'predictions')
  const transform = head.at('transform')
  const state = norm(transform, activation(c.activation)(dense(transform.at('dense'), x, c.dModel, c)), c)
  if (!c.tieWordEmbeddings) return dense(head.at('decoder'), state, c.vocabSize, c)
  return project(state, wordTable(bert, c), head.param('bias', [c.vocabSize], zeros))
}

export class Bert extends TextEncoderNetwork<BertConfig> {
  static readonly table = BertConfig
  static override readonly baseModelPrefix = 'bert.'
  static readonly tiedHead = { head: 'cls.predictions.decoder.weight', table: 'bert.embeddings.word_embeddings.weight' }

  /**
   * Checkpoints of a bare encoder may keep the prefix, the first ones call gain and shift gamma and beta, and the bias of
   * the head has two names.
   */
  static aliases(name: string): string[] {
    const old = (name: string) =>
      name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
    const bias = name.replace(
      /predictions\.(decoder\.)?bias$/,
      (_, other) => `predictions.${other ? '' : 'decoder.'}bias`,
    )
    return [`bert.${name}`, old(name), old(`bert.${name}`), bias]
  }

  readonly inputs = {
    ...this.encoderInputs,
    labels: optional(this.config.head === 'classification' ? int32('batch') : int32('batch', 'seq')),
    nextSentenceLabel: optional(int32('batch')),
  }

  /** @returns what the head says, and its loss where there are labels: of pre-training, where there are both kinds */
  forward(scope: Scope, inputs: BertInputs): BertOutputs {
    const { config: c } = this
    const { labels, nextSentenceLabel } = inputs
    const bert = this.encoder(scope)
    const x = this.encode(scope, inputs)
    switch (c.head) {
      case 'none':
        return { lastHiddenState: x, poolerOutput: c.pooler ? bertPooler(bert, x, c) : undefined }
      case 'masked-lm': {
        const logits = maskedLmHead(scope, bert, x, c)
        return { logits, loss: labels && crossEntropy(logits, labels) }
      }
      case 'classification': {
        const pooled = scope.dropout(bertPooler(bert, x, c), c.classifierDropout)
        const logits = dense(scope.at('classifier'), pooled, c.nLabels, c)
        return { logits, loss: labels && crossEntropy(logits, labels) }
      }
      case 'pre-training': {
        const predictionLogits = maskedLmHead(scope, bert, x, c)
        const seqRelationshipLogits = dense(scope.at('cls', 'seq_relationship'), bertPooler(bert, x, c), 2, c)
        const loss =
          labels &&
          nextSentenceLabel &&
          crossEntropy(predictionLogits, labels).add(crossEntropy(seqRelationshipLogits, nextSentenceLabel))
        return { predictionLogits, seqRelationshipLogits, loss }
      }
    }
  }

  /** The last states: [batch, seq, dModel]. */
  encode(scope: Scope, inputs: TextEncoderInputs): Tensor {
    const { config: c } = this
    const bert = this.encoder(scope)
    let x = bertEmbeddings(bert, inputs, c)
    for (let i = 0; i < c.nLayers; i++) {
      x = scope.block(bertLayer, bert.at('encoder', 'layer', i), x, c, inputs.attentionMask)
    }
    return x
  }

  /** The encoder's part of the scope: a checkpoint of the encoder alone has no prefix. */
  private encoder(scope: Scope): Scope {
    return this.config.head === 'none' ? scope : scope.at('bert')
  }
}
