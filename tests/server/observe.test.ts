import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { type AppOptions, createApp } from '../../src/server/app.ts'
import type { ConversationStore } from '../../src/server/store.ts'
import { errorBody } from '../../src/server/wire.ts'
import { MockModel } from './mock-model.ts'
import { noStore } from './support.ts'

function observed(options: Partial<AppOptions> = {}) {
  const lines: Record<string, unknown>[] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) })
  const app = createApp({
    models: [new MockModel(), new MockModel({ id: 'broken "\\\n', failAfter: 1 })],
    store: noStore(),
    logger,
    ...options,
  })
  const post = (path: string, body: object, headers: Record<string, string> = {}) =>
    app.request(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  return { app, lines, post }
}

const ask = { model: 'mock', prompt: 'Once', max_tokens: 5, seed: 1 }

describe('a request', () => {
  it('has an id in its answer and in the log: the client’s, where it is a sane one', async () => {
    const { app, lines } = observed()
    for (const [path, status] of [
      ['/v1/models', 200],
      ['/v1/nope', 404],
      ['/nope', 404],
      ['/api/conversations', 503],
    ] as const) {
      const own = await app.request(path, { headers: { 'x-request-id': 'trace-1:a.b_c' } })
      expect(own.status).toBe(status)
      expect(own.headers.get('x-request-id')).toBe('trace-1:a.b_c')
      expect(lines.at(-1)).toMatchObject({ requestId: 'trace-1:a.b_c', path, status })
      const drawn = [undefined, 'a b', '<script>', 'x'.repeat(129), ''].map(async (id) =>
        (await app.request(path, { headers: id === undefined ? {} : { 'x-request-id': id } })).headers.get(
          'x-request-id',
        ),
      )
      const ids = await Promise.all(drawn)
      for (const id of ids) expect(id).toMatch(/^req_[0-9a-f]{32}$/)
      expect(new Set(ids).size).toBe(ids.length)
    }
  })

  it('that streams has one, and one that fails is found by it', async () => {
    const { lines, post } = observed()
    const headers = { 'x-request-id': 'mine' }
    const stream = await post('/v1/completions', { ...ask, stream: true }, headers)
    expect(stream.headers.get('x-request-id')).toBe('mine')
    await stream.text()
    const broken = { ...ask, model: 'broken "\\\n' }
    expect((await post('/v1/completions', broken, headers)).status).toBe(500)
    expect(lines).toContainEqual(expect.objectContaining({ requestId: 'mine', msg: 'a request failed' }))
    const failed = await post('/v1/completions', { ...broken, stream: true }, { 'x-request-id': 'other' })
    await failed.text()
    expect(lines).toContainEqual(expect.objectContaining({ requestId: 'other', msg: 'an answer failed' }))
  })

  it('is answered whatever fields it has that nobody knows; the log names them, and not what is in them', async () => {
    const { lines, post } = observed()
    const response = await post('/v1/completions', { ...ask, session_id: 'secret', cache_prompt: true })
    expect(response.status).toBe(200)
    expect(lines).toContainEqual(
      expect.objectContaining({ fields: ['session_id', 'cache_prompt'], msg: 'unknown fields are ignored' }),
    )
    expect(JSON.stringify(lines)).not.toContain('secret')
    const refused = await post('/v1/completions', { ...ask, ignore_eos: true })
    expect(errorBody.parse(await refused.json()).error).toMatchObject({
      type: 'invalid_request_error',
      param: 'ignore_eos',
      message: "Invalid 'ignore_eos': this server does not support it.",
    })
  })
})

describe('/health', () => {
  it('says when the server is ready', async () => {
    let opened: (store: ConversationStore) => void = () => {}
    const store = new Promise<ConversationStore>((resolve) => {
      opened = resolve
    })
    const shutdown = new AbortController()
    const { app } = observed({ store, shutdown: shutdown.signal, apiKey: 'secret' })
    const health = async () => {
      const response = await app.request('/health')
      return [response.status, await response.json()]
    }
    expect(await health()).toEqual([503, { status: 'loading' }])
    opened({} as ConversationStore)
    await store
    expect(await health()).toEqual([200, { status: 'ready' }])
    shutdown.abort()
    expect(await health()).toEqual([503, { status: 'stopping' }])
    const failed = observed().app
    await new Promise((resolve) => setTimeout(resolve))
    expect((await failed.request('/health')).status).toBe(503)
  })
})

