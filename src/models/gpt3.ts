/**
 * Language Models are Few-Shot Learners — GPT-3
 * Brown, Mann, Ryder, Subbiah et al., OpenAI, 2020. arXiv 2005.14165
 *
 * New over GPT-2 (§2.1):
 * - every other layer attends to a band of the latest positions only, as in the Sparse Transformer;
 * - 175 billion parameters, and a family of eight sizes to see what size does (table 2.1);
 * - a task is told by a few solved examples in the context, without a step of training (§2.4; `prompt/few-shot.ts`);
 * - the batch grows while training goes on (appendix B).
 *
 * Departures: OpenAI's weights were never released. The layout is that of GPT-Neo, the open model with the paper's
 * alternating layers: query, key and value are projected apart and without biases, and scores are not divided by
 * √d_head. The band is a window of exact width, where the Sparse Transformer has blocks and strides.
 *
 * | paper                 | here                                              |
 * |-----------------------|---------------------------------------------------|
 * | d_model, n_layers     | `dModel`, `nLayers`                               |
 * | n_heads, d_head       | `nHeads`, `headDim`                               |
 * | n_ctx                 | `maxPositions`                                    |
 * | dense, locally banded | `global` and `local` in `attentionLayers`, `window` |
 * | batch size            | `gpt3BatchTokens`                                 |
 */

import { type AttentionOptions, attention } from '../nn/attention.ts'
import {
  between,
  type ConfigOf,
  config,
  type FieldCodec,
  flag,
  listOf,
  oneOf,
  pair,
  positive,
  rate,
  readField,
  size,
  text,
} from '../nn/config.ts'
import { normal } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import {
  type CausalInputs,
  type CausalOptions,
  causalOutputs,
  embedPositions,
  embedTokens,
  SegmentedCausalNetwork,
} from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { activation, causalMask, hideKeys, type Tensor } from '../tensor/index.ts'

/** Whether a layer attends to all that came before, or to the latest positions only. */
export type AttentionLayer = 'global' | 'local'

const layerKind = oneOf('global', 'local')
/** [[["global", "local"], 12]]: a pattern, and how often it comes. */
const patterns = listOf(pair(listOf(layerKind), between(0, 4096)))

/** Dense and banded layers in turn (§2.1). */
const alternating = (nLayers: number): AttentionLayer[] =>
  Array.from({ length: nLayers }, (_, i) => (i % 2 === 0 ? 'global' : 'local'))

const attentionLayers: FieldCodec<readonly AttentionLayer[], { nLayers: number }> = {
  default: (c) => alternating(c.nLayers),
  // The list of layers counts where a file has both.
  read: (json) =>
    readField(json, 'attention_layers', listOf(layerKind)) ??
    readField(json, 'attention_types', patterns)?.flatMap(([kinds, times]) =>
      Array.from({ length: times }, () => kinds).flat(),
    ),
  write: (layers) => ({ attention_types: [[layers, 1]], attention_layers: layers }),
}

/** Features of a head, which the checkpoint's format derives from the others: two of the paper's sizes do not. */
const headDim: FieldCodec<number, { dModel: number; nHeads: number }> = {
  type: positive,
  default: (c) => c.dModel / c.nHeads,
  read: (json) => readField(json, 'head_dim', size),
  write: (headDim, c) => (headDim * c.nHeads === c.dModel ? {} : { head_dim: headDim }),
}

/** What is left out is as in GPT-Neo 1.3B. */
export const GPT3Config = config(
  'GPT-3',
  ['GPTNeoForCausalLM'],
  {
    vocabSize: ['vocab_size', size, 50257],
    maxPositions: ['max_position_embeddings', size, 2048],
    dModel: ['hidden_size', size, 2048],
    nLayers: ['num_layers', size, 24],
    nHeads: ['num_heads', size, 16],
    headDim,
    dInner: ['intermediate_size', size, (c) => 4 * c.dModel],
    attentionLayers,
    /** Positions that a banded layer attends to, its own among them. */
    window: ['window_size', size, 256],
    activation: ['activation_function', text, 'gelu_new'],
    layerNormEpsilon: ['layer_norm_epsilon', positive, 1e-5],
    tieWordEmbeddings: ['tie_word_embeddings', flag, true],
    initializerRange: ['initializer_range', positive, 0.02],
    embeddingDropout: ['embed_dropout', rate, 0],
    attentionDropout: ['attention_dropout', rate, 0],
    residualDropout: ['resid_dropout', rate, 0],
  },
  {
    modelType: 'gpt_neo',
    check({ attentionLayers, nLayers, headDim, nHeads, dModel }) {
      if (attentionLayers.length !== nLayers) {
        return `attention_layers: names ${attentionLayers.length} layers, and num_layers is ${nLayers}`
      }
      return Number.isInteger(headDim) ? undefined : `num_heads: ${nHeads} heads do not divide hidden_size, ${dModel}`
    },
  },
)
export type GPT3Config = ConfigOf<typeof GPT3Config>

/**
 * The paper's eight sizes: `new GPT3(GPT3_SIZES['125M'].config)`; and how each was trained: tokens a batch in the end, and
 * the highest learning rate (table 2.1; n_ctx is 2,048 for all).
 */
