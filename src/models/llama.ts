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

import { type AttentionOptions, attention } from '../nn/attention.ts'
import { type ConfigOf, config, flag, paddingToken, positive, rate, size, text } from '../nn/config.ts'
import { gatedMlp } from '../nn/gated.ts'
import { normal } from '../nn/initializers.ts'
import { linear, rmsNorm } from '../nn/layers.ts'
import {
  type CausalInputs,
  CausalNetwork,
  type CausalOptions,
  type CausalOutputs,
  causalOutputs,
  embedTokens,
  paddingRow,
} from '../nn/model.ts'
import { ropeFields, ropeTables } from '../nn/rope-config.ts'
import type { Scope } from '../nn/scope.ts'
import type { Tensor } from '../tensor/index.ts'

/** What is left out is as in the paper's 7B. */
export const LlamaConfig = config('LLaMA', ['LlamaForCausalLM'], {
  vocabSize: ['vocab_size', size, 32000],
  maxPositions: ['max_position_embeddings', size, 2048],
  dModel: ['hidden_size', size, 4096],
  nLayers: ['num_hidden_layers', size, 32],
  nHeads: ['num_attention_heads', size, 32],
  nKvHeads: ['num_key_value_heads', size, (c) => c.nHeads],
  headDim: ['head_dim', size, (c) => c.dModel / c.nHeads],
  dInner: ['intermediate_size', size, (c) => swigluWidth(c.dModel)],
  activation: ['hidden_act', text, 'silu'],
  rmsNormEpsilon: ['rms_norm_eps', positive, 1e-6],
  ...ropeFields(),
  tieWordEmbeddings: ['tie_word_embeddings', flag, false],
  padTokenId: paddingToken('none'),
  attentionBias: ['attention_bias', flag, false],
  mlpBias: ['mlp_bias', flag, false],
  attentionDropout: ['attention_dropout', rate, 0],
  initializerRange: ['initializer_range', positive, 0.02],
})
export type LlamaConfig = ConfigOf<typeof LlamaConfig>

/** Sizes of the paper (table 2). */
export const LLAMA_SIZES = {
  '7B': { dModel: 4096, nHeads: 32, nLayers: 32 },
  '13B': { dModel: 5120, nHeads: 40, nLayers: 40 },
  '33B': { dModel: 6656, nHeads: 52, nLayers: 60 },
  '65B': { dModel: 8192, nHeads: 64, nLayers: 80 },
} as const

/** What every layer is told beside its input. */
export type LlamaContext = Pick<
  AttentionOptions,
  'attentionMask' | 'positionIds' | 'cache' | 'rotary' | 'window' | 'scale'
>

/** Hidden features of SwiGLU: 2/3 of 4d, rounded up to a multiple of 256 (§2.2). */
export const swigluWidth = (dModel: number): number => 256 * Math.ceil(Math.floor((8 * dModel) / 3) / 256)

/** SwiGLU: W₂(silu(W₁x) ⊙ W₃x) (§2.2). */
export function swiGlu(scope: Scope, x: Tensor, c: LlamaConfig): Tensor {
  return gatedMlp(scope, x, { ...c, bias: c.mlpBias, init: normal(c.initializerRange) })
}

/** Queries, keys and values of every head. */
export function llamaProjections(scope: Scope, x: Tensor, c: LlamaConfig): [Tensor, Tensor, Tensor] {
  const options = { bias: c.attentionBias, init: normal(c.initializerRange) }
  const query = linear(scope.at('q_proj'), x, c.nHeads * c.headDim, options)
  const key = linear(scope.at('k_proj'), x, c.nKvHeads * c.headDim, options)
  const value = linear(scope.at('v_proj'), x, c.nKvHeads * c.headDim, options)
  return [query, key, value]
}

/** Attention over queries and keys that turn with their positions (§2.2), and the way back into the stream. */
export function llamaAttend(
  scope: Scope,
  [query, key, value]: readonly [Tensor, Tensor, Tensor],
  c: LlamaConfig,
  context: LlamaContext,
): Tensor {
  const { nHeads, nKvHeads } = c
  const dropout = { scope, rate: c.attentionDropout }
  const attended = attention(query, key, value, {
    nHeads,
    nKvHeads,
    causal: true,
    zeroBlind: true,
    dropout,
    ...context,
  })
  return linear(scope.at('o_proj'), attended, c.dModel, { bias: c.attentionBias, init: normal(c.initializerRange) })
}

/** Attention to oneself and what came before. */
export const llamaAttention = (scope: Scope, x: Tensor, c: LlamaConfig, context: LlamaContext): Tensor =>
  llamaAttend(scope, llamaProjections(scope, x, c), c, context)

/** x + attention(norm(x)), then x + SwiGLU(norm(x)). */
export function llamaBlock<C extends LlamaConfig>(
  scope: Scope,
  x: Tensor,
  c: C,
  context: LlamaContext,
  attention: (scope: Scope, x: Tensor, c: C, context: LlamaContext) => Tensor = llamaAttention,
): Tensor {
  const norm = (name: string, x: Tensor) => rmsNorm(scope.at(name), x, c.rmsNormEpsilon)
  x = x.add(attention(scope.at('self_attn'), norm('input_layernorm', x), c, context))
  return x.add(swiGlu(scope.at('mlp'), norm('post_attention_layernorm', x), c))
}

/**
 * From tokens to logits.
 *
 * @param block - layer i, of the stream of x
 * @returns logits [batch, seq, vocabSize]
 */
export function llamaDecoder(
  scope: Scope,
  c: LlamaConfig,
  inputs: CausalInputs,
  options: CausalOptions,
  block: (scope: Scope, x: Tensor, context: LlamaContext, i: number) => Tensor,
): CausalOutputs {
  const { attentionMask, positionIds } = inputs
  const { cache } = options
  const model = scope.at('model')
  const table = (part: Scope) => part.param('weight', [c.vocabSize, c.dModel], normal(c.initializerRange))
  const context = { attentionMask, positionIds, cache, rotary: ropeTables(c, { ...inputs, cache }) }

  let x = embedTokens(() => table(model.at('embed_tokens')), inputs, paddingRow(c))
  for (let i = 0; i < c.nLayers; i++) x = block(model.at('layers', i), x, context, i)
  x = rmsNorm(model.at('norm'), x, c.rmsNormEpsilon)
  const head = table(c.tieWordEmbeddings ? model.at('embed_tokens') : scope.at('lm_head'))
  return causalOutputs(x, head, inputs, options)
}

export class Llama extends CausalNetwork<LlamaConfig> {
  static readonly table = LlamaConfig
  static override readonly baseModelPrefix = 'model.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'model.embed_tokens.weight' }

  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    return llamaDecoder(scope, c, inputs, options, (part, x, context) =>
      scope.block(llamaBlock<LlamaConfig>, part, x, c, context),
    )
  }
}
