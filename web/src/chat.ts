import type { Conversation, Feedback, Message, Reply, Settings } from '../../src/server/wire.ts'
import { announce, announceAnswer } from './announcer.ts'
import * as client from './client.ts'
import { upsertConversation } from './conversations.ts'
import { Observable } from './observable.ts'
import { conversationPath, navigate, route } from './router.ts'
import { readStored, writeStored } from './storage.ts'
import { openThread, reduceThread, type Thread, type ThreadEvent } from './thread.ts'
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

const streams = new Map<string, AbortController>()

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

export async function openConversation(id: string): Promise<void> {
  const before = threadOf(id)
  if (before?.live) return
  if (!before) put(id, { state: 'loading' })
  try {
    const stored = await client.getConversation(id)
    if (threadOf(id)) dispatch(id, { type: 'loaded', stored })
    else put(id, { state: 'ready', thread: openThread(stored) })
  } catch (error) {
    const gone = error instanceof client.ApiError && error.status === 404
    if (gone || !threadOf(id)) put(id, { state: 'failed', message: client.messageOf(error) })
  }
}

/** The title was changed elsewhere on the page. */
export function noteConversation(conversation: Conversation): void {
  dispatch(conversation.id, { type: 'conversation', conversation })
}

/** Begins a conversation with this message. Throws what the server says where it cannot. */
export async function begin(content: string): Promise<void> {
  const conversation = await client.createConversation({ settings: newChatSettings.value })
  put(conversation.id, { state: 'ready', thread: openThread({ ...conversation, messages: [] }) })
  upsertConversation(conversation)
  // Whoever has gone elsewhere meanwhile stays there.
  const { value } = route
  if (value.page === 'chat' && value.conversationId === null) navigate(conversationPath(conversation.id))
  void send(conversation.id, { parentId: null, content })
}

export async function send(id: string, reply: Reply): Promise<void> {
  if (streams.has(id)) return
  const stream = new AbortController()
  streams.set(id, stream)
  dispatch(id, { type: 'sent', reply })
  announce('Writing an answer.')
  const tokens = new TokenBuffer((event) => dispatch(id, event))
  try {
    let complete = false
    for await (const event of client.streamReply(id, reply, stream.signal)) {
      if (event.type === 'token') {
        tokens.add(event)
        continue
      }
      tokens.flush()
      dispatch(id, event)
      if (event.type === 'start') upsertConversation(event.conversation)
      if (event.type === 'end') announceAnswer(event.message.content)
      if (event.type === 'error') announce(`The answer failed. ${event.error.message}`)
      if (event.type === 'end' || event.type === 'error') complete = true
    }
    if (!complete) throw new TypeError('the stream ended early')
  } catch (error) {
    tokens.flush()
    if (stream.signal.aborted) {
      dispatch(id, { type: 'stopped' })
      announce('Stopped.')
    } else {
      const message = client.messageOf(error)
      dispatch(id, { type: 'failed', message })
      announce(`The answer failed. ${message}`)
    }
  } finally {
    streams.delete(id)
  }
}

export function stop(id: string): void {
  streams.get(id)?.abort()
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

export async function rate(message: Message, rating: Feedback['rating']): Promise<void> {
  const feedback = message.feedback?.rating === rating ? null : { rating, comment: message.feedback?.comment ?? '' }
  dispatch(message.conversationId, { type: 'feedback', messageId: message.id, feedback })
  try {
    if (feedback) await client.putFeedback(message.id, feedback)
    else await client.deleteFeedback(message.id)
    announce(feedback ? 'Thank you for the rating.' : 'Rating removed.')
  } catch (error) {
    dispatch(message.conversationId, { type: 'feedback', messageId: message.id, feedback: message.feedback })
    showToast({ message: `The rating was not kept: ${client.messageOf(error)}` })
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
  #text = ''
  #tokens = 0
  #frame = 0
  readonly #emit: (event: ThreadEvent) => void

  constructor(emit: (event: ThreadEvent) => void) {
    this.#emit = emit
  }

  add({ text, tokens }: { text: string; tokens: number }): void {
    this.#text += text
    this.#tokens = tokens
    this.#frame ||= requestAnimationFrame(() => this.flush())
  }

  flush(): void {
    cancelAnimationFrame(this.#frame)
    this.#frame = 0
    if (this.#tokens > 0) this.#emit({ type: 'token', text: this.#text, tokens: this.#tokens })
    this.#text = ''
    this.#tokens = 0
  }
}
