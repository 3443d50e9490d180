/**
 * PaLM: Scaling Language Modeling with Pathways
 * Chowdhery, Narang, Devlin, Bosma et al., Google Research, 2022. arXiv 2204.02311
 *
 * New over GPT-3 (§2):
 * - attention and MLP read the same normalised input, side by side: two fifths of the products wait for nobody;
 * - all heads share one key and one value, so that the cache is 2 · d_head numbers a layer and token;
 * - SwiGLU in place of GELU, rotary positions in place of a table, no biases, in normalisations neither;
 * - one table for input and output, drawn from N(0, 1), so that logits are divided by √d_model (§5);
 * - a loss on log² Z, which keeps the softmax's normaliser near 1 (§5).
 *
 * Departures: no weights were released, so there is no layout to follow; parameters are named as in LLaMA. A
 * configuration may ask for the serial block, to compare.
 *
 * | paper                     | here                                      |
 * |---------------------------|-------------------------------------------|
 * | y = x + MLP(LN(x)) + Attention(LN(x)) | `palmBlock`                   |
 * | d_model, # heads, head size | `dModel`, `nHeads`, `headDim`           |
 * | Swish(xW) · xV            | `gatedMlp`: `gate_proj`, `up_proj`        |
 * | z_loss = 10⁻⁴ log² Z      | `zLoss` of the configuration, `palmLoss`  |
 */

import { type AttentionOptions, attention } from '../nn/attention.ts'
import { type ConfigOf, config, flag, positive, rate, size } from '../nn/config.ts'
import { gatedMlp } from '../nn/gated.ts'
import { fanInNormal, normal } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import {
  type CausalInputs,
  CausalNetwork,
  type CausalOptions,
  causalOutputs,
  embedTokens,
  nextTokens,
} from '../nn/model.ts'
import { ropeFields, ropeTables } from '../nn/rope-config.ts'
import type { Scope } from '../nn/scope.ts'
import { crossEntropySum, indicator, logSumExp, meanOf, type SumAndCount, sum, type Tensor } from '../tensor/index.ts'

/** What is left out is as in the paper's 8B. */
export const PalmConfig = config(
  'PaLM',
  ['PalmForCausalLM'],
  {
    vocabSize: ['vocab_size', size, 256_000],
    maxPositions: ['max_position_embeddings', size, 2048],
    dModel: ['hidden_size', size, 4096],
    nLayers: ['num_hidden_layers', size, 32],
    nHeads: ['num_attention_heads', size, 16],
    /** Heads of keys and values: one, in the paper. */
    nKvHeads: ['num_key_value_heads', size, 1],
    headDim: ['head_dim', size, 256],
    dInner: ['intermediate_size', size, (c) => 4 * c.dModel],
    layerNormEpsilon: ['layer_norm_epsilon', positive, 1e-6],
    ...ropeFields(),
    /** Attention and MLP side by side; one after the other where false. */
    parallel: ['parallel_blocks', flag, true],
    /** The factor on log² Z. */
    zLoss: ['z_loss', rate, 1e-4],
  },
  {
    check: ({ nHeads, nKvHeads }) =>
      nHeads % nKvHeads === 0 ? undefined : `num_key_value_heads: ${nKvHeads} do not divide ${nHeads} heads`,
  },
)
export type PalmConfig = ConfigOf<typeof PalmConfig>

/** Sizes of the paper (table 1). Heads are 256 wide, whatever dModel. */
export const PALM_SIZES = {
  '8B': { nLayers: 32, dModel: 4096, nHeads: 16 },
  '62B': { nLayers: 64, dModel: 8192, nHeads: 32 },
  '540B': { nLayers: 118, dModel: 18432, nHeads: 48 },
} as const

type PalmContext = Pick<AttentionOptions, 'attentionMask' | 'positionIds' | 'cache' | 'rotary'>

/** Attention to oneself and what came before, over one key and value for all heads. */
export function palmAttention(scope: Scope, x: Tensor, c: PalmConfig, context: PalmContext): Tensor {
  const project = (name: string, x: Tensor, features: number): Tensor =>
    linear(scope.at(name), x, features, { bias: false, init: fanInNormal })
  const query = project('q_proj', x, c.nHeads * c.headDim)
  const key = project('k_proj', x, c.nKvHeads * c.headDim)
  const value = project('v_proj', x, c.nKvHeads * c.headDim)
  const attended = attention(query, key, value, { nHeads: c.nHeads, nKvHeads: c.nKvHeads, causal: true, ...context })
  return project('o_proj', attended, c.dModel)
}

/** y = x + MLP(LN(x)) + Attention(LN(x)); or, serial, y = h + MLP(LN(h)) with h = x + Attention(LN(x)) (§2). */
export function palmBlock(scope: Scope, x: Tensor, c: PalmConfig, context: PalmContext): Tensor {
  const norm = (name: string, x: Tensor) => layerNorm(scope.at(name), x, c.layerNormEpsilon, { bias: false })
  const mlp = (x: Tensor) => gatedMlp(scope.at('mlp'), x, { dInner: c.dInner, bias: false, init: fanInNormal })
  const normalized = norm('input_layernorm', x)
  const attended = x.add(palmAttention(scope.at('self_attn'), normalized, c, context))
  return attended.add(mlp(c.parallel ? normalized : norm('post_attention_layernorm', attended)))
}

/**
 * What training minimises: −log p(token) + zLoss · log² Z over the tokens that count; and the first part alone.
 *
 * @param logits - [batch, seq, vocabSize]
 * @param shiftLabels - int32 [batch, seq]: the token that follows, −100 where it does not count
 */
export function palmLoss(
  logits: Tensor,
  shiftLabels: Tensor,
  { zLoss }: Pick<PalmConfig, 'zLoss'>,
): { loss: SumAndCount; crossEntropy: SumAndCount } {
  const crossEntropy = crossEntropySum(logits, shiftLabels)
  if (zLoss === 0) return { loss: crossEntropy, crossEntropy }
  const logZ = logSumExp(logits, { axis: -1 }) // [batch, seq]
  const squares = logZ.mul(logZ).mul(indicator(shiftLabels.equal(-100).not()))
  return { loss: { ...crossEntropy, sum: crossEntropy.sum.add(sum(squares).mul(zLoss)) }, crossEntropy }
}

export class Palm extends CausalNetwork<PalmConfig> {
  static readonly table = PalmConfig
  static override readonly baseModelPrefix = 'model.'

  /** @returns logits [batch, seq, vocabSize]; `loss` has both parts */
  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask, positionIds, labels, shiftLabels } = inputs
    const { cache } = options
    const model = scope.at('model')
    const table = model.at('embed_tokens').param('weight', [c.vocabSize, c.dModel], normal(1))
    const context = { attentionMask, positionIds, cache, rotary: ropeTables(c, { ...inputs, cache }) }

    let x = embedTokens(() => table, inputs)
    for (let i = 0; i < c.nLayers; i++) x = scope.block(palmBlock, model.at('layers', i), x, c, context)
    x = layerNorm(model.at('norm'), x, c.layerNormEpsilon, { bias: false })
    const outputs = causalOutputs(x, table, {}, options, { finish: (logits) => logits.div(Math.sqrt(c.dModel)) })
    const following = shiftLabels ?? (labels && nextTokens(labels))
    return { ...outputs, loss: following && meanOf(palmLoss(outputs.logits, following, c).loss) }
  }
}
