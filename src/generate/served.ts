import { statSync } from 'node:fs'
import type { ToolSpec } from '../data/instruction/conversation.ts'
import { type LoadedModel, type LoadOptions, loadModel } from '../load/load.ts'
import type { Model, TextEncoder } from '../nn/model.ts'
import type { Weights } from '../runtime/compile.ts'
import { giveBackMemory } from '../runtime/memory.ts'
import '../runtime/node.ts'
import { readSentenceEncoding } from '../load/sentence-transformer.ts'
import { type NodeProvider, nodeBackend } from '../runtime/ort-node.ts'
import { sizeOf } from '../tensor/index.ts'
import type { EncodeOptions, Tokenizer } from '../text/tokenizer.ts'
import { automatonOf } from './automaton.ts'
import { CompiledGrammar, Constraint } from './constrained.ts'
import { CachedDecoder, isWriter, type Prompt } from './decoder.ts'
import { Embedder } from './embedder.ts'
import { Engine } from './engine.ts'
import { FairTokenizer } from './fair-tokenizer.ts'
import { type BlankIds, blankIdsOf, blankPrompt, blanksAt, withBlank } from './fill-blanks.ts'
import type { Grammar } from './grammar.ts'
import { ServedEmbedder } from './served-embedder.ts'
import { textEvents } from './text-events.ts'
import { type ToolTemplate, templateMessages, toolTemplateOf } from './tool-calls.ts'
import { readToolset } from './toolset-file.ts'
import {
  type ChatMessage,
  DEFAULT_MAX_NEW_TOKENS,
  type GenerationEvent,
  type GenerationRequest,
  type ServedModel,
  type TemplateVariables,
  type Toolset,
} from './types.ts'
import { unitLength } from './unit-length.ts'
import { type Vocabulary, vocabularyOf } from './vocabulary.ts'

export interface ServedOptions extends LoadOptions {
  provider?: NodeProvider
  /** Threads of the one pool that all models share. */
  threads?: number
  /** Requests decoded at once. Default 8. */
  slots?: number
  /**
   * The same prompt, options and seed give the same answer, to the last bit, whatever was asked before and is asked
   * beside it: docs/determinism.md. Costs a position of the context, and time. Default false.
   */
  deterministic?: boolean
  /** The longest context to keep; the model's own where left out. */
  contextLength?: number
}

const DEFAULT_SLOTS = 8

/**
 * Tokens of the longest text that an encoder reads. Relative positions set no bound, but attention's biases grow with the
 * square: this is what Flan-T5 was tuned on (Chung et al., 2022, arXiv 2210.11416).
 */
const DEFAULT_SOURCE_LENGTH = 2048

/** What loading leaves is collected this long after it. */
const SETTLE_MS = 1000

/** Loads a model and makes it answer: what `jackdaw serve` and `jackdaw chat` stand on. */
export async function loadServedModel(reference: string, options: ServedOptions = {}): Promise<ServedModel> {
  const { provider = 'cpu', threads, slots = DEFAULT_SLOTS } = options
  const opening = nodeBackend(provider, { threads })
  const loaded = await loadModel(reference, { ...options, mapped: true })
  try {
    await opening
    return await serve(reference, loaded, { ...options, provider, slots })
  } finally {
    loaded.releaseFiles()
    // Not at once: the first answer is waited for.
    setTimeout(giveBackMemory, SETTLE_MS).unref()
  }
}

