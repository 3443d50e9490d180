import type { Conversation, Feedback, Message, Reply, ReplyEvent, Settings } from '../../src/server/wire.ts'
import { announce, announceAnswer } from './announcer.ts'
import * as client from './client.ts'
import { upsertConversation } from './conversations.ts'
import { Observable } from './observable.ts'
import { conversationPath, navigate, route } from './router.ts'
import { readStored, writeStored } from './storage.ts'
import { draftAnswerId, openThread, reduceThread, type Thread, type ThreadEvent } from './thread.ts'
import { showToast } from './toast.ts'
import { newestLeafUnder } from './tree.ts'

/**
 * The open conversations. An answer goes on being written while another conversation is looked at; what arrives is
 * reduced by thread.ts, and the components only read.
 */
export type Opened = { state: 'loading' } | { state: 'failed'; message: string } | { state: 'ready'; thread: Thread }

export const threads = new Observable<Readonly<Record<string, Opened>>>({})

/** Settings for conversations yet to begin. */
export const newChatSettings = new Observable<Settings>(storedSettings())

/** What is on its way to this page, by conversation. */
const streams = new Map<string, AbortController>()
/** Conversations whose answer is to be stopped; those of an answer that has yet to begin are told then. */
const stopping = new Set<string>()

const followEveryMs = 1000

function storedSettings(): Settings {
  try {
    return JSON.parse(readStored('settings') ?? '{}') as Settings
  } catch {
    return {}
  }
}

const put = (id: string, opened: Opened) => {
  threads.value = { ...threads.value, [id]: opened }
}

const threadOf = (id: string): Thread | null => {
  const opened = threads.value[id]
  return opened?.state === 'ready' ? opened.thread : null
}

function dispatch(id: string, event: ThreadEvent): void {
  const thread = threadOf(id)
  if (thread) put(id, { state: 'ready', thread: reduceThread(thread, event, performance.now()) })
}

/** Shows what is stored, and follows the answer that is being written, wherever it was asked for. */
export async function openConversation(id: string): Promise<void> {
  if (streams.has(id)) return
  if (!threadOf(id)) put(id, { state: 'loading' })
  try {
    await refresh(id)
  } catch (error) {
    const gone = error instanceof client.ApiError && error.status === 404
    if (gone || !threadOf(id)) put(id, { state: 'failed', message: client.messageOf(error) })
  }
}

async function refresh(id: string): Promise<void> {
  const stored = await client.getConversation(id)
  if (streams.has(id)) return
  if (threadOf(id)) dispatch(id, { type: 'loaded', stored })
  else put(id, { state: 'ready', thread: openThread(stored) })
  if (threadOf(id)?.live) void follow(id)
}

/** Reads on what the server is writing; where it is another server that writes, looks again every second. */
async function follow(id: string): Promise<void> {
  const messageId = threadOf(id)?.live?.id
  if (messageId === undefined || streams.has(id)) return
  const stream = new AbortController()
  streams.set(id, stream)
  const complete = await take(id, client.streamLive(messageId, stream.signal)).catch(() => false)
  streams.delete(id)
  if (complete) return
  await new Promise((resolve) => setTimeout(resolve, followEveryMs))
  // Where no server answers, the page looks again when one does.
  await refresh(id).catch(() => {})
}

/** The title was changed elsewhere on the page. */
export function noteConversation(conversation: Conversation): void {
  dispatch(conversation.id, { type: 'conversation', conversation })
}

/** Begins a conversation with this message. Throws what the server says where it cannot. */
export async function begin(said: Pick<Reply, 'content' | 'parts'>): Promise<void> {
  const conversation = await client.createConversation({ settings: newChatSettings.value })
  put(conversation.id, { state: 'ready', thread: openThread({ ...conversation, messages: [] }) })
  // Whoever has gone elsewhere meanwhile stays there.
  const { value } = route
  if (value.page === 'chat' && value.conversationId === null) navigate(conversationPath(conversation.id))
  void send(conversation.id, { parentId: null, ...said })
}

export async function send(id: string, reply: Reply): Promise<void> {
  if (streams.has(id)) return
  const stream = new AbortController()
  streams.set(id, stream)
  dispatch(id, { type: 'sent', reply })
  announce('Writing an answer.')
  try {
    if (!(await take(id, client.streamReply(id, reply, stream.signal)))) throw new TypeError('the stream ended early')
  } catch (error) {
    streams.delete(id)
    if (stream.signal.aborted) {
      dispatch(id, { type: 'stopped' })
      announce('Stopped.')
    } else if (!(await wasOnlyCutOff(id))) {
      const message = client.messageOf(error)
      const refused = error instanceof client.ApiError && [400, 413].includes(error.status)
      dispatch(id, { type: 'failed', message, refused })
      announce(`The answer failed. ${message}`)
    }
  } finally {
    if (streams.get(id) === stream) streams.delete(id)
    stopping.delete(id)
  }
}

