import type { AnswerEvent, EndEvent, GenerationEvent, GenerationRequest, ServedModel } from '../generate/types.ts'
import { badRequest, RequestError } from './errors.ts'
import { defaultLimits, type Limits } from './limits.ts'
import { ModelTally } from './metrics.ts'
import { type OwnTools, type ToolEvent, toolRounds } from './tool-rounds.ts'
import type { Status } from './wire.ts'

export type DeskLimits = Pick<Limits, 'maxRequests' | 'maxWaitMs'>

/** How many of the last answers the reported speed is taken from. */
const speedWindow = 8

/** One model with its queue and its speed. */
export class ModelDesk {
  readonly model: ServedModel
  readonly tally = new ModelTally()
  private readonly limits: DeskLimits
  private active = 0
  /** Requests that have their turn. */
  private running = 0
  /** Those that wait for it, the longest first. */
  private readonly queue: (() => void)[] = []
  private readonly recent: EndEvent[] = []

  constructor(model: ServedModel, limits: Partial<DeskLimits> = {}) {
    this.model = model
    this.limits = { ...defaultLimits, ...limits }
  }

  /** A place for one request, until the returned function is called. @throws RequestError 429 where all are taken. */
  enter(): () => void {
    if (this.active >= this.limits.maxRequests) {
      this.tally.turnedAway.add({ reason: 'full' })
      throw new RequestError(429, `${this.model.id} has ${this.active} requests in hand; try again in a moment.`, {
        code: 'rate_limit_exceeded',
        retryAfter: 1,
      })
    }
    this.active++
    let entered = true
    return () => {
      if (entered) this.active--
      entered = false
    }
  }

  /**
   * Waits until the model writes fewer answers than it can at once. The turn lasts until the returned function is called.
   *
   * @throws RequestError 503 where that takes longer than a request may wait; the signal's reason where it aborts
   */
  async turn(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted()
    const since = performance.now()
    if (this.running < (this.model.slots ?? Number.POSITIVE_INFINITY)) this.running++
    // Whoever ends hands its turn on, so that `running` stays.
    else await this.wait(signal)
    this.tally.waitSeconds.observe((performance.now() - since) / 1000)
    let running = true
    return () => {
      if (!running) return
      running = false
      const next = this.queue.shift()
      if (next) next()
      else this.running--
    }
  }