/** What a line of the format is: a name, labels in quotes, a number. */
const SAMPLE = /^[a-z_:]+(\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)*\})? ([0-9.e+-]+|NaN|[+-]Inf)$/i

describe('/metrics', () => {
  it('counts requests, tokens and places, in the format of Prometheus', async () => {
    const { app, post } = observed()
    await (await post('/v1/completions', ask)).text()
    await (await post('/v1/completions', { ...ask, stream: true })).text()
    await post('/v1/completions', { ...ask, model: 'nope' })
    await app.request('/v1/models/some/secret-path')
    await app.request('/secret-page')
    await app.request('/v1/models', { method: 'FOO' })
    const response = await app.request('/metrics')
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const text = await response.text()
    const lines = text.split('\n')
    expect(lines.pop()).toBe('')
    const types = new Map<string, string>()
    for (const line of lines) {
      const type = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line)
      if (type) {
        expect(types.has(type[1]), line).toBe(false)
        types.set(type[1], type[2])
      } else if (!line.startsWith('# HELP ')) {
        expect(line).toMatch(SAMPLE)
        const name = line.split(/[{ ]/)[0].replace(/_(bucket|sum|count)$/, '')
        expect(types.has(name) || types.has(line.split(/[{ ]/)[0]), line).toBe(true)
      }
    }
    for (const line of [
      'jackdaw_http_requests_total{method="POST",route="/v1/completions",status="200"} 2',
      'jackdaw_http_requests_total{method="POST",route="/v1/completions",status="404"} 1',
      'jackdaw_answers_total{model="mock",reason="length"} 2',
      'jackdaw_prompt_tokens_total{model="mock"} 8',
      'jackdaw_cached_tokens_total{model="mock"} 3',
      'jackdaw_completion_tokens_total{model="mock"} 10',
      'jackdaw_places_in_use{model="mock"} 0',
      'jackdaw_requests_waiting{model="mock"} 0',
      'jackdaw_first_token_seconds_bucket{model="mock",le="0.005"} 2',
      'jackdaw_first_token_seconds_count{model="mock"} 2',
      'jackdaw_token_seconds_bucket{model="mock",le="0.01"} 2',
      'jackdaw_completion_tokens_total{model="broken \\"\\\\\\n"} 0',
    ]) {
      expect(lines).toContain(line)
    }
    // Buckets grow to the count, and what anyone may write is in no label.
    const buckets = lines
      .filter((line) => line.startsWith('jackdaw_http_response_seconds_bucket{route="/v1/completions"'))
      .map((line) => Number(line.split(' ')[1]))
    expect(buckets).toEqual(buckets.toSorted((a, b) => a - b))
    expect(buckets.at(-1)).toBe(3)
    expect(text).not.toContain('secret')
    expect(text).not.toContain('FOO')
  })

  it('shows who is being answered, who waits and who was turned away', async () => {
    const model = new MockModel({ delayMs: 5, length: 1_000, slots: 1 })
    const { app, post } = observed({ models: [model], limits: { maxRequests: 2 } })
    const abort = new AbortController()
    const calls = [1, 2].map((seed) =>
      app.request('/v1/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...ask, seed, max_tokens: 1_000 }),
        signal: abort.signal,
      }),
    )
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect((await post('/v1/completions', ask)).status).toBe(429)
    const lines = (await (await app.request('/metrics')).text()).split('\n')
    expect(lines).toContain('jackdaw_places_in_use{model="mock"} 2')
    expect(lines).toContain('jackdaw_requests_running{model="mock"} 1')
    expect(lines).toContain('jackdaw_requests_waiting{model="mock"} 1')
    expect(lines).toContain('jackdaw_turned_away_total{model="mock",reason="full"} 1')
    abort.abort()
    await Promise.all(calls)
  })
})
