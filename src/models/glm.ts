/**
 * GLM: General Language Model Pretraining with Autoregressive Blank Infilling
 * Du, Qian, Liu, Ding, Qiu, Yang and Tang, Tsinghua, 2021. arXiv 2103.10360
 *
 * New over BERT, GPT and T5 (§2):
 * - a text with blanks (Part A), then what belongs into them (Part B), in one sequence through one decoder: A sees all of
 *   A, B sees A and what is before it in B;
 * - the spans come in any order, each from [START] to [END], so that those to come are told by those that were told;
 * - two positions a token: where its blank stands in the text, and where in the blank it stands (§2.2);
 * - layer normalisation before the sub-layers, one linear layer to the words, GeLU (§2.1.3).
 *
 * Departures: the released layout, GPT-2's arithmetic under other names: GeLU by tanh, and a head that is the embedding.
 *
 * | paper                   | here                                    |
 * |-------------------------|-----------------------------------------|
 * | x_corrupt, s_z          | `inputIds` up to `sep`, and from there   |
 * | Position 1, Position 2  | `positionIds[:, 0]`, `positionIds[:, 1]` |
 * | [START], [END]          | what a loader says they are             |
 */

import { type AttentionOptions, attention } from '../nn/attention.ts'
import { type ConfigOf, config, oneOf, ownSetting, positive, rate, size } from '../nn/config.ts'
import { normal } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import {
  type CausalInputs,
  type CausalLm,
  type CausalOptions,
  causalOutputs,
  embedTokens,
  Network,
} from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, int32, optional } from '../nn/trace.ts'
import { activation, arange, type Dim, embedding, expandDims, full, hideKeys, type Tensor } from '../tensor/index.ts'

/** What is left out is as in the released GLM-Large. */
export const GLMConfig = config('GLM', ['GLMForConditionalGeneration', 'GLMModel'], {
  vocabSize: ['vocab_size', size, 30592],
  maxPositions: ['max_sequence_length', size, 512],
  dModel: ['hidden_size', size, 1024],
  nLayers: ['num_layers', size, 24],
  nHeads: ['num_attention_heads', size, 16],
  layerNormEpsilon: ['layernorm_epsilon', positive, 1e-5],
  initializerRange: ['initializer_range', positive, 0.02],
  embeddingDropout: ['embedding_dropout_prob', rate, 0.1],
  attentionDropout: ['attention_dropout_prob', rate, 0.1],
  residualDropout: ['output_dropout_prob', rate, 0.1],
  /** Of an ablation: Part A reads from left to right, too. */
  partA: ownSetting('part_a', oneOf('bidirectional', 'causal'), 'bidirectional'),
})
export type GLMConfig = ConfigOf<typeof GLMConfig>

/** Sizes of the paper (table 7 and §3.1). */
export const GLM_SIZES = {
  base: { nLayers: 12, dModel: 768, nHeads: 12 },
  large: { nLayers: 24, dModel: 1024, nHeads: 16 },
  '10B': { nLayers: 48, dModel: 4096, nHeads: 64 },
} as const

export type GLMInputs = Omit<CausalInputs, 'labels'> & {
  /** int32 [batch]: how many of the tokens are Part A; all where left out. */
  readonly sep?: Tensor
}

/** What every layer is told beside its input. */
export type GLMContext = Pick<AttentionOptions, 'bias' | 'cache' | 'causal'>

/** Which tokens each sees (§2.1.1, figure 2c): all of Part A, and itself and what is before it. [batch, 1, seq, seq] */
export function glmVisible(seq: Dim, sep: Tensor): Tensor {
  const positions = arange(seq)
  const past = expandDims(positions, 0).lessOrEqual(expandDims(positions, 1)) // [queries, keys]
  const isPartA = expandDims(positions, 0).less(expandDims(sep, 1)) // [batch, keys]
  return expandDims(expandDims(isPartA, 1), 1).or(expandDims(expandDims(past, 0), 0))
}

