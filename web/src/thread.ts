import { textOf, textParts, withDelta } from '../../src/server/parts.ts'
import type {
  Conversation,
  ConversationWithMessages,
  Feedback,
  Message,
  Part,
  Reply,
  ReplyEvent,
} from '../../src/server/wire.ts'

/** How an answer came along, by this page's clock. */
export interface Timing {
  tokens: number
  /** All in milliseconds, of the caller's clock. */
  sentAt: number
  firstTokenAt: number | null
  lastTokenAt: number | null
}

/** The answer being written; `id` is a draft's until the server has begun. */
export interface Live {
  id: string
  phase: 'waiting' | 'writing'
  /** Of the picture that is being drawn. */
  preview?: Preview
}

export type Preview = Omit<Extract<ReplyEvent, { type: 'preview' }>, 'type' | 'part'>

export interface Failure {
  message: string
  /** What to send again. */
  retry: Reply
  /** The server took it for wrong: sent again as it is, it would fail again. */
  refused?: boolean
}

/** One open conversation: all its branches, and what is happening in it. */
export interface Thread {
  conversation: Conversation
  messages: readonly Message[]
  leafId: string | null
  live: Live | null
  failure: Failure | null
  timings: Readonly<Record<string, Timing>>
}

export type ThreadEvent =
  | ReplyEvent
  /** A request went out: shown at once, before the server has said anything. */
  | { type: 'sent'; reply: Reply }
  /** An answer is to be written on. */
  | { type: 'resumed'; messageId: string }
  /** The reader stopped it. */
  | { type: 'stopped' }
  /** The request or the connection failed. */
  | { type: 'failed'; message: string; refused?: boolean }
  /** The reader takes a refused question back, to write it anew. */
  | { type: 'withdrawn' }
  | { type: 'branch'; leafId: string }
  | { type: 'feedback'; messageId: string; feedback: Feedback | null }
  | { type: 'conversation'; conversation: Conversation }
  /** The stored state, asked for again while nothing was on its way to this page. */
  | { type: 'loaded'; stored: ConversationWithMessages }

export const draftUserId = 'draft-user'
export const draftAnswerId = 'draft-answer'
const isDraft = (message: Message) => message.id === draftUserId || message.id === draftAnswerId

export function openThread(stored: ConversationWithMessages): Thread {
  const { messages, ...conversation } = stored
  const leafId = conversation.activeMessageId
  const leaf = messages.find(({ id }) => id === leafId)
  // It was begun by another page, or by this one before it was loaded again.
  const live: Live | null =
    leaf?.role === 'assistant' && leaf.finishReason === null
      ? { id: leaf.id, phase: leaf.parts.length === 0 ? 'waiting' : 'writing' }
      : null
  return { conversation, messages, leafId, live, failure: null, timings: {} }
}

/** `now` in milliseconds, of any clock that only goes forward. */
export function reduceThread(thread: Thread, event: ThreadEvent, now: number): Thread {
  switch (event.type) {
    case 'sent':
      return sent(thread, event.reply, now)
    case 'start': {
      const { conversation, userMessage, message } = event
      const added = userMessage ? [userMessage, message] : [message]
      const timing = thread.timings[draftAnswerId]
      const kept = thread.messages.filter((other) => !isDraft(other))
      const isNew = (one: Message) => !kept.some(({ id }) => id === one.id)
      return {
        ...thread,
        conversation,
        // What is there already (an answer that is written on, say) keeps its place before what follows it.
        messages: [...kept.map((old) => added.find(({ id }) => id === old.id) ?? old), ...added.filter(isNew)],
        leafId: message.id,
        live: { id: message.id, phase: message.parts.length === 0 ? 'waiting' : 'writing' },
        // Of an answer that was on its way already, this page cannot tell the speed.
        timings: { ...withoutDraft(thread.timings), ...(timing && { [message.id]: timing }) },
      }
    }
    case 'delta': {
      const { live } = thread
      if (!live) return thread
      const timing = thread.timings[live.id]
      return {
        ...thread,
        messages: change(thread.messages, live.id, (message) =>
          withParts(message, withDelta(message.parts, event.part, event.delta)),
        ),
        live: { ...live, phase: 'writing' },
        timings: timing
          ? {
              ...thread.timings,
              [live.id]: {
                ...timing,
                tokens: event.tokens,
                firstTokenAt: timing.firstTokenAt ?? now,
                lastTokenAt: now,
              },
            }
          : thread.timings,
      }
    }
    case 'preview': {
      const { type: _, part: __, ...preview } = event
      return thread.live ? { ...thread, live: { ...thread.live, phase: 'writing', preview } } : thread
    }
    case 'part':
      return thread.live
        ? {
            ...thread,
            messages: change(thread.messages, thread.live.id, (message) =>
              withParts(message, [...message.parts.slice(0, event.part), event.value]),
            ),
            live: { id: thread.live.id, phase: 'writing' },
          }
        : thread
    case 'end':
      return { ...thread, messages: change(thread.messages, event.message.id, () => event.message), live: null }
    case 'resumed':
      return {
        ...thread,
        messages: change(thread.messages, event.messageId, (old) => ({ ...old, finishReason: null, usage: null })),
        live: { id: event.messageId, phase: 'writing' },
        failure: null,
      }
    case 'stopped':
      return thread.live?.id === draftAnswerId
        ? fail(thread, 'Stopped before the answer began.')
        : finish(thread, 'stopped')
    case 'error':
      return fail(thread, event.error.message)
    case 'failed':
      return fail(thread, event.message, event.refused)
    case 'withdrawn': {
      if (thread.live) return thread
      const question = thread.messages.find((other) => other.id === draftUserId)
      if (!question) return { ...thread, failure: null }
      const messages = thread.messages.filter((other) => !isDraft(other))
      return { ...thread, messages, leafId: question.parentId, failure: null }
    }
    case 'branch':
      return { ...thread, leafId: event.leafId, failure: null }
    case 'feedback':
      return {
        ...thread,
        messages: change(thread.messages, event.messageId, (message) => ({ ...message, feedback: event.feedback })),
      }
    case 'conversation':
      return { ...thread, conversation: event.conversation }
    case 'loaded':
      return loaded(thread, event.stored)
  }
}

