import type { ChatMessage, GenerationEvent, GenerationRequest, ServedModel } from '../../src/generate/types.ts'

/** Ends a piece of an answer where the model waits until it is let go on. */
export const pause = '\u2016'

/** A model that says what a test wrote, token by token, and waits where the test wants to look. */
export class ScriptedModel implements ServedModel {
  readonly id: string
  readonly created = 1_700_000_000
  readonly contextLength: number = 32_768
  readonly vocabSize = 256
  readonly description = 'A model with a script.'
  readonly canChat: boolean
  readonly canEmbed = false
  readonly requests: GenerationRequest[] = []
  private readonly script: (prompt: string, nth: number) => string | Error
  private readonly answered = new Map<string, number>()
  private held: (() => void)[] = []
  /** Let go on before it came to its pause. */
  private early = 0

  /** `script` is given the user's last message, or the whole text, and how often it was asked before. */
  constructor(id: string, canChat: boolean, script: (prompt: string, nth: number) => string | Error) {
    this.id = id
    this.canChat = canChat
    this.script = script
  }

  /** Lets every answer that waits go on to its next pause; where none waits yet, the one that is on its way to it. */
  release(): void {
    const held = this.held
    if (held.length === 0) this.early++
    this.held = []
    for (const goOn of held) goOn()
  }

  encode(text: string): number[] {
    return [...Buffer.from(text)]
  }

  decode(ids: readonly number[]): string {
    return Buffer.from(ids).toString()
  }

  renderChat(messages: readonly ChatMessage[]): number[] {
    return this.encode(messages.at(-1)?.content ?? '')
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, void> {
    this.requests.push(request)
    const prompt = this.decode(request.promptIds)
    const nth = this.answered.get(prompt) ?? 0
    this.answered.set(prompt, nth + 1)
    const answer = this.script(prompt, nth)
    if (answer instanceof Error) throw answer
    let tokens = 0
    for (const piece of answer.match(/\s*\S+\s*/g) ?? []) {
      request.signal?.throwIfAborted()
      const text = piece.replace(pause, '')
      if (text !== '') yield { type: 'token', id: tokens++, text }
      if (piece.includes(pause)) await this.paused(request.signal)
    }
    const promptTokens = request.promptIds.length
    yield {
      type: 'end',
      reason: 'stop',
      promptTokens,
      cachedTokens: 0,
      completionTokens: tokens,
      promptMs: 40,
      decodeMs: 10 * (tokens - 1),
    }
  }

  embed(): Promise<Float32Array[]> {
    return Promise.reject(new Error('a scripted model has no vectors'))
  }

  protected paused(signal: AbortSignal | undefined): Promise<void> {
    if (this.early > 0) {
      this.early--
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      this.held.push(resolve)
      const stop = () => {
        this.held = this.held.filter((other) => other !== resolve)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', stop, { once: true })
    })
  }
}
