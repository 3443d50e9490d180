/**
 * CodeGen: An Open Large Language Model for Code with Multi-Turn Program Synthesis
 * Nijkamp, Pang, Hayashi, Tu, Wang, Zhou, Savarese and Xiong, Salesforce, 2022. arXiv 2203.13474
 *
 * The open model that stands for Codex (Chen et al., 2021, arXiv 2107.03374), whose weights were never released: a
 * decoder trained on text, then on code, then on Python.
 *
 * New over GPT-2 (§2.2):
 * - attention and MLP read the same normalised input, side by side, and are added at once;
 * - rotary positions, on the first features of every head, in place of a table of positions.
 *
 * Departures: none from the released weights: their query, value and key lie in four shards, one for each of the
 * processors that trained them.
 *
 * | paper                 | here                          |
 * |-----------------------|-------------------------------|
 * | hidden size, layers   | `dModel`, `nLayers`           |
 * | heads, their features | `nHeads`, dModel / nHeads     |
 * | rotary features       | `rotaryDim`                   |
 */

import { type AttentionOptions, attention } from '../nn/attention.ts'
import { type ConfigOf, config, flag, positive, rate, size, text } from '../nn/config.ts'
import { normal, zeros } from '../nn/initializers.ts'
import { layerNorm, linear } from '../nn/layers.ts'
import {
  type CausalInputs,
  type CausalOptions,
  causalOutputs,
  embedTokens,
  SegmentedCausalNetwork,
} from '../nn/model.ts'
import { ropeTables } from '../nn/rope-config.ts'
import type { Scope } from '../nn/scope.ts'
import { activation, causalMask, expandDims, hideKeys, type Tensor } from '../tensor/index.ts'

/** Parts that the rows of `qkv_proj` lie in, each with the query, value and key of its heads. */
const SHARDS = 4

/** What is left out is as the reference implementation takes it. */
export const CodeGenConfig = config(
  'CodeGen',
  ['CodeGenForCausalLM'],
  {
    vocabSize: ['vocab_size', size, 50400],
    maxPositions: ['n_positions', size, 2048],
    dModel: ['n_embd', size, 4096],
    nLayers: ['n_layer', size, 28],
    nHeads: ['n_head', size, 16],
    rotaryDim: ['rotary_dim', size, 64],
    dInner: ['n_inner', size, (c) => 4 * c.dModel],
    activation: ['activation_function', text, 'gelu_new'],
    layerNormEpsilon: ['layer_norm_epsilon', positive, 1e-5],
    tieWordEmbeddings: ['tie_word_embeddings', flag, false],
    initializerRange: ['initializer_range', positive, 0.02],
    embeddingDropout: ['embd_pdrop', rate, 0],
    attentionDropout: ['attn_pdrop', rate, 0],
    residualDropout: ['resid_pdrop', rate, 0],
  },
  {
    check({ dModel, nHeads, rotaryDim }) {
      if (dModel % nHeads !== 0) return `n_head: ${nHeads} heads do not divide n_embd, ${dModel}`
      if (nHeads % SHARDS !== 0) return `n_head: ${nHeads} heads do not fit ${SHARDS} shards of qkv_proj`
      const fits = rotaryDim % 2 === 0 && rotaryDim <= dModel / nHeads
      return fits ? undefined : `rotary_dim: ${rotaryDim} is no even part of a head's ${dModel / nHeads} features`
    },
  },
)
export type CodeGenConfig = ConfigOf<typeof CodeGenConfig>

/** Sizes released with the paper (table 6, and the checkpoints). */
export const CODEGEN_SIZES = {
  '350M': { dModel: 1024, nLayers: 20, nHeads: 16, rotaryDim: 32 },
  '2B': { dModel: 2560, nLayers: 32, nHeads: 32, rotaryDim: 64 },
  '6B': { dModel: 4096, nLayers: 33, nHeads: 16, rotaryDim: 64 },
  '16B': { dModel: 6144, nLayers: 34, nHeads: 24, rotaryDim: 64 },
} as const