async function serve(reference: string, loaded: LoadedModel, options: ServedOptions): Promise<ServedModel> {
  const { model, weights, tokenizer } = loaded
  const { provider, contextLength, deterministic } = options
  if (!isWriter(model) && !isEncoder(model)) {
    throw new Error(`${reference} neither writes nor reads text, so it cannot be served`)
  }
  if (!tokenizer) throw new Error(`${reference} has no tokenizer.json, so it cannot be served`)
  const description = describe(model, weights, options.quantize)
  if (isEncoder(model)) return serveEncoder(model, loaded, tokenizer, description, options)
  const answers = model.kind === 'encoder-decoder'
  const capacity = answers ? undefined : contextLength
  // Texts of several lengths are padded to read side by side: one at a time there is nothing to depend on.
  const slots = deterministic && answers ? 1 : options.slots
  const decoder = await CachedDecoder.create(model, weights, {
    slots,
    capacity,
    provider,
    // What reads a text in both directions reads the weights where they lie.
    copyWeights: !(model.kind === 'causal' && model.fillsBlanks),
    deterministic: deterministic && !answers,
  })
  const longestSource = answers ? (model.maxPositions ?? Number.POSITIVE_INFINITY) : 0
  const sourceLength = answers ? Math.min(contextLength ?? DEFAULT_SOURCE_LENGTH, longestSource) : undefined
  const { name, path, kind, stopTokenIds } = loaded // and not the weights, which the decoder has copied
  const toolset = kind === 'folder' ? readToolset(path) : undefined
  return new ServedWriter({ name, path, kind, stopTokenIds, tokenizer, description, decoder, sourceLength, toolset })
}

const isEncoder = (model: Model): model is TextEncoder => model.kind === 'encoder'

async function serveEncoder(
  model: TextEncoder,
  { weights, name, path, kind }: LoadedModel,
  tokenizer: Tokenizer,
  described: string,
  { provider, contextLength = Number.POSITIVE_INFINITY }: ServedOptions,
): Promise<ServedModel> {
  const encoding = readSentenceEncoding(path)
  const maxLength = Math.min(contextLength, encoding.maxLength ?? contextLength)
  const embedder = await Embedder.create(
    model,
    weights,
    { ...encoding, maxLength },
    { on: provider, copyWeights: true },
  )
  const how = `${encoding.pooling.join(' and ')} of its states${encoding.normalize ? ', unit length' : ''}`
  const description = `${described}; embeddings of ${embedder.width} numbers: ${how}`
  const { vocabSize } = model
  return new ServedEmbedder({
    name,
    path,
    kind,
    tokenizer,
    vocabSize,
    embedder,
    description,
    lowerCase: encoding.lowerCase,
  })
}

