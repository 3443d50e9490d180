import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { StoreLocation } from '../../src/server/store.ts'
import { type Conversation, conversationWithMessages } from '../../src/server/wire.ts'
import { type ServerChild, startChild } from './child.ts'
import { lacksPostgres, startPostgres } from './postgres-server.ts'
import { replyEvents } from './sse.ts'
import { until } from './support.ts'

// Several processes start one after the other, each with a database to create or to open.
vi.setConfig({ testTimeout: 180_000 })

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const embedded = async (): Promise<StoreLocation> => {
  const dataDir = await mkdtemp(join(tmpdir(), 'jackdaw-durability-'))
  cleanups.push(() => rm(dataDir, { recursive: true, force: true }))
  return { dataDir }
}
const onServer = async (): Promise<StoreLocation> => {
  const server = await startPostgres()
  cleanups.push(server.end)
  return { databaseUrl: server.url }
}

async function start(location: StoreLocation): Promise<ServerChild> {
  const child = await startChild(location)
  cleanups.push(async () => {
    if (child.process.exitCode === null && child.process.signalCode === null) await child.end('SIGKILL')
  })
  return child
}

const post = (url: string, body: unknown) =>
  fetch(url, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } })

const read = async (url: string, id: string) =>
  conversationWithMessages.parse(await (await fetch(`${url}/api/conversations/${id}`)).json())

/** Starts an answer and reads it for as long as it is sent. */
async function beginAnswer(url: string) {
  const { id } = (await (await post(`${url}/api/conversations`, {})).json()) as Conversation
  const received = { text: '' }
  const response = await post(`${url}/api/conversations/${id}/reply`, { parentId: null, content: 'Go on and on' })
  const reading = (async () => {
    for await (const event of replyEvents(response)) if (event.type === 'delta') received.text += event.delta
  })().catch(() => {})
  return { id, received, reading }
}

describe.each([
  { name: 'embedded PostgreSQL', locate: embedded, skip: false },
  { name: 'a PostgreSQL server', locate: onServer, skip: lacksPostgres() },
])('on $name', ({ locate, skip }) => {
  it.skipIf(skip)('a conversation and what was written of its answer survive kill -9', async () => {
    const location = await locate()
    const first = await start(location)
    const { id, received, reading } = await beginAnswer(first.url)
    await until(async () => received.text.length > 0 && (await read(first.url, id)).messages[1].content.length > 100)
    const savedLength = (await read(first.url, id)).messages[1].content.length
    expect(await first.end('SIGKILL')).toBeNull()
    await reading

    const second = await start(location)
    const after = await read(second.url, id)
    expect(after.title).toBe('Go on and on')
    expect(after.messages[0].content).toBe('Go on and on')
    expect(after.messages[1].content.length).toBeGreaterThanOrEqual(savedLength)
    expect(received.text.startsWith(after.messages[1].content)).toBe(true)
    // Whether the first server is gone or only late shows after a while without a save.
    const deadline = Date.now() + 10_000
    while ((await read(second.url, id)).messages[1].finishReason === null && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
    expect((await read(second.url, id)).messages[1].finishReason).toBe('interrupted')
    expect(await second.end('SIGTERM')).toBe(0)
  })
})

describe('a server told to stop', () => {
  it('saves all that it sent, says that the answer is cut off, closes the store and leaves with 0', async () => {
    const location = await embedded()
    const first = await start(location)
    const { id, received, reading } = await beginAnswer(first.url)
    await until(() => received.text.length > 100)
    expect(await first.end('SIGTERM')).toBe(0)
    await reading

    const second = await start(location)
    const { content, finishReason } = (await read(second.url, id)).messages[1]
    expect(finishReason).toBe('interrupted')
    expect(content).toBe(received.text)
    expect(await second.end('SIGINT')).toBe(0)
  })
})
