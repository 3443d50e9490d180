/**
 * The Natural Language Decathlon: Multitask Learning as Question Answering — MQAN
 * McCann, Keskar, Xiong and Socher, Salesforce, 2018. arXiv 1806.08730
 *
 * New here (§3):
 * - every task is a question about a context, answered in words: one model and no parameters of a task's own;
 * - context and question are encoded alone, aligned with each other by dual coattention, and compressed again;
 * - each word of the answer comes out of a vocabulary, or is copied from the context or from the question: two switches,
 *   γ and λ, mix three distributions (multi-pointer-generator), so that labels may stand in the question, and words that no
 *   vocabulary has may be answered.
 *
 * Departures: words have learned embeddings in place of GloVe's and character n-grams. Coattention is as in the released
 * code: each text has a sentinel to align with nothing, and the question goes through tanh(W Q + b) before. Attention is the
 * paper's, with W^o, where the code has none and cuts features into heads of unequal widths. The decoder is as the code
 * trains it; its greedy decoding scaled embeddings and left masks out, which is not repeated.
 *
 * | paper                      | here                                              |
 * |----------------------------|---------------------------------------------------|
 * | C, Q, a                    | `contextIds`, `questionIds`, `labels`             |
 * | d, f, p                    | `dModel`, `dInner`, `nHeads`                      |
 * | C_fin, Q_fin               | `context`, `question` of `Encoded`                |
 * | α^C, α^Q, γ, λ             | `contextAttention`, `questionAttention`, `gamma`, `lambda` |
 * | p(w_t)                     | `probabilities`                                   |
 */

import { attention } from '../nn/attention.ts'
import { type ConfigOf, config, count, rate, size, tokenId, tokenIds } from '../nn/config.ts'
import { fanInUniform, normal } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import { biLstm, type LstmState, lstm } from '../nn/lstm.ts'
import { embedTokens, Network, shiftRight } from '../nn/model.ts'
import { sinusoidTable } from '../nn/positions.ts'
import type { Scope } from '../nn/scope.ts'
import { flexible, int32, optional } from '../nn/trace.ts'
import {
  at,
  broadcastTo,
  cast,
  concat,
  expandDims,
  full,
  hideKeys,
  indicator,
  log,
  matmul,
  maximum,
  meanOf,
  padAxis,
  relu,
  type SumAndCount,
  scalar,
  scatterAddAlongAxis,
  sigmoid,
  softmax,
  stack,
  type Tensor,
  takeAlongAxis,
  tanh,
  where,
} from '../tensor/index.ts'

/** What is left out is as in the released code, but for the heads: there three, of 67, 67 and 66 features. */
export const MqanConfig = config(
  'MQAN',
  ['MultitaskQuestionAnsweringNetwork'],
  {
    /** Words that have an embedding. */
    vocabSize: ['vocab_size', size, 50_000],
    /** The first so many can be generated; others are only copied. */
    generativeVocabSize: ['max_generative_vocab', size, (c) => c.vocabSize],
    /** Words of one example that no vocabulary has: ids from vocabSize on. They read as the unknown word. */
    extraWords: ['extra_words', count, 50],
    dEmbedding: ['embedding_dimension', size, (c) => c.dModel],
    dModel: ['dimension', size, 200],
    dInner: ['transformer_hidden', size, 150],
    nHeads: ['transformer_heads', size, 2],
    nLayers: ['transformer_layers', size, 2],
    dropout: ['dropout_ratio', rate, 0.2],
    /** Words of the longest answer, the end included. */
    maxAnswer: ['max_answer_length', size, 50],
    padTokenId: ['pad_token_id', tokenId, 0],
    unknownTokenId: ['unk_token_id', tokenId, 2],
    decoderStartTokenId: ['decoder_start_token_id', tokenId, (c) => c.padTokenId],
    endTokenIds: tokenIds('eos_token_id', [1]),
  },
  {
    check(c) {
      if (c.dModel % (2 * c.nHeads) !== 0)
        return `dimension: must divide into ${c.nHeads} heads and two directions, ${c.dModel} does not`
      if (c.generativeVocabSize > c.vocabSize) return 'max_generative_vocab: cannot be more than vocab_size'
    },
  },
)
export type MqanConfig = ConfigOf<typeof MqanConfig>

