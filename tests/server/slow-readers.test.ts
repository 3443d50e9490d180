import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import type { Limits } from '../../src/server/limits.ts'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { ModelDesk, ServedModels } from '../../src/server/served-models.ts'
import { errorBody } from '../../src/server/wire.ts'
import { MockModel, type MockOptions } from './mock-model.ts'
import { captureLogger, noStore, until } from './support.ts'

/** Clients that ask and do not read, do not send, or go away: over sockets of their own. */

const open: Socket[] = []
let server: RunningServer | undefined
afterEach(async () => {
  for (const socket of open.splice(0)) socket.destroy()
  await server?.close()
  server = undefined
})

async function serve(options: MockOptions, limits: Partial<Limits> = {}) {
  const model = new MockModel(options)
  const models = new ServedModels([model], limits)
  const { logger } = captureLogger()
  server = await listen({ models, store: noStore(), logger, host: '127.0.0.1', port: 0, limits })
  return { model, desk: models.default }
}

function send(text: string): Socket {
  const socket = connect(Number(new URL(server!.url).port), '127.0.0.1')
  socket.pause()
  socket.on('error', () => {})
  socket.write(text)
  open.push(socket)
  return socket
}

/** Sends a request and reads nothing of the answer. */
function askWithoutReading(body: object): Socket {
  const text = JSON.stringify(body)
  const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json'
  return send(`${head}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`)
}

const chat = (more: object = {}) => ({
  model: 'mock',
  messages: [{ role: 'user', content: 'x' }],
  stream: true,
  ...more,
})

const post = (body: object, path = '/v1/chat/completions', signal?: AbortSignal) =>
  fetch(`${server!.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  })

/** More than the sockets of a machine hold: kilobytes a token, where twenty others are told with each. */
const large = { logprobs: true, top_logprobs: 20, n: 4 }

describe('clients that do not read', () => {
  it('hold no place once their answers are written, though nothing of them was read', async () => {
    const { model, desk } = await serve({ length: 300 }, { maxRequests: 4 })
    for (let i = 0; i < 4; i++) askWithoutReading(chat({ seed: i }))
    await until(() => model.requests.length === 4)
    await until(() => !desk.busy)
    expect((await post(chat({ stream: false, max_tokens: 2 }))).status).toBe(200)
  })

  it('hold no place for longer than a write may take, where more was written than is kept for them', async () => {
    const limits = { maxRequests: 3, writeTimeoutMs: 500 }
    const { model, desk } = await serve({ length: 1_500, contextLength: 4_000 }, limits)
    const sockets = Array.from({ length: 3 }, (_, i) => askWithoutReading(chat({ seed: i, ...large })))
    await until(() => model.requests.length === 12)
    await until(() => !desk.busy && model.running === 0)
    // Their connections are gone, too: reading on, they find the end.
    const ends = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    for (const socket of sockets) socket.resume()
    await Promise.all(ends)
    expect((await post(chat({ stream: false, max_tokens: 2 }))).status).toBe(200)
  }, 60_000)

  it('let others have their turn as soon as nothing more is kept for them', async () => {
    const limits = { maxRequests: 1, maxBufferBytes: 1_000 }
    const { model, desk } = await serve({ length: 1_500, contextLength: 4_000, slots: 1 }, limits)
    askWithoutReading(chat(large))
    await until(() => model.requests.length === 4)
    await until(() => !desk.busy)
    // It is not given up: its patience is half a minute.
    expect(model.running).toBe(4)
    expect((await post(chat({ stream: false, max_tokens: 2 }))).status).toBe(200)
  }, 60_000)

  it('are no trouble for one that reads slowly: it gets all', async () => {
    await serve({ length: 400, contextLength: 4_000 }, { maxBufferBytes: 1_000 })
    const response = await post(chat({ logprobs: true, top_logprobs: 20 }))
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body!) {
      await delay(1)
      text += decoder.decode(chunk, { stream: true })
    }
    expect(text.split('\n\n').at(-2)).toBe('data: [DONE]')
    // The opening, 400 tokens, the end, and what follows the last blank line.
    expect(text.split('\n\n')).toHaveLength(404)
  })
})

describe('one client', () => {
  it('has so many requests open and no more; others are answered', async () => {
    const { model } = await serve({ length: 1_000, delayMs: 20 }, { maxRequestsPerClient: 3 })
    for (let i = 0; i < 3; i++) askWithoutReading(chat())
    await until(() => model.requests.length === 3)
    const refused = await post(chat())
    expect(refused.status).toBe(429)
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(errorBody.parse(await refused.json()).error).toMatchObject({
      type: 'rate_limit_error',
      code: 'rate_limit_exceeded',
    })
    expect((await fetch(`${server!.url}/api/status`)).status).toBe(200)
    // Another address of this machine is another client.
    const { port } = new URL(server!.url)
    const other = connect({ port: Number(port), host: '127.0.0.1', localAddress: '127.0.0.2' })
    open.push(other)
    const body = JSON.stringify({ model: 'mock', prompt: 'x', max_tokens: 1 })
    other.write(
      `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    const answer = await new Promise<string>((resolve) => other.once('data', (data) => resolve(data.toString())))
    expect(answer).toMatch(/^HTTP\/1\.1 200/)
    for (const socket of open) socket.destroy()
    await until(async () => (await post(chat({ stream: false, max_tokens: 1 }))).status === 200)
  })

  it('has used up its share by bodies that it does not send', async () => {
    await serve({}, { maxRequestsPerClient: 2 })
    const head = 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json'
    for (let i = 0; i < 2; i++) send(`${head}\r\nContent-Length: 1000\r\n\r\n{`)
    await until(async () => (await post(chat({ stream: false }))).status === 429)
    for (const socket of open) socket.destroy()
    await until(async () => (await post(chat({ stream: false }))).status === 200)
  })
})