/** Writes on an answer that did not come to its own end. */
export async function goOn({ conversationId: id, id: messageId }: Message): Promise<void> {
  if (streams.has(id)) return
  const stream = new AbortController()
  streams.set(id, stream)
  dispatch(id, { type: 'resumed', messageId })
  announce('Writing on.')
  const complete = await take(id, client.streamContinuation(messageId, stream.signal)).catch((error) => {
    if (!stream.signal.aborted) showToast({ message: `Not continued: ${client.messageOf(error)}` })
    return false
  })
  streams.delete(id)
  stopping.delete(id)
  if (complete) return
  // What has become of it, the server knows; where none answers, nothing more comes for now.
  dispatch(id, { type: 'stopped' })
  await refresh(id).catch(() => {})
}

/** Whether the server still answers, after the stream of an answer broke: then it is followed anew. */
async function wasOnlyCutOff(id: string): Promise<boolean> {
  const live = threadOf(id)?.live
  if (!live || live.id === draftAnswerId) return false
  return refresh(id).then(
    () => true,
    () => false,
  )
}

/** @returns whether the answer came to its end. */
async function take(id: string, events: AsyncIterable<ReplyEvent>): Promise<boolean> {
  const tokens = new TokenBuffer((event) => dispatch(id, event))
  let complete = false
  try {
    for await (const event of events) {
      if (event.type === 'delta') {
        tokens.add(event)
        continue
      }
      tokens.flush()
      dispatch(id, event)
      if (event.type === 'start') {
        upsertConversation(event.conversation)
        if (stopping.delete(id)) stop(id)
        continue
      }
      if (event.type === 'preview' || event.type === 'part') continue
      complete = true
      if (event.type === 'error') announce(`The answer failed. ${event.error.message}`)
      else if (event.message.finishReason === 'stopped') announce('Stopped.')
      else announceAnswer(event.message.content, event.message.finishReason === 'length')
    }
  } finally {
    tokens.flush()
  }
  return complete
}

/** Asks the server to end the answer; who asks twice does not wait for it. */
export function stop(id: string): void {
  const live = threadOf(id)?.live
  if (!live) return
  const leave = () => streams.get(id)?.abort()
  if (stopping.has(id)) leave()
  stopping.add(id)
  if (live.id === draftAnswerId) return
  client.stopReply(live.id).catch((error) => {
    // 404: it has just ended by itself.
    if (!(error instanceof client.ApiError && error.status === 404)) leave()
  })
}

/** Takes a question back that the server refused. */
export function withdraw(id: string): void {
  dispatch(id, { type: 'withdrawn' })
}

export function switchBranch(id: string, messageId: string): void {
  const thread = threadOf(id)
  if (!thread || thread.live) return
  const leafId = newestLeafUnder(thread.messages, messageId)
  dispatch(id, { type: 'branch', leafId })
  client
    .updateConversation(id, { activeMessageId: leafId })
    .catch((error) => showToast({ message: `The shown version was not kept: ${client.messageOf(error)}` }))
}

/** Given again, a rating is taken back. */
export function rate(message: Message, rating: Feedback['rating']): Promise<boolean> {
  const { feedback } = message
  if (feedback?.rating === rating) return keepFeedback(message, null, 'Rating removed.')
  return keepFeedback(message, { rating, comment: '' }, 'Thank you for the rating.')
}

/** @returns whether it was kept; that it was not is said. */
export const comment = (message: Message, text: string): Promise<boolean> =>
  keepFeedback(
    message,
    { rating: message.feedback?.rating ?? 'down', comment: text.trim() },
    'Thank you for the comment.',
  )

async function keepFeedback(message: Message, feedback: Feedback | null, said: string): Promise<boolean> {
  dispatch(message.conversationId, { type: 'feedback', messageId: message.id, feedback })
  try {
    if (feedback) await client.putFeedback(message.id, feedback)
    else await client.deleteFeedback(message.id)
    announce(said)
    return true
  } catch (error) {
    dispatch(message.conversationId, { type: 'feedback', messageId: message.id, feedback: message.feedback })
    showToast({ message: `Not kept: ${client.messageOf(error)}` })
    return false
  }
}

/** Of a conversation, or with null of those yet to begin. Throws what the server says where they cannot be kept. */
export async function saveSettings(id: string | null, settings: Settings): Promise<void> {
  if (id === null) {
    newChatSettings.value = settings
    writeStored('settings', JSON.stringify(settings))
    return
  }
  const before = threadOf(id)?.conversation
  if (!before) return
  dispatch(id, { type: 'conversation', conversation: { ...before, settings } })
  const conversation = await client.updateConversation(id, { settings })
  dispatch(id, { type: 'conversation', conversation })
}

/** Tokens come faster than the screen: one change a frame, however many arrived in it. */
class TokenBuffer {
  #part = 0
  #text = ''
  #tokens = 0
  #frame = 0
  readonly #emit: (event: ThreadEvent) => void

  constructor(emit: (event: ThreadEvent) => void) {
    this.#emit = emit
  }

  add({ part, delta, tokens }: { part: number; delta: string; tokens: number }): void {
    if (part !== this.#part) this.flush()
    this.#part = part
    this.#text += delta
    this.#tokens = tokens
    this.#frame ||= requestAnimationFrame(() => this.flush())
  }

  flush(): void {
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    if (this.#tokens > 0) this.#emit({ type: 'delta', part: this.#part, delta: this.#text, tokens: this.#tokens })
    this.#text = ''
    this.#tokens = 0
  }
}
