/**
 * LLaMA: Open and Efficient Foundation Language Models
 * Touvron, Lavril, Izacard et al., Meta AI, 2023. arXiv 2302.13971
 *
 * New over GPT-3 (§2.2):
 * - the input of each sub-layer is normalised by its root mean square (from GPT-3's pre-normalisation);
 * - SwiGLU in place of ReLU, with 2/3 · 4d hidden features (from PaLM);
 * - rotary position embeddings at every layer in place of absolute ones (from GPT-Neo).
 *
 * Departures: the layout of the public checkpoints (query and key rows permuted so that rotary pairs are halves), and
 * what later models of the family added: grouped queries, tied heads, scaled rotary angles, biases.
 *
 * | paper           | here                               |
 * |-----------------|------------------------------------|
 * | dimension       | `dModel`                           |
 * | n heads, layers | `nHeads`, `nLayers`                |
 * | W₁, W₃, W₂      | `gate_proj`, `up_proj`, `down_proj` |
 */

import { z } from 'zod'
import { attention, type Rotary } from '../nn/attention.ts'
import { parseConfig } from '../nn/config.ts'
import { normal } from '../nn/initializers.ts'
import { linear, rmsNorm } from '../nn/layers.ts'
import {
  type CausalInputs,
  type CausalLm,
  type CausalOptions,
  type CausalOutputs,
  nextTokenLoss,
  tokenInputs,
} from '../nn/model.ts'
import { type RopeScaling, rotaryTables } from '../nn/positions.ts'
import { ROPE_FIELDS, readRope, writeRope } from '../nn/rope-config.ts'
import type { Scope } from '../nn/scope.ts'
import { activation, embedding, linear as project, type Tensor, takeRows } from '../tensor/index.ts'

export interface LlamaConfig {
  vocabSize: number
  maxPositions: number
  dModel: number
  nLayers: number
  nHeads: number
  nKvHeads: number
  headDim: number
  dInner: number
  activation: string
  rmsNormEpsilon: number
  ropeTheta: number
  ropeScaling?: RopeScaling
  tieWordEmbeddings: boolean
  attentionBias: boolean
  mlpBias: boolean
  initializerRange: number
}

const CONFIG = z.object({
  vocab_size: z.int().positive().default(32000),
  max_position_embeddings: z.int().positive().default(2048),
  hidden_size: z.int().positive().default(4096),
  num_hidden_layers: z.int().positive().default(32),
  num_attention_heads: z.int().positive().default(32),
  num_key_value_heads: z.int().positive().nullish(),
  head_dim: z.int().positive().nullish(),
  intermediate_size: z.int().positive().default(11008),
  hidden_act: z.string().default('silu'),
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  initializer_range: z.number().positive().default(0.02),
  ...ROPE_FIELDS,
})

/** 2/3 of 4d, rounded up to a multiple of 256 (§2.2). */
export const swigluWidth = (dModel: number): number => 256 * Math.ceil(Math.floor((8 * dModel) / 3) / 256)

/** Sizes of the paper (table 2). */
export const LLAMA_SIZES = {
  '7B': { dModel: 4096, nHeads: 32, nLayers: 32 },
  '13B': { dModel: 5120, nHeads: 40, nLayers: 40 },
  '33B': { dModel: 6656, nHeads: 52, nLayers: 60 },
  '65B': { dModel: 8192, nHeads: 64, nLayers: 80 },
} as const

export class Llama implements CausalLm {
  static readonly architectures = ['LlamaForCausalLM']
  static readonly baseModelPrefix = 'model.'

  readonly config: LlamaConfig

  /** What is left out is as in the paper's 7B. */
  constructor(config: Partial<LlamaConfig> = {}) {
    const dModel = config.dModel ?? LLAMA_SIZES['7B'].dModel
    const nHeads = config.nHeads ?? LLAMA_SIZES['7B'].nHeads
    this.config = {
      vocabSize: 32000,
      maxPositions: 2048,
      dModel,
      nLayers: LLAMA_SIZES['7B'].nLayers,
      nHeads,
      nKvHeads: nHeads,
      headDim: dModel / nHeads,
      dInner: swigluWidth(dModel),
      activation: 'silu',
      rmsNormEpsilon: 1e-6,
      ropeTheta: 10000,
      tieWordEmbeddings: false,
      attentionBias: false,
      mlpBias: false,
      initializerRange: 0.02,
      ...config,
    }
  }

