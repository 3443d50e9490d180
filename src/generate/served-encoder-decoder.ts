import type { EncoderDecoder } from './encoder-decoder.ts'
import { Sequence } from './sequence.ts'
import type { ServedParts } from './served.ts'
import type { ChatMessage, GenerationEvent, GenerationRequest, ServedModel } from './types.ts'
import { unitLength } from './unit-length.ts'

/**
 * Tokens of the longest text to read. Relative positions set no bound, but attention's biases grow with the square:
 * this is what Flan-T5 was tuned on (Chung et al., 2022, arXiv 2210.11416).
 */
const DEFAULT_CONTEXT_LENGTH = 2048

/** A model that reads a text and answers it, for the server: one answer at a time, the others wait. */
export class ServedEncoderDecoder implements ServedModel {
  readonly id: string
  readonly created: number
  readonly description: string
  readonly contextLength: number
  readonly answerLength: number
  readonly vocabSize: number
  readonly canChat = true
  readonly canEmbed = true
  private readonly waiting: Sequence[] = []
  private running = false
  /** What the encoder read last: several answers to one text read it once. */
  private source: readonly number[] = []

  constructor(private readonly parts: ServedParts & { decoder: EncoderDecoder; contextLength?: number }) {
    const { id, created, description, decoder, contextLength = DEFAULT_CONTEXT_LENGTH } = parts
    this.id = id
    this.created = created
    this.description = description
    this.contextLength = contextLength
    this.answerLength = decoder.decoder.capacity
    this.vocabSize = decoder.decoder.vocabSize
  }

  encode(text: string): number[] {
    return [...this.parts.tokenizer.encode(text)]
  }

  decode(ids: readonly number[]): string {
    return this.parts.tokenizer.decode(ids)
  }

  /** The user's last message: the model knows no turns. */
  renderChat(messages: readonly ChatMessage[]): number[] {
    const last = messages.findLast(({ role }) => role === 'user')
    if (!last) throw new Error('there is no message of the user')
    return this.encode(last.content)
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent> {
    const { promptIds, scorePrompt, signal } = request
    if (promptIds.length === 0) throw new RangeError('the prompt has no tokens')
    if (promptIds.length > this.contextLength) {
      throw new RangeError(`the prompt has ${promptIds.length} tokens; ${this.id} reads ${this.contextLength}`)
    }
    if (scorePrompt) throw new RangeError(`${this.id} reads its prompt all at once: its tokens have no probabilities`)
    signal?.throwIfAborted()
    const sequence = new Sequence(request, this.parts.tokenizer, this.parts.stopTokenIds)
    this.waiting.push(sequence)
    void this.run()
    yield* sequence.read()
  }

  async embed(inputs: readonly (readonly number[])[]): Promise<Float32Array[]> {
    const vectors: Float32Array[] = []
    for (const ids of inputs) vectors.push(unitLength(await this.parts.decoder.embed(ids)))
    return vectors
  }

  /** One answer after another, at the model's pace and not at its readers'. */
  private async run(): Promise<void> {
    if (this.running) return
    this.running = true
    for (let next = this.waiting.shift(); next; next = this.waiting.shift()) {
      try {
        await this.write(next)
      } catch (error) {
        next.fail(error)
      }
    }
    this.running = false
  }

  private async write(sequence: Sequence): Promise<void> {
    if (sequence.abandoned) return
    const { decoder: encoderDecoder } = this.parts
    const { decoder, startTokenId } = encoderDecoder
    const { promptIds } = sequence.request
    const known = promptIds.length === this.source.length && promptIds.every((id, i) => id === this.source[i])
    if (known) sequence.cachedTokens = promptIds.length
    else {
      this.source = []
      await encoderDecoder.read(promptIds)
      this.source = promptIds
    }
    let logits = await decoder.prefill(0, [startTokenId], 0)
    for (let length = 1; !sequence.accept(logits, length + 1 < decoder.capacity); length++) {
      if (sequence.abandoned) return
      logits = await decoder.decode([sequence.newestId], [length])
    }
  }
}