const EPSILON = 1e-6
/** Of probabilities whose logarithm is taken. */
const LEAST = 1e-20

const project = (scope: Scope, x: Tensor, outFeatures: number, bias = true): Tensor =>
  linear(scope, x, outFeatures, { bias, init: fanInUniform })

/** LayerNorm(x + Sublayer(x)), as everywhere in the Transformer. */
const addAndNorm = (scope: Scope, x: Tensor, sublayer: Tensor, c: MqanConfig): Tensor =>
  layerNorm(scope.at('layernorm'), x.add(scope.dropout(sublayer, c.dropout)), EPSILON)

/** A text that has been read: [batch, seq, dModel], 1 where it has words, and what each attention layer made of it. */
export interface Encoded {
  readonly context: Tensor
  readonly contextMask: Tensor
  readonly question: Tensor
  readonly questionMask: Tensor
  /** The context after each self-attention layer: what the decoder's layers see. */
  readonly selfAttended: readonly Tensor[]
  /** After the last word of the context: where the decoder's recurrence begins. */
  readonly state: LstmState
}

export type MqanInputs = {
  /** int32 [batch, contextSeq]: words by vocabulary; from vocabSize on, words that this example alone has. */
  readonly contextIds: Tensor
  /** int32 [batch, questionSeq] */
  readonly questionIds: Tensor
  /** int32 [batch, answerSeq]: what comes before each word of the answer; the labels one place later where left out. */
  readonly answerIds?: Tensor
  /** int32 [batch, answerSeq], −100 where they do not count. */
  readonly labels?: Tensor
}

/** What the decoder says at every place of the answer. */
export type Decoded = {
  /** p_v: [batch, answerSeq, generativeVocabSize] */
  readonly generated: Tensor
  /** α^C, where in the context it points: [batch, answerSeq, contextSeq] */
  readonly contextAttention: Tensor
  /** α^Q: [batch, answerSeq, questionSeq] */
  readonly questionAttention: Tensor
  /** The share that is generated, and of the rest that of the context: [batch, answerSeq, 1]. */
  readonly gamma: Tensor
  readonly lambda: Tensor
}

/** MultiHead(X, Y, Y) with scores over √d, d all of the model's features (eq. 7, 8). */
export function mqanAttention(
  scope: Scope,
  x: Tensor,
  y: Tensor,
  c: MqanConfig,
  options: { causal?: boolean; mask?: Tensor },
) {
  const [query, key, value] = [x, y, y].map((side, i) =>
    project(scope.at(['wq', 'wk', 'wv'][i]), side, c.dModel, false),
  )
  const { causal, mask: attentionMask } = options
  const attended = attention(query, key, value, { nHeads: c.nHeads, causal, attentionMask, scale: c.dModel ** -0.5 })
  return project(scope.at('wo'), attended, c.dModel, false)
}

/** max(0, x U) V (eq. 9). */
const feedForward = (scope: Scope, x: Tensor, c: MqanConfig): Tensor =>
  project(scope.at('linear'), relu(project(scope.at('feedforward'), x, c.dInner)), c.dModel)

/** Self-attention over a text (§3, eq. 10). */
export function selfAttentionLayer(scope: Scope, x: Tensor, mask: Tensor, c: MqanConfig): Tensor {
  x = addAndNorm(scope.at('selfattn'), x, mqanAttention(scope.at('selfattn'), x, x, c, { mask }), c)
  return addAndNorm(scope.at('feedforward'), x, feedForward(scope.at('feedforward'), x, c), c)
}

/** The same over the answer so far, with attention to the context in between (eq. 12). */
export function answerLayer(scope: Scope, x: Tensor, context: Tensor, contextMask: Tensor, c: MqanConfig): Tensor {
  x = addAndNorm(scope.at('selfattn'), x, mqanAttention(scope.at('selfattn'), x, x, c, { causal: true }), c)
  const cross = mqanAttention(scope.at('attention'), x, context, c, { mask: contextMask })
  x = addAndNorm(scope.at('attention'), x, cross, c)
  return addAndNorm(scope.at('feedforward'), x, feedForward(scope.at('feedforward'), x, c), c)
}

