import { type Context, Hono } from 'hono'
import { arenaRoutes } from './arena.ts'
import { badRequest, check, RequestError, readBody } from './errors.ts'
import { feedbackRoutes } from './feedback-export.ts'
import { fileRoutes } from './files.ts'
import { LiveReplies } from './live-replies.ts'
import type { RouteContext } from './openai.ts'
import { version } from './package.ts'
import { textOf } from './parts.ts'
import { type ReplyJob, type ReplyRequest, replyRequest, writeReply } from './replies.ts'
import type { ModelDesk } from './served-models.ts'
import { type ConversationStore, type NewMessage, ParentError } from './store.ts'
import { StoreError } from './store-error.ts'
import { answerScope, eventStream } from './stream.ts'
import {
  addMessage,
  createConversation,
  type Feedback,
  feedback,
  listQuery,
  type ReplyEvent,
  reply,
  type Status,
  updateConversation,
} from './wire.ts'

const unavailable = {
  full: 'The disk that keeps the conversations is full: nothing new can be kept until there is room.',
  unreachable: 'The database of conversations cannot be reached; what was sent may not have been kept.',
}

export interface ConversationContext extends RouteContext {
  /** May still be opening: only the routes that need it wait. */
  store: ConversationStore | Promise<ConversationStore>
}

