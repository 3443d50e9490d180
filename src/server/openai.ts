import { type Context, Hono } from 'hono'
import type { Logger } from 'pino'
import type { z } from 'zod'
import { GrammarError } from '../generate/grammar.ts'
import type { GenerationEvent, ServedModel } from '../generate/types.ts'
import { type Answer, type Choice, idsOfAll } from './answer.ts'
import { ChatAnswer } from './chat-answer.ts'
import { CompletionAnswer } from './completion-answer.ts'
import { badRequest, check, internalError, RequestError, readJson } from './errors.ts'
import type { Limits } from './limits.ts'
import { chatRequest, completionRequest, embeddingRequest, inputList, unknownFields } from './openai-wire.ts'
import type { AppEnv } from './request-id.ts'
import type { ModelDesk, ServedModels } from './served-models.ts'
import { type AnswerScope, answerScope, answerStream, generateAll } from './stream.ts'
import type { ToolEvent } from './tool-rounds.ts'

export interface RouteContext {
  models: ServedModels
  logger: Pick<Logger, 'debug' | 'error'>
  /** Ends answers in writing. */
  shutdown?: AbortSignal
}

interface OpenaiContext extends RouteContext {
  limits: Limits
}

/** OpenAI's API. https://platform.openai.com/docs/api-reference */
export function openaiRoutes({ models, logger, shutdown, limits }: OpenaiContext): Hono<AppEnv> {
  const app = new Hono<AppEnv>()

  app.get('/models', (context) => context.json({ object: 'list', data: models.all().map(({ model }) => card(model)) }))
  // Ids may have slashes, as names on hubs do.
  app.get('/models/:id{.+}', (context) => context.json(card(models.get(context.req.param('id')).model)))

  app.post('/chat/completions', async (context) => {
    const request = await readRequest(context, chatRequest)
    return respond(context, await ChatAnswer.create(models.writer(request.model), request), request)
  })

  app.post('/completions', async (context) => {
    const request = await readRequest(context, completionRequest)
    return respond(context, await CompletionAnswer.create(models.writer(request.model), request), request)
  })

  app.post('/embeddings', async (context) => {
    const request = await readRequest(context, embeddingRequest)
    const desk = models.get(request.model)
    const { model } = desk
    if (!model.canEmbed) throw badRequest(`The model '${model.id}' does not make embeddings.`, 'model')
    const inputs = await idsOfAll(model, inputList(request.input), 'input')
    for (const ids of inputs) {
      if (ids.length === 0) throw badRequest("Invalid 'input': it has no tokens.", 'input', 'invalid_value')
      if (ids.length > model.contextLength) {
        throw badRequest(
          `The context of ${model.id} is ${model.contextLength} tokens, and an input has ${ids.length}; shorten it.`,
          'input',
          'context_length_exceeded',
        )
      }
    }
    const scope = await admitted(context, desk)
    try {
      const vectors = await model.embed(inputs, scope.signal)
      const encode = request.encoding_format === 'base64' ? base64 : (vector: Float32Array) => [...vector]
      const tokens = inputs.reduce((sum, ids) => sum + ids.length, 0)
      return context.json({
        object: 'list',
        data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: encode(vector) })),
        model: model.id,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      })
    } catch (error) {
      throw scope.signal.aborted ? endedEarly(scope.signal) : error
    } finally {
      scope.release()
    }
  })

  return app

  /** The body, checked. Fields that nobody here knows are left alone: clients of other servers send many. */
  async function readRequest<Schema extends z.ZodObject>(
    context: Context<AppEnv>,
    schema: Schema,
  ): Promise<z.output<Schema>> {
    const body = await readJson(context)
    const unknown = unknownFields(schema, body)
    if (unknown.length > 0) {
      logger.debug({ requestId: context.var.requestId, fields: unknown }, 'unknown fields are ignored')
    }
    return check(schema, body)
  }

  /** Waits for the request's turn. The place and the turn are its until it steps aside or is released. */
  async function admitted(context: Context, desk: ModelDesk): Promise<AnswerScope & { stepAside(): void }> {
    const leave = desk.enter()
    let endTurn = () => {}
    const stepAside = () => {
      endTurn()
      leave()
    }
    const scope = answerScope(stepAside, context.req.raw.signal, shutdown)
    try {
      endTurn = await desk.turn(scope.signal)
      return { ...scope, stepAside }
    } catch (error) {
      const failure = scope.signal.aborted ? endedEarly(scope.signal) : error
      scope.release()
      throw failure
    }
  }

  async function respond(
    context: Context<AppEnv>,
    answer: Answer,
    request: { stream?: boolean | null; stream_options?: { include_usage?: boolean | null } | null },
  ): Promise<Response> {
    const scope = await admitted(context, answer.desk)
    if (request.stream) {
      const pieces = streamed(answer, scope, request.stream_options?.include_usage ?? false, context.var.requestId)
      return answerStream(pieces, scope.release, scope.stepAside, limits)
    }
    try {
      for await (const { index, event } of generateAll(answer.desk, answer.requests(scope.signal), answer.ownTools)) {
        tell(answer.choices[index], event)
      }
      return context.json(answer.whole())
    } catch (error) {
      if (error instanceof GrammarError) throw grammarFailure(error)
      throw scope.signal.aborted ? endedEarly(scope.signal) : error
    } finally {
      scope.release()
    }
  }

  async function* streamed(
    answer: Answer,
    scope: AnswerScope,
    includeUsage: boolean,
    requestId: string,
  ): AsyncGenerator<string, void, void> {
    const extra = includeUsage ? { usage: null } : {}
    try {
      for (const choice of answer.choices) {
        const opening = choice.opening()
        if (opening) yield data({ ...answer.head(true), choices: [opening], ...extra })
      }
      for await (const { index, event } of generateAll(answer.desk, answer.requests(scope.signal), answer.ownTools)) {
        const delta = tell(answer.choices[index], event)
        if (delta) yield data({ ...answer.head(true), choices: [delta], ...extra })
      }
      if (includeUsage) yield data({ ...answer.head(true), choices: [], usage: answer.usage() })
      yield 'data: [DONE]\n\n'
    } catch (error) {
      if (error instanceof GrammarError) return yield data(grammarFailure(error).body)
      // The client is gone, or is told why the answer stops short.
      if (!scope.signal.aborted) logger.error({ err: error, requestId }, 'an answer failed')
      const message = scope.signal.aborted ? messageOf(scope.signal.reason) : internalError().message
      yield data({ error: { message, type: 'server_error', param: null, code: 'internal_error' } })
    } finally {
      scope.release()
    }
  }
}

/** The client is gone, and nobody reads this; or the server is shutting down. */
const endedEarly = ({ reason }: AbortSignal): RequestError =>
  new RequestError(503, messageOf(reason), { retryAfter: 5 })

/** Where a grammar turns out to be more than an answer can keep to. */
const grammarFailure = ({ message }: GrammarError): RequestError =>
  badRequest(`The answer cannot be written: ${message}.`, null, 'invalid_value')

function tell(choice: Choice, event: GenerationEvent | ToolEvent): object | undefined {
  if (event.type === 'end') return choice.end(event)
  return event.type === 'tool' ? choice.tool(event) : choice.add(event)
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`

const card = (model: ServedModel) => ({
  id: model.id,
  object: 'model',
  created: model.created,
  owned_by: 'jackdaw',
  // As other servers of open models name it.
  max_model_len: model.contextLength,
})

function base64(vector: Float32Array): string {
  const bytes = Buffer.alloc(4 * vector.length)
  vector.forEach((value, index) => {
    bytes.writeFloatLE(value, 4 * index)
  })
  return bytes.toString('base64')
}
