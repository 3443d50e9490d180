import type { Detokenizer, Tokenizer } from '../text/tokenizer.ts'
import { applyPenalties, Draws, largestIds, logSumExp, sample, TokenCounts } from './sampling.ts'
import { StopText } from './stop-text.ts'
import { DEFAULT_MAX_NEW_TOKENS } from './tokens.ts'
import type { GenerationEvent, GenerationRequest, TokenEvent, TokenLogProb } from './types.ts'

/** One request on its way: what it has said so far, and what is still to be told. */
export class Sequence {
  private readonly events = new EventQueue()
  newestId = -1
  cachedTokens = 0
  /** Nobody reads on: whoever writes it stops. */
  abandoned = false
  /** Tokens of the prompt that were told, or need not be. */
  private told: number
  private completionTokens = 0
  private readonly started = performance.now()
  private firstTokenAt = 0
  private readonly counts: TokenCounts
  private readonly draws: Draws
  private readonly detokenizer: Detokenizer
  private readonly promptText: Detokenizer
  private readonly stopText: StopText
  private readonly stopIds: ReadonlySet<number>
  /** A token whose text may still grow by what was held back. */
  private pending?: TokenEvent

  constructor(
    readonly request: GenerationRequest,
    private readonly tokenizer: Tokenizer,
    stopTokenIds: readonly number[],
  ) {
    this.counts = new TokenCounts(request.promptIds)
    this.draws = new Draws(request.seed ?? Math.floor(Math.random() * 2 ** 32))
    this.detokenizer = tokenizer.stream({ skipSpecialTokens: true })
    this.promptText = tokenizer.stream({ skipSpecialTokens: true })
    this.stopText = new StopText(request.stop ?? [])
    this.stopIds = new Set([...stopTokenIds, ...(request.stopTokenIds ?? [])])
    this.told = request.scorePrompt ? 0 : request.promptIds.length
    if (request.scorePrompt) this.tellPrompt()
  }

  /**
   * What is computed before the first call of `accept`. Of a prompt to be scored that is its first token: the others are
   * decoded one by one like an answer's, only that they are given and not drawn.
   */
  get toPrefill(): readonly number[] {
    const { promptIds, scorePrompt } = this.request
    return scorePrompt ? promptIds.slice(0, 1) : promptIds
  }

  /** The events as they come, to the end; the sequence is abandoned where its reader leaves before, or aborts. */
  async *read(): AsyncGenerator<GenerationEvent> {
    const { signal } = this.request
    const wake = () => this.events.wake()
    signal?.addEventListener('abort', wake)
    try {
      for (;;) {
        const event = await this.events.next(signal)
        yield event
        if (event.type === 'end') return
      }
    } finally {
      signal?.removeEventListener('abort', wake)
      this.abandoned = true
    }
  }

  fail(error: unknown): void {
    this.events.fail(error)
  }

  /**
   * Takes the logits of the next token, chooses it, and tells what is certain.
   *
   * @returns whether the answer has ended
   */
  accept(logits: Float32Array, hasRoom: boolean): boolean {
    const { maxNewTokens = DEFAULT_MAX_NEW_TOKENS, topLogProbs, promptIds } = this.request
    if (this.told < promptIds.length) {
      this.tellPrompt(logits)
      return this.told === promptIds.length && maxNewTokens <= 0 ? this.end('length') : false
    }
    if (maxNewTokens <= 0) return this.end('length')
    applyPenalties(logits, this.request, this.counts)
    const id = sample(logits, this.request, this.draws)
    if (this.completionTokens === 0) this.firstTokenAt = performance.now()
    if (this.stopIds.has(id)) return this.end('stop')
    this.newestId = id
    this.completionTokens++
    this.counts.add(id)
    this.tell({
      type: 'token',
      id,
      text: this.stopText.push(this.detokenizer.push(id)),
      ...(topLogProbs === undefined ? {} : this.logProbs(logits, id, topLogProbs)),
    })
    if (this.stopText.stopped) return this.end('stop')
    return this.completionTokens >= maxNewTokens || !hasRoom ? this.end('length') : false
  }

  /** @param logits - after the tokens before; the first token has none */
  private tellPrompt(logits?: Float32Array): void {
    const id = this.request.promptIds[this.told++]
    this.newestId = id
    const scores = logits && this.logProbs(logits, id, this.request.topLogProbs ?? 0)
    this.events.push({ type: 'prompt', id, text: this.promptText.push(id), ...scores })
  }

  private tell(event: TokenEvent): void {
    if (this.pending) this.events.push(this.pending)
    this.pending = event
    // Text that cannot change any more is told at once.
    if (event.text !== '' || (this.request.stop ?? []).length === 0) this.release()
  }

  private release(): void {
    if (this.pending) this.events.push(this.pending)
    this.pending = undefined
  }

  private end(reason: 'stop' | 'length'): true {
    const rest = this.stopText.stopped ? '' : this.stopText.push(this.detokenizer.flush()) + this.stopText.flush()
    if (rest !== '') {
      if (this.pending) this.pending = { ...this.pending, text: this.pending.text + rest }
      else this.events.push({ type: 'token', id: this.newestId, text: rest })
    }
    this.release()
    const now = performance.now()
    const firstTokenAt = this.firstTokenAt || now
    this.events.push({
      type: 'end',
      reason,
      promptTokens: this.request.promptIds.length,
      cachedTokens: this.cachedTokens,
      completionTokens: this.completionTokens,
      promptMs: firstTokenAt - this.started,
      decodeMs: now - firstTokenAt,
    })
    return true
  }

  private logProbs(logits: Float32Array, id: number, count: number): Pick<TokenEvent, 'logProb' | 'topLogProbs'> {
    const normalizer = logSumExp(logits)
    const entry = (token: number): TokenLogProb => ({
      id: token,
      text: this.tokenizer.decode([token]),
      logProb: logits[token] - normalizer,
    })
    return { logProb: logits[id] - normalizer, topLogProbs: largestIds(logits, count).map(entry) }
  }
}

/** Events on their way from the engine's loop to the reader of one request. */
class EventQueue {
  private readonly events: GenerationEvent[] = []
  private failure?: { error: unknown }
  private waiting?: () => void

  push(event: GenerationEvent): void {
    this.events.push(event)
    this.wake()
  }

  fail(error: unknown): void {
    this.failure = { error }
    this.wake()
  }

  wake(): void {
    this.waiting?.()
    this.waiting = undefined
  }

  async next(signal?: AbortSignal): Promise<GenerationEvent> {
    for (;;) {
      signal?.throwIfAborted()
      const event = this.events.shift()
      if (event) return event
      if (this.failure) throw this.failure.error
      await new Promise<void>((resolve) => {
        this.waiting = resolve
      })
    }
  }
}
