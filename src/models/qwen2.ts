/**
 * Qwen2 Technical Report
 * Yang, Yang, Hui et al., Alibaba, 2024. arXiv 2407.10671
 *
 * New over LLaMA (§2.2.1):
 * - queries, keys and values have biases, for extrapolation to longer texts; nothing else has;
 * - grouped queries in all sizes, a rotary base of 1,000,000 for long contexts;
 * - where it is switched on, the layers from `maxWindowLayers` on see a window only.
 *
 * Departures: of Dual Chunk Attention, which the report uses beyond the trained length, checkpoints know nothing.
 *
 * | paper    | here                 |
 * |----------|----------------------|
 * | QKV bias | `q_proj.bias`, …     |
 * | KV heads | `nKvHeads`           |
 */

import { always, type ConfigOf, count, flag, orFrom, size } from '../nn/config.ts'
import { type CausalInputs, CausalNetwork, type CausalOptions } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { checkWindows, layerTypesField, switchedWindowField, type Windows, windowOf } from '../nn/windows.ts'
import type { Tensor } from '../tensor/index.ts'
import { LlamaConfig, type LlamaContext, llamaAttend, llamaBlock, llamaDecoder, llamaProjections } from './llama.ts'

type Layers = Pick<Windows, 'nLayers' | 'slidingWindow'> & { maxWindowLayers: number }

/** What is left out is as in the reference implementation. */
export const Qwen2Config = LlamaConfig.extend(
  'Qwen2',
  ['Qwen2ForCausalLM'],
  {
    vocabSize: ['vocab_size', size, 151936],
    maxPositions: ['max_position_embeddings', size, 32768],
    nKvHeads: orFrom<number, LlamaConfig>('num_key_value_heads', size, 32, (c) => c.nHeads),
    dInner: ['intermediate_size', size, 22016],
    useSlidingWindow: ['use_sliding_window', flag, false],
    slidingWindow: switchedWindowField(4096),
    maxWindowLayers: ['max_window_layers', count, 28],
    layerTypes: layerTypesField<Layers>((c, i) =>
      c.slidingWindow > 0 && i >= c.maxWindowLayers ? 'sliding_attention' : 'full_attention',
    ),
    attentionBias: always(true),
    mlpBias: always(false),
  },
  { check: checkWindows },
)
export type Qwen2Config = ConfigOf<typeof Qwen2Config>

/** LLaMA's attention with biases on the way in, and none on the way out (§2.2.1). */
export const qwen2Attention = (scope: Scope, x: Tensor, c: Qwen2Config, context: LlamaContext): Tensor =>
  llamaAttend(scope, llamaProjections(scope, x, c), { ...c, attentionBias: false }, context)

export const qwen2Block = (scope: Scope, x: Tensor, c: Qwen2Config, context: LlamaContext): Tensor =>
  llamaBlock(scope, x, c, context, qwen2Attention)

export class Qwen2 extends CausalNetwork<Qwen2Config> {
  static readonly table = Qwen2Config
  static override readonly baseModelPrefix = 'model.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'model.embed_tokens.weight' }

  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    return llamaDecoder(scope, c, inputs, options, (part, x, context, i) =>
      scope.block(qwen2Block, part, x, c, { ...context, window: windowOf(c, i) }),
    )
  }
}
