import type { AnswerEvent, EndEvent, GenerationEvent, GenerationRequest, ServedModel } from '../generate/types.ts'
import { RequestError } from './errors.ts'
import type { Status } from './wire.ts'

/** Requests that one model takes at a time, those that wait in its batch included. */
const defaultMaxActive = 64

/** How many of the last answers the reported speed is taken from. */
const speedWindow = 8

/** One model with its place in the queue and its speed. */
export class ModelDesk {
  readonly model: ServedModel
  private readonly maxActive: number
  private active = 0
  private readonly recent: EndEvent[] = []

  constructor(model: ServedModel, maxActive = defaultMaxActive) {
    this.model = model
    this.maxActive = maxActive
  }

  /** A place for one request, until the returned function is called. @throws RequestError 429 where all are taken. */
  enter(): () => void {
    if (this.active >= this.maxActive) {
      throw new RequestError(429, `${this.model.id} has ${this.active} requests in hand; try again in a moment.`, {
        code: 'rate_limit_exceeded',
      })
    }
    this.active++
    let entered = true
    return () => {
      if (entered) this.active--
      entered = false
    }
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, void> {
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
  async *answer(request: GenerationRequest): AsyncGenerator<AnswerEvent, void, void> {
    if (this.model.answer) yield* this.followed(this.model.answer(request), request)
    else yield* this.generate(request)
  }

  private async *followed<Event extends AnswerEvent>(
    events: AsyncIterable<Event>,
    request: GenerationRequest,
  ): AsyncGenerator<Event, void, void> {
    for await (const event of events) {
      // An engine notices an abort at its next step; what it had on the way until then is not wanted any more.
      request.signal?.throwIfAborted()
      if (event.type === 'end') {
        this.recent.push(event)
        if (this.recent.length > speedWindow) this.recent.shift()
      }
      yield event
    }
  }

  get busy(): boolean {
    return this.active > 0
  }

  status(): Status['models'][number] {
    const { id, canChat, canSee, answerLength, canEmbed, contextLength, description } = this.model
    // The first token of an answer is the prompt's: n tokens are n − 1 steps of decoding.
    const steps = this.recent.reduce((sum, end) => sum + Math.max(0, end.completionTokens - 1), 0)
    const decodeMs = this.recent.reduce((sum, end) => sum + end.decodeMs, 0)
    return {
      id,
      canChat,
      singleTurn: answerLength !== undefined,
      canSee: canSee ?? false,
      canEmbed,
      contextLength,
      description: description ?? '',
      activeRequests: this.active,
      tokensPerSecond: steps > 0 && decodeMs > 0 ? (1000 * steps) / decodeMs : null,
    }
  }
}

export class ServedModels {
  private readonly desks: ReadonlyMap<string, ModelDesk>
  readonly default: ModelDesk

  /** @throws where there is none, or two go by the same id. */
  constructor(models: readonly ServedModel[], maxActive?: number) {
    if (models.length === 0) throw new Error('There is no model to serve.')
    const desks = models.map((model) => new ModelDesk(model, maxActive))
    this.desks = new Map(desks.map((desk) => [desk.model.id, desk]))
    if (this.desks.size < desks.length) throw new Error('Two of the models to serve have the same name.')
    this.default = desks[0]
  }

  all(): ModelDesk[] {
    return [...this.desks.values()]
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