/** softmax over the last axis, where there are words. */
const overWords = (scores: Tensor, mask: Tensor): Tensor => softmax(scores.add(hideKeys(expandDims(mask, 1))))

/**
 * Dual coattention (eq. 3–5): what of the question each word of the context is about, and what of the context that is in
 * turn; the same of the question.
 *
 * @param context - [batch, contextSeq, dModel]; masks are float32 [batch, seq]
 * @returns [C_coa; Q_sum] and [Q_coa; C_sum]: [batch, seq, 2 * dModel]
 */
export function coattention(
  scope: Scope,
  [context, question]: readonly [Tensor, Tensor],
  [contextMask, questionMask]: readonly [Tensor, Tensor],
  c: MqanConfig,
): [Tensor, Tensor] {
  const batch = context.shape[0]
  const sentinels = scope.at('embed_sentinel').param('weight', [2, c.dModel], normal(1))
  const led = (which: number, x: Tensor): Tensor => {
    const sentinel = sentinels.slice({ axis: 0, start: which, end: which + 1 }).reshape([1, 1, c.dModel])
    return concat([broadcastTo(sentinel, [batch, 1, c.dModel]), x], 1)
  }
  const ledMask = (mask: Tensor): Tensor => concat([full([batch, 1], 1), mask], 1)
  const words = led(0, scope.dropout(context, c.dropout))
  const asked = tanh(project(scope.at('proj'), led(1, question), c.dModel))
  const affinity = matmul(words, asked, { transposeB: true }) // [batch, contextSeq + 1, questionSeq + 1]
  const toQuestion = overWords(affinity, ledMask(questionMask)) // of each word of the context
  const toContext = overWords(affinity.transpose([0, 2, 1]), ledMask(contextMask)) // of each word of the question
  const questionSums = matmul(toQuestion, asked) // Q_sum, by word of the context
  const contextSums = matmul(toContext, words) // C_sum, by word of the question
  const rest = (x: Tensor): Tensor => x.slice({ axis: 1, start: 1 })
  return [
    rest(concat([matmul(toQuestion, contextSums), questionSums], 2)),
    rest(concat([matmul(toContext, questionSums), contextSums], 2)),
  ]
}

/** Luong's attention: softmax(K W h), and tanh(W' [h; Σ α k]) (eq. 14, 15). */
function pointTo(
  scope: Scope,
  h: Tensor,
  words: Tensor,
  mask: Tensor,
  c: MqanConfig,
): { weights: Tensor; output: Tensor } {
  const query = expandDims(project(scope.at('linear_in'), h, c.dModel, false), 1)
  const weights = overWords(matmul(query, words, { transposeB: true }), mask) // [batch, 1, seq]
  const aligned = at(matmul(weights, words), 1, 0)
  const output = tanh(project(scope.at('linear_out'), concat([h, aligned], 1), c.dModel, false))
  return { weights: at(weights, 1, 0), output }
}

export class Mqan extends Network<MqanConfig> {
  static readonly table = MqanConfig

  readonly kind = 'question-answering'
  readonly inputs = {
    contextIds: int32('batch', 'contextSeq'),
    questionIds: int32('batch', 'questionSeq'),
    // The decoder is unrolled, so that its length is a number.
    answerIds: { ...flexible(int32('batch', this.config.maxAnswer)), unless: 'labels' },
    labels: optional(flexible(int32('batch', this.config.maxAnswer))),
  }

  /** @returns p(w_t) over the vocabulary and the words that the example alone has: [batch, answerSeq, vocabSize + extraWords] */
  forward(scope: Scope, { contextIds, questionIds, labels, ...rest }: MqanInputs) {
    const answerIds = rest.answerIds ?? (labels && this.answersBefore(labels))
    if (!answerIds) throw new Error('MQAN needs answer_ids, or labels to make them from')
    const decoded = this.decode(scope, this.encode(scope, { contextIds, questionIds }), answerIds)
    const total = labels && this.loss(decoded, { contextIds, questionIds, labels })
    return {
      ...decoded,
      probabilities: this.probabilities(decoded, { contextIds, questionIds }),
      loss: total && meanOf(total),
    }
  }

