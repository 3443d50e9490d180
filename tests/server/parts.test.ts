import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { drizzle } from 'drizzle-orm/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AnswerEvent, GenerationRequest } from '../../src/generate/types.ts'
import { encodePng } from '../../src/image/png.ts'
import { createApp } from '../../src/server/app.ts'
import { migrate } from '../../src/server/migrations.ts'
import { ConversationStore } from '../../src/server/store.ts'
import {
  conversation,
  conversationWithMessages,
  errorBody,
  type ReplyEvent,
  replyEvent,
  type StoredFile,
  storedFile,
} from '../../src/server/wire.ts'
import { GuidedModel } from './guided-model.ts'
import { MockModel } from './mock-model.ts'
import { replyEvents } from './sse.ts'
import { captureLogger } from './support.ts'

const png = (grey: number) => encodePng({ width: 3, height: 2, channels: 1, data: new Uint8Array(6).fill(grey) })

/** Takes pictures, and draws one in two steps between two words. */
class Painter extends MockModel {
  readonly canSee = true
  async *answer(request: GenerationRequest): AsyncGenerator<AnswerEvent> {
    const picture = { type: 'picture', width: 3, height: 2, alt: 'a grey field', steps: 2 } as const
    for await (const event of this.generate({ ...request, maxNewTokens: 2 })) {
      yield event
      if (event.type !== 'token' || this.drawn > 0) continue
      this.drawn++
      yield { ...picture, image: png(9), step: 1 }
      yield { ...picture, image: png(7), step: 2 }
    }
    this.drawn = 0
  }
  private drawn = 0
}

const NAMED = { type: 'object', properties: { name: { type: 'string' } } }
const CALL = '<tool_call>{"name": "bird", "arguments": {"name": "jackdaw"}}</tool_call>'
/** Looks a bird up, and then says so; asked without one, it has nothing to look up. */
const keeper = new GuidedModel(
  'keeper',
  ({ messages }) => {
    const last = messages.at(-1)
    if (last?.role === 'tool') return 'It is a crow.'
    return last?.content.includes('jackdaw') ? `Let me see. ${CALL}` : `There were ${messages.length} messages.`
  },
  { tools: [{ spec: { name: 'bird', parameters: NAMED }, run: () => 'a crow\0' }], examples: [] },
)
const blind = new MockModel()
const painter = new Painter({ id: 'painter' })
let folder: string
let store: ConversationStore
let app: ReturnType<typeof createApp>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'jackdaw-parts-'))
  store = await ConversationStore.open({ dataDir: folder })
  app = createApp({ models: [blind, painter, keeper], store, logger: captureLogger().logger })
})
afterAll(async () => {
  await store?.close()
  await rm(folder, { recursive: true, force: true })
})

const post = (path: string, body: unknown) =>
  app.request(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
const put = (bytes: Uint8Array, type = 'image/png') =>
  app.request('/api/files', { method: 'POST', headers: { 'content-type': type }, body: new Uint8Array(bytes) })
const upload = async (bytes: Uint8Array): Promise<StoredFile> => storedFile.parse(await (await put(bytes)).json())
const create = async (model: string) =>
  conversation.parse(await (await post('/api/conversations', { settings: { model } })).json())
const imagePart = ({ id }: StoredFile, alt = 'a field') => ({ type: 'image', fileId: id, width: 1, height: 1, alt })
const collect = async (response: Response): Promise<ReplyEvent[]> => {
  const events: ReplyEvent[] = []
  for await (const event of replyEvents(response)) events.push(replyEvent.parse(event))
  return events
}
const read = async (id: string) =>
  conversationWithMessages.parse(await (await app.request(`/api/conversations/${id}`)).json())
const errorOf = async (response: Response) => ({
  status: response.status,
  ...errorBody.parse(await response.json()).error,
})

describe('a file', () => {
  it('is given back as it came, under its own type, with nothing in it that could run', async () => {
    const stored = storedFile.parse(await (await put(png(1), 'image/jpeg')).json())
    expect(stored).toMatchObject({ mediaType: 'image/png', width: 3, height: 2, size: png(1).length })
    const response = await app.request(`/api/files/${stored.id}`)
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(new Uint8Array(png(1)))
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'x-content-type-options': 'nosniff',
      'content-security-policy': "default-src 'none'; sandbox",
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'private, max-age=31536000, immutable',
    })
  })

  it('that is no picture, too large, or sent as a form is refused', async () => {
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>')
    expect(await errorOf(await put(svg, 'image/svg+xml'))).toMatchObject({ status: 415 })
    expect(await errorOf(await put(png(1), 'text/plain'))).toMatchObject({ status: 415 })
    const bomb = Uint8Array.from(png(1))
    new DataView(bomb.buffer).setUint32(16, 100_000)
    new DataView(bomb.buffer).setUint32(20, 100_000)
    expect((await errorOf(await put(bomb))).message).toContain('100000 × 100000 pixels')
    expect((await put(new Uint8Array(17 * 1024 * 1024))).status).toBe(413)
    // Larger than any other body may be.
    expect((await put(Buffer.concat([png(1), new Uint8Array(2 * 1024 * 1024)]))).status).toBe(201)
    expect((await app.request('/api/files/0c5b9a52-0000-4000-8000-000000000000')).status).toBe(404)
    expect((await app.request('/api/files/..%2f..%2fetc%2fpasswd')).status).toBe(404)
  })

  it('goes with its conversation, and is no part of another one', async () => {
    const [file, mine, other] = [await upload(png(2)), await create('painter'), await create('painter')]
    const reply = { parentId: null, parts: [imagePart(file)] }
    await collect(await post(`/api/conversations/${mine.id}/reply`, reply))
    expect(await errorOf(await post(`/api/conversations/${other.id}/reply`, reply))).toMatchObject({
      status: 400,
      message: 'There is no such file for this conversation.',
    })
    expect((await app.request(`/api/files/${file.id}`)).status).toBe(200)
    await app.request(`/api/conversations/${mine.id}`, { method: 'DELETE' })
    expect((await app.request(`/api/files/${file.id}`)).status).toBe(404)
  })
})