/** `Llama, 135M parameters, fp32` */
function describe(model: Model, weights: Weights, quantize: ServedOptions['quantize']): string {
  const count = [...weights.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const size = count >= 1e9 ? `${(count / 1e9).toFixed(1)}B` : `${Math.max(1, Math.round(count / 1e6))}M`
  return `${model.constructor.name}, ${size} parameters, ${quantize ?? 'fp32'}`
}

interface ServedParts extends Pick<LoadedModel, 'name' | 'path' | 'kind' | 'stopTokenIds'> {
  readonly description: string
  readonly tokenizer: Tokenizer
  readonly decoder: CachedDecoder
  readonly toolset?: Toolset
  /** Where the model has an encoder: tokens of the longest text that it reads. */
  readonly sourceLength?: number
}

/** A model that writes, for the server: text in, text out. */
class ServedWriter implements ServedModel {
  readonly id: string
  readonly path: string
  readonly created: number
  readonly description: string
  readonly contextLength: number
  readonly answerLength?: number
  readonly vocabSize: number
  readonly slots: number
  readonly canChat: boolean
  readonly canEmbed = true
  readonly toolTemplate?: ToolTemplate
  readonly toolset?: Toolset
  private readonly engine: Engine
  private readonly text: FairTokenizer
  private vocabulary?: Vocabulary
  private readonly grammars = new WeakMap<Grammar, CompiledGrammar>()

  constructor(private readonly parts: ServedParts) {
    const { name, path, description, tokenizer, decoder, sourceLength } = parts
    this.id = name
    this.path = path
    this.created = Math.floor(statSync(path).mtimeMs / 1000)
    this.description = description
    this.contextLength = sourceLength ?? decoder.capacity
    this.answerLength = sourceLength === undefined ? undefined : decoder.capacity
    this.vocabSize = decoder.vocabSize
    this.slots = decoder.slots
    this.canChat = sourceLength !== undefined || tokenizer.chatTemplate !== undefined
    const template = sourceLength === undefined ? tokenizer.chatTemplate : undefined
    if (template !== undefined) {
      this.toolTemplate = toolTemplateOf(template)
      this.toolset = parts.toolset
    }
    this.engine = new Engine(decoder)
    this.text = new FairTokenizer(tokenizer, parts)
  }

  encode(text: string, options?: EncodeOptions): Promise<number[]> {
    return this.text.encode(text, options)
  }

  decode(ids: readonly number[]): string {
    return this.parts.tokenizer.decode(ids)
  }

  async renderChat(
    messages: readonly ChatMessage[],
    variables?: TemplateVariables,
    tools: readonly ToolSpec[] = [],
  ): Promise<number[]> {
    const { tokenizer, sourceLength } = this.parts
    if (sourceLength !== undefined) {
      // Such a model knows no turns.
      const last = messages.findLast(({ role }) => role === 'user')
      if (!last) throw new Error('there is no message of the user')
      return this.encode(last.content)
    }
    if (!tokenizer.chatTemplate) throw new Error(`${this.id} was not taught to chat: it has no chat template`)
    const special = (id: number | undefined): string | undefined =>
      id === undefined ? undefined : tokenizer.tokenOf(id)
    const told = templateMessages(messages, tools, this.toolTemplate as ToolTemplate)
    const text = await this.text.process.render(tokenizer.chatTemplate, told.messages, {
      tools: told.tools,
      addGenerationPrompt: true,
      bosToken: special(tokenizer.bosTokenId),
      eosToken: special(tokenizer.eosTokenId),
      variables,
    })
    return this.encode(text, { addSpecialTokens: false })
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent> {
    const { tokenizer, decoder, stopTokenIds, sourceLength } = this.parts
    const { promptIds, grammar, ...rest } = request
    const { scorePrompt, maxNewTokens = DEFAULT_MAX_NEW_TOKENS } = rest
    // Prompt and answer share the context; an answer to a source has one of its own, that its start token begins.
    const room = sourceLength === undefined ? this.contextLength - promptIds.length : decoder.capacity - 1
    if (promptIds.length > this.contextLength || (room === 0 && maxNewTokens > 0)) {
      throw new RangeError(
        `the prompt has ${promptIds.length} tokens; ${this.id} has a context of ${this.contextLength}, answer included`,
      )
    }
    if (scorePrompt && (sourceLength !== undefined || decoder.fillsBlanks)) {
      throw new RangeError(`${this.id} reads its prompt all at once: its tokens have no probabilities`)
    }
    const blanks = decoder.fillsBlanks ? blankIdsOf(tokenizer, this.id) : undefined
    const prompt = blanks ? this.blankPrompt(promptIds, blanks) : decoder.promptOf(promptIds)
    const ends = blanks ? [blanks.endId] : []
    yield* textEvents(this.engine, tokenizer, {
      ...rest,
      ...prompt,
      ...(grammar && { constraint: new Constraint(this.compiled(grammar)) }),
      stopTokenIds: [...ends, ...stopTokenIds, ...(request.stopTokenIds ?? [])],
      maxNewTokens: Math.min(maxNewTokens, room),
    })
  }

  private compiled(grammar: Grammar): CompiledGrammar {
    let compiled = this.grammars.get(grammar)
    if (!compiled) {
      this.vocabulary ??= vocabularyOf(this.parts.tokenizer, this.vocabSize)
      compiled = new CompiledGrammar(automatonOf(grammar), this.vocabulary)
      this.grammars.set(grammar, compiled)
    }
    return compiled
  }

  /** An answer is what belongs into one blank: that of the text, or what comes after it. */
  private blankPrompt(promptIds: readonly number[], specials: BlankIds): Prompt {
    const ids = withBlank(promptIds, specials)
    const count = blanksAt(ids, specials).length
    if (count > 1) {
      throw new RangeError(`the text has ${count} blanks; here one is filled at a time, jackdaw generate fills all`)
    }
    return blankPrompt(ids, [], specials)
  }

  async embed(inputs: readonly (readonly number[])[], signal?: AbortSignal): Promise<Float32Array[]> {
    const vectors: Float32Array[] = []
    for (const ids of inputs) {
      signal?.throwIfAborted()
      vectors.push(unitLength(await this.parts.decoder.embed(ids, signal)))
    }
    return vectors
  }
}
