/**
 * Gemma 3 Technical Report
 * Gemma Team, Google DeepMind, 2025. arXiv 2503.19786
 *
 * New over LLaMA (§2, and what it keeps of Gemma 1 and 2):
 * - five layers that see a window for each that sees all, which turns by a base of its own, 1,000,000 instead of 10,000;
 * - queries and keys are normalised head by head, which replaces the soft cap that Gemma 2 had on attention's scores;
 * - a norm before and another after each sub-layer; norms scale by 1 + w;
 * - embeddings, which are the head too, are multiplied by √d on the way in; GeGLU in place of SwiGLU.
 *
 * Departures: the text model only. `attn_logit_softcapping` changes nothing, as in the reference implementation.
 *
 * | paper          | here                            |
 * |----------------|---------------------------------|
 * | local, global  | `sliding_`, `full_attention`    |
 * | RoPE base freq | `ropeLocalTheta`, `ropeTheta`   |
 */

import { always, type ConfigOf, flag, maybe, paddingToken, positive, size, text } from '../nn/config.ts'
import { normal } from '../nn/initializers.ts'
import { rmsNorm, rmsNormHeads } from '../nn/layers.ts'
import {
  type CausalInputs,
  CausalNetwork,
  type CausalOptions,
  causalOutputs,
  embedTokens,
  paddingRow,
} from '../nn/model.ts'
import { layeredRopeFields, ropeTables } from '../nn/rope-config.ts'
import type { Scope } from '../nn/scope.ts'
import { checkWindows, layerTypesField, windowField, windowOf } from '../nn/windows.ts'
import { type Tensor, tanh } from '../tensor/index.ts'
import { LlamaConfig, type LlamaContext, llamaAttend, llamaProjections, swiGlu } from './llama.ts'

type Pattern = { nLayers: number; windowPattern: number }

/** What is left out is as in the reference implementation. */
export const Gemma3Config = LlamaConfig.extend(
  'Gemma 3',
  ['Gemma3ForCausalLM'],
  {
    vocabSize: ['vocab_size', size, 262208],
    maxPositions: ['max_position_embeddings', size, 131072],
    dModel: ['hidden_size', size, 2304],
    nLayers: ['num_hidden_layers', size, 26],
    nHeads: ['num_attention_heads', size, 8],
    nKvHeads: ['num_key_value_heads', size, 4],
    headDim: ['head_dim', size, 256],
    dInner: ['intermediate_size', size, 9216],
    activation: ['hidden_activation', text, 'gelu_pytorch_tanh'],
    ...layeredRopeFields(1_000_000, 10_000),
    tieWordEmbeddings: ['tie_word_embeddings', flag, true],
    padTokenId: paddingToken(0),
    mlpBias: always(false),
    /** Scores are divided by its square root. */
    queryPreAttnScalar: ['query_pre_attn_scalar', positive, 256],
    slidingWindow: windowField(4096),
    /** Where `layer_types` are not listed: each such layer sees all. */
    windowPattern: ['sliding_window_pattern', size, 6],
    layerTypes: layerTypesField<Pattern>((c, i) =>
      (i + 1) % c.windowPattern === 0 ? 'full_attention' : 'sliding_attention',
    ),
    finalLogitSoftcap: ['final_logit_softcapping', maybe(positive), undefined],
    attnLogitSoftcap: ['attn_logit_softcapping', maybe(positive), undefined],
    bidirectional: ['use_bidirectional_attention', flag, false],
  },
  {
    modelType: 'gemma3_text',
    check: (c) =>
      c.bidirectional
        ? 'use_bidirectional_attention: is true, for an encoder; this model continues text'
        : checkWindows(c),
  },
)
export type Gemma3Config = ConfigOf<typeof Gemma3Config>

/** A norm that scales by 1 + w. */
const norm = (scope: Scope, x: Tensor, c: Gemma3Config): Tensor =>
  rmsNorm(scope, x, c.rmsNormEpsilon, { aroundOne: true })

/** LLaMA's attention between normalised queries and keys (§2), scaled by the configuration's number. */
export function gemma3Attention(scope: Scope, x: Tensor, c: Gemma3Config, context: LlamaContext): Tensor {
  const [query, key, value] = llamaProjections(scope, x, c)
  const options = { aroundOne: true }
  const q = rmsNormHeads(scope.at('q_norm'), query, c.nHeads, c.rmsNormEpsilon, options)
  const k = rmsNormHeads(scope.at('k_norm'), key, c.nKvHeads, c.rmsNormEpsilon, options)
  return llamaAttend(scope, [q, k, value], c, { ...context, scale: 1 / Math.sqrt(c.queryPreAttnScalar) })
}

/** x + norm(attention(norm(x))), then x + norm(GeGLU(norm(x))). */
export function gemma3Block(scope: Scope, x: Tensor, c: Gemma3Config, context: LlamaContext): Tensor {
  const normed = (name: string, x: Tensor) => norm(scope.at(name), x, c)
  const attended = gemma3Attention(scope.at('self_attn'), normed('input_layernorm', x), c, context)
  x = x.add(normed('post_attention_layernorm', attended))
  const hidden = swiGlu(scope.at('mlp'), normed('pre_feedforward_layernorm', x), c)
  return x.add(normed('post_feedforward_layernorm', hidden))
}

/** cap · tanh(x / cap): as x is near zero, and never beyond the cap (Gemma 2, arXiv 2408.00118, §2). */
export const softCap = (x: Tensor, cap: number): Tensor => tanh(x.div(cap)).mul(cap)

export class Gemma3 extends CausalNetwork<Gemma3Config> {
  static readonly table = Gemma3Config
  static override readonly baseModelPrefix = 'model.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'model.embed_tokens.weight' }

  get embeddingScale(): number {
    return Math.sqrt(this.config.dModel)
  }

  /** @returns logits [batch, seq, vocabSize] */
  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask, positionIds } = inputs
    const { cache } = options
    const model = scope.at('model')
    const table = (part: Scope) => part.param('weight', [c.vocabSize, c.dModel], normal(c.initializerRange))
    const rotary = ropeTables(c, { ...inputs, cache })
    const local = { ...c, ropeTheta: c.ropeLocalTheta, ropeScaling: c.ropeLocalScaling }
    const localRotary = ropeTables(local, { ...inputs, cache })

    const embedded = embedTokens(() => table(model.at('embed_tokens')), inputs, paddingRow(c))
    let x = inputs.inputsEmbeds ? embedded : embedded.mul(this.embeddingScale)
    for (let i = 0; i < c.nLayers; i++) {
      const window = windowOf(c, i)
      const turning = window > 0 ? localRotary : rotary
      const context = { attentionMask, positionIds, cache, window, rotary: turning }
      x = scope.block(gemma3Block, model.at('layers', i), x, c, context)
    }
    x = norm(model.at('norm'), x, c)
    const head = table(c.tieWordEmbeddings ? model.at('embed_tokens') : scope.at('lm_head'))
    const { finalLogitSoftcap: cap } = c
    const finish = (logits: Tensor) => (cap === undefined ? logits : softCap(logits, cap))
    return causalOutputs(x, head, inputs, options, { finish })
  }
}
