import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createApp } from '../../src/server/app.ts'
import { ConversationStore } from '../../src/server/store.ts'
import {
  type Comparison,
  type ComparisonEvent,
  comparison,
  conversation,
  errorBody,
  type Standings,
  type StartComparison,
} from '../../src/server/wire.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, noStore, until } from './support.ts'

const one = new MockModel({ id: 'one' })
const two = new MockModel({ id: 'two', length: 5 })
const slow = new MockModel({ id: 'slow', delayMs: 15, length: 400 })
const broken = new MockModel({ id: 'broken', failAfter: 3 })
const base = new MockModel({ id: 'base', canChat: false })
const vectors = Object.assign(new MockModel({ id: 'vectors', canChat: false }), { canWrite: false })
let folder: string
let store: ConversationStore
let app: ReturnType<typeof createApp>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'jackdaw-arena-'))
  store = await ConversationStore.open({ dataDir: folder })
  app = createApp({ models: [one, two, slow, broken, base, vectors], store, logger: captureLogger().logger })
})
afterAll(async () => {
  await store?.close()
  await rm(folder, { recursive: true, force: true })
})

const call = (method: string, path: string, body?: unknown) =>
  app.request(`/api${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
const messages = [{ role: 'user' as const, content: 'Tell me of jackdaws' }]
const begin = async (body: Partial<StartComparison> = {}): Promise<Comparison> => {
  const response = await call('POST', '/arena/comparisons', {
    ...{ messages, contenders: [{ model: 'one' }, { model: 'two' }] },
    ...body,
  })
  expect(response.status).toBe(201)
  return comparison.parse(await response.json())
}
const read = async (id: string) => comparison.parse(await (await call('GET', `/arena/comparisons/${id}`)).json())
const written = async (id: string): Promise<Comparison> => {
  let now = await read(id)
  await until(async () => {
    now = await read(id)
    return now.answers.every(({ finishReason }) => finishReason !== null)
  })
  return now
}
const vote = (id: string, body: unknown) => call('PUT', `/arena/comparisons/${id}/vote`, body)
async function eventsOf(response: Response): Promise<ComparisonEvent[]> {
  return (await response.text())
    .split('\n\n')
    .filter(Boolean)
    .map((block) => JSON.parse(block.replace(/^event: \w+\ndata: /, '')) as ComparisonEvent)
}
const messageOf = async (response: Response) => errorBody.parse(await response.json()).error.message

describe('a comparison', () => {
  it('writes both answers and tells no name, in no way, before the vote; then all', async () => {
    const contenders = [{ model: 'one', settings: { temperature: 0.25 } }, { model: 'two' }]
    const { id } = await begin({ contenders })
    const done = await written(id)
    expect(JSON.stringify(done)).not.toMatch(/"one"|"two"|temperature|promptTokens/)
    expect(done.vote).toBeNull()

    const voted = comparison.parse(
      await (await vote(id, { groups: [[1], [0]], comment: 'shorter', voter: 'me' })).json(),
    )
    expect(voted.vote).toEqual({ groups: [[1], [0]], allBad: false, comment: 'shorter', voter: 'me' })
    expect(voted.answers.map(({ model }) => model).sort()).toEqual(['one', 'two'])
    const own = voted.answers.find(({ model }) => model === 'one')
    expect(own).toMatchObject({ settings: { temperature: 0.25, topP: 0.9 }, usage: { completionTokens: 12 } })
    expect(await read(id)).toEqual(voted)
    expect(voted.answers.map(({ content }) => content)).toEqual(done.answers.map(({ content }) => content))
  })

  it('draws the places, and the models where none is named', async () => {
    const placed = new Set<string>()
    const drawn = new Set<string>()
    const modelsOf = async ({ id }: Comparison) => (await store.comparison(id))!.answers.map(({ model }) => model)
    for (let i = 0; i < 24; i++) {
      placed.add((await modelsOf(await begin())).join())
      if (i >= 12) continue
      const any = await begin({ contenders: [{ model: 'one' }, {}] })
      await call('POST', `/arena/comparisons/${any.id}/stop`)
      const models = await modelsOf(any)
      expect(models).toContain('one')
      expect(models).not.toContain('vectors')
      expect(new Set(models).size).toBe(2)
      for (const model of models) drawn.add(model)
    }
    // By chance alone one of these fails in eight million runs.
    expect(placed).toEqual(new Set(['one,two', 'two,one']))
    expect(drawn.size).toBeGreaterThan(2)
  })

  it('has several answers of one model, each with a seed of its own', async () => {
    const { id } = await begin({ contenders: [{ model: 'one' }], answers: 5 })
    await written(id)
    const { answers } = comparison.parse(await (await vote(id, { groups: [[2], [0, 4], [1, 3]] })).json())
    expect(new Set(answers.map(({ settings }) => settings?.seed)).size).toBe(5)
    expect(answers.map(({ model }) => model)).toEqual(new Array(5).fill('one'))
  })

  it('asks with the whole path and its system prompt', async () => {
    const path = [
      { role: 'system' as const, content: 'Be a bird.' },
      { role: 'user' as const, content: 'one' },
      { role: 'assistant' as const, content: 'two' },
      { role: 'user' as const, content: 'three' },
    ]
    const { id } = await begin({ messages: path, contenders: [{ model: 'one' }, { model: 'one' }] })
    await written(id)
    expect(one.decode(one.requests.at(-1)!.promptIds)).toBe(
      '<system>Be a bird.\n<user>one\n<assistant>two\n<user>three\n<assistant>',
    )
    expect((await read(id)).messages).toEqual(path)
  })

  it('goes on without its reader, who comes back to what is written and what follows', async () => {
    const { id } = await begin({ contenders: [{ model: 'slow' }, { model: 'two' }] })
    await until(async () => (await read(id)).answers.every(({ content }) => content !== ''))
    const heard = call('GET', `/arena/comparisons/${id}/events`)
    expect(await messageOf(await vote(id, { groups: [[0, 1]] }))).toMatch('still being written')
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect((await call('POST', `/arena/comparisons/${id}/stop`)).status).toBe(204)
    const events = await eventsOf(await heard)
    const [first] = events
    if (first.type !== 'start') throw new Error(first.type)
    expect(first.comparison.answers.every(({ content }) => content !== '')).toBe(true)
    const texts = first.comparison.answers.map(({ content }) => content)
    for (const event of events) if (event.type === 'delta') texts[event.place] += event.delta
    expect(events.at(-1)).toEqual({ type: 'done' })
    const done = await written(id)
    expect(done.answers.map(({ content }) => content)).toEqual(texts)
    expect(done.answers.map(({ finishReason }) => finishReason).sort()).toEqual(['stop', 'stopped'])
    expect((await store.comparison(id))?.answers.map(({ content }) => content)).toEqual(texts)
    await until(async () => (await call('GET', `/arena/comparisons/${id}/events`)).status === 404)
  })

  it('says which answer failed, and can be voted on', async () => {
    const { id } = await begin({ contenders: [{ model: 'broken' }, { model: 'base' }] })
    const { answers } = await written(id)
    expect(answers.map(({ finishReason }) => finishReason).sort()).toEqual(['error', 'stop'])
    expect((await vote(id, { groups: [[0, 1]], allBad: true })).status).toBe(200)
  })

  it('is deleted with its answers, which end', async () => {
    const { id } = await begin({ contenders: [{ model: 'slow' }, { model: 'slow' }] })
    expect((await call('DELETE', `/arena/comparisons/${id}`)).status).toBe(204)
    expect((await call('GET', `/arena/comparisons/${id}`)).status).toBe(404)
    expect((await call('DELETE', `/arena/comparisons/${id}`)).status).toBe(404)
    await until(() => slow.running === 0)
  })
})

describe('a vote', () => {
  it('is kept once', async () => {
    const { id } = await begin()
    await written(id)
    expect((await vote(id, { groups: [[0], [1]] })).status).toBe(200)
    const again = await vote(id, { groups: [[1], [0]] })
    expect(again.status).toBe(409)
    expect(await messageOf(again)).toMatch('already')
    expect((await read(id)).vote?.groups).toEqual([[0], [1]])
  })

  it('is an order of all answers, and nothing else is taken for one', async () => {
    const { id } = await begin({ contenders: [{ model: 'two' }], answers: 3 })
    await written(id)
    const isOrder = (groups: readonly (readonly number[])[]) =>
      groups.every((group) => group.length > 0) && groups.flat().sort().join() === '0,1,2'
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 3 }), { maxLength: 4 }),
        async (groups) => {
          fc.pre(!isOrder(groups))
          const response = await vote(id, { groups })
          expect(response.status).toBe(400)
          expect(errorBody.parse(await response.json()).error.param).toMatch(/^groups/)
        },
      ),
      { numRuns: 60 },
    )
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (body) => {
        expect((await vote(id, body)).status).toBe(400)
      }),
      { numRuns: 60 },
    )
    expect((await vote(id, { groups: [[0], [1, 2]], allBad: true })).status).toBe(400)
    expect((await read(id)).vote).toBeNull()
    expect((await vote(id, { groups: [[2, 0], [1]] })).status).toBe(200)
  })
})

describe('the arena', () => {
  it.each([
    [{ messages: [] }, 'messages'],
    [{ messages: [{ role: 'assistant', content: 'I begin.' }] }, 'messages'],
    [{ contenders: [] }, 'contenders'],
    [{ answers: 10 }, 'answers'],
    [{ answers: 1 }, 'answers'],
    [{ contenders: [{}, {}, {}] }, 'answers'],
    [{ contenders: [{ model: 'one', settings: { systemPrompt: 'x' } }, {}] }, 'contenders.0.settings.systemPrompt'],
    [{ contenders: [{ model: 'vectors' }, {}] }, 'model'],
  ])('refuses %j', async (body, param) => {
    const response = await call('POST', '/arena/comparisons', { messages, contenders: [{}, {}], ...body })
    expect(response.status).toBe(400)
    expect(errorBody.parse(await response.json()).error.param).toBe(param)
  })

  it('knows no model that is not served, and needs a database', async () => {
    const body = { messages, contenders: [{ model: 'nobody' }, {}] }
    expect((await call('POST', '/arena/comparisons', body)).status).toBe(404)
    const bare = createApp({ models: [one], store: noStore(), logger: captureLogger().logger })
    for (const path of ['/api/arena/standings', '/api/feedback/export']) {
      expect((await bare.request(path)).status).toBe(503)
    }
  })

  it('leaves no place taken where one of its models is full', async () => {
    const full = new MockModel({ id: 'full', delayMs: 15, length: 400 })
    const idle = new MockModel({ id: 'idle' })
    const tight = createApp({ models: [idle, full], store, logger: captureLogger().logger, limits: { maxRequests: 1 } })
    const ask = (models: string[]) =>
      tight.request('/api/arena/comparisons', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ messages, contenders: models.map((model) => ({ model })) }),
      })
    expect((await ask(['full', 'full'])).status).toBe(429)
    const held = await ask(['full', 'idle'])
    expect(held.status).toBe(201)
    await until(() => idle.running === 0)
    expect((await ask(['idle', 'full'])).status).toBe(429)
    const { id } = comparison.parse(await held.json())
    await tight.request(`/api/arena/comparisons/${id}/stop`, { method: 'POST' })
    await until(async () => (await ask(['full', 'idle'])).status === 201)
  })

  it('has standings of all votes', async () => {
    const standings = (await (await call('GET', '/arena/standings')).json()) as Standings
    expect(standings.comparisons).toBe((await store.votedComparisons()).length)
    expect(standings.standings.map(({ contender }) => contender)).toContain('one')
    for (const { winRate, interval } of standings.standings) {
      expect(interval[0]).toBeLessThanOrEqual(winRate)
      expect(interval[1]).toBeGreaterThanOrEqual(winRate)
    }
  })
})

describe('the export of feedback', () => {
  const lines = async (kind?: string) => {
    const response = await call('GET', `/feedback/export${kind === undefined ? '' : `?kind=${kind}`}`)
    expect(response.headers.get('content-type')).toMatch('application/x-ndjson')
    return (await response.text())
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  }

  it('has comparisons as reward models read them, best first, ties together', async () => {
    const { id } = await begin({ contenders: [{ model: 'one' }, { model: 'two' }], answers: 4 })
    const { answers } = await written(id)
    await vote(id, { groups: [[3], [0, 2], [1]], comment: 'so it is', voter: 'me' })
    const named = (await read(id)).answers
    const [line] = (await lines('comparisons')).filter((one) => one.id === id)
    expect(line).toMatchObject({
      messages,
      answers: [answers[3].content, [answers[0].content, answers[2].content], answers[1].content],
      models: [named[3].model, [named[0].model, named[2].model], named[1].model],
      allBad: false,
      comment: 'so it is',
      voter: 'me',
    })
    expect(line.settings[1][1].seed).toBe(named[2].settings?.seed)
  })

  it('has ratings with the prompt before the answer, on its own branch', async () => {
    const { id } = conversation.parse(
      await (await call('POST', '/conversations', { settings: { model: 'one', systemPrompt: 'Be brief.' } })).json(),
    )
    const asked = async (body: object) => {
      const events = await (await call('POST', `/conversations/${id}/reply`, body)).text()
      return JSON.parse(/event: end\ndata: (.*)/.exec(events)![1]).message as { id: string; content: string }
    }
    const first = await asked({ parentId: null, content: 'first' })
    await asked({ parentId: first.id, content: 'another branch' })
    const second = await asked({ parentId: first.id, content: 'second' })
    await call('PUT', `/messages/${second.id}/feedback`, { rating: 'down', comment: 'Too long.' })
    expect(await lines('ratings')).toEqual([
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'first' },
          { role: 'assistant', content: first.content },
          { role: 'user', content: 'second' },
        ],
        ...{ answer: second.content, rating: 'down', comment: 'Too long.', model: 'one', finishReason: 'stop' },
        ...{ settings: expect.objectContaining({ temperature: 0.7 }), id: second.id, date: expect.any(String) },
      },
    ])
    expect((await lines()).length).toBe((await lines('comparisons')).length + 1)
    expect((await call('GET', '/feedback/export?kind=thumbs')).status).toBe(400)
  })
})