export const GPT3_SIZES = {
  '125M': sizeOfTable(12, 768, 12, 64, 0.5e6, 6.0e-4),
  '350M': sizeOfTable(24, 1024, 16, 64, 0.5e6, 3.0e-4),
  '760M': sizeOfTable(24, 1536, 16, 96, 0.5e6, 2.5e-4),
  '1.3B': sizeOfTable(24, 2048, 24, 128, 1e6, 2.0e-4),
  '2.7B': sizeOfTable(32, 2560, 32, 80, 1e6, 1.6e-4),
  '6.7B': sizeOfTable(32, 4096, 32, 128, 2e6, 1.2e-4),
  '13B': sizeOfTable(40, 5140, 40, 128, 2e6, 1.0e-4),
  '175B': sizeOfTable(96, 12288, 96, 128, 3.2e6, 0.6e-4),
} as const

function sizeOfTable(
  nLayers: number,
  dModel: number,
  nHeads: number,
  headDim: number,
  batchTokens: number,
  learningRate: number,
) {
  return { config: { nLayers, dModel, nHeads, headDim }, batchTokens, learningRate }
}

/**
 * Tokens of a batch after so many tokens of training: from 32,000 in a straight line to the full size (appendix B).
 *
 * @param full - of the end: `batchTokens` of the size
 * @param rampTokens - when the full size is reached: after 4 to 12 billion tokens in the paper, "depending on the model size"
 */
export const gpt3BatchTokens = (tokensSeen: number, full: number, rampTokens = 12e9, first = 32_000): number =>
  first + (full - first) * Math.min(tokensSeen / rampTokens, 1)

/**
 * The learning rate after so many tokens: up in a straight line over 375 million, down in a cosine to a tenth at 260
 * billion, and on at that (appendix B).
 *
 * @param peak - `learningRate` of the size
 */
export function gpt3LearningRate(tokensSeen: number, peak: number, warmup = 375e6, decay = 260e9): number {
  if (tokensSeen < warmup) return (peak * tokensSeen) / warmup
  const done = Math.min((tokensSeen - warmup) / (decay - warmup), 1)
  return peak * (0.1 + 0.45 * (1 + Math.cos(Math.PI * done)))
}

type GPT3Context = Pick<AttentionOptions, 'attentionMask' | 'bias' | 'cache' | 'window' | 'constantOutOfReach'>

/** Into the residual stream: of two such projections a block, weights start smaller by √(2 nLayers), as in GPT-2. */
function projectBack(scope: Scope, x: Tensor, c: GPT3Config): Tensor {
  const init = normal(c.initializerRange / Math.sqrt(2 * c.nLayers))
  return scope.dropout(linear(scope, x, c.dModel, { init }), c.residualDropout)
}

/** Attention to oneself and what came before: all of it, or a band of `window` positions (§2.1). */
export function gpt3Attention(scope: Scope, x: Tensor, c: GPT3Config, context: GPT3Context): Tensor {
  const project = (name: string): Tensor =>
    linear(scope.at(name), x, c.nHeads * c.headDim, { bias: false, init: normal(c.initializerRange) })
  const dropout = { scope, rate: c.attentionDropout }
  const [query, key, value] = [project('q_proj'), project('k_proj'), project('v_proj')]
  const attended = attention(query, key, value, { nHeads: c.nHeads, causal: true, scale: 1, dropout, ...context })
  return projectBack(scope.at('out_proj'), attended, c)
}

/** Wider, activated, and back. */
export function gpt3Mlp(scope: Scope, x: Tensor, c: GPT3Config): Tensor {
  const hidden = activation(c.activation)(linear(scope.at('c_fc'), x, c.dInner, { init: normal(c.initializerRange) }))
  return projectBack(scope.at('c_proj'), hidden, c)
}

/** x + attention(LN(x)), then x + MLP(LN(x)), as in GPT-2. */
export function gpt3Block(scope: Scope, x: Tensor, c: GPT3Config, context: GPT3Context): Tensor {
  const norm = (name: string, x: Tensor) => layerNorm(scope.at(name), x, c.layerNormEpsilon)
  x = x.add(gpt3Attention(scope.at('attn', 'attention'), norm('ln_1', x), c, context))
  return x.add(gpt3Mlp(scope.at('mlp'), norm('ln_2', x), c))
}

export class GPT3 extends SegmentedCausalNetwork<GPT3Config> {
  static readonly table = GPT3Config
  static override readonly baseModelPrefix = 'transformer.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'transformer.wte.weight' }

  /** @returns logits [batch, seq, vocabSize] */
  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask } = inputs
    const { cache } = options
    const transformer = scope.at('transformer')
    const table = (part: Scope, rows: number) => part.param('weight', [rows, c.dModel], normal(c.initializerRange))

    const tokens = embedTokens(() => table(transformer.at('wte'), c.vocabSize), inputs)
    const positions = embedPositions(table(transformer.at('wpe'), c.maxPositions), tokens.shape[1], inputs, cache)
    let x = scope.dropout(tokens.add(positions), c.embeddingDropout)
    // The reference hides the future more than padding, and puts a number in place of what is out of the band. It shows
    // where a query sees nothing but padding.
    const bias = attentionMask && hideKeys(causalMask(tokens.shape[1]))
    const context = { attentionMask, bias, cache, constantOutOfReach: true }
    for (const [i, kind] of c.attentionLayers.entries()) {
      const window = kind === 'local' ? c.window : 0
      x = scope.block(gpt3Block, transformer.at('h', i), x, c, { ...context, window })
    }
    x = layerNorm(transformer.at('ln_f'), x, c.layerNormEpsilon)
    const head = table(c.tieWordEmbeddings ? transformer.at('wte') : scope.at('lm_head'), c.vocabSize)
    return causalOutputs(x, head, inputs, options)
  }
}
