/**
 * Pre-train, Prompt, and Predict: A Systematic Survey of Prompting Methods in Natural Language Processing
 * Liu, Yuan, Fu, Jiang, Hayashi and Neubig, Carnegie Mellon University and others, 2021. arXiv 2107.13586
 *
 * Prompts that are no words (§4.3.2, §7.2.4: the model is frozen, the prompt is tuned):
 * - prompt tuning: vectors in front of the tokens' embeddings (Lester, Al-Rfou and Constant, 2021, arXiv 2104.08691);
 * - prefix tuning: keys and values in front of every layer's own, which no token made, written by a small network of the
 *   prefix (Li and Liang, 2021, arXiv 2101.00190, eq. 3) that is dropped after training;
 * - both are kept and read as PEFT's files, a few kilobytes beside a model that stays as it is.
 *
 * Departures: prefix tuning's network is PEFT's, of two layers with a tanh between.
 *
 * | papers              | here                                 |
 * |---------------------|--------------------------------------|
 * | P_e, p              | `prompt_embeddings`, `virtualTokens` |
 * | P_θ, P′_θ, MLP_θ    | `prompt_embeddings`, `prompt_encoder` |
 */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { StepRandom } from '../data/random.ts'
import type { Prompt } from '../generate/decoder.ts'
import { readJsonObject, readTensors } from '../hub/safetensors.ts'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import { normal } from '../nn/initializers.ts'
import { type KvCache, LearnedCache, type LearnedLayer } from '../nn/kv-cache.ts'
import { linear } from '../nn/layers.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { int32, trace } from '../nn/trace.ts'
import { compile, type LiveWeights, type Weights } from '../runtime/compile.ts'
import {
  broadcastTo,
  concat,
  embedding,
  expandDims,
  full,
  type Tensor,
  type TensorData,
  tanh,
  tensorData,
} from '../tensor/index.ts'

/** Under which both are kept: [virtualTokens, dModel], or [virtualTokens, nLayers · 2 · nKvHeads · headDim]. */
const NAME = 'prompt_embeddings'

export type SoftPromptInputs = {
  /** int32 [batch, seq] */
  readonly inputIds: Tensor
  /** [batch, seq], 1 for tokens and 0 for padding. */
  readonly attentionMask?: Tensor
}

/** A frozen model with something learned in front of its text. */
export interface SoftPrompt {
  readonly kind: 'PROMPT_TUNING' | 'PREFIX_TUNING'
  readonly model: CausalLm
  readonly virtualTokens: number
  /**
   * The model on a text behind the prompt. Of all parameters only the prompt's are trained; the model's are in the scope
   * under their own names.
   *
   * @returns logits [batch, seq, vocabSize], after the text's tokens
   */
  forward(scope: Scope, inputs: SoftPromptInputs): { logits: Tensor }
  /** What is kept of it: as PEFT saves it, under `prompt_embeddings`. */
  learned(scope: Scope): Tensor
  /** What decoding begins with: for the engine, in front of a prompt's ids. */
  promptOf(learned: TensorData): Pick<Prompt, 'promptEmbeds' | 'initialCache'>
}

/** Vectors in front of the tokens' embeddings: all that is trained is [virtualTokens, dModel]. */
export class PromptTuning implements SoftPrompt {
  readonly kind = 'PROMPT_TUNING'
  readonly virtualTokens: number
  private readonly table: { readonly name: string; readonly shape: readonly number[] }

  /** @throws Error where there is no virtual token, or too many for the model's positions */
  constructor(
    readonly model: CausalLm,
    { virtualTokens }: { virtualTokens: number },
  ) {
    this.virtualTokens = checked(model, virtualTokens)
    this.table = embeddingTable(model)
  }

  learned(scope: Scope): Tensor {
    return scope.param(NAME, [this.virtualTokens, this.table.shape[1]], normal(0.02))
  }

  forward(scope: Scope, { inputIds, attentionMask }: SoftPromptInputs): { logits: Tensor } {
    const { virtualTokens } = this
    const frozen = scope.frozen()
    const rows = embedding(frozen.param(this.table.name, this.table.shape), inputIds)
    const { embeddingScale = 1 } = this.model
    const tokens = embeddingScale === 1 ? rows : rows.mul(embeddingScale)
    const [batch, seq, dModel] = tokens.shape
    const prompt = broadcastTo(expandDims(this.learned(scope), 0), [batch, virtualTokens, dModel])
    const inputsEmbeds = concat([prompt, tokens], 1)
    const mask = attentionMask && concat([full([batch, virtualTokens], 1, attentionMask.dtype), attentionMask], 1)
    const { logits } = this.model.forward(frozen, { inputsEmbeds, attentionMask: mask })
    return {
      logits: logits.slice({
        axis: 1,
        start: virtualTokens,
        end: typeof seq === 'number' ? virtualTokens + seq : undefined,
      }),
    }
  }

  promptOf({ data }: TensorData): Pick<Prompt, 'promptEmbeds'> {
    return { promptEmbeds: data as Float32Array }
  }