describe('what waits', () => {
  it('has its turn in order, and longer than its turn is a 503 with retry-after', async () => {
    const { model, desk } = await serve({ length: 1_000, delayMs: 20, slots: 2 }, { maxWaitMs: 300 })
    const sockets = [askWithoutReading(chat({ seed: 1 })), askWithoutReading(chat({ seed: 2 }))]
    await until(() => model.requests.length === 2)
    for (const stream of [true, false]) {
      const late = await post(chat({ stream }))
      expect(late.status).toBe(503)
      expect(late.headers.get('retry-after')).toBe('5')
      expect(errorBody.parse(await late.json()).error).toMatchObject({ type: 'server_error', code: 'overloaded' })
    }
    expect(desk.load).toEqual({ active: 2, running: 2, waiting: 0 })
    const third = post(chat({ stream: false, max_tokens: 1 }))
    await until(() => desk.load.waiting === 1)
    sockets[0].destroy()
    expect((await third).status).toBe(200)
    expect(model.running).toBe(1)
  })

  it('is a reply on the page, too, which says so', async () => {
    const desk = new ModelDesk(new MockModel({ slots: 1 }), { maxWaitMs: 100 })
    const endTurn = await desk.turn()
    const reply = desk.generate({ promptIds: [1], maxNewTokens: 2 })
    await expect(reply.next()).rejects.toThrow(/^mock was busy with others/)
    endTurn()
    const events = []
    for await (const event of desk.generate({ promptIds: [1], maxNewTokens: 2 })) events.push(event)
    expect(events).toHaveLength(3)
    expect(desk.load.running).toBe(0)
  })

  it('gives its place in the queue back when its client leaves', async () => {
    const { model, desk } = await serve({ length: 1_000, delayMs: 20, slots: 1 })
    const first = askWithoutReading(chat())
    await until(() => model.requests.length === 1)
    const abort = new AbortController()
    const left = post(chat(), '/v1/chat/completions', abort.signal).catch(() => {})
    await until(() => desk.load.waiting === 1)
    abort.abort()
    await until(() => desk.load.waiting === 0 && desk.load.active === 1)
    first.destroy()
    await until(() => !desk.busy)
    expect(desk.load).toEqual({ active: 0, running: 0, waiting: 0 })
    expect(model.requests).toHaveLength(1)
    await left
  })
})

describe('embeddings', () => {
  it('stop when their client leaves', async () => {
    const { model, desk } = await serve({ delayMs: 20 })
    const abort = new AbortController()
    const body = { model: 'mock', input: Array.from({ length: 500 }, (_, i) => `text ${i}`) }
    const call = post(body, '/v1/embeddings', abort.signal).catch(() => {})
    await until(() => model.embedded > 0)
    abort.abort()
    await until(() => !desk.busy)
    expect(model.embedded).toBeLessThan(100)
    await call
  })
})