type CodeGenContext = Pick<AttentionOptions, 'bias' | 'positionIds' | 'cache' | 'rotary'> & { causal: boolean }

/**
 * Attention to oneself and what came before, over queries and keys of which the first features turn with their positions.
 *
 * @param x - [batch, seq, dModel]
 */
export function codegenAttention(scope: Scope, x: Tensor, c: CodeGenConfig, context: CodeGenContext): Tensor {
  const init = normal(c.initializerRange)
  const [batch, seq] = x.shape
  const packed = linear(scope.at('qkv_proj'), x, 3 * c.dModel, { bias: false, init })
  const shards = packed.reshape([batch, seq, SHARDS, 3, c.dModel / SHARDS])
  const [query, value, key] = shards.split(3, 3).map((part) => part.reshape([batch, seq, c.dModel]))
  const dropout = { scope, rate: c.attentionDropout }
  const attended = attention(query, key, value, { nHeads: c.nHeads, dropout, ...context })
  return scope.dropout(linear(scope.at('out_proj'), attended, c.dModel, { bias: false, init }), c.residualDropout)
}

/** Wider, activated, and back. */
export function codegenMlp(scope: Scope, x: Tensor, c: CodeGenConfig): Tensor {
  const init = normal(c.initializerRange)
  const hidden = activation(c.activation)(linear(scope.at('fc_in'), x, c.dInner, { init }))
  return scope.dropout(linear(scope.at('fc_out'), hidden, c.dModel, { init }), c.residualDropout)
}

/** x + attention(LN(x)) + MLP(LN(x)), with one normalisation for both. */
export function codegenBlock(scope: Scope, x: Tensor, c: CodeGenConfig, context: CodeGenContext): Tensor {
  const normalized = layerNorm(scope.at('ln_1'), x, c.layerNormEpsilon)
  const attended = codegenAttention(scope.at('attn'), normalized, c, context)
  return x.add(attended).add(codegenMlp(scope.at('mlp'), normalized, c))
}

export class CodeGen extends SegmentedCausalNetwork<CodeGenConfig> {
  static readonly table = CodeGenConfig
  static override readonly baseModelPrefix = 'transformer.'
  static readonly tiedHead = { head: 'lm_head.weight', table: 'transformer.wte.weight' }

  /** @returns logits [batch, seq, vocabSize] */
  forward(scope: Scope, inputs: CausalInputs, options: CausalOptions = {}) {
    const { config: c } = this
    const { attentionMask, positionIds } = inputs
    const { cache } = options
    const transformer = scope.at('transformer')
    const table = (part: Scope) => part.param('weight', [c.vocabSize, c.dModel], normal(c.initializerRange))

    const tokens = embedTokens(() => table(transformer.at('wte')), inputs)
    const angles = { headDim: c.rotaryDim, maxPositions: c.maxPositions, ropeTheta: 10_000 }
    const rotary = { ...ropeTables(angles, { ...inputs, cache }), interleaved: true }
    // The reference hides padding and the future alike. It shows where a query has nothing but padding before it.
    const seen = attentionMask && causalMask(tokens.shape[1]).and(expandDims(attentionMask, 1).greater(0))
    const bias = seen && expandDims(hideKeys(seen), 1) // [batch, 1, seq, seq]
    let x = scope.dropout(tokens, c.embeddingDropout)
    for (let i = 0; i < c.nLayers; i++) {
      const context = { bias, causal: bias === undefined, positionIds, cache, rotary }
      x = scope.block(codegenBlock, transformer.at('h', i), x, c, context)
    }
    x = layerNorm(transformer.at('ln_f'), x, c.layerNormEpsilon)
    const head = scope.at('lm_head')
    const headTable = table(c.tieWordEmbeddings ? transformer.at('wte') : head)
    return causalOutputs(x, headTable, inputs, options, { bias: head.param('bias', [c.vocabSize], zeros) })
  }
}
