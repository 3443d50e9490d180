import type {
  Conversation,
  ConversationWithMessages,
  Feedback,
  Message,
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
}

export interface Failure {
  message: string
  /** What to send again. */
  retry: Reply
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
  /** The reader stopped it. */
  | { type: 'stopped' }
  /** The request or the connection failed. */
  | { type: 'failed'; message: string }
  | { type: 'branch'; leafId: string }
  | { type: 'feedback'; messageId: string; feedback: Feedback | null }
  | { type: 'conversation'; conversation: Conversation }
  /** The stored state, asked for again: never overwrites an answer being written. */
  | { type: 'loaded'; stored: ConversationWithMessages }

export const draftUserId = 'draft-user'
export const draftAnswerId = 'draft-answer'
const isDraft = (message: Message) => message.id === draftUserId || message.id === draftAnswerId

export function openThread(stored: ConversationWithMessages): Thread {
  const { messages, ...conversation } = stored
  return { conversation, messages, leafId: conversation.activeMessageId, live: null, failure: null, timings: {} }
}

/** `now` in milliseconds, of any clock that only goes forward. */
export function reduceThread(thread: Thread, event: ThreadEvent, now: number): Thread {
  switch (event.type) {
    case 'sent':
      return sent(thread, event.reply, now)
    case 'start': {
      const { conversation, userMessage, message } = event
      const added = userMessage ? [userMessage, message] : [message]
      const timing = thread.timings[draftAnswerId] ?? newTiming(now)
      return {
        ...thread,
        conversation,
        messages: [...thread.messages.filter((other) => !isDraft(other)), ...added],
        leafId: message.id,
        live: { id: message.id, phase: 'waiting' },
        timings: { ...withoutDraft(thread.timings), [message.id]: timing },
      }
    }
    case 'token': {
      const { live } = thread
      if (!live) return thread
      const timing = thread.timings[live.id] ?? newTiming(now)
      return {
        ...thread,
        messages: change(thread.messages, live.id, (message) => ({
          ...message,
          content: message.content + event.text,
        })),
        live: { ...live, phase: 'writing' },
        timings: {
          ...thread.timings,
          [live.id]: { ...timing, tokens: event.tokens, firstTokenAt: timing.firstTokenAt ?? now, lastTokenAt: now },
        },
      }
    }
    case 'end':
      return { ...thread, messages: change(thread.messages, event.message.id, () => event.message), live: null }
    case 'stopped':
      return thread.live?.id === draftAnswerId
        ? fail(thread, 'Stopped before the answer began.')
        : finish(thread, 'stopped')
    case 'error':
      return fail(thread, event.error.message)
    case 'failed':
      return fail(thread, event.message)
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
      return thread.live || thread.failure ? thread : { ...openThread(event.stored), timings: thread.timings }
  }
}

function sent(thread: Thread, reply: Reply, now: number): Thread {
  const draft = (id: string, parentId: string | null, role: Message['role'], content: string): Message => ({
    id,
    conversationId: thread.conversation.id,
    parentId,
    role,
    content,
    model: null,
    finishReason: null,
    usage: null,
    omitted: 0,
    feedback: null,
    createdAt: '',
  })
  const kept = thread.messages.filter((message) => !isDraft(message))
  const question = reply.content === undefined ? [] : [draft(draftUserId, reply.parentId, 'user', reply.content)]
  const answer = draft(draftAnswerId, question.length > 0 ? draftUserId : reply.parentId, 'assistant', '')
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
function fail(thread: Thread, message: string): Thread {
  const answer = thread.messages.find((other) => other.id === thread.live?.id)
  if (!answer) return { ...thread, live: null }
  if (answer.id !== draftAnswerId) {
    return { ...finish(thread, 'error'), failure: { message, retry: { parentId: answer.parentId } } }
  }
  const question = thread.messages.find((other) => other.id === draftUserId)
  const retry: Reply = question
    ? { parentId: question.parentId, content: question.content }
    : { parentId: answer.parentId }
  return {
    ...thread,
    messages: thread.messages.filter((other) => other.id !== draftAnswerId),
    leafId: answer.parentId,
    live: null,
    failure: { message, retry },
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

const newTiming = (now: number): Timing => ({ tokens: 0, sentAt: now, firstTokenAt: null, lastTokenAt: null })

function withoutDraft(timings: Thread['timings']): Thread['timings'] {
  const { [draftAnswerId]: _, ...kept } = timings
  return kept
}

function change(messages: readonly Message[], id: string, how: (message: Message) => Message): readonly Message[] {
  return messages.map((message) => (message.id === id ? how(message) : message))
}