  static fromConfig(json: Record<string, unknown>): Llama {
    const c = parseConfig('LLaMA', CONFIG, json)
    return new Llama({
      vocabSize: c.vocab_size,
      maxPositions: c.max_position_embeddings,
      dModel: c.hidden_size,
      nLayers: c.num_hidden_layers,
      nHeads: c.num_attention_heads,
      nKvHeads: c.num_key_value_heads ?? c.num_attention_heads,
      headDim: c.head_dim ?? c.hidden_size / c.num_attention_heads,
      dInner: c.intermediate_size,
      activation: c.hidden_act,
      rmsNormEpsilon: c.rms_norm_eps,
      tieWordEmbeddings: c.tie_word_embeddings,
      attentionBias: c.attention_bias,
      mlpBias: c.mlp_bias,
      initializerRange: c.initializer_range,
      ...readRope(c),
    })
  }

  toConfig(): Record<string, unknown> {
    const { config } = this
    return {
      architectures: Llama.architectures,
      model_type: 'llama',
      vocab_size: config.vocabSize,
      max_position_embeddings: config.maxPositions,
      hidden_size: config.dModel,
      num_hidden_layers: config.nLayers,
      num_attention_heads: config.nHeads,
      num_key_value_heads: config.nKvHeads,
      head_dim: config.headDim,
      intermediate_size: config.dInner,
      hidden_act: config.activation,
      rms_norm_eps: config.rmsNormEpsilon,
      tie_word_embeddings: config.tieWordEmbeddings,
      attention_bias: config.attentionBias,
      mlp_bias: config.mlpBias,
      initializer_range: config.initializerRange,
      ...writeRope(config),
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
  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}): CausalOutputs {
    const { config } = this
    const { inputIds, labels } = inputs
    const rotary = rotaryTables({
      rotaryDim: config.headDim,
      theta: config.ropeTheta,
      maxPositions: config.maxPositions,
      scaling: config.ropeScaling,
    })
    const model = scope.at('model')
    const init = normal(config.initializerRange)
    const table = model.at('embed_tokens').param('weight', [config.vocabSize, config.dModel], init)

    let x = embedding(table, inputIds)
    for (let layer = 0; layer < config.nLayers; layer++) {
      x = this.block(model.at('layers', layer), x, { ...inputs, ...options, rotary })
    }
    x = rmsNorm(model.at('norm'), x, config.rmsNormEpsilon)

    const last = options.logitsAt ? takeRows(x, options.logitsAt) : x
    const head = config.tieWordEmbeddings
      ? table
      : scope.at('lm_head').param('weight', [config.vocabSize, config.dModel], init)
    const logits = project(last, head)
    return { logits, lastHiddenState: x, loss: labels && nextTokenLoss(logits, labels) }
  }

  private block(scope: Scope, x: Tensor, context: Context): Tensor {
    const { rmsNormEpsilon } = this.config
    const middle = x.add(
      this.attend(scope.at('self_attn'), rmsNorm(scope.at('input_layernorm'), x, rmsNormEpsilon), context),
    )
    return middle.add(this.mlp(scope.at('mlp'), rmsNorm(scope.at('post_attention_layernorm'), middle, rmsNormEpsilon)))
  }

  private attend(scope: Scope, x: Tensor, { attentionMask, positionIds, cache, rotary }: Context): Tensor {
    const { nHeads, nKvHeads, headDim, dModel, attentionBias } = this.config
    const project = (name: string, width: number, input = x) =>
      linear(scope.at(name), input, width, this.projection(attentionBias))
    const query = project('q_proj', nHeads * headDim)
    const key = project('k_proj', nKvHeads * headDim)
    const value = project('v_proj', nKvHeads * headDim)
    const output = attention(query, key, value, {
      nHeads,
      nKvHeads,
      causal: true,
      attentionMask,
      positionIds,
      cache,
      rotary,
    })
    return project('o_proj', dModel, output)
  }

  /** SwiGLU: W₂(silu(W₁x) ⊙ W₃x) */
  private mlp(scope: Scope, x: Tensor): Tensor {
    const { dInner, dModel, mlpBias } = this.config
    const gate = activation(this.config.activation)(linear(scope.at('gate_proj'), x, dInner, this.projection(mlpBias)))
    const up = linear(scope.at('up_proj'), x, dInner, this.projection(mlpBias))
    return linear(scope.at('down_proj'), gate.mul(up), dModel, this.projection(mlpBias))
  }

  private projection(bias: boolean) {
    return { bias, init: normal(this.config.initializerRange) }
  }
}

type Context = CausalInputs & CausalOptions & { readonly rotary: Rotary }
