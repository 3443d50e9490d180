/**
 * Qwen3 Technical Report
 * Yang, Li, Yang et al., Alibaba, 2025. arXiv 2505.09388
 *
 * New over Qwen2 (§2):
 * - queries and keys are normalised head by head before they turn, for stable training;
 * - the biases of queries, keys and values are gone;
 * - the width of a head is chosen by itself, 128 in all sizes.
 *
 * | paper   | here                             |
 * |---------|----------------------------------|
 * | QK-Norm | `q_norm.weight`, `k_norm.weight` |
 */

import { type ConfigOf, flag, size } from '../nn/config.ts'
import { rmsNormHeads } from '../nn/layers.ts'
import { type CausalInputs, CausalNetwork, type CausalOptions } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { checkWindows, windowOf } from '../nn/windows.ts'
import type { Tensor } from '../tensor/index.ts'
import { type LlamaContext, llamaAttend, llamaBlock, llamaDecoder, llamaProjections } from './llama.ts'
import { Qwen2Config } from './qwen2.ts'

/** What is left out is as in the reference implementation. */
export const Qwen3Config = Qwen2Config.extend(
  'Qwen3',
  ['Qwen3ForCausalLM'],
  {
    headDim: ['head_dim', size, 128],
    attentionBias: ['attention_bias', flag, false],
  },
  { check: checkWindows },
)
export type Qwen3Config = ConfigOf<typeof Qwen3Config>

/** LLaMA's attention between normalised queries and keys (§2). */
export function qwen3Attention(scope: Scope, x: Tensor, c: Qwen3Config, context: LlamaContext): Tensor {
  const [query, key, value] = llamaProjections(scope, x, c)
  const q = rmsNormHeads(scope.at('q_norm'), query, c.nHeads, c.rmsNormEpsilon)
  const k = rmsNormHeads(scope.at('k_norm'), key, c.nKvHeads, c.rmsNormEpsilon)
  return llamaAttend(scope, [q, k, value], c, context)
}

export const qwen3Block = (scope: Scope, x: Tensor, c: Qwen3Config, context: LlamaContext): Tensor =>
  llamaBlock(scope, x, c, context, qwen3Attention)

export class Qwen3 extends CausalNetwork<Qwen3Config> {
  static readonly table = Qwen3Config
  static override readonly baseModelPrefix = 'model.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'model.embed_tokens.weight' }

  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    return llamaDecoder(scope, c, inputs, options, (part, x, context, i) =>
      scope.block(qwen3Block, part, x, c, { ...context, window: windowOf(c, i) }),
    )
  }
}