describe('an answer with tools', () => {
  it('has the calls among its parts, as they come, as they are kept, and as the model is told of them again', async () => {
    const { id } = await create('keeper')
    const asked = await collect(
      await post(`/api/conversations/${id}/reply`, { parentId: null, content: 'What is a jackdaw?' }),
    )
    const { message } = asked.at(-1) as Extract<ReplyEvent, { type: 'end' }>
    const tool = { type: 'tool', name: 'bird', arguments: '{"name": "jackdaw"}', result: 'a crow\ufffd' }
    expect(message.parts).toEqual([
      { type: 'text', text: 'Let me see. ' },
      tool,
      { type: 'text', text: 'It is a crow.' },
    ])
    expect(asked.filter((event) => event.type === 'part')).toEqual([{ type: 'part', part: 1, value: tool }])
    expect((await read(id)).messages.at(-1)?.parts).toEqual(message.parts)
    expect(message.usage?.completionTokens).toBeGreaterThan(CALL.length)
    const next = await collect(
      await post(`/api/conversations/${id}/reply`, { parentId: message.id, content: 'Thank you.' }),
    )
    const { message: last } = next.at(-1) as Extract<ReplyEvent, { type: 'end' }>
    // The question, the call, its result, the answer, and the thanks.
    expect(last.content).toBe('There were 5 messages.')
    expect(last.omitted).toBe(0)
  })

  it('a question has no calls in it', async () => {
    const { id } = await create('keeper')
    const parts = [{ type: 'tool', name: 'bird', arguments: '{}', result: 'x' }]
    expect((await post(`/api/conversations/${id}/reply`, { parentId: null, parts })).status).toBe(400)
  })
})

describe('a message with pictures', () => {
  it('is heard with them, kept with them, and answered with one that is drawn before the reader’s eyes', async () => {
    const [file, { id }] = [await upload(png(3)), await create('painter')]
    const parts = [imagePart(file), { type: 'text', text: 'What is it?' }]
    const events = await collect(await post(`/api/conversations/${id}/reply`, { parentId: null, parts }))
    expect(painter.requests.at(-1)?.images?.map((image) => Buffer.from(image))).toEqual([Buffer.from(png(3))])

    expect(events.map((event) => ('part' in event ? `${event.type} ${event.part}` : event.type))).toEqual([
      'start',
      'delta 0',
      'preview 1',
      'part 1',
      'delta 2',
      'end',
    ])
    const preview = events[2] as Extract<ReplyEvent, { type: 'preview' }>
    expect(preview).toMatchObject({ step: 1, steps: 2, width: 3, height: 2 })
    expect(Buffer.from(preview.url.split(',')[1], 'base64')).toEqual(Buffer.from(png(9)))

    const [question, answer] = (await read(id)).messages
    expect(question.parts).toEqual([{ ...parts[0], width: 3, height: 2 }, parts[1]])
    expect(question.content).toBe('What is it?')
    expect(answer.parts.map(({ type }) => type)).toEqual(['text', 'image', 'text'])
    const drawn = answer.parts[1]
    if (drawn.type !== 'image') throw new Error('no picture was drawn')
    expect(drawn).toMatchObject({ width: 3, height: 2, alt: 'a grey field' })
    const stored = await app.request(`/api/files/${drawn.fileId}`)
    expect(new Uint8Array(await stored.arrayBuffer())).toEqual(new Uint8Array(png(7)))
  })

  it('is found by its text, and takes its title from it', async () => {
    const [file, { id }] = [await upload(png(4)), await create('painter')]
    const parts = [imagePart(file), { type: 'text', text: 'the kestrel over the field' }]
    await collect(await post(`/api/conversations/${id}/reply`, { parentId: null, parts }))
    const { conversations } = await (await app.request('/api/conversations?search=kestrel')).json()
    expect(conversations.map(({ title }: { title: string }) => title)).toEqual(['the kestrel over the field'])
  })

  it('is refused by a model that cannot see, which is told the text of earlier ones', async () => {
    const [file, { id }] = [await upload(png(5)), await create('mock')]
    const parts = [{ type: 'text', text: 'look' }, imagePart(file)]
    expect(await errorOf(await post(`/api/conversations/${id}/reply`, { parentId: null, parts }))).toMatchObject({
      status: 400,
      param: 'parts',
      message: 'mock cannot see pictures; send text alone, or choose a model that can.',
    })
    const seen = await create('painter')
    const events = await collect(await post(`/api/conversations/${seen.id}/reply`, { parentId: null, parts }))
    const { message } = events.at(-1) as Extract<ReplyEvent, { type: 'end' }>
    await app.request(`/api/conversations/${seen.id}`, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ settings: { model: 'mock' } }),
    })
    await collect(await post(`/api/conversations/${seen.id}/reply`, { parentId: message.id, content: 'and now?' }))
    expect(blind.decode(blind.requests.at(-1)?.promptIds ?? [])).toMatch(
      /^<user>look\n<assistant>[\s\S]*<user>and now\?/,
    )
    expect(blind.requests.at(-1)?.images).toBeUndefined()
  })
})

