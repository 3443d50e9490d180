import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { textParts } from '../../src/server/parts.ts'
import type { Conversation, Message, Reply } from '../../src/server/wire.ts'
import { openThread, reduceThread, type Thread, type ThreadEvent } from '../../web/src/thread.ts'
import { pathTo } from '../../web/src/tree.ts'

const conversation: Conversation = {
  id: 'c',
  title: '',
  settings: {},
  activeMessageId: null,
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z',
}

const message = (id: string, parentId: string | null, role: Message['role'], content = ''): Message => ({
  id,
  conversationId: 'c',
  parentId,
  role,
  parts: textParts(content),
  content,
  model: role === 'assistant' ? 'm' : null,
  settings: null,
  finishReason: null,
  usage: null,
  omitted: 0,
  feedback: null,
  createdAt: '2026-01-01T00:00:00.000Z',
})

const empty = openThread({ ...conversation, messages: [] })
const question: Reply = { parentId: null, content: 'Why?' }
const started: ThreadEvent = {
  type: 'start',
  conversation: { ...conversation, title: 'Why?', activeMessageId: 'a' },
  userMessage: message('q', null, 'user', 'Why?'),
  message: message('a', 'q', 'assistant'),
}

/** One event every 10 ms. */
const run = (thread: Thread, ...events: ThreadEvent[]): Thread =>
  events.reduce((before, event, index) => reduceThread(before, event, index * 10), thread)

const shown = (thread: Thread) => pathTo(thread.messages, thread.leafId).map(({ id, content }) => [id, content])

const answered = run(
  empty,
  { type: 'sent', reply: question },
  started,
  { type: 'delta', part: 0, delta: 'So.', tokens: 1 },
  { type: 'end', message: { ...message('a', 'q', 'assistant', 'So.'), finishReason: 'stop' } },
)

it('shows the question at once, then the server’s messages in place of the drafts', () => {
  const sent = run(empty, { type: 'sent', reply: question })
  expect(shown(sent).map(([, content]) => content)).toEqual(['Why?', ''])
  expect(sent.live?.phase).toBe('waiting')
  const begun = reduceThread(sent, started, 5)
  expect(shown(begun)).toEqual([
    ['q', 'Why?'],
    ['a', ''],
  ])
  expect(begun.conversation.title).toBe('Why?')
})

it('a token changes nothing that is shown around the answer: what shows that alone is not drawn again', () => {
  const begun = run(empty, { type: 'sent', reply: question }, started)
  const next = reduceThread(begun, { type: 'delta', part: 0, delta: 'So.', tokens: 1 }, 20)
  expect(next).not.toBe(begun)
  expect(next.conversation).toBe(begun.conversation)
  expect(next.messages[0]).toBe(begun.messages[0])
})

it('appends what comes, whatever the pieces, and counts from the moment of sending', () => {
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1 }), (pieces) => {
      const tokens = pieces.map(
        (text, index): ThreadEvent => ({ type: 'delta', part: 0, delta: text, tokens: index + 1 }),
      )
      const thread = run(empty, { type: 'sent', reply: question }, started, ...tokens)
      expect(shown(thread)).toEqual([
        ['q', 'Why?'],
        ['a', pieces.join('')],
      ])
      expect(thread.timings.a).toEqual({
        tokens: pieces.length,
        sentAt: 0,
        firstTokenAt: 20,
        lastTokenAt: 10 + 10 * pieces.length,
      })
    }),
  )
})

it('takes the whole answer as stored at the end', () => {
  expect(answered.live).toBe(null)
  expect(answered.messages.at(-1)).toMatchObject({ id: 'a', content: 'So.', finishReason: 'stop' })
})

it('regenerating adds a version beside the first and shows it', () => {
  const again = run(answered, { type: 'sent', reply: { parentId: 'q' } })
  expect(again.messages.filter(({ parentId }) => parentId === 'q')).toHaveLength(2)
  expect(shown(again).map(([, content]) => content)).toEqual(['Why?', ''])
})

