import type { Constraint } from './constrained.ts'
import type { CachedDecoder, Prompt } from './decoder.ts'
import { GrammarError } from './grammar.ts'
import { applyPenalties, Draws, largestIds, logSumExp, sample, TokenCounts } from './sampling.ts'
import { DEFAULT_MAX_NEW_TOKENS, type EndEvent, type IdEvent, type SamplingOptions } from './types.ts'

/** What the engine is asked: a prompt, and how to go on from it. */
export interface EngineRequest extends Prompt, Omit<SamplingOptions, 'stop'> {
  /** What every answer is to be; it is this request's alone. */
  readonly constraint?: Constraint
  /** Tell the prompt's ids too, each with its log-probability after those before it. */
  readonly scorePrompt?: boolean
  /** Told each new token as it is chosen; the answer ends with the one for which it says true. */
  readonly stopWhen?: (id: number) => boolean
  readonly signal?: AbortSignal
}

export type EngineEvent = IdEvent | EndEvent

/** One request on its way: what it has said so far, and what is still to be told. */
export class Sequence {
  private readonly events = new EventQueue()
  newestId = -1
  promptTokens = 0
  /** Of these, how many did not have to be computed again. */
  cachedTokens = 0
  /** Nobody reads on: whoever writes it stops. */
  abandoned = false
  private completionTokens = 0
  private readonly started = performance.now()
  private firstTokenAt = 0
  private readonly counts: TokenCounts
  private readonly draws: Draws
  private readonly stopIds: ReadonlySet<number>

  /**
   * @param ids - those of the prompt that go through the cache one after another
   * @param rules - what the model says of every answer
   */
  constructor(
    readonly request: EngineRequest,
    readonly ids: readonly number[],
    private readonly rules: Pick<CachedDecoder, 'forcedEndTokenId' | 'barredTokenIds'>,
  ) {
    this.counts = new TokenCounts(request.promptIds ?? ids)
    this.draws = new Draws(request.seed ?? Math.floor(Math.random() * 2 ** 32))
    this.stopIds = new Set(request.stopTokenIds)
    if (request.scorePrompt) this.events.push({ type: 'prompt', id: ids[0] })
  }

  /** The events as they come, to the end; the sequence is abandoned where its reader leaves before, or aborts. */
  async *read(): AsyncGenerator<EngineEvent> {
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
   * Tells ids of a prompt that is to be scored.
   *
   * @param from - the first of them
   * @param logits - after the ids before each: [rows, vocabSize]
   */
  tellPrompt(from: number, logits: Float32Array, vocabSize: number): void {
    const ids = this.ids.slice(from, from + logits.length / vocabSize)
    for (const [i, id] of ids.entries()) {
      const scores = this.logProbs(logits.subarray(i * vocabSize, (i + 1) * vocabSize), id)
      this.events.push({ type: 'prompt', id, ...scores })
    }
  }

  /**
   * Takes the logits of the next token, chooses it, and tells it.
   *
   * @returns whether the answer has ended
   * @throws GrammarError where nothing may follow that the request's grammar allows
   */
  accept(logits: Float32Array, hasRoom: boolean): boolean {
    const { maxNewTokens = DEFAULT_MAX_NEW_TOKENS, minNewTokens = 0, topLogProbs, stopWhen, constraint } = this.request
    if (maxNewTokens <= 0) return this.end('length')
    applyPenalties(logits, this.request, this.counts)
    if (this.completionTokens < minNewTokens) for (const id of this.stopIds) logits[id] = Number.NEGATIVE_INFINITY
    const { forcedEndTokenId: forced, barredTokenIds } = this.rules
    for (const id of barredTokenIds) if (!this.stopIds.has(id)) logits[id] = Number.NEGATIVE_INFINITY
    const isLast = this.completionTokens + 1 >= maxNewTokens || !hasRoom
    const isForced = isLast && forced !== undefined
    constraint?.apply(logits, this.stopIds)
    if (isForced) logits.fill(Number.NEGATIVE_INFINITY)[forced] = 0
    const id = sample(logits, this.request, this.draws)
    if (constraint && logits[id] === Number.NEGATIVE_INFINITY) {
      throw new GrammarError('the grammar allows only tokens here that the request excludes')
    }
    if (this.completionTokens++ === 0) this.firstTokenAt = performance.now()
    this.newestId = id
    this.counts.add(id)
    this.events.push({ type: 'token', id, ...(topLogProbs === undefined ? {} : this.logProbs(logits, id)) })
    if (!isForced && (this.stopIds.has(id) || stopWhen?.(id))) return this.end('stop')
    if (!isForced) constraint?.advance(id)
    // What is complete needs no token that says so.
    if (constraint?.isFinal) return this.end('stop')
    return isLast ? this.end('length') : false
  }

  private end(reason: 'stop' | 'length'): true {
    const now = performance.now()
    const firstTokenAt = this.firstTokenAt || now
    this.events.push({
      type: 'end',
      reason,
      promptTokens: this.promptTokens,
      cachedTokens: this.cachedTokens,
      completionTokens: this.completionTokens,
      promptMs: firstTokenAt - this.started,
      decodeMs: now - firstTokenAt,
    })
    return true
  }

  private logProbs(logits: Float32Array, id: number): Pick<IdEvent, 'logProb' | 'topLogProbs'> {
    const normalizer = logSumExp(logits)
    const logProb = (token: number): number => logits[token] - normalizer
    const largest = largestIds(logits, this.request.topLogProbs ?? 0)
    const top = largest.filter((token) => logits[token] > Number.NEGATIVE_INFINITY)
    return { logProb: logProb(id), topLogProbs: top.map((token) => ({ id: token, logProb: logProb(token) })) }
  }
}

/** Events on their way from the engine's loop to the reader of one request. */
class EventQueue {
  private readonly events: EngineEvent[] = []
  private failure?: { error: unknown }
  private waiting?: () => void

  push(event: EngineEvent): void {
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

  async next(signal?: AbortSignal): Promise<EngineEvent> {
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