describe('OpenAI’s content arrays', () => {
  const url = `data:image/png;base64,${Buffer.from(png(6)).toString('base64')}`
  const ask = (model: string, address: string) =>
    post('/v1/chat/completions', {
      model,
      max_tokens: 2,
      messages: [
        { role: 'system', content: 'Be a bird.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Look: ' },
            { type: 'image_url', image_url: { url: address, detail: 'low' } },
            { type: 'text', text: 'what is it?' },
          ],
        },
      ],
    })

  it('reach a model that can see', async () => {
    expect((await ask('painter', url)).status).toBe(200)
    const request = painter.requests.at(-1)
    expect(painter.decode(request?.promptIds ?? [])).toContain('<user>Look: what is it?')
    expect(request?.images?.map((image) => Buffer.from(image))).toEqual([Buffer.from(png(6))])
  })

  it('are refused for one that cannot, and where the picture lies elsewhere or is none', async () => {
    expect(await errorOf(await ask('mock', url))).toEqual({
      status: 400,
      message: "Invalid 'messages.1.content.1.type': image_url is only for models that can see, and mock cannot.",
      type: 'invalid_request_error',
      param: 'messages.1.content.1.type',
      code: 'invalid_value',
    })
    for (const address of ['https://example.invalid/bird.png', 'data:image/png;base64,AAAA', 'file:///etc/passwd']) {
      expect(await errorOf(await ask('painter', address))).toMatchObject({
        status: 400,
        param: 'messages.1.content.1.image_url.url',
      })
    }
  })
})

it('conversations of before there were parts are read as they were', { timeout: 60_000 }, async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'jackdaw-old-'))
  const old = await PGlite.create({ dataDir: join(dataDir, 'postgres') })
  // As the first two migrations left it, and no later one.
  await migrate(drizzle(old), 2)
  await old.exec(`
    insert into conversations (id, title, settings, active_message_id) values
      ('00000000-0000-4000-8000-000000000001', 'Old', '{"temperature": 0.5}', '00000000-0000-4000-8000-000000000003');
    insert into messages (id, conversation_id, parent_id, role, content) values
      ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', null, 'user', 'Hello?');
    insert into messages (id, conversation_id, parent_id, role, content, model, finish_reason, omitted) values
      ('00000000-0000-4000-8000-000000000003', '00000000-0000-4000-8000-000000000001',
       '00000000-0000-4000-8000-000000000002', 'assistant', 'Caw.', 'mock', 'stop', 0);
    insert into feedback (message_id, rating, comment) values ('00000000-0000-4000-8000-000000000003', 'up', '');
  `)
  await old.close()
  const opened = await ConversationStore.open({ dataDir })
  const { messages } = (await opened.read('00000000-0000-4000-8000-000000000001'))!
  expect(messages.map(({ parts, content, settings, feedback }) => ({ parts, content, settings, feedback }))).toEqual([
    { parts: [{ type: 'text', text: 'Hello?' }], content: 'Hello?', settings: null, feedback: null },
    {
      parts: [{ type: 'text', text: 'Caw.' }],
      content: 'Caw.',
      settings: null,
      feedback: { rating: 'up', comment: '' },
    },
  ])
  await opened.close()
  await rm(dataDir, { recursive: true, force: true })
})
