import { statSync } from 'node:fs'
import type { LoadedModel } from '../load/load.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import type { Embedder } from './embedder.ts'
import { FairTokenizer } from './fair-tokenizer.ts'
import type { GenerationEvent, ServedModel } from './types.ts'

/** Requests that are embedded at once: each runs on all threads. */
const SLOTS = 2

export interface EmbedderParts extends Pick<LoadedModel, 'name' | 'path' | 'kind'> {
  readonly description: string
  readonly tokenizer: Tokenizer
  readonly vocabSize: number
  readonly embedder: Embedder
  /** Texts are read in small letters. */
  readonly lowerCase: boolean
}

/** An encoder for the server: it makes embeddings of texts, and writes none. */
export class ServedEmbedder implements ServedModel {
  readonly id: string
  readonly created: number
  readonly description: string
  readonly contextLength: number
  readonly vocabSize: number
  readonly slots = SLOTS
  readonly canWrite = false
  readonly canChat = false
  readonly canEmbed = true
  private readonly text: FairTokenizer

  constructor(private readonly parts: EmbedderParts) {
    const { name, path, description, tokenizer, vocabSize, embedder } = parts
    this.id = name
    this.created = Math.floor(statSync(path).mtimeMs / 1000)
    this.description = description
    this.contextLength = embedder.maxLength
    this.vocabSize = vocabSize
    this.text = new FairTokenizer(tokenizer, parts)
  }

  /** The ids of a text; what is beyond the longest that the model takes is cut off, as sentence-transformers does. */
  async encode(text: string): Promise<number[]> {
    const read = this.parts.lowerCase ? text.toLowerCase() : text
    const ids = await this.text.encode(read)
    if (ids.length <= this.contextLength) return ids
    const body = await this.text.encode(read, { addSpecialTokens: false })
    const around = ids.length - body.length
    const before = Array.from({ length: around + 1 }, (_, i) => i).find((i) =>
      body.every((id, at) => ids[i + at] === id),
    )
    const start = before ?? 0
    const kept = body.slice(0, Math.max(0, this.contextLength - around))
    return [...ids.slice(0, start), ...kept, ...ids.slice(start + body.length)]
  }

  decode(ids: readonly number[]): string {
    return this.parts.tokenizer.decode(ids)
  }

  renderChat(): never {
    throw this.refusal()
  }

  // biome-ignore lint/correctness/useYield: it writes nothing.
  async *generate(): AsyncGenerator<GenerationEvent> {
    throw this.refusal()
  }

  embed(inputs: readonly (readonly number[])[], signal?: AbortSignal): Promise<Float32Array[]> {
    return this.parts.embedder.embed(inputs, signal)
  }

  private refusal(): Error {
    return new Error(`${this.id} makes embeddings and writes no text`)
  }
}
