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

import { z } from 'zod'
import { attention } from '../nn/attention.ts'
import { parseConfig } from '../nn/config.ts'
import { normal } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import {
  type CausalInputs,
  type CausalLm,
  type CausalOptions,
  type CausalOutputs,
  nextTokenLoss,
  tokenInputs,
} from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { activation, arange, embedding, linear as project, type Tensor, takeRows } from '../tensor/index.ts'

export interface GPT2Config {
  vocabSize: number
  maxPositions: number
  dModel: number
  nLayers: number
  nHeads: number
  dInner: number
  activation: string
  layerNormEpsilon: number
  tieWordEmbeddings: boolean
  scaleAttention: boolean
  scaleAttentionByLayer: boolean
  initializerRange: number
  embeddingDropout: number
  attentionDropout: number
  residualDropout: number
  /** Biases in projections and normalisations; the released models have them. */
  bias: boolean
}

const CONFIG = z.object({
  vocab_size: z.int().positive().default(50257),
  n_positions: z.int().positive().default(1024),
  n_embd: z.int().positive().default(768),
  n_layer: z.int().positive().default(12),
  n_head: z.int().positive().default(12),
  n_inner: z.int().positive().nullish(),
  activation_function: z.string().default('gelu_new'),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  tie_word_embeddings: z.boolean().default(true),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  initializer_range: z.number().positive().default(0.02),
  embd_pdrop: z.number().min(0).max(1).default(0.1),
  attn_pdrop: z.number().min(0).max(1).default(0.1),
  resid_pdrop: z.number().min(0).max(1).default(0.1),
})

/** Sizes released with the paper (table 2). */
export const GPT2_SIZES = {
  small: { nLayers: 12, dModel: 768, nHeads: 12 },
  medium: { nLayers: 24, dModel: 1024, nHeads: 16 },
  large: { nLayers: 36, dModel: 1280, nHeads: 20 },
  xl: { nLayers: 48, dModel: 1600, nHeads: 25 },
} as const

export class GPT2 implements CausalLm {
  static readonly architectures = ['GPT2LMHeadModel']
  static readonly baseModelPrefix = 'transformer.'

  readonly config: GPT2Config

  /** What is left out is as in the released small model. */
  constructor(config: Partial<GPT2Config> = {}) {
    const dModel = config.dModel ?? GPT2_SIZES.small.dModel
    this.config = {
      vocabSize: 50257,
      maxPositions: 1024,
      dModel,
      nLayers: 12,
      nHeads: 12,
      dInner: 4 * dModel,
      activation: 'gelu_new',
      layerNormEpsilon: 1e-5,
      tieWordEmbeddings: true,
      scaleAttention: true,
      scaleAttentionByLayer: false,
      initializerRange: 0.02,
      embeddingDropout: 0.1,
      attentionDropout: 0.1,
      residualDropout: 0.1,
      bias: true,
      ...config,
    }
  }

  static fromConfig(json: Record<string, unknown>): GPT2 {
    const c = parseConfig('GPT-2', CONFIG, json)
    return new GPT2({
      vocabSize: c.vocab_size,
      maxPositions: c.n_positions,
      dModel: c.n_embd,
      nLayers: c.n_layer,
      nHeads: c.n_head,
      dInner: c.n_inner ?? 4 * c.n_embd,
      activation: c.activation_function,
      layerNormEpsilon: c.layer_norm_epsilon,
      tieWordEmbeddings: c.tie_word_embeddings,
      scaleAttention: c.scale_attn_weights,
      scaleAttentionByLayer: c.scale_attn_by_inverse_layer_idx,
      initializerRange: c.initializer_range,
      embeddingDropout: c.embd_pdrop,
      attentionDropout: c.attn_pdrop,
      residualDropout: c.resid_pdrop,
    })
  }

  toConfig(): Record<string, unknown> {
    const { config } = this
    return {
      architectures: GPT2.architectures,
      model_type: 'gpt2',
      vocab_size: config.vocabSize,
      n_positions: config.maxPositions,
      n_embd: config.dModel,
      n_layer: config.nLayers,
      n_head: config.nHeads,
      n_inner: config.dInner,
      activation_function: config.activation,
      layer_norm_epsilon: config.layerNormEpsilon,
      tie_word_embeddings: config.tieWordEmbeddings,
      scale_attn_weights: config.scaleAttention,
      scale_attn_by_inverse_layer_idx: config.scaleAttentionByLayer,
      initializer_range: config.initializerRange,
      embd_pdrop: config.embeddingDropout,
      attn_pdrop: config.attentionDropout,
      resid_pdrop: config.residualDropout,
    }
  }