describe('when it does not end well', () => {
  it('a stop keeps what was written', () => {
    const stopped = run(
      empty,
      { type: 'sent', reply: question },
      started,
      { type: 'delta', part: 0, delta: 'Bec', tokens: 1 },
      { type: 'stopped' },
    )
    expect(stopped.live).toBe(null)
    expect(stopped.messages.at(-1)).toMatchObject({ content: 'Bec', finishReason: 'stopped' })
    expect(stopped.failure).toBe(null)
  })

  it('a failure before the beginning keeps the question and sends it again', () => {
    const failed = run(empty, { type: 'sent', reply: question }, { type: 'failed', message: 'No line.' })
    expect(shown(failed).map(([, content]) => content)).toEqual(['Why?'])
    expect(failed.failure).toEqual({ message: 'No line.', retry: question })
    const retried = run(failed, { type: 'sent', reply: question }, started)
    expect(shown(retried).map(([id]) => id)).toEqual(['q', 'a'])
    expect(retried.messages).toHaveLength(2)
  })

  it('a failed regeneration goes back to the question and its other answers', () => {
    const failed = run(answered, { type: 'sent', reply: { parentId: 'q' } }, { type: 'failed', message: 'Full.' })
    expect(failed.messages.map(({ id }) => id)).toEqual(['q', 'a'])
    expect(failed.failure?.retry).toEqual({ parentId: 'q' })
  })

  it('an error in the middle keeps the words and offers to answer the question again', () => {
    const error = { message: 'Out of memory.', type: 'server_error', param: null, code: null }
    const failed = run(
      empty,
      { type: 'sent', reply: question },
      started,
      { type: 'delta', part: 0, delta: 'Bec', tokens: 1 },
      { type: 'error', error },
    )
    expect(failed.messages.at(-1)).toMatchObject({ content: 'Bec', finishReason: 'error' })
    expect(failed.failure).toEqual({ message: 'Out of memory.', retry: { parentId: 'q' } })
  })
})

it('what is stored takes the place of what was shown, but for a question that the server never got', () => {
  const stored = { ...conversation, messages: [] }
  expect(reduceThread(answered, { type: 'loaded', stored }, 0).messages).toEqual([])
  const unsent = run(empty, { type: 'sent', reply: question }, { type: 'failed', message: 'No line.' })
  const reloaded = reduceThread(unsent, { type: 'loaded', stored }, 0)
  expect(shown(reloaded)).toEqual(shown(unsent))
  // Why it failed then says nothing about now: the server has just answered.
  expect(reloaded.failure).toMatchObject({ message: 'This was not sent.', retry: question })
  const refused = run(empty, { type: 'sent', reply: question }, { type: 'failed', message: 'Too long.', refused: true })
  expect(reduceThread(refused, { type: 'loaded', stored }, 0).failure).toEqual(refused.failure)
})

it('a question whose answer was lost on the way, but which the server has, is not shown twice', () => {
  const unsure = run(empty, { type: 'sent', reply: question }, { type: 'failed', message: 'No line.' })
  const messages = [message('q', null, 'user', 'Why?'), { ...message('a', 'q', 'assistant'), finishReason: null }]
  const stored = { ...conversation, activeMessageId: 'a', messages }
  const found = reduceThread(unsure, { type: 'loaded', stored }, 0)
  expect(found.messages.map(({ id }) => id)).toEqual(['q', 'a'])
  expect(found.failure).toBeNull()
  expect(found.live?.id).toBe('a')
})

it('puts text and pictures where they belong, and shows a picture while it is drawn', () => {
  const image = { type: 'image', fileId: 'f', width: 8, height: 8, alt: 'a bird' } as const
  const preview = { part: 1, step: 1, steps: 2, url: 'data:,', width: 8, height: 8 }
  const drawing = run(
    empty,
    { type: 'sent', reply: { parentId: null, parts: [image, { type: 'text', text: 'Draw it again.' }] } },
    started,
    { type: 'delta', part: 0, delta: 'Here:', tokens: 1 },
    { type: 'preview', ...preview },
  )
  expect(drawing.live?.preview).toMatchObject({ step: 1, steps: 2, url: 'data:,' })
  const drawn = run(
    drawing,
    { type: 'part', part: 1, value: image },
    { type: 'delta', part: 2, delta: 'As', tokens: 2 },
    { type: 'delta', part: 2, delta: ' asked.', tokens: 3 },
  )
  expect(drawn.live?.preview).toBeUndefined()
  expect(drawn.messages.at(-1)?.parts).toEqual([
    { type: 'text', text: 'Here:' },
    image,
    { type: 'text', text: 'As asked.' },
  ])
  expect(drawn.messages.at(-1)?.content).toBe('Here:\n\nAs asked.')
})