/** A question that the server never got is only here, and stays; one that it did get is its own. */
function loaded(thread: Thread, stored: ConversationWithMessages): Thread {
  const question = thread.messages.find((message) => message.id === draftUserId)
  const known = new Set(thread.messages.map(({ id }) => id))
  const arrived = stored.messages.some(
    (message) =>
      !known.has(message.id) && message.parentId === question?.parentId && message.content === question.content,
  )
  const opened = { ...openThread(stored), timings: thread.timings }
  if (thread.live && thread.messages.some(isDraft)) return thread
  if (!question || arrived) return opened
  const { failure } = thread
  return {
    ...opened,
    messages: [...stored.messages, question],
    leafId: question.id,
    live: null,
    // Why it failed then is no longer so: the server has just answered.
    failure: failure && !failure.refused ? { ...failure, message: 'This was not sent.' } : failure,
  }
}

function sent(thread: Thread, reply: Reply, now: number): Thread {
  const draft = (id: string, parentId: string | null, role: Message['role'], parts: Part[]): Message => ({
    id,
    conversationId: thread.conversation.id,
    parentId,
    role,
    parts,
    content: textOf(parts),
    model: null,
    settings: null,
    finishReason: null,
    usage: null,
    omitted: 0,
    feedback: null,
    createdAt: '',
  })
  const kept = thread.messages.filter((message) => !isDraft(message))
  const asked = reply.parts ?? (reply.content === undefined ? undefined : textParts(reply.content))
  const question = asked ? [draft(draftUserId, reply.parentId, 'user', asked)] : []
  const answer = draft(draftAnswerId, question.length > 0 ? draftUserId : reply.parentId, 'assistant', [])
  return {
    ...thread,
    messages: [...kept, ...question, answer],
    leafId: answer.id,
    live: { id: answer.id, phase: 'waiting' },
    failure: null,
    timings: { ...thread.timings, [answer.id]: newTiming(now) },
  }
}

/** A failed answer stays, with what was written; a draft of one goes, its question stays to be sent again. */
function fail(thread: Thread, message: string, refused?: boolean): Thread {
  const answer = thread.messages.find((other) => other.id === thread.live?.id)
  if (!answer) return { ...thread, live: null }
  if (answer.id !== draftAnswerId) {
    return { ...finish(thread, 'error'), failure: { message, retry: { parentId: answer.parentId } } }
  }
  const question = thread.messages.find((other) => other.id === draftUserId)
  const retry: Reply = question
    ? { parentId: question.parentId, ...said(question.parts) }
    : { parentId: answer.parentId }
  return {
    ...thread,
    messages: thread.messages.filter((other) => other.id !== draftAnswerId),
    leafId: answer.parentId,
    live: null,
    failure: { message, retry, refused },
    timings: withoutDraft(thread.timings),
  }
}

function finish(thread: Thread, finishReason: 'stopped' | 'error'): Thread {
  if (!thread.live) return thread
  return {
    ...thread,
    messages: change(thread.messages, thread.live.id, (message) => ({ ...message, finishReason })),
    live: null,
  }
}

/** What is sent of a message: its text alone, where it is only text. */
export const said = (parts: readonly Part[]): Pick<Reply, 'content' | 'parts'> =>
  parts.every(({ type }) => type === 'text')
    ? { content: textOf(parts) }
    : { parts: parts.filter((part) => part.type !== 'tool') }

const withParts = (message: Message, parts: Part[]): Message => ({ ...message, parts, content: textOf(parts) })

const newTiming = (now: number): Timing => ({ tokens: 0, sentAt: now, firstTokenAt: null, lastTokenAt: null })

function withoutDraft(timings: Thread['timings']): Thread['timings'] {
  const { [draftAnswerId]: _, ...kept } = timings
  return kept
}

function change(messages: readonly Message[], id: string, how: (message: Message) => Message): readonly Message[] {
  return messages.map((message) => (message.id === id ? how(message) : message))
}