  /** What stands before each word of an answer in training: the answer one place late. int32 [batch, answerSeq] */
  answersBefore(labels: Tensor): Tensor {
    return shiftRight(labels, this.config.decoderStartTokenId, this.config.padTokenId)
  }

  /** Reads context and question (figure 2, from the bottom up to the decoder). */
  encode(scope: Scope, { contextIds, questionIds }: Pick<MqanInputs, 'contextIds' | 'questionIds'>): Encoded {
    const { config: c } = this
    const [contextMask, questionMask] = [contextIds, questionIds].map((ids) => indicator(ids.equal(c.padTokenId).not()))
    const [contextWords, questionWords] = [contextIds, questionIds].map((ids) =>
      this.embed(scope, ids, 'encoder_embeddings'),
    )
    // One layer reads both (eq. 2).
    const alone = (x: Tensor, mask: Tensor) => biLstm(scope.at('bilstm_before_coattention'), x, c.dModel, mask).outputs
    const [contextAlone, questionAlone] = [alone(contextWords, contextMask), alone(questionWords, questionMask)]
    const aligned = coattention(scope.at('coattention'), [contextAlone, questionAlone], [contextMask, questionMask], c)
    const context = this.compress(scope, 'context', [aligned[0], contextAlone, contextWords], contextMask)
    const question = this.compress(scope, 'question', [aligned[1], questionAlone, questionWords], questionMask)
    return {
      context: context.outputs,
      question: question.outputs,
      selfAttended: context.layers,
      state: { h: context.h, c: context.c },
      contextMask,
      questionMask,
    }
  }

  /** BiLSTM, self-attention, BiLSTM (eq. 6–11). */
  private compress(scope: Scope, side: 'context' | 'question', parts: readonly Tensor[], mask: Tensor) {
    const { config: c } = this
    let x = biLstm(scope.at(`${side}_bilstm_after_coattention`), concat(parts, 2), c.dModel, mask).outputs
    const layers: Tensor[] = []
    for (let i = 0; i < c.nLayers; i++) {
      x = selfAttentionLayer(scope.at(`self_attentive_encoder_${side}`, 'layers', i), x, mask, c)
      layers.push(x)
    }
    return { ...biLstm(scope.at(`bilstm_${side}`), x, c.dModel, mask), layers }
  }

  /** Of every place of the answer: what is generated, where the pointers point, and how the three are mixed (eq. 12–18). */
  decode(scope: Scope, encoded: Encoded, answerIds: Tensor): Decoded {
    const { config: c } = this
    const [batch, length] = answerIds.shape
    if (typeof length !== 'number') throw new RangeError('MQAN: an answer needs a static length')
    const { context, contextMask, question, questionMask, selfAttended } = encoded
    const positions = sinusoidTable(length, c.dModel, { interleaved: true })
    let x = this.embed(scope, answerIds, 'decoder_embeddings').add(positions)
    for (let i = 0; i < c.nLayers; i++) {
      x = answerLayer(scope.at('self_attentive_decoder', 'layers', i), x, selfAttended[i], contextMask, c)
    }
    const decoder = scope.at('dual_ptr_rnn_decoder')
    const outputLayer = scope.at('out')
    let { state } = encoded
    let fed = full([batch, c.dModel], 0) // c̃, of the word before
    const steps = Array.from({ length }, (_, t) => {
      const input = concat([at(x, 1, t), scope.dropout(fed, c.dropout)], 1)
      const { h, c: cell } = lstm(decoder.at('rnn'), expandDims(input, 1), c.dModel, { initial: state })
      state = { h, c: cell }
      const toContext = pointTo(decoder.at('context_attn'), h, context, contextMask, c)
      const toQuestion = pointTo(decoder.at('question_attn'), h, question, questionMask, c)
      fed = toContext.output
      const switched = (name: string, output: Tensor) =>
        sigmoid(project(decoder.at(name), concat([h, output, input], 1), 1))
      return {
        generated: softmax(project(outputLayer, scope.dropout(fed, c.dropout), c.generativeVocabSize)),
        contextAttention: toContext.weights,
        questionAttention: toQuestion.weights,
        gamma: switched('vocab_pointer_switch', toContext.output),
        lambda: switched('context_question_switch', toQuestion.output),
      }
    })
    const over = (pick: (step: (typeof steps)[number]) => Tensor) => stack(steps.map(pick), 1)
    return {
      generated: over((step) => step.generated),
      contextAttention: over((step) => step.contextAttention),
      questionAttention: over((step) => step.questionAttention),
      gamma: over((step) => step.gamma),
      lambda: over((step) => step.lambda),
    }
  }

