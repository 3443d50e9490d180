import { type Context, Hono } from 'hono'
import type { ServedModel } from '../generate/types.ts'
import { type Answer, idsOfAll } from './answer.ts'
import { ChatAnswer } from './chat-answer.ts'
import { CompletionAnswer } from './completion-answer.ts'
import { badRequest, internalError, RequestError, readBody } from './errors.ts'
import { chatRequest, completionRequest, embeddingRequest, inputList } from './openai-wire.ts'
import type { ServedModels } from './served-models.ts'
import { type AnswerScope, answerScope, eventStream, generateAll } from './stream.ts'

export interface RouteContext {
  models: ServedModels
  logger: { error(fields: object, message: string): void }
  /** Ends answers in writing. */
  shutdown?: AbortSignal
}

/** OpenAI's API. https://platform.openai.com/docs/api-reference */
export function openaiRoutes({ models, logger, shutdown }: RouteContext): Hono {
  const app = new Hono()

  app.get('/models', (context) => context.json({ object: 'list', data: models.all().map(({ model }) => card(model)) }))
  // Ids may have slashes, as names on hubs do.
  app.get('/models/:id{.+}', (context) => context.json(card(models.get(context.req.param('id')).model)))

  app.post('/chat/completions', async (context) => {
    const request = await readBody(context, chatRequest)
    return respond(context, await ChatAnswer.create(models.get(request.model), request), request)
  })

  app.post('/completions', async (context) => {
    const request = await readBody(context, completionRequest)
    return respond(context, await CompletionAnswer.create(models.get(request.model), request), request)
  })

  app.post('/embeddings', async (context) => {
    const request = await readBody(context, embeddingRequest)
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
    const leave = desk.enter()
    try {
      const vectors = await model.embed(inputs)
      const encode = request.encoding_format === 'base64' ? base64 : (vector: Float32Array) => [...vector]
      const tokens = inputs.reduce((sum, ids) => sum + ids.length, 0)
      return context.json({
        object: 'list',
        data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: encode(vector) })),
        model: model.id,
        usage: { prompt_tokens: tokens, total_tokens: tokens },
      })
    } finally {
      leave()
    }
  })

  return app

  async function respond(
    context: Context,
    answer: Answer,
    request: { stream?: boolean | null; stream_options?: { include_usage?: boolean | null } | null },
  ): Promise<Response> {
    const scope = answerScope(answer.desk.enter(), context.req.raw.signal, shutdown)
    if (request.stream) {
      const pieces = streamed(answer, scope, request.stream_options?.include_usage ?? false)
      return eventStream(pieces, scope.release)
    }
    try {
      for await (const { index, event } of generateAll(answer.desk, answer.requests(scope.signal))) {
        if (event.type === 'end') answer.choices[index].end(event)
        else answer.choices[index].add(event)
      }
      return context.json(answer.whole())
    } catch (error) {
      if (scope.signal.aborted) throw new RequestError(503, messageOf(scope.signal.reason))
      throw error
    } finally {
      scope.release()
    }
  }

  async function* streamed(
    answer: Answer,
    scope: AnswerScope,
    includeUsage: boolean,
  ): AsyncGenerator<string, void, void> {
    const extra = includeUsage ? { usage: null } : {}
    try {
      for (const choice of answer.choices) {
        const opening = choice.opening()
        if (opening) yield data({ ...answer.head(true), choices: [opening], ...extra })
      }
      for await (const { index, event } of generateAll(answer.desk, answer.requests(scope.signal))) {
        const choice = answer.choices[index]
        const delta = event.type === 'end' ? choice.end(event) : choice.add(event)
        if (delta) yield data({ ...answer.head(true), choices: [delta], ...extra })
      }
      if (includeUsage) yield data({ ...answer.head(true), choices: [], usage: answer.usage() })
      yield 'data: [DONE]\n\n'
    } catch (error) {
      // The client is gone, or is told why the answer stops short.
      if (!scope.signal.aborted) logger.error({ err: error }, 'an answer failed')
      const message = scope.signal.aborted ? messageOf(scope.signal.reason) : internalError().message
      yield data({ error: { message, type: 'server_error', param: null, code: 'internal_error' } })
    } finally {
      scope.release()
    }
  }
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