/** jackdaw's own routes, as wire.ts lists them. */
export function conversationRoutes({ models, store: opening, logger, shutdown }: ConversationContext): Hono {
  const app = new Hono()
  const startedAt = performance.now()
  const live = new LiveReplies()
  const openStore = async (): Promise<ConversationStore> => {
    try {
      return await opening
    } catch (error) {
      throw new RequestError(503, error instanceof Error ? error.message : String(error), { code: 'no_store' })
    }
  }

  // A database that is full or away is no fault of the request, and asking again later may help.
  app.onError((error) => {
    if (!(error instanceof StoreError) || error.failure === 'failed') throw error
    logger.error({ err: error }, 'the database failed')
    throw new RequestError(503, unavailable[error.failure], { code: `store_${error.failure}` })
  })

  app.get('/status', (context) =>
    context.json({
      version,
      uptimeSeconds: (performance.now() - startedAt) / 1000,
      models: models.all().map((desk) => desk.status()),
    } satisfies Status),
  )

  app.get('/conversations', async (context) => {
    const query = check(listQuery, context.req.query())
    const list = await (await openStore()).list(query)
    if (!list) throw badRequest("Invalid 'cursor': it is not one that this server gave.", 'cursor', 'invalid_value')
    return context.json(list)
  })

  app.post('/conversations', async (context) => {
    const { title, settings } = await readBody(context, createConversation)
    if (settings.model !== undefined) models.get(settings.model)
    return context.json(await (await openStore()).create(title, settings), 201)
  })

  app.get('/conversations/:id', async (context) => {
    return context.json(found(await (await openStore()).read(idOf(context)), 'conversation'))
  })

  app.patch('/conversations/:id', async (context) => {
    const id = idOf(context)
    const change = await readBody(context, updateConversation)
    if (change.settings?.model !== undefined) models.get(change.settings.model)
    const store = await openStore()
    return context.json(found(await within('activeMessageId', store.update(id, change)), 'conversation'))
  })

  app.delete('/conversations/:id', async (context) => {
    found((await (await openStore()).remove(idOf(context))) || undefined, 'conversation')
    return context.body(null, 204)
  })

  app.post('/conversations/:id/messages', async (context) => {
    const message = { conversationId: idOf(context), ...(await readBody(context, addMessage)) }
    const store = await openStore()
    return context.json(found(await within('parentId', store.addMessage(message)), 'conversation').message, 201)
  })

  app.post('/conversations/:id/reply', async (context) => {
    const conversationId = idOf(context)
    const { parentId, content, parts } = await readBody(context, reply)
    const store = await openStore()
    const before = found(await store.find(conversationId), 'conversation')
    // The model that the conversation was held with may be gone; the page says which one answered.
    const desk = models.get(before.settings.model ?? models.default.model.id)

    const branch = parentId === null ? [] : await store.branch(conversationId, parentId)
    if (!branch) throw badRequest('There is no such message in this conversation.', 'parentId')
    const asks = content !== undefined || parts !== undefined
    const question: NewMessage | undefined = asks
      ? { conversationId, parentId, role: 'user', content: content ?? textOf(parts ?? []), parts }
      : undefined
    if (!question && branch.at(-1)?.role !== 'user') {
      throw badRequest('Only a message of the user can be answered.', 'parentId')
    }

    // Nothing is kept of a question that cannot be answered: the page still has its text, to be shortened.
    const request = await replyRequest(desk, before, question ? [...branch, question] : branch, filesOf(store))
    return answer(desk, store, request, async () => {
      const add = async (message: NewMessage) =>
        found(await within('parentId', store.addMessage(message)), 'conversation')
      const asked = question && (await add(question))
      const { conversation, message } = await add({
        conversationId,
        parentId: asked?.message.id ?? parentId,
        role: 'assistant',
        content: '',
        model: desk.model.id,
        omitted: request.omitted,
        settings: request.settings,
      })
      return { conversation, userMessage: asked?.message ?? null, message }
    })
  })

  app.post('/messages/:id/continue', async (context) => {
    const id = idOf(context)
    const store = await openStore()
    const message = found(await store.message(id), 'answer')
    if (message.role !== 'assistant') throw notFound('answer')
    if (message.finishReason === null || message.finishReason === 'stop') {
      throw badRequest('Only an answer that did not come to its own end can be continued.')
    }
    const before = found(await store.find(message.conversationId), 'conversation')
    const desk = models.get(message.model ?? models.default.model.id)
    if (desk.model.answerLength !== undefined) throw badRequest(`${desk.model.id} begins every answer anew.`)
    const branch = found(await store.branch(message.conversationId, id), 'answer')
    const request = await replyRequest(desk, before, branch, filesOf(store))
    return answer(desk, store, request, async () => {
      const { conversation, message } = found(await store.reopenReply(id), 'answer')
      return { conversation, userMessage: null, message }
    })
  })

  /** Has an answer written, whoever reads it, and reads it. @param open - makes the row that it is written into */
  const answer = async (
    desk: ModelDesk,
    store: ConversationStore,
    request: ReplyRequest,
    open: () => Promise<Pick<ReplyJob, 'conversation' | 'userMessage' | 'message'>>,
  ): Promise<Response> => {
    // Not the reader's connection: who loads the page again finds the answer going on.
    const stopped = new AbortController()
    const scope = answerScope(desk.enter(), stopped.signal, shutdown)
    try {
      const opened = await open()
      const log = (error: unknown) => logger.error({ err: error }, 'an answer failed')
      const job = { store, desk, scope, log, ...opened }
      live.add(opened.message.id, writeReply(job, request), () => stopped.abort(), log)
      return readLive(opened.message.id)
    } catch (error) {
      scope.release()
      throw error
    }
  }

  const readLive = (messageId: string): Response =>
    eventStream(serverSentEvents(found(live.read(messageId), 'answer being written')), () => {})

  app.get('/messages/:id/events', (context) => readLive(idOf(context)))

  app.post('/messages/:id/stop', async (context) => {
    const id = idOf(context)
    // Another server on the same database may be writing it: that one sees the mark when it saves next.
    if (!live.stop(id)) found((await (await openStore()).markStopped(id)) || undefined, 'answer being written')
    return context.body(null, 204)
  })

  app.put('/messages/:id/feedback', async (context) => {
    const id = idOf(context)
    const given: Feedback = await readBody(context, feedback)
    found((await (await openStore()).setFeedback(id, given)) || undefined, 'answer')
    return context.json(given)
  })

  app.delete('/messages/:id/feedback', async (context) => {
    found((await (await openStore()).removeFeedback(idOf(context))) || undefined, 'feedback')
    return context.body(null, 204)
  })

  app.route('/files', fileRoutes(openStore, idOf))
  app.route('/arena', arenaRoutes({ models, openStore, idOf, logger, shutdown }))
  app.route('/feedback', feedbackRoutes(openStore))

  return app
}

/** @throws RequestError for a file that is not there */
const filesOf = (store: ConversationStore) => async (fileId: string) => {
  const file = await store.file(fileId)
  if (!file) throw badRequest('There is no such file.', 'parts')
  return file.bytes
}

async function* serverSentEvents(events: AsyncGenerator<ReplyEvent, void, void>): AsyncGenerator<string, void, void> {
  for await (const event of events) yield `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** Ids that are none are not found: PostgreSQL would refuse them as an error of ours. */
function idOf(context: Context): string {
  const id = context.req.param('id') ?? ''
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) throw notFound('conversation or message')
  return id.toLowerCase()
}

const notFound = (what: string): RequestError =>
  new RequestError(404, `There is no such ${what}.`, { code: 'not_found' })

function found<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw notFound(what)
  return value
}

async function within<T>(param: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof ParentError) throw badRequest(error.message, param)
    throw error
  }
}