/** Attention, from one projection to queries, keys and values, and back into the stream. */
export function glmAttention(scope: Scope, x: Tensor, c: GLMConfig, context: GLMContext): Tensor {
  const init = normal(c.initializerRange)
  const [query, key, value] = linear(scope.at('query_key_value'), x, 3 * c.dModel, { init }).split(3)
  const dropout = { scope, rate: c.attentionDropout }
  const attended = attention(query, key, value, { nHeads: c.nHeads, dropout, ...context })
  return glmResidual(scope.at('dense'), attended, c)
}

/** W₂ gelu(W₁x), four times as wide inside. */
export function glmMlp(scope: Scope, x: Tensor, c: GLMConfig): Tensor {
  const wide = linear(scope.at('dense_h_to_4h'), x, 4 * c.dModel, { init: normal(c.initializerRange) })
  return glmResidual(scope.at('dense_4h_to_h'), activation('gelu_new')(wide), c)
}

/** Into the residual stream: weights start smaller by √(2 nLayers), as Megatron-LM's do. */
function glmResidual(scope: Scope, x: Tensor, c: GLMConfig): Tensor {
  const init = normal(c.initializerRange / Math.sqrt(2 * c.nLayers))
  return scope.dropout(linear(scope, x, c.dModel, { init }), c.residualDropout)
}

/** x + attention(LN(x)), then x + MLP(LN(x)) (§2.1.3). */
export function glmBlock(scope: Scope, x: Tensor, c: GLMConfig, context: GLMContext): Tensor {
  const norm = (name: string, x: Tensor) => layerNorm(scope.at(name), x, c.layerNormEpsilon)
  x = x.add(glmAttention(scope.at('attention'), norm('input_layernorm', x), c, context))
  return x.add(glmMlp(scope.at('mlp'), norm('post_attention_layernorm', x), c))
}

export class GLM extends Network<GLMConfig> implements CausalLm {
  static readonly table = GLMConfig
  static override readonly baseModelPrefix = 'glm.'

  readonly kind = 'causal'
  readonly fillsBlanks = true

  readonly inputs = {
    inputIds: { ...int32('batch', 'seq'), unless: 'inputsEmbeds' },
    inputsEmbeds: optional(float32('batch', 'seq', this.config.dModel)),
    positionIds: optional(int32('batch', 2, 'seq')),
    sep: optional(int32('batch')),
    shiftLabels: optional(int32('batch', 'seq')),
  }

  get vocabSize(): number {
    return this.config.vocabSize
  }

  get maxPositions(): number {
    return this.config.maxPositions
  }

  /**
   * @param inputs.positionIds - int32 [batch, 2, seq]; those of a Part A alone where left out: 0, 1, 2, … and zeros
   * @returns logits [batch, seq, vocabSize]
   */
  forward(scope: Scope, inputs: GLMInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { sep, positionIds } = inputs
    const { cache } = options
    const glm = scope.at('glm')
    const transformer = glm.at('transformer')
    const table = (part: Scope, rows: number) => part.param('weight', [rows, c.dModel], normal(c.initializerRange))
    const words = table(glm.at('word_embeddings'), c.vocabSize)

    const tokens = embedTokens(() => words, inputs)
    const [batch, seq] = tokens.shape
    const [inText, inBlank] = positionIds
      ? [0, 1].map((i) => positionIds.slice({ axis: 1, start: i, end: i + 1 }).reshape([batch, seq]))
      : [arange(seq), full([seq], 0, 'int32')]
    const positions = embedding(table(transformer.at('position_embeddings'), c.maxPositions + 1), inText).add(
      embedding(table(transformer.at('block_position_embeddings'), c.maxPositions + 1), inBlank),
    )
    let x = scope.dropout(tokens.add(positions), c.embeddingDropout)

    const isCausal = c.partA === 'causal'
    const bias = sep && !isCausal && !cache ? hideKeys(glmVisible(seq, sep)) : undefined
    const context = { cache, bias, causal: isCausal }
    for (let i = 0; i < c.nLayers; i++) x = scope.block(glmBlock, transformer.at('layers', i), x, c, context)
    x = layerNorm(transformer.at('final_layernorm'), x, c.layerNormEpsilon)
    return causalOutputs(x, words, inputs, options)
  }
}