  /**
   * The first values that serve best (Lester et al., §3.2): embeddings of tokens of the vocabulary, drawn, or those of a text.
   *
   * @param weights - the model's
   * @param from - a seed, or ids: repeated where they are too few
   */
  fromVocabulary(weights: ReadonlyMap<string, TensorData>, from: number | readonly number[]): TensorData {
    const { name, shape } = this.table
    const table = weights.get(name)
    if (!table) throw new Error(`the weights lack ${name}, whose rows a prompt is to begin with`)
    const random = new StepRandom(typeof from === 'number' ? from : 0, 0)
    const [vocabSize, dModel] = shape
    const { embeddingScale = 1 } = this.model
    const data = new Float32Array(this.virtualTokens * dModel)
    for (let i = 0; i < this.virtualTokens; i++) {
      const id = typeof from === 'number' ? random.below(vocabSize) : from[i % from.length]
      const row = (table.data as Float32Array).subarray(id * dModel, (id + 1) * dModel)
      data.set(
        row.map((value) => value * embeddingScale),
        i * dModel,
      )
    }
    return tensorData('float32', [this.virtualTokens, dModel], data)
  }
}

export interface PrefixOptions {
  readonly virtualTokens: number
  /**
   * Hidden features of the network that writes the prefix while it is trained (Li and Liang, §4.3: to train keys and values
   * themselves is unstable); 0 trains them themselves. Default 0.
   */
  readonly encoderHidden?: number
}

/** Keys and values in front of every layer's own. */
export class PrefixTuning implements SoftPrompt {
  readonly kind = 'PREFIX_TUNING'
  readonly virtualTokens: number
  private readonly layers: readonly LayerShape[]
  private readonly encoderHidden: number

  /** @throws Error where there is no virtual token, or too many, or layers of different widths */
  constructor(
    readonly model: CausalLm,
    { virtualTokens, encoderHidden = 0 }: PrefixOptions,
  ) {
    this.virtualTokens = checked(model, virtualTokens)
    this.encoderHidden = encoderHidden
    this.layers = layerShapes(model)
    if (new Set(this.layers.map(({ nKvHeads, headDim }) => `${nKvHeads} ${headDim}`)).size !== 1) {
      throw new Error(`a prefix is as wide in every layer, and ${model.constructor.name}'s layers are not`)
    }
  }

  /** [virtualTokens, nLayers · 2 · nKvHeads · headDim] (eq. 3) */
  learned(scope: Scope): Tensor {
    const [{ nKvHeads, headDim }] = this.layers
    const width = this.layers.length * 2 * nKvHeads * headDim
    if (this.encoderHidden === 0) return scope.param(NAME, [this.virtualTokens, width], normal(0.02))
    const encoder = scope.at('prompt_encoder')
    const prefix = encoder.at('embedding').param('weight', [this.virtualTokens, nKvHeads * headDim], normal(1))
    const hidden = tanh(linear(encoder.at('transform', 0), prefix, this.encoderHidden))
    return linear(encoder.at('transform', 2), hidden, width)
  }

  forward(scope: Scope, { inputIds, attentionMask }: SoftPromptInputs): { logits: Tensor } {
    const [batch, seq] = inputIds.shape
    const learned = this.learned(scope)
    const [{ nKvHeads, headDim }] = this.layers
    const width = nKvHeads * headDim
    const part = (i: number): Tensor => {
      const piece = learned.slice({ axis: 1, start: i * width, end: (i + 1) * width })
      return broadcastTo(expandDims(piece, 0), [batch, this.virtualTokens, width])
    }
    const layers = this.layers.map((_, i): LearnedLayer => ({ key: part(2 * i), value: part(2 * i + 1) }))
    const cache = new LearnedCache(layers, { batch, seq, length: this.virtualTokens })
    return { logits: this.model.forward(scope.frozen(), { inputIds, attentionMask }, { cache }).logits }
  }

  promptOf({ data }: TensorData): Pick<Prompt, 'initialCache'> {
    const [{ nKvHeads, headDim }] = this.layers
    const { virtualTokens } = this
    const width = nKvHeads * headDim
    const row = this.layers.length * 2 * width
    const part = (i: number): TensorData => {
      const heads = new Float32Array(width * virtualTokens)
      for (let head = 0; head < nKvHeads; head++) {
        for (let position = 0; position < virtualTokens; position++) {
          const from = position * row + i * width + head * headDim
          const values = (data as Float32Array).subarray(from, from + headDim)
          heads.set(values, (head * virtualTokens + position) * headDim)
        }
      }
      return tensorData('float32', [nKvHeads, virtualTokens, headDim], heads)
    }
    return { initialCache: this.layers.map((_, i) => ({ key: part(2 * i), value: part(2 * i + 1) })) }
  }
}

function checked(model: CausalLm, virtualTokens: number): number {
  if (Number.isInteger(virtualTokens) && virtualTokens >= 1 && virtualTokens < model.maxPositions) return virtualTokens
  throw new Error(`a soft prompt has 1 to ${model.maxPositions - 1} virtual tokens here, got ${virtualTokens}`)
}

