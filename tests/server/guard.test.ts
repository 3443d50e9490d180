import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type AppOptions, createApp } from '../../src/server/app.ts'
import { allowedHosts } from '../../src/server/hosts.ts'
import { listen } from '../../src/server/listen.ts'
import { ConversationStore } from '../../src/server/store.ts'
import { errorBody } from '../../src/server/wire.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, noStore } from './support.ts'

const log = captureLogger()
const app = (options: Partial<AppOptions> = {}) =>
  createApp({ models: [new MockModel()], store: noStore(), logger: log.logger, ...options })
const json = { 'content-type': 'application/json' }
const chat = JSON.stringify({ model: 'mock', messages: [{ role: 'user', content: 'x' }] })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'jackdaw-guard-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('who may ask', () => {
  it('on loopback only names of loopback are answered, whatever the port', async () => {
    const guarded = app({ allowedHosts: allowedHosts('127.0.0.1') })
    const statusAs = async (host: string) => (await guarded.request('/api/status', { headers: { host } })).status
    for (const host of ['localhost', 'localhost:3000', '127.0.0.1:80', '[::1]:3000', 'LOCALHOST']) {
      expect(await statusAs(host), host).toBe(200)
    }
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.nip.io',
      '0.0.0.0',
      '[',
      'a@localhost:x',
    ]) {
      expect(await statusAs(host), host).toBe(403)
    }
  })

  it('on a network addresses and the machine’s own names are answered, and names that were added', async () => {
    const statusAs = async (host: string, names?: string[]) => {
      const guarded = app({ allowedHosts: allowedHosts('0.0.0.0', names) })
      const response = await guarded.request('/api/status', { headers: { host } })
      if (response.status === 403) {
        const { error } = errorBody.parse(await response.json())
        expect(error).toMatchObject({ code: 'wrong_host', message: expect.stringMatching(/--allowed-host NAME/) })
      }
      return response.status
    }
    for (const host of ['localhost:3000', '192.168.1.7:3000', '10.0.0.1', '[fe80::1]:3000', `${hostname()}:3000`]) {
      expect(await statusAs(host), host).toBe(200)
    }
    for (const host of ['evil.example', '192.168.1.7.nip.io', '[', 'a@b:x'])
      expect(await statusAs(host), host).toBe(403)
    expect(await statusAs('chat.example', ['chat.example'])).toBe(200)
    expect(await statusAs('evil.example', ['chat.example'])).toBe(403)
    expect(await statusAs('evil.example', ['*'])).toBe(200)
  })

  it('a listening server checks the name as well', async () => {
    const server = await listen({
      models: [new MockModel()],
      store: noStore(),
      logger: log.logger,
      host: '127.0.0.1',
      port: 0,
    })
    const statusAs = (host: string) =>
      new Promise<number | undefined>((resolve, reject) => {
        httpRequest(`${server.url}/api/status`, { headers: { host } }, (response) => {
          response.resume().on('end', () => resolve(response.statusCode))
        })
          .on('error', reject)
          .end()
      })
    expect(await statusAs('evil.example')).toBe(403)
    expect(await statusAs('localhost:1')).toBe(200)
    await expect(
      listen({
        models: [new MockModel()],
        store: noStore(),
        logger: log.logger,
        host: '127.0.0.1',
        port: Number(new URL(server.url).port),
      }),
    ).rejects.toThrow(/^Port \d+ of 127\.0\.0\.1 is in use; .*--port\.$/)
    await server.close()
  })

  it('with a key the API asks for it, and the page is there for everyone', async () => {
    const staticDir = join(folder, 'keyed')
    await mkdir(staticDir)
    await writeFile(join(staticDir, 'index.html'), 'page')
    const keyed = app({ apiKey: 'secret', staticDir })
    const statusWith = async (path: string, authorization?: string) =>
      (await keyed.request(path, { headers: authorization ? { authorization } : {} })).status
    for (const path of ['/v1/models', '/api/status']) {
      expect(await statusWith(path)).toBe(401)
      expect(await statusWith(path, 'Bearer wrong')).toBe(401)
      // The scheme's case is free (RFC 9110, §11.1), the key's is not.
      for (const scheme of ['Bearer', 'bearer', 'BEARER ']) expect(await statusWith(path, `${scheme} secret`)).toBe(200)
      for (const other of ['Bearer SECRET', 'secret', 'Basic secret', 'Bearersecret', 'Bearer secret2']) {
        expect(await statusWith(path, other), other).toBe(401)
      }
    }
    expect(await statusWith('/metrics')).toBe(401)
    expect(await statusWith('/metrics', 'bearer secret')).toBe(200)
    expect(await statusWith('/health')).not.toBe(401)
    expect(await statusWith('/')).toBe(200)
  })

  it('foreign pages may use /v1 only where their origin is named, and never the conversations', async () => {
    const allowing = app({ corsOrigins: ['https://friend.example'], apiKey: 'secret' })
    const preflight = async (server: ReturnType<typeof app>, path: string, origin: string) =>
      (
        await server.request(path, {
          method: 'OPTIONS',
          headers: { origin, 'access-control-request-method': 'POST' },
        })
      ).headers.get('access-control-allow-origin')
    expect(await preflight(allowing, '/v1/chat/completions', 'https://friend.example')).toBe('https://friend.example')
    expect(await preflight(allowing, '/v1/chat/completions', 'https://evil.example')).toBeNull()
    expect(await preflight(allowing, '/api/conversations', 'https://friend.example')).toBeNull()
    expect(await preflight(app(), '/v1/chat/completions', 'https://friend.example')).toBeNull()
  })

  it('bodies that a foreign page can send without asking are refused', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', undefined]) {
      const response = await app().request('/v1/chat/completions', {
        method: 'POST',
        body: chat,
        headers: type ? { 'content-type': type } : {},
      })
      expect(response.status).toBe(415)
    }
  })

  it('bodies over the limit are a 413, with and without a length', async () => {
    const body = JSON.stringify({ model: 'mock', prompt: 'x'.repeat(1024 * 1024) })
    const limited = app()
    const known = await limited.request('/v1/completions', {
      method: 'POST',
      body,
      headers: { ...json, 'content-length': String(body.length) },
    })
    expect(known.status).toBe(413)
    expect(errorBody.parse(await known.json()).error.code).toBe('body_too_large')
    const stream = new Blob([body]).stream()
    const unknown = await limited.request('/v1/completions', {
      method: 'POST',
      body: stream,
      headers: { ...json, 'transfer-encoding': 'chunked' },
      duplex: 'half',
    } as RequestInit)
    expect(unknown.status).toBe(413)
  })
})