  /** p(w_t) = γ p_v + (1 − γ) [λ p_c + (1 − λ) p_q] (eq. 19). */
  probabilities(
    { generated, contextAttention, questionAttention, gamma, lambda }: Decoded,
    { contextIds, questionIds }: Pick<MqanInputs, 'contextIds' | 'questionIds'>,
  ): Tensor {
    const { vocabSize, generativeVocabSize, extraWords } = this.config
    const [batch, length] = generated.shape
    const copied = gamma.neg().add(1)
    const placed = (ids: Tensor, shares: Tensor, onto: Tensor): Tensor =>
      scatterAddAlongAxis(onto, broadcastTo(expandDims(ids, 1), [batch, length, ids.shape[1]]), shares, 2)
    const words = padAxis(generated.mul(gamma), 2, 0, vocabSize + extraWords - generativeVocabSize)
    const withContext = placed(contextIds, contextAttention.mul(copied.mul(lambda)), words)
    return placed(questionIds, questionAttention.mul(copied.mul(lambda.neg().add(1))), withContext)
  }

  /** −Σ log p(a_t) (eq. 20), without writing the distribution out: a word's share is that of the places where it stands. */
  loss(
    { generated, contextAttention, questionAttention, gamma, lambda }: Decoded,
    { contextIds, questionIds, labels }: Required<Pick<MqanInputs, 'contextIds' | 'questionIds' | 'labels'>>,
  ): SumAndCount {
    const { generativeVocabSize } = this.config
    const targets = expandDims(cast(labels, 'int32'), 2) // [batch, answerSeq, 1]
    const isWord = indicator(targets.equal(-100).not())
    const canGenerate = indicator(targets.less(generativeVocabSize)).mul(isWord)
    const place = where(canGenerate.equal(1), targets, full(targets.shape, 0, 'int32'))
    const said = takeAlongAxis(generated, place, 2).mul(canGenerate)
    const pointed = (ids: Tensor, shares: Tensor): Tensor =>
      shares.mul(indicator(expandDims(ids, 1).equal(targets))).sum({ axis: 2, keepDims: true })
    const copied = lambda
      .mul(pointed(contextIds, contextAttention))
      .add(lambda.neg().add(1).mul(pointed(questionIds, questionAttention)))
    const p = said.mul(gamma).add(copied.mul(gamma.neg().add(1)))
    return {
      sum: log(maximum(p, scalar(LEAST)))
        .mul(isWord)
        .neg()
        .sum(),
      count: isWord.sum(),
    }
  }

  /** Words as dModel features: one table, and a projection for the encoder and another for the decoder. */
  private embed(scope: Scope, ids: Tensor, side: 'encoder_embeddings' | 'decoder_embeddings'): Tensor {
    const { vocabSize, dEmbedding, dModel, unknownTokenId, padTokenId, dropout } = this.config
    const known = where(ids.less(vocabSize), ids, full(ids.shape, unknownTokenId, 'int32'))
    const table = () => scope.at('embeddings').param('weight', [vocabSize, dEmbedding], normal(1))
    const words = embedTokens(table, { inputIds: known }, padTokenId)
    return scope.dropout(project(scope.at(side, 'projection'), words, dModel), dropout)
  }
}