interface LayerShape {
  readonly nHeads: number
  readonly nKvHeads: number
  readonly headDim: number
}

/** What the model's attention layers keep: asked of the layers themselves. */
function layerShapes(model: CausalLm): LayerShape[] {
  const layers: LayerShape[] = []
  trace(
    (scope, { inputIds }) => {
      const [, seq] = inputIds.shape
      const plain = new LearnedCache([], { batch: 1, seq, length: 0 })
      const asking: KvCache = {
        positionIds: plain.positionIds,
        totalLength: plain.totalLength,
        capacity: plain.capacity,
        attend(query, key, value, options) {
          const { nHeads, nKvHeads, headDim } = options
          layers.push({ nHeads, nKvHeads, headDim })
          return plain.attend(query, key, value, options)
        },
      }
      return { logits: model.forward(scope, { inputIds }, { cache: asking }).logits }
    },
    { inputIds: int32(1, 1) },
  )
  return layers
}

/** The table of the tokens' embeddings: of the model's parameters the first with a row for every token. */
function embeddingTable(model: CausalLm): { name: string; shape: readonly number[] } {
  const { parameters } = trace((scope, { inputIds }) => ({ logits: model.forward(scope, { inputIds }).logits }), {
    inputIds: int32(1, 1),
  })
  const table = [...parameters.values()].find(({ shape }) => shape.length === 2 && shape[0] === model.vocabSize)
  if (!table) throw new Error(`${model.constructor.name} has no table with a row for each of ${model.vocabSize} tokens`)
  return table
}

/** The prompt as it was learned, the network that wrote it left behind. */
export async function readSoftPrompt(prompt: SoftPrompt, weights: Weights | LiveWeights): Promise<TensorData> {
  const run = await compile(
    trace((scope) => ({ learned: prompt.learned(scope) }), {}, { name: 'the soft prompt' }),
    weights,
  )
  try {
    const { learned } = await run({})
    return tensorData('float32', learned.shape, (learned.data as Float32Array).slice())
  } finally {
    run.release()
  }
}

const [CONFIG, WEIGHTS] = ['adapter_config.json', 'adapter_model.safetensors']

/**
 * Writes a prompt as PEFT does: a folder with adapter_config.json and adapter_model.safetensors.
 *
 * @param base - the model that it was learned for, as `base_model_name_or_path`
 */
export async function saveSoftPrompt(
  folder: string,
  prompt: SoftPrompt,
  learned: TensorData,
  { base = null }: { base?: string | null } = {},
): Promise<void> {
  const layers = layerShapes(prompt.model)
  const [{ nHeads, nKvHeads, headDim }] = layers
  const isPrefix = prompt.kind === 'PREFIX_TUNING'
  const config = {
    auto_mapping: null,
    base_model_name_or_path: base,
    inference_mode: true,
    // Of a prefix: those of the keys, where queries share them.
    num_attention_heads: isPrefix ? nKvHeads : nHeads,
    num_layers: layers.length,
    num_transformer_submodules: 1,
    num_virtual_tokens: prompt.virtualTokens,
    peft_type: prompt.kind,
    revision: null,
    task_type: 'CAUSAL_LM',
    token_dim: isPrefix ? nKvHeads * headDim : learned.shape[1],
    ...(isPrefix
      ? { encoder_hidden_size: nKvHeads * headDim, prefix_projection: false }
      : { prompt_tuning_init: 'RANDOM', prompt_tuning_init_text: null, tokenizer_name_or_path: null }),
  }
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, CONFIG), `${JSON.stringify(config, null, 2)}\n`)
  await writeSafetensors(join(folder, WEIGHTS), [[NAME, learned]])
}

/**
 * Reads what PEFT or we wrote, for a model.
 *
 * @throws Error with one sentence where it is of another kind, or of another model
 */
export function loadSoftPrompt(folder: string, model: CausalLm): { prompt: SoftPrompt; learned: TensorData } {
  const config = readJsonObject(join(folder, CONFIG))
  const { peft_type: kind, num_virtual_tokens: count } = config
  if (kind !== 'PROMPT_TUNING' && kind !== 'PREFIX_TUNING') {
    throw new Error(`${folder} is an adapter of type ${String(kind)}: PROMPT_TUNING and PREFIX_TUNING are soft prompts`)
  }
  const { [NAME]: learned } = readTensors(join(folder, WEIGHTS))
  if (!learned) throw new Error(`${join(folder, WEIGHTS)} holds no ${NAME}`)
  const virtualTokens = Number(count)
  const prompt =
    kind === 'PROMPT_TUNING' ? new PromptTuning(model, { virtualTokens }) : new PrefixTuning(model, { virtualTokens })
  const { parameters } = trace((scope) => ({ learned: prompt.learned(scope) }), {})
  const expected = parameters.get(NAME)?.shape
  if (`${learned.shape}` !== `${expected}`) {
    throw new Error(`${folder} holds a prompt of [${learned.shape}], and this model takes [${expected}]`)
  }
  return { prompt, learned }
}