  get vocabSize(): number {
    return this.config.vocabSize
  }

  get maxPositions(): number {
    return this.config.maxPositions
  }

  exampleInputs(): Record<string, Tensor> {
    return tokenInputs()
  }

  /** @returns logits [batch, seq, vocabSize] */
  forward(scope: Scope, inputs: CausalInputs, { cache, logitsAt }: CausalOptions = {}): CausalOutputs {
    const { config } = this
    const init = normal(config.initializerRange)
    const { inputIds, attentionMask, labels } = inputs
    const positionIds = inputs.positionIds ?? cache?.positionIds ?? arange(inputIds.shape[1]) // [seq], the same for every sequence
    const transformer = scope.at('transformer')
    const wte = transformer.at('wte').param('weight', [config.vocabSize, config.dModel], init)
    const wpe = transformer.at('wpe').param('weight', [config.maxPositions, config.dModel], init)

    let x = scope.dropout(embedding(wte, inputIds).add(embedding(wpe, positionIds)), config.embeddingDropout)
    for (let layer = 0; layer < config.nLayers; layer++) {
      x = this.block(transformer.at('h', layer), x, layer, { attentionMask, cache })
    }
    x = layerNorm(transformer.at('ln_f'), x, config.layerNormEpsilon, config)

    const last = logitsAt ? takeRows(x, logitsAt) : x
    const head = config.tieWordEmbeddings
      ? wte
      : scope.at('lm_head').param('weight', [config.vocabSize, config.dModel], init)
    const logits = project(last, head)
    return { logits, lastHiddenState: x, loss: labels && nextTokenLoss(logits, labels) }
  }

  /** x + attention(LN(x)), then x + MLP(LN(x)) (§2.3). */
  private block(
    scope: Scope,
    x: Tensor,
    layer: number,
    context: Pick<CausalInputs, 'attentionMask'> & CausalOptions,
  ): Tensor {
    const { layerNormEpsilon, residualDropout } = this.config
    const attended = this.attend(
      scope.at('attn'),
      layerNorm(scope.at('ln_1'), x, layerNormEpsilon, this.config),
      layer,
      context,
    )
    const middle = x.add(scope.dropout(attended, residualDropout))
    const expanded = this.mlp(scope.at('mlp'), layerNorm(scope.at('ln_2'), middle, layerNormEpsilon, this.config))
    return middle.add(scope.dropout(expanded, residualDropout))
  }

  private attend(
    scope: Scope,
    x: Tensor,
    layer: number,
    { attentionMask, cache }: Pick<CausalInputs, 'attentionMask'> & CausalOptions,
  ): Tensor {
    const { config } = this
    const headDim = config.dModel / config.nHeads
    const scale = (config.scaleAttention ? 1 / Math.sqrt(headDim) : 1) / (config.scaleAttentionByLayer ? layer + 1 : 1)
    const [query, key, value] = linear(scope.at('c_attn'), x, 3 * config.dModel, this.projection()).split(3)
    const output = attention(query, key, value, {
      nHeads: config.nHeads,
      scale,
      causal: true,
      attentionMask,
      cache,
      dropout: { scope, rate: config.attentionDropout },
    })
    return linear(scope.at('c_proj'), output, config.dModel, this.residualProjection())
  }

  private mlp(scope: Scope, x: Tensor): Tensor {
    const { config } = this
    const hidden = activation(config.activation)(linear(scope.at('c_fc'), x, config.dInner, this.projection()))
    return linear(scope.at('c_proj'), hidden, config.dModel, this.residualProjection())
  }

  private projection() {
    return { inFirst: true, bias: this.config.bias, init: normal(this.config.initializerRange) }
  }

  /** Two projections of each block write into the residual stream: their weights start smaller by √(2 nLayers). */
  private residualProjection() {
    const std = this.config.initializerRange / Math.sqrt(2 * this.config.nLayers)
    return { ...this.projection(), init: normal(std) }
  }
}
