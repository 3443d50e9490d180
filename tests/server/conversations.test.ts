import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createApp } from '../../src/server/app.ts'
import { ConversationStore } from '../../src/server/store.ts'
import type { ReplyEvent } from '../../src/server/wire.ts'
import {
  conversation,
  conversationList,
  conversationWithMessages,
  errorBody,
  message,
  status,
} from '../../src/server/wire.ts'
import { MockModel } from './mock-model.ts'
import { replyEvents } from './sse.ts'
import { captureLogger, noStore, until } from './support.ts'

const model = new MockModel()
const slow = new MockModel({ id: 'slow', delayMs: 15, length: 500 })
const broken = new MockModel({ id: 'broken', failAfter: 3 })
const tight = new MockModel({ id: 'tight', contextLength: 60 })
const base = new MockModel({ id: 'base', canChat: false, contextLength: 60 })
const log = captureLogger()
let folder: string
let store: ConversationStore
let app: ReturnType<typeof createApp>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'jackdaw-conversations-'))
  store = await ConversationStore.open({ dataDir: folder })
  app = createApp({ models: [model, slow, broken, tight, base], store, logger: log.logger })
})
afterAll(async () => {
  await store?.close()
  await rm(folder, { recursive: true, force: true })
})

const call = (method: string, path: string, body?: unknown, signal?: AbortSignal) =>
  app.request(`/api${path}`, {
    method,
    signal,
    ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
const create = async (settings = {}) =>
  conversation.parse(await (await call('POST', '/conversations', { settings })).json())
const read = async (id: string) =>
  conversationWithMessages.parse(await (await call('GET', `/conversations/${id}`)).json())
const collect = async (response: Response): Promise<ReplyEvent[]> => {
  const events: ReplyEvent[] = []
  for await (const event of replyEvents(response)) events.push(event)
  return events
}
const textOf = (events: readonly ReplyEvent[]) =>
  events.map((event) => (event.type === 'delta' ? event.delta : '')).join('')
type ReplyStart = Extract<ReplyEvent, { type: 'start' }>
type ReplyEnd = Extract<ReplyEvent, { type: 'end' }>
const reply = async (id: string, body: unknown) => {
  const events = await collect(await call('POST', `/conversations/${id}/reply`, body))
  const [start, end] = [events[0], events.at(-1)!]
  if (start.type !== 'start' || end.type !== 'end') throw new Error(`${start.type} … ${end.type}`)
  return { events, start, end }
}

describe('a reply', () => {
  it('streams start, tokens and end, and is stored as it was streamed', async () => {
    const { id } = await create()
    const { events, start, end } = await reply(id, { parentId: null, content: 'Tell me of jackdaws' })
    expect(start.conversation.title).toBe('Tell me of jackdaws')
    expect(start.userMessage).toMatchObject({ role: 'user', content: 'Tell me of jackdaws', parentId: null })
    expect(start.message).toMatchObject({ content: '', finishReason: null, parentId: start.userMessage!.id })
    expect(events.slice(1, -1).every(({ type }) => type === 'delta')).toBe(true)
    expect(end.message).toMatchObject({ content: textOf(events), finishReason: 'stop', model: 'mock' })
    expect(end.message.usage).toMatchObject({ completionTokens: 12, promptTokens: expect.any(Number) })

    const whole = await read(id)
    expect(whole.messages).toEqual([start.userMessage, end.message])
    expect(whole.activeMessageId).toBe(end.message.id)
  })

  it('hears the whole branch, its system prompt and its settings, and nothing of other branches', async () => {
    const { id } = await create({ systemPrompt: 'Be a bird.', temperature: 0.5, topK: 3, seed: 9, maxNewTokens: 4 })
    const first = await reply(id, { parentId: null, content: 'one' })
    const second = await reply(id, { parentId: first.end.message.id, content: 'two' })
    await reply(id, { parentId: first.end.message.id, content: 'edited two' })
    const request = model.requests.at(-1)!
    expect(model.decode(request.promptIds)).toBe(
      `<system>Be a bird.\n<user>one\n<assistant>${first.end.message.content}\n<user>edited two\n<assistant>`,
    )
    expect(request).toMatchObject({ temperature: 0.5, topK: 3, seed: 9, maxNewTokens: 4 })
    expect(second.end.message.finishReason).toBe('length')
    const { messages } = await read(id)
    expect(messages).toHaveLength(6)
    expect(messages.filter(({ parentId }) => parentId === first.end.message.id).map(({ content }) => content)).toEqual([
      'two',
      'edited two',
    ])
  })

  it('keeps with it what it was asked with, the seed that was drawn among it', async () => {
    const { id } = await create({ systemPrompt: 'Be a bird.', temperature: 0.5 })
    const { end } = await reply(id, { parentId: null, content: 'one' })
    await call('PATCH', `/conversations/${id}`, { settings: { temperature: 1 } })
    const [, stored] = (await read(id)).messages
    const { seed } = model.requests.at(-1)!
    expect(stored.settings).toEqual({
      ...{ systemPrompt: 'Be a bird.', temperature: 0.5, topP: 0.9, repetitionPenalty: 1.05, maxNewTokens: 1024 },
      ...{ seed, continues: false },
    })
    expect(end.message.settings).toEqual(stored.settings)
    await call('PATCH', `/conversations/${id}`, { settings: { model: 'base', maxNewTokens: 2 } })
    const continued = await reply(id, { parentId: end.message.id, content: 'two' })
    expect(continued.end.message.settings).toMatchObject({ continues: true, maxNewTokens: 2 })
  })

  it('again to the same message is a branch beside the first', async () => {
    const { id } = await create()
    const first = await reply(id, { parentId: null, content: 'hello' })
    const parentId = first.start.userMessage!.id
    const again = await reply(id, { parentId })
    expect(again.start.userMessage).toBeNull()
    const { messages, activeMessageId } = await read(id)
    expect(messages.map(({ parentId }) => parentId)).toEqual([null, parentId, parentId])
    expect(activeMessageId).toBe(again.end.message.id)
  })

  it('that is stopped keeps what was written, marked stopped, and the engine stops', async () => {
    const { id } = await create({ model: 'slow' })
    const response = await call('POST', `/conversations/${id}/reply`, { parentId: null, content: 'go on' })
    const events: ReplyEvent[] = []
    let stopping: Promise<Response> | undefined
    for await (const event of replyEvents(response)) {
      events.push(event)
      if (textOf(events).length > 30) {
        stopping ??= (async () => call('POST', `/messages/${(events[0] as ReplyStart).message.id}/stop`))()
      }
    }
    expect((await stopping)?.status).toBe(204)
    expect(slow.running).toBe(0)
    const { message } = events.at(-1) as ReplyEnd
    expect(message).toMatchObject({ finishReason: 'stopped', content: textOf(events) })
    expect(message.usage?.completionTokens).toBe(message.content.trim().split(' ').length)
    expect(message.usage?.completionTokens).toBeLessThan(100)
    expect((await read(id)).messages[1]).toEqual(message)
    // There is nothing to stop any more, and nothing to read on.
    expect((await call('POST', `/messages/${message.id}/stop`)).status).toBe(404)
    expect((await call('GET', `/messages/${message.id}/events`)).status).toBe(404)
  })

  it('goes on when its reader leaves, and whoever comes back reads all of it', async () => {
    const { id } = await create({ model: 'slow', maxNewTokens: 60 })
    const response = await call('POST', `/conversations/${id}/reply`, { parentId: null, content: 'go on' })
    let seen = ''
    let messageId = ''
    for await (const event of replyEvents(response)) {
      if (event.type === 'start') messageId = event.message.id
      if (event.type === 'delta') seen += event.delta
      if (seen.length > 30) break
    }
    const readers = await Promise.all(
      [1, 2].map(async () => collect(await call('GET', `/messages/${messageId}/events`))),
    )
    for (const events of readers) {
      const { message: begun, conversation } = events[0] as ReplyStart
      expect(conversation.id).toBe(id)
      expect(begun.content.startsWith(seen)).toBe(true)
      const { message } = events.at(-1) as ReplyEnd
      expect(begun.content + textOf(events)).toBe(message.content)
      expect(message).toMatchObject({ finishReason: 'length', usage: { completionTokens: 60 } })
    }
    expect(slow.running).toBe(0)
  })

  it('that another server is writing can be stopped from this one', async () => {
    const elsewhere = createApp({ models: [slow], store, logger: log.logger })
    const { id } = await create({ model: 'slow' })
    const response = await call('POST', `/conversations/${id}/reply`, { parentId: null, content: 'go on' })
    const events = collect(response)
    await until(async () => (await read(id)).messages[1] !== undefined)
    const [, { id: messageId }] = (await read(id)).messages
    expect((await elsewhere.request(`/api/messages/${messageId}/stop`, { method: 'POST' })).status).toBe(204)
    expect((await events).at(-1)).toMatchObject({ type: 'end', message: { finishReason: 'stopped' } })
    expect(slow.running).toBe(0)
  })

  it('is in the store while it is being written', async () => {
    const { id } = await create({ model: 'slow', maxNewTokens: 150 })
    const response = await call('POST', `/conversations/${id}/reply`, { parentId: null, content: 'slowly' })
    const events = collect(response)
    await until(async () => ((await read(id)).messages[1]?.content.length ?? 0) > 0)
    const partial = (await read(id)).messages[1]
    expect(partial.finishReason).toBeNull()
    const whole = textOf(await events)
    expect(whole.startsWith(partial.content)).toBe(true)
    expect(partial.content.length).toBeLessThan(whole.length)
  })

  it('that the engine fails at ends with an error event and keeps the beginning', async () => {
    const { id } = await create({ model: 'broken' })
    const events = await collect(await call('POST', `/conversations/${id}/reply`, { parentId: null, content: 'hi' }))
    expect(events.at(-1)).toMatchObject({ type: 'error', error: { type: 'server_error' } })
    expect((await read(id)).messages[1]).toMatchObject({ content: textOf(events), finishReason: 'error' })
    expect(textOf(events).trim().split(' ')).toHaveLength(3)
  })

  it('in a conversation that is deleted meanwhile ends', async () => {
    const { id } = await create({ model: 'slow' })
    const events = collect(await call('POST', `/conversations/${id}/reply`, { parentId: null, content: 'go on' }))
    await until(() => slow.running === 1)
    expect((await call('DELETE', `/conversations/${id}`)).status).toBe(204)
    expect((await events).at(-1)).toMatchObject({ type: 'error', error: { message: 'The conversation was deleted.' } })
    expect(slow.running).toBe(0)
  })

  it('that cannot be given stores nothing', async () => {
    const { id } = await create({ model: 'tight' })
    const response = await call('POST', `/conversations/${id}/reply`, { parentId: null, content: 'long '.repeat(20) })
    expect(response.status).toBe(400)
    const { error } = errorBody.parse(await response.json())
    expect(error.code).toBe('context_length_exceeded')
    expect(error.message).toBe('The context of tight is 60 tokens, and this message alone has 118; shorten it.')
    expect((await read(id)).messages).toEqual([])
  })

  it('in a conversation longer than the context hears its end, says what it did not hear, and all is kept', async () => {
    const { id } = await create({ model: 'tight', maxNewTokens: 2 })
    let parentId: string | null = null
    const omitted: number[] = []
    for (const content of ['first', 'second', 'third', 'fourth']) {
      const { start, end }: { start: ReplyStart; end: ReplyEnd } = await reply(id, { parentId, content })
      expect(start.message.omitted).toBe(end.message.omitted)
      omitted.push(end.message.omitted)
      parentId = end.message.id
      expect(tight.decode(tight.requests.at(-1)!.promptIds)).toMatch(new RegExp(`<user>${content}\n<assistant>$`))
    }
    expect(omitted[0]).toBe(0)
    expect(omitted.at(-1)).toBeGreaterThan(0)
    const { messages } = await read(id)
    expect(messages).toHaveLength(8)
    const answers = messages.filter(({ role }) => role === 'assistant')
    expect(answers.map((answer) => answer.omitted)).toEqual(omitted)
  })

  it('that continues a text longer than the context continues its end', async () => {
    const { id } = await create({ model: 'base', maxNewTokens: 2 })
    const { end } = await reply(id, { parentId: null, content: 'a'.repeat(100) })
    expect(end.message.omitted).toBe(100 - 58)
    expect(base.requests.at(-1)!.promptIds).toHaveLength(58)
  })

  it('cut off at the token limit is written on where it ended, in the same message', async () => {
    const { id } = await create({ maxNewTokens: 4 })
    const first = await reply(id, { parentId: null, content: 'write much' })
    expect(first.end.message.finishReason).toBe('length')
    await call('PUT', `/messages/${first.end.message.id}/feedback`, { rating: 'up' })
    await call('PATCH', `/conversations/${id}`, { settings: { model: 'slow', maxNewTokens: 20 } })
    const events = await collect(await call('POST', `/messages/${first.end.message.id}/continue`))
    const { message: begun } = events[0] as ReplyStart
    expect(begun).toMatchObject({ content: first.end.message.content, finishReason: null })
    const { message } = events.at(-1) as ReplyEnd
    // By the model that wrote it, whatever was chosen since.
    expect(message).toMatchObject({ id: begun.id, model: 'mock', finishReason: 'stop', feedback: { rating: 'up' } })
    expect(message.content).toBe(begun.content + textOf(events))
    expect(message.usage?.completionTokens).toBe(4 + 12)
    expect(model.decode(model.requests.at(-1)!.promptIds)).toBe(
      `<user>write much\n<assistant>${first.end.message.content}`,
    )
    expect((await read(id)).messages).toEqual([first.start.userMessage, message])
    // Asked for twice at once, it is written once.
    await call('PATCH', `/conversations/${id}`, { settings: { model: 'slow', maxNewTokens: 3 } })
    const cut = await reply(id, { parentId: message.id, content: 'and more' })
    const twice = await Promise.all([1, 2].map(() => call('POST', `/messages/${cut.end.message.id}/continue`)))
    expect(twice.map(({ status }) => status).sort()).toEqual([200, 404])
    await Promise.all(twice.filter(({ ok }) => ok).map(collect))
    // It has come to its end now.
    expect((await call('POST', `/messages/${message.id}/continue`)).status).toBe(400)
    expect((await call('POST', `/messages/${first.start.userMessage!.id}/continue`)).status).toBe(404)
  })

  it('to an answer, to nothing or to a message of elsewhere is refused', async () => {
    const [a, b] = [await create(), await create()]
    const { end } = await reply(a.id, { parentId: null, content: 'x' })
    for (const [id, body, param] of [
      [a.id, { parentId: end.message.id }, 'parentId'],
      [a.id, { parentId: null }, 'parentId'],
      [b.id, { parentId: end.message.id, content: 'y' }, 'parentId'],
      [a.id, { parentId: null, content: '' }, 'content'],
    ] as const) {
      const response = await call('POST', `/conversations/${id}/reply`, body)
      expect(response.status).toBe(400)
      expect(errorBody.parse(await response.json()).error.param).toBe(param)
    }
  })
})

describe('a conversation', () => {
  it('is made, renamed, found, listed and deleted', async () => {
    const made = await call('POST', '/conversations', { title: 'Zwiebelfisch', settings: { topP: 0.9 } })
    expect(made.status).toBe(201)
    const { id } = conversation.parse(await made.json())
    const renamed = await call('PATCH', `/conversations/${id}`, { title: 'Eisvogel', settings: { topK: 5 } })
    expect(conversation.parse(await renamed.json())).toMatchObject({ title: 'Eisvogel', settings: { topK: 5 } })
    const find = async (search: string) =>
      conversationList.parse(await (await call('GET', `/conversations?search=${search}`)).json()).conversations
    expect((await find('eisVOGEL')).map((found) => found.id)).toEqual([id])
    expect(await find('Zwiebelfisch')).toEqual([])
    expect((await call('DELETE', `/conversations/${id}`)).status).toBe(204)
    expect((await call('GET', `/conversations/${id}`)).status).toBe(404)
    expect((await call('DELETE', `/conversations/${id}`)).status).toBe(404)
  })

  it('goes to the top of the list with a new message, not with another branch or model', async () => {
    const [older, newer, empty] = [await create(), await create(), await create()]
    for (const { id } of [older, newer]) await reply(id, { parentId: null, content: 'x' })
    const list = async () => conversationList.parse(await (await call('GET', '/conversations')).json()).conversations
    const top = async () => (await list())[0].id
    // One without a message or a title is nothing to come back to.
    expect((await list()).map(({ id }) => id)).not.toContain(empty.id)
    expect(await top()).toBe(newer.id)
    await call('PATCH', `/conversations/${older.id}`, { settings: { topK: 2 } })
    expect(await top()).toBe(newer.id)
    await reply(older.id, { parentId: null, content: 'news' })
    expect(await top()).toBe(older.id)
  })

  it('takes edited messages as siblings and remembers the branch last shown', async () => {
    const { id } = await create()
    const add = async (body: unknown) =>
      message.parse(await (await call('POST', `/conversations/${id}/messages`, body)).json())
    const first = await add({ parentId: null, content: 'one' })
    const edited = await add({ parentId: null, content: 'two' })
    expect((await read(id)).activeMessageId).toBe(edited.id)
    await call('PATCH', `/conversations/${id}`, { activeMessageId: first.id })
    expect((await read(id)).activeMessageId).toBe(first.id)
  })

  it('keeps what is thought of its answers', async () => {
    const { id } = await create()
    const { end } = await reply(id, { parentId: null, content: 'rate me' })
    const path = `/messages/${end.message.id}/feedback`
    expect((await call('PUT', path, { rating: 'down', comment: 'too short' })).status).toBe(200)
    expect((await read(id)).messages[1].feedback).toEqual({ rating: 'down', comment: 'too short' })
    expect((await call('DELETE', path)).status).toBe(204)
    expect((await read(id)).messages[1].feedback).toBeNull()
  })

  it('with a model that is not served is refused', async () => {
    const response = await call('POST', '/conversations', { settings: { model: 'nope' } })
    expect(response.status).toBe(404)
    expect(errorBody.parse(await response.json()).error.code).toBe('model_not_found')
  })
})

describe('the status', () => {
  it('tells the models, default first, and the speed of the last answers', async () => {
    const { id } = await create()
    await reply(id, { parentId: null, content: 'x' })
    const { models, version, uptimeSeconds } = status.parse(await (await call('GET', '/status')).json())
    expect(models.map((entry) => entry.id)).toEqual(['mock', 'slow', 'broken', 'tight', 'base'])
    // The mock says ten milliseconds a token.
    expect(models[0]).toMatchObject({
      canChat: true,
      contextLength: 2048,
      description: 'A mock.',
      examples: [],
      tokensPerSecond: 100,
    })
    expect(version).toMatch(/^\d+\.\d+\.\d+$/)
    expect(uptimeSeconds).toBeGreaterThan(0)
  })

  it('and the API do not wait for a store that does not open; conversations say why they are not there', async () => {
    const without = createApp({ models: [model], store: noStore(), logger: log.logger })
    expect((await without.request('/api/status')).status).toBe(200)
    const response = await without.request('/api/conversations')
    expect(response.status).toBe(503)
    expect(errorBody.parse(await response.json()).error.message).toBe('This test has no store.')
  })
})