describe('the page', () => {
  let served: ReturnType<typeof app>
  beforeAll(async () => {
    const staticDir = join(folder, 'dist')
    await mkdir(join(staticDir, 'assets'), { recursive: true })
    await writeFile(join(folder, 'secret.txt'), 'secret')
    await mkdir(join(folder, 'dist-sibling'))
    await writeFile(join(folder, 'dist-sibling', 'secret.txt'), 'secret')
    await writeFile(join(staticDir, 'index.html'), '<title>jackdaw</title>')
    await writeFile(join(staticDir, 'assets', 'app-1a2b.js'), 'console.log(1)')
    await writeFile(join(staticDir, 'assets', 'big.wasm'), new Uint8Array(1_000_000).fill(7))
    await symlink(join(folder, 'secret.txt'), join(staticDir, 'link.txt'))
    served = app({ staticDir })
  })

  it('has its types, its cache rules and its content security policy', async () => {
    const index = await served.request('/')
    expect(index.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(index.headers.get('cache-control')).toBe('no-cache')
    expect(index.headers.get('content-security-policy')).toContain("default-src 'self'")
    expect(index.headers.get('x-content-type-options')).toBe('nosniff')
    const script = await served.request('/assets/app-1a2b.js')
    expect(script.headers.get('content-type')).toBe('text/javascript; charset=utf-8')
    expect(script.headers.get('cache-control')).toContain('immutable')
    expect(await script.text()).toBe('console.log(1)')
    const big = await served.request('/assets/big.wasm')
    expect(big.headers.get('content-type')).toBe('application/wasm')
    expect(new Uint8Array(await big.arrayBuffer())).toEqual(new Uint8Array(1_000_000).fill(7))
    const again = await served.request('/', { headers: { 'if-none-match': index.headers.get('etag')! } })
    expect(again.status).toBe(304)
  })

  it('answers places in it with its index, and files that are not there with a 404', async () => {
    expect(await (await served.request('/c/0c5b')).text()).toContain('jackdaw')
    expect((await served.request('/assets/gone.js')).status).toBe(404)
    expect((await served.request('/', { method: 'POST' })).status).toBe(404)
    const unknown = await served.request('/v1/nope')
    expect(unknown.status).toBe(404)
    expect(errorBody.parse(await unknown.json()).error.message).toBe('There is no route GET /v1/nope.')
  })

  it('is not what a misspelt address of the API is answered with', async () => {
    for (const path of ['//v1/models', '/v1//models', '///v1///models']) {
      const response = await served.request(`http://localhost${path}`)
      expect(response.status, path).toBe(200)
      expect(await response.json()).toMatchObject({ object: 'list' })
    }
    for (const path of ['/V1/models', '/v1', '/v1/', '/Api/status', '/%2fv1/models', '//api//nope', '/api']) {
      const response = await served.request(`http://localhost${path}`)
      expect(response.status, path).toBe(404)
      errorBody.parse(await response.json())
    }
    // With a key the other spellings ask for it, too.
    const keyed = app({ apiKey: 'secret' })
    expect((await keyed.request('http://localhost//v1/models')).status).toBe(401)
  })

  it('gives out nothing that lies outside its folder', async () => {
    for (const path of [
      '/../secret.txt',
      '/%2e%2e/secret.txt',
      '/..%2fsecret.txt',
      '/assets/..%2f..%2fsecret.txt',
      '/..%5csecret.txt',
      '/..%2fdist-sibling%2fsecret.txt',
      '/link.txt',
      '/%00secret.txt',
      '/%ff',
      `/${encodeURIComponent(join(folder, 'secret.txt'))}`,
    ]) {
      const response = await served.request(path)
      expect(await response.text(), path).not.toBe('secret')
      expect(response.status, path).toBeLessThan(500)
    }
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('..', '.', '%2e', '/', '%2f', '\\', '%5c', 'secret.txt', 'dist-sibling', '%00', '~')),
        async (parts) => {
          const response = await served.request(`/${parts.join('')}`)
          expect(response.status).toBeLessThan(500)
          expect(await response.text()).not.toBe('secret')
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('no request of any kind is a 500', () => {
  let store: ConversationStore
  let server: ReturnType<typeof app>
  let ids: string[]
  let answered: number

  beforeAll(async () => {
    store = await ConversationStore.open({ dataDir: join(folder, 'data') })
    server = app({
      models: [
        new MockModel({ contextLength: 300 }),
        new MockModel({ id: 'base', canChat: false, contextLength: 300 }),
      ],
      store,
    })
    const { id } = await store.create('', {})
    const first = await store.addMessage({ conversationId: id, parentId: null, role: 'user', content: 'x' })
    ids = [id, first!.message.id]
  })
  afterAll(() => store?.close())

  const post = async (path: string, body: string, method = 'POST') => {
    log.errors.length = 0
    const response = await server.request(path, { method, body, headers: json })
    const text = await response.text()
    expect(response.status, `${method} ${path} ${body} ${log.errors}`).toBeLessThan(500)
    if (response.status >= 400) errorBody.parse(JSON.parse(text))
    expect(text).not.toContain('"server_error"')
    if (response.ok) answered++
  }

  beforeEach(() => {
    answered = 0
  })
  /** Among requests that are all refused early, nothing would be found. */
  const expectSomeAnswered = () => expect(answered).toBeGreaterThan(10)

  // Requests that are right in most places reach further than those that are wrong at once.
  const mostly = <T>(right: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
    fc.oneof(
      { weight: 30, arbitrary: right },
      { weight: 1, arbitrary: fc.oneof(fc.jsonValue(), fc.integer(), fc.double()) },
    )
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), fc.constantFrom('', '\0', '\ud800', 'Hello'))
  const ids32 = fc.array(mostly(fc.nat(276)), { minLength: 1, maxLength: 8 })
  const sampling = {
    model: mostly(fc.constantFrom('mock', 'base')),
    n: mostly(fc.integer({ min: 1, max: 4 })),
    stop: mostly(
      fc.oneof(fc.constantFrom(' ', 'e', 'jackdaw'), fc.array(fc.string({ minLength: 1 }), { maxLength: 3 })),
    ),
    seed: mostly(fc.maxSafeInteger()),
    temperature: mostly(fc.double({ noNaN: true, min: 0, max: 2 })),
    top_p: mostly(fc.double({ noNaN: true, min: 0, max: 1 })),
    top_k: mostly(fc.integer({ min: -1, max: 500 })),
    min_p: mostly(fc.double({ noNaN: true, min: 0, max: 1 })),
    repetition_penalty: mostly(fc.double({ noNaN: true, min: 0.01, max: 2 })),
    presence_penalty: mostly(fc.integer({ min: -2, max: 2 })),
    frequency_penalty: mostly(fc.integer({ min: -2, max: 2 })),
    logit_bias: mostly(fc.dictionary(fc.nat(276).map(String), fc.integer({ min: -100, max: 100 }))),
    max_tokens: mostly(fc.integer({ min: 1, max: 30 })),
    stream: mostly(fc.boolean()),
    stream_options: mostly(fc.record({ include_usage: fc.boolean() })),
  }
  const optional = <T>(record: { [Key in keyof T]: fc.Arbitrary<T[Key]> }, requiredKeys: (keyof T)[]) =>
    fc.record(record, { requiredKeys })

  it('to the chat route', async () => {
    const messages = fc.array(
      fc.record({
        role: mostly(fc.constantFrom('system', 'developer', 'user', 'assistant', 'assistant', 'tool')),
        content: mostly(fc.oneof(text, fc.array(fc.record({ type: fc.constant('text'), text }), { maxLength: 3 }))),
      }),
      { maxLength: 4 },
    )
    const body = optional(
      {
        ...sampling,
        messages: mostly(messages),
        logprobs: mostly(fc.constant(true)),
        top_logprobs: mostly(fc.nat(20)),
        max_completion_tokens: mostly(fc.integer({ min: 1, max: 30 })),
      },
      ['model', 'messages'],
    )
    await fc.assert(
      fc.asyncProperty(body, (value) => post('/v1/chat/completions', JSON.stringify(value))),
      { numRuns: 400 },
    )
    expectSomeAnswered()
  })

  it('to the completion and embedding routes', async () => {
    const words = fc.string({ unit: 'binary', minLength: 1, maxLength: 40 })
    const many = { minLength: 1, maxLength: 3 }
    const prompt = fc.oneof(words, ids32, fc.array(words, many), fc.array(ids32, many))
    const completion = optional(
      {
        ...sampling,
        prompt: mostly(prompt),
        echo: mostly(fc.boolean()),
        logprobs: mostly(fc.nat(20)),
      },
      ['model', 'prompt'],
    )
    const embedding = optional(
      { model: sampling.model, input: mostly(prompt), encoding_format: mostly(fc.constantFrom('float', 'base64')) },
      ['model', 'input'],
    )
    await fc.assert(
      fc.asyncProperty(completion, (value) => post('/v1/completions', JSON.stringify(value))),
      { numRuns: 300 },
    )
    expectSomeAnswered()
    answered = 0
    await fc.assert(
      fc.asyncProperty(embedding, (value) => post('/v1/embeddings', JSON.stringify(value))),
      { numRuns: 200 },
    )
    expectSomeAnswered()
  })

  it('to the conversations', async () => {
    const id = fc.oneof(
      fc.integer({ min: 0, max: 1 }).map((index) => ids[index]),
      fc.uuid(),
      fc.constantFrom('x', '00000000-0000-0000-0000-000000000000', "';--", 'toString', '%00'),
    )
    const settings = optional(
      {
        model: sampling.model,
        systemPrompt: mostly(text),
        temperature: sampling.temperature,
        topK: sampling.top_k,
        seed: sampling.seed,
        maxNewTokens: mostly(fc.integer({ min: 0, max: 20 })),
      },
      [],
    )
    const routes: fc.Arbitrary<[string, string, unknown]>[] = [
      fc.tuple(
        fc.constant('POST'),
        fc.constant('/api/conversations'),
        optional({ title: mostly(text), settings: mostly(settings) }, []),
      ),
      fc.tuple(
        fc.constant('PATCH'),
        id.map((id) => `/api/conversations/${id}`),
        optional({ title: mostly(text), settings: mostly(settings), activeMessageId: mostly(id) }, []),
      ),
      fc.tuple(
        fc.constant('POST'),
        id.map((id) => `/api/conversations/${id}/messages`),
        optional(
          {
            parentId: mostly(fc.option(id)),
            role: mostly(fc.constantFrom('user', 'assistant')),
            content: mostly(text),
          },
          ['parentId', 'content'],
        ),
      ),
      fc.tuple(
        fc.constant('POST'),
        id.map((id) => `/api/conversations/${id}/reply`),
        optional({ parentId: mostly(fc.option(id)), content: mostly(text) }, ['parentId']),
      ),
      fc.tuple(
        fc.constant('PUT'),
        id.map((id) => `/api/messages/${id}/feedback`),
        optional({ rating: mostly(fc.constantFrom('up', 'down')), comment: mostly(text) }, []),
      ),
    ]
    await fc.assert(
      fc.asyncProperty(fc.oneof(...routes), ([method, path, body]) => post(path, JSON.stringify(body), method)),
      { numRuns: 600 },
    )
    expectSomeAnswered()
    const query = fc.record({ search: text, limit: mostly(fc.nat(120)), cursor: text }, { requiredKeys: [] })
    await fc.assert(
      fc.asyncProperty(query, async (given) => {
        const pairs = Object.entries(given).map(([key, value]) => [key, String(value)])
        const response = await server.request(`/api/conversations?${new URLSearchParams(pairs)}`)
        expect(response.status, `${JSON.stringify(given)} ${log.errors}`).toBeLessThan(500)
      }),
      { numRuns: 200 },
    )
  })

  it('with bytes that are no JSON, or too deep', async () => {
    const routes = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/api/conversations']
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...routes), fc.uint8Array({ maxLength: 60 }), async (path, body) => {
        const response = await server.request(path, { method: 'POST', body: new Uint8Array(body), headers: json })
        expect(response.status).toBeLessThan(500)
      }),
      { numRuns: 200 },
    )
    for (const path of routes) {
      await post(path, '['.repeat(500_000))
      await post(path, `{"model":"mock","prompt":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)
      await post(path, `{"__proto__":{"model":"mock"},"constructor":1}`)
    }
  })
})
