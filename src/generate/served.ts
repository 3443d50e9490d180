import { statSync } from 'node:fs'
import { type LoadedModel, type LoadOptions, loadModel } from '../load/load.ts'
import type { Model } from '../nn/model.ts'
import { giveBackMemory } from '../runtime/memory.ts'
import '../runtime/node.ts'
import { type NodeProvider, nodeBackend } from '../runtime/ort-node.ts'
import { sizeOf } from '../tensor/index.ts'
import { renderChat } from '../text/chat-template.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { CachedDecoder, type Weights } from './decoder.ts'
import { EncoderDecoder, isEncoderDecoder } from './encoder-decoder.ts'
import { Engine } from './engine.ts'
import { isCausal } from './generator.ts'
import { ServedEncoderDecoder } from './served-encoder-decoder.ts'
import type { ChatMessage, GenerationEvent, GenerationRequest, ServedModel } from './types.ts'
import { unitLength } from './unit-length.ts'

export interface ServedOptions extends LoadOptions {
  provider?: NodeProvider
  /** Threads of the one pool that all models share. */
  threads?: number
  /** Requests decoded at once. Default 8. */
  slots?: number
  /** The longest context to keep; the model's own where left out. */
  contextLength?: number
}

const DEFAULT_SLOTS = 8

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
  const { name, path, model, weights, tokenizer, stopTokenIds } = loaded
  const { provider, slots } = options
  const answers = isEncoderDecoder(model)
  if (!answers && !isCausal(model)) throw new Error(`${reference} does not write text, so it cannot be served`)
  if (!tokenizer) throw new Error(`${reference} has no tokenizer.json, so it cannot be served`)
  const created = Math.floor(statSync(path).mtimeMs / 1000)
  const description = describe(model, weights, options.quantize)
  const parts = { id: name, created, description, tokenizer, stopTokenIds }
  const capacity = options.contextLength
  if (answers) {
    const decoder = await EncoderDecoder.create(model, weights, { provider, copyWeights: true })
    return new ServedEncoderDecoder({ ...parts, decoder, contextLength: capacity })
  }
  const decoder = await CachedDecoder.create(model, weights, { slots, capacity, provider, copyWeights: true })
  return new ServedCausalLm({ ...parts, decoder })
}

/** `Llama, 135M parameters, fp32` */
function describe(model: Model, weights: Weights, quantize: ServedOptions['quantize']): string {
  const count = [...weights.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const size = count >= 1e9 ? `${(count / 1e9).toFixed(1)}B` : `${Math.max(1, Math.round(count / 1e6))}M`
  return `${model.constructor.name}, ${size} parameters, ${quantize ?? 'fp32'}`
}

/** What every served model is made of, whatever decodes it. */
export interface ServedParts {
  readonly id: string
  readonly created: number
  readonly description: string
  readonly tokenizer: Tokenizer
  readonly stopTokenIds: readonly number[]
}

class ServedCausalLm implements ServedModel {
  readonly id: string
  readonly created: number
  readonly description: string
  readonly contextLength: number
  readonly vocabSize: number
  readonly canChat: boolean
  readonly canEmbed = true
  private readonly engine: Engine

  constructor(private readonly parts: ServedParts & { readonly decoder: CachedDecoder }) {
    const { id, created, description, tokenizer, decoder, stopTokenIds } = parts
    this.id = id
    this.created = created
    this.description = description
    this.contextLength = decoder.capacity
    this.vocabSize = decoder.vocabSize
    this.canChat = tokenizer.chatTemplate !== undefined
    this.engine = new Engine(decoder, tokenizer, stopTokenIds)
  }

  encode(text: string): number[] {
    return [...this.parts.tokenizer.encode(text)]
  }

  decode(ids: readonly number[]): string {
    return this.parts.tokenizer.decode(ids)
  }

  renderChat(messages: readonly ChatMessage[]): number[] {
    const { tokenizer } = this.parts
    if (!tokenizer.chatTemplate) throw new Error(`${this.id} was not taught to chat: it has no chat template`)
    const special = (id: number | undefined): string | undefined =>
      id === undefined ? undefined : tokenizer.tokenOf(id)
    const text = renderChat(
      tokenizer.chatTemplate,
      messages.map(({ role, content }) => ({ role, content })),
      { addGenerationPrompt: true, bosToken: special(tokenizer.bosTokenId), eosToken: special(tokenizer.eosTokenId) },
    )
    return [...tokenizer.encode(text, { addSpecialTokens: false })]
  }

  generate(request: GenerationRequest): AsyncIterable<GenerationEvent> {
    return this.engine.generate(request)
  }

  async embed(inputs: readonly (readonly number[])[]): Promise<Float32Array[]> {
    const vectors: Float32Array[] = []
    for (const ids of inputs) vectors.push(unitLength(await this.parts.decoder.embed(ids)))
    return vectors
  }
}
