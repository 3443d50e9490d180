/**
 * Language Models are Unsupervised Multitask Learners — GPT-2
 * Radford, Wu, Child, Luan, Amodei and Sutskever, OpenAI, 2019.
 *
 * New over GPT-1 (§2.3):
 * - layer normalisation moves to the input of each sub-block, and one more follows the last block;
 * - weights that write into the residual stream start smaller by √N, N the number of such layers;
 * - a byte-level vocabulary of 50,257, a context of 1,024.
 *
 * Departures: the released weights' layout, not the paper's notation: projections are stored [in, out], query, key and
 * value in one, and GELU is the tanh approximation.
 *
 * | paper               | here                                   |
 * |---------------------|----------------------------------------|
 * | d_model, layers     | `dModel`, `nLayers`                    |
 * | h, W_e, W_p (GPT-1) | `x`, `wte.weight`, `wpe.weight`        |
 */

import { type ConfigOf, config, flag, ownSetting, positive, rate, size, text } from '../nn/config.ts'
import { type GptContext, type GptSettings, gptAttention, gptMlp } from '../nn/gpt.ts'
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
import type { Tensor } from '../tensor/index.ts'

/** What is left out is as in the released small model. */
export const GPT2Config = config('GPT-2', ['GPT2LMHeadModel'], {
  vocabSize: ['vocab_size', size, 50257],
  maxPositions: ['n_positions', size, 1024],
  dModel: ['n_embd', size, 768],
  nLayers: ['n_layer', size, 12],
  nHeads: ['n_head', size, 12],
  dInner: ['n_inner', size, (c) => 4 * c.dModel],
  activation: ['activation_function', text, 'gelu_new'],
  layerNormEpsilon: ['layer_norm_epsilon', positive, 1e-5],
  tieWordEmbeddings: ['tie_word_embeddings', flag, true],
  scaleAttention: ['scale_attn_weights', flag, true],
  scaleAttentionByLayer: ['scale_attn_by_inverse_layer_idx', flag, false],
  initializerRange: ['initializer_range', positive, 0.02],
  embeddingDropout: ['embd_pdrop', rate, 0.1],
  attentionDropout: ['attn_pdrop', rate, 0.1],
  residualDropout: ['resid_pdrop', rate, 0.1],
  /** Biases in projections and normalisations; the released models have them. */
  bias: ownSetting('bias', flag, true),
})
export type GPT2Config = ConfigOf<typeof GPT2Config>

/** Sizes released with the paper (table 2). */
export const GPT2_SIZES = {
  small: { nLayers: 12, dModel: 768, nHeads: 12 },
  medium: { nLayers: 24, dModel: 1024, nHeads: 16 },
  large: { nLayers: 36, dModel: 1280, nHeads: 20 },
  xl: { nLayers: 48, dModel: 1600, nHeads: 25 },
} as const

/** Weights that write into the residual stream start smaller by √(2 nLayers): a block has two such projections (§2.3). */
const settingsOf = (c: GPT2Config): GptSettings => ({
  ...c,
  residualInitializerRange: c.initializerRange / Math.sqrt(2 * c.nLayers),
})

/** x + attention(LN(x)), then x + MLP(LN(x)) (§2.3). */
export function gpt2Block(scope: Scope, x: Tensor, c: GPT2Config, context: GptContext): Tensor {
  const settings = settingsOf(c)
  const norm = (name: string, x: Tensor) => layerNorm(scope.at(name), x, c.layerNormEpsilon, c)
  x = x.add(gptAttention(scope.at('attn'), norm('ln_1', x), settings, context))
  return x.add(gptMlp(scope.at('mlp'), norm('ln_2', x), settings))
}

export class GPT2 extends SegmentedCausalNetwork<GPT2Config> {
  static readonly table = GPT2Config
  static override readonly baseModelPrefix = 'transformer.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'transformer.wte.weight' }

  /** @returns logits [batch, seq, vocabSize] */
  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask } = inputs
    const { cache } = options
    const transformer = scope.at('transformer')
    const table = (part: Scope, rows: number) => part.param('weight', [rows, c.dModel], normal(c.initializerRange))
    const scale = c.scaleAttention ? 1 / Math.sqrt(c.dModel / c.nHeads) : 1

    const tokens = embedTokens(() => table(transformer.at('wte'), c.vocabSize), inputs)
    const positions = embedPositions(table(transformer.at('wpe'), c.maxPositions), tokens.shape[1], inputs, cache)
    let x = scope.dropout(tokens.add(positions), c.embeddingDropout)
    for (let i = 0; i < c.nLayers; i++) {
      const context = { attentionMask, cache, zeroBlind: true, scale: scale / (c.scaleAttentionByLayer ? i + 1 : 1) }
      x = scope.block(gpt2Block, transformer.at('h', i), x, c, context)
    }
    x = layerNorm(transformer.at('ln_f'), x, c.layerNormEpsilon, c)
    const head = table(c.tieWordEmbeddings ? transformer.at('wte') : scope.at('lm_head'), c.vocabSize)
    return causalOutputs(x, head, inputs, options)
  }
}