it('a question with pictures that was not sent is sent again with them', () => {
  const image = { type: 'image', fileId: 'f', width: 8, height: 8, alt: 'a bird' } as const
  const sent: Reply = { parentId: null, parts: [image] }
  const failed = run(empty, { type: 'sent', reply: sent }, { type: 'failed', message: 'No line.' })
  expect(failed.failure?.retry).toEqual(sent)
})

it('an answer that is written on keeps its words and its place', () => {
  const cut = run(answered, { type: 'sent', reply: { parentId: 'a', content: 'And?' } }, { type: 'stopped' })
  const resumed = reduceThread(cut, { type: 'resumed', messageId: 'a' }, 0)
  expect(resumed.live).toEqual({ id: 'a', phase: 'writing' })
  const begun = { ...message('a', 'q', 'assistant', 'So.') }
  const whole = run(
    resumed,
    { type: 'start', conversation, userMessage: null, message: begun },
    { type: 'delta', part: 0, delta: ' There.', tokens: 2 },
  )
  expect(whole.messages.map(({ id, content }) => [id, content])).toEqual([
    ['q', 'Why?'],
    ['a', 'So. There.'],
  ])
})

it('an answer that was on its way before is followed from where it stands, its speed unknown', () => {
  const written = message('a', 'q', 'assistant', 'Bec')
  const stored = { ...conversation, activeMessageId: 'a', messages: [message('q', null, 'user', 'Why?'), written] }
  const opened = openThread(stored)
  expect(opened.live).toEqual({ id: 'a', phase: 'writing' })
  const followed = run(
    opened,
    { type: 'start', conversation, userMessage: null, message: message('a', 'q', 'assistant', 'Becau') },
    { type: 'delta', part: 0, delta: 'se', tokens: 9 },
  )
  expect(shown(followed)).toEqual([
    ['q', 'Why?'],
    ['a', 'Because'],
  ])
  expect(followed.timings).toEqual({})
  const ended = openThread({ ...stored, messages: [stored.messages[0], { ...written, finishReason: 'stop' }] })
  expect(ended.live).toBe(null)
})

it('a refused question is taken back, as if it had not been asked', () => {
  const refused = run(
    answered,
    { type: 'sent', reply: { parentId: 'a', content: 'Too much' } },
    { type: 'failed', message: 'Shorten it.', refused: true },
  )
  expect(refused.failure).toMatchObject({ refused: true, retry: { content: 'Too much' } })
  const back = run(refused, { type: 'withdrawn' })
  expect(shown(back)).toEqual(shown(answered))
  expect(back.failure).toBe(null)
})

it('any order of events leaves a thread whose live answer is one of its messages, and no two messages of one id', () => {
  const stored = { ...conversation, messages: [message('q', null, 'user', 'Why?')] }
  const error = { message: 'x', type: 'x', param: null, code: null }
  const events = fc.constantFrom<ThreadEvent>(
    { type: 'sent', reply: question },
    { type: 'sent', reply: { parentId: 'q' } },
    { type: 'delta', part: 0, delta: 'x', tokens: 1 },
    { type: 'stopped' },
    { type: 'failed', message: 'x' },
    { type: 'withdrawn' },
    { type: 'error', error },
    { type: 'branch', leafId: 'q' },
    { type: 'loaded', stored },
    { type: 'feedback', messageId: 'a', feedback: { rating: 'up', comment: '' } },
  )
  fc.assert(
    fc.property(fc.array(events, { maxLength: 12 }), (sequence) => {
      const thread = run(answered, ...sequence)
      const ids = thread.messages.map(({ id }) => id)
      expect(new Set(ids).size).toBe(ids.length)
      if (thread.live) expect(ids).toContain(thread.live.id)
    }),
  )
})