  private wait(signal: AbortSignal | undefined): Promise<void> {
    const { maxWaitMs } = this.limits
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        const at = this.queue.indexOf(begin)
        if (at >= 0) this.queue.splice(at, 1)
      }
      const begin = () => {
        leave()
        resolve()
      }
      const abort = () => {
        leave()
        reject(signal?.reason)
      }
      const timer = setTimeout(() => {
        leave()
        this.tally.turnedAway.add({ reason: 'waited' })
        const seconds = Math.round(maxWaitMs / 1000)
        const message = `${this.model.id} was busy with others for ${seconds} seconds; try again in a moment.`
        reject(new RequestError(503, message, { code: 'overloaded', retryAfter: 5 }))
      }, maxWaitMs)
      signal?.addEventListener('abort', abort)
      this.queue.push(begin)
    })
  }

  /**
   * @param options.hasTurn - of a request whose answers are written in one turn; another waits for one of its own
   * @param options.ownTools - the model's, where the answer may use them
   */
  async *generate(
    request: GenerationRequest,
    { hasTurn = false, ownTools }: { hasTurn?: boolean; ownTools?: OwnTools } = {},
  ): AsyncGenerator<GenerationEvent | ToolEvent, void, void> {
    const endTurn = hasTurn ? () => {} : await this.turn(request.signal)
    try {
      if (ownTools) yield* toolRounds(this.model, ownTools, request, (round) => this.write(round))
      else yield* this.write(request)
    } finally {
      endTurn()
    }
  }

  private async *write(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, void> {
    if (request.maxNewTokens === 0 && !request.scorePrompt) {
      const promptTokens = request.promptIds.length
      yield {
        type: 'end',
        reason: 'length',
        promptTokens,
        cachedTokens: 0,
        completionTokens: 0,
        promptMs: 0,
        decodeMs: 0,
      }
      return
    }
    yield* this.followed(this.model.generate(request), request)
  }

  /** For readers who see pictures too: what `generate` gives, and what the model draws where it can. */
  async *answer(request: GenerationRequest, ownTools?: OwnTools): AsyncGenerator<AnswerEvent | ToolEvent, void, void> {
    if (!this.model.answer) return yield* this.generate(request, { ownTools })
    const endTurn = await this.turn(request.signal)
    try {
      yield* this.followed(this.model.answer(request), request)
    } finally {
      endTurn()
    }
  }

  private async *followed<Event extends AnswerEvent>(
    events: AsyncIterable<Event>,
    request: GenerationRequest,
  ): AsyncGenerator<Event, void, void> {
    for await (const event of events) {
      // An engine notices an abort at its next step; what it had on the way until then is not wanted any more.
      request.signal?.throwIfAborted()
      if (event.type === 'end') {
        this.tally.end(event)
        this.recent.push(event)
        if (this.recent.length > speedWindow) this.recent.shift()
      }
      yield event
    }
  }

  get busy(): boolean {
    return this.active > 0
  }

  /** What the model is doing, for whoever watches it. */
  get load(): { active: number; running: number; waiting: number } {
    return { active: this.active, running: this.running, waiting: this.queue.length }
  }

  status(): Status['models'][number] {
    const { id, canWrite, canChat, canSee, answerLength, canEmbed, contextLength, description } = this.model
    // The first token of an answer is the prompt's: n tokens are n − 1 steps of decoding.
    const steps = this.recent.reduce((sum, end) => sum + Math.max(0, end.completionTokens - 1), 0)
    const decodeMs = this.recent.reduce((sum, end) => sum + end.decodeMs, 0)
    return {
      id,
      canWrite: canWrite ?? true,
      canChat,
      singleTurn: answerLength !== undefined,
      canSee: canSee ?? false,
      canEmbed,
      contextLength,
      description: description ?? '',
      examples: [...(this.model.toolset?.examples ?? [])],
      activeRequests: this.active,
      tokensPerSecond: steps > 0 && decodeMs > 0 ? (1000 * steps) / decodeMs : null,
    }
  }
}

/** @throws RequestError 400 where the model writes no text */
export function requireWriter({ id, canWrite }: ServedModel): void {
  if (canWrite === false) {
    throw badRequest(`${id} makes embeddings and writes no text: ask /v1/embeddings for them.`, 'model')
  }
}

export class ServedModels {
  /** Those that write first, each kind in the order given; then those that came later. */
  private readonly desks = new Map<string, ModelDesk>()
  readonly default: ModelDesk

  /** @throws where there is none, or two go by the same id. */
  constructor(
    models: readonly ServedModel[],
    private readonly limits?: Partial<DeskLimits>,
  ) {
    if (models.length === 0) throw new Error('There is no model to serve.')
    const writes = (model: ServedModel) => Number(model.canWrite ?? true)
    for (const model of [...models].sort((a, b) => writes(b) - writes(a))) this.add(model)
    this.default = this.all()[0]
  }

  /** @throws where another one goes by its id. */
  add(model: ServedModel): ModelDesk {
    if (this.desks.has(model.id)) throw new Error('Two of the models to serve have the same name.')
    const desk = new ModelDesk(model, this.limits)
    this.desks.set(model.id, desk)
    return desk
  }

  /** It is offered no more; answers that it is writing go on. */
  remove(id: string): void {
    this.desks.delete(id)
  }

  has(id: string): boolean {
    return this.desks.has(id)
  }

  all(): ModelDesk[] {
    return [...this.desks.values()]
  }

  /** The model of that name. @throws RequestError 404 where there is none, 400 where it writes no text. */
  writer(id: string): ModelDesk {
    const desk = this.get(id)
    requireWriter(desk.model)
    return desk
  }

  /** @throws RequestError 404 where there is no such model. */
  get(id: string): ModelDesk {
    const desk = this.desks.get(id)
    if (desk) return desk
    throw new RequestError(
      404,
      `The model '${id}' does not exist; this server has ${[...this.desks.keys()].join(', ')}.`,
      {
        param: 'model',
        code: 'model_not_found',
      },
    )
  }
}
