/**
 * Improving Language Understanding by Generative Pre-Training — GPT-1
 * Radford, Narasimhan, Salimans and Sutskever, OpenAI, 2018.
 *
 * New over the Transformer (§3, §4.1):
 * - only the decoder, without its look at a source: a language model of 12 layers over 512 learned positions;
 * - pre-trained on books to predict the next token, then fine-tuned on each task with one linear layer on top; tasks of
 *   several texts become one sequence with delimiters (§3.3; `train/fine-tune.ts`);
 * - GELU in place of ReLU, and a byte-pair vocabulary of 40,478.
 *
 * Departures: the released weights' layout: projections are stored [in, out], query, key and value in one. GELU is the
 * tanh approximation, as in the paper's code, although the checkpoint's config.json says `gelu`.
 *
 * | paper                         | here                                           |
 * |-------------------------------|------------------------------------------------|
 * | h_0 = U W_e + W_p (eq. 2)     | `tokens_embed.weight`, `positions_embed.weight` |
 * | transformer_block             | `gpt1Block`                                    |
 * | P(u) = softmax(h_n W_eᵀ)      | the head is the table of tokens                |
 * | W_y (eq. 3)                   | `classifier` of `train/fine-tune.ts`           |
 */

import { type ConfigOf, config, flag, oneOf, positive, rate, size } from '../nn/config.ts'
import { type GptContext, gptAttention, gptMlp } from '../nn/gpt.ts'
import { normal } from '../nn/initializers.ts'
import { layerNorm } from '../nn/layers.ts'
import {
  type CausalInputs,
  type CausalOptions,
  causalOutputs,
  embedPositions,
  embedTokens,
  SegmentedCausalNetwork,
} from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { causalMask, expandDims, hideKeys, maximum, type Tensor } from '../tensor/index.ts'

/** What is left out is as in the released model. */
export const GPT1Config = config(
  'GPT-1',
  ['OpenAIGPTLMHeadModel'],
  {
    vocabSize: ['vocab_size', size, 40478],
    maxPositions: ['n_positions', size, 512],
    dModel: ['n_embd', size, 768],
    nLayers: ['n_layer', size, 12],
    nHeads: ['n_head', size, 12],
    activation: ['afn', oneOf('gelu', 'relu', 'silu', 'swish'), 'gelu'],
    layerNormEpsilon: ['layer_norm_epsilon', positive, 1e-5],
    tieWordEmbeddings: ['tie_word_embeddings', flag, true],
    initializerRange: ['initializer_range', positive, 0.02],
    embeddingDropout: ['embd_pdrop', rate, 0.1],
    attentionDropout: ['attn_pdrop', rate, 0.1],
    residualDropout: ['resid_pdrop', rate, 0.1],
  },
  {
    modelType: 'openai-gpt',
    check: ({ dModel, nHeads }) =>
      dModel % nHeads === 0 ? undefined : `n_head: ${nHeads} heads do not divide n_embd, ${dModel}`,
  },
)
export type GPT1Config = ConfigOf<typeof GPT1Config>

/**
 * n = LN(x + attention(x)), then LN(n + MLP(n)): normalisation comes after the sum, as in the Transformer.
 *
 * @param x - [batch, seq, dModel]
 */
export function gpt1Block(scope: Scope, x: Tensor, c: GPT1Config, context: GptContext): Tensor {
  const norm = (name: string, x: Tensor) => layerNorm(scope.at(name), x, c.layerNormEpsilon)
  const settings = { ...c, dInner: 4 * c.dModel, activation: c.activation === 'gelu' ? 'gelu_new' : c.activation }
  const n = norm('ln_1', x.add(gptAttention(scope.at('attn'), x, settings, context)))
  return norm('ln_2', n.add(gptMlp(scope.at('mlp'), n, settings)))
}

/**
 * Where a query has nothing but padding before it, the reference has it attend evenly to the tokens after: it hides
 * padding more than the future, whose scores it multiplies by 0. Nothing is hidden more than padding: in a sequence of
 * nothing else, it attends evenly to all.
 */
function padded(attentionMask: Tensor): Pick<GptContext, 'bias' | 'causal' | 'asks'> {
  const mask = expandDims(attentionMask.cast('float32'), 1)
  const visible = causalMask(attentionMask.shape[1]).cast('float32') // [queries, keys]
  const seen = visible.mul(mask) // [batch, queries, keys]
  const hidden = hideKeys(expandDims(maximum(expandDims(visible, 0).add(mask.sub(1).mul(2)), -1), 1))
  return { bias: hidden, causal: false, asks: seen.max({ axis: 2, keepDims: true }) }
}

export class GPT1 extends SegmentedCausalNetwork<GPT1Config> {
  static readonly table = GPT1Config
  static override readonly baseModelPrefix = 'transformer.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'transformer.tokens_embed.weight' }

  /** @returns logits [batch, seq, vocabSize] */
  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask } = inputs
    const { cache } = options
    const transformer = scope.at('transformer')
    const table = (part: Scope, rows: number) => part.param('weight', [rows, c.dModel], normal(c.initializerRange))

    const tokens = embedTokens(() => table(transformer.at('tokens_embed'), c.vocabSize), inputs)
    const places = table(transformer.at('positions_embed'), c.maxPositions)
    const positions = embedPositions(places, tokens.shape[1], inputs, cache)
    let x = scope.dropout(tokens.add(positions), c.embeddingDropout) // eq. 2
    const context = { cache, ...(attentionMask && padded(attentionMask)) }
    for (let i = 0; i < c.nLayers; i++) x = scope.block(gpt1Block, transformer.at('h', i), x, c, context)
    const head = table(c.tieWordEmbeddings ? transformer.at('tokens_embed') : scope.at('lm_head'), c.vocabSize)
    return causalOutputs(x, head, inputs, options)
  }
}
