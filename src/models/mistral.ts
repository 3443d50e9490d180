/**
 * Mistral 7B
 * Jiang, Sablayrolles, Mensch et al., Mistral AI, 2023. arXiv 2310.06825
 *
 * New over LLaMA (§2):
 * - sliding window attention: each position sees the last W, so that after k layers something of k · W has reached it;
 * - grouped queries, 8 key-value heads for 32 heads.
 *
 * Departures: the paper's rolling buffer forgets what is out of the window; our cache keeps it, and hides it.
 *
 * | paper      | here            |
 * |------------|-----------------|
 * | W          | `slidingWindow` |
 * | n_kv_heads | `nKvHeads`      |
 */

import { always, type ConfigOf, orFrom, size } from '../nn/config.ts'
import { type CausalInputs, CausalNetwork, type CausalOptions } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { windowField } from '../nn/windows.ts'
import { LlamaConfig, llamaBlock, llamaDecoder } from './llama.ts'

/** What is left out is as in the 7B. */
export const MistralConfig = LlamaConfig.extend('Mistral', ['MistralForCausalLM'], {
  maxPositions: ['max_position_embeddings', size, 131072],
  nKvHeads: orFrom<number, LlamaConfig>('num_key_value_heads', size, 8, (c) => c.nHeads),
  dInner: ['intermediate_size', size, 14336],
  slidingWindow: windowField(4096),
  attentionBias: always(false),
  mlpBias: always(false),
})
export type MistralConfig = ConfigOf<typeof MistralConfig>

export class Mistral extends CausalNetwork<MistralConfig> {
  static readonly table = MistralConfig
  static override readonly baseModelPrefix = 'model.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'model.embed_tokens.weight' }

  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { slidingWindow: window } = c // §2: in every layer
    return llamaDecoder(scope, c, inputs, options, (part, x, context) =>
      scope.block(llamaBlock<MistralConfig>, part, x, c, { ...context, window }),
    )
  }
}
