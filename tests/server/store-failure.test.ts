import { execFileSync, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createApp } from '../../src/server/app.ts'
import { ConversationStore } from '../../src/server/store.ts'
import { StoreError, storeError } from '../../src/server/store-error.ts'
import { MockModel } from './mock-model.ts'
import { lacksOwnPostgres, lacksPostgres, PostgresServer, startPostgres } from './postgres-server.ts'
import { captureLogger } from './support.ts'

const secret = 'what nobody but me may read'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'jackdaw-failure-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const json = { 'content-type': 'application/json' }
const post = (app: ReturnType<typeof createApp>, path: string, body: unknown) =>
  app.request(path, { method: 'POST', body: JSON.stringify(body), headers: json })

async function withApp(store: ConversationStore) {
  const { errors, logger } = captureLogger()
  const app = createApp({ models: [new MockModel()], store, logger })
  const { id } = (await (await post(app, '/api/conversations', {})).json()) as { id: string }
  const send = (content: string) => post(app, `/api/conversations/${id}/messages`, { parentId: null, content })
  return { app, errors, send, id }
}

/** Everything that an error could show in a log. */
function shown(error: unknown): string {
  const { errors, logger } = captureLogger()
  logger.error({ err: error }, 'it failed')
  return errors.join('')
}

describe('what people wrote', () => {
  const statements: { what: string; location: () => Promise<{ store: ConversationStore; end(): Promise<unknown> }> }[] =
    [
      {
        what: 'embedded PostgreSQL',
        location: async () => ({
          store: await ConversationStore.open({ dataDir: join(folder, 'log') }),
          end: async () => {},
        }),
      },
    ]
  if (!lacksPostgres()) {
    statements.push({
      what: 'a PostgreSQL server',
      location: async () => {
        const { url, end } = await startPostgres()
        return { store: await ConversationStore.open({ databaseUrl: url }), end }
      },
    })
  }

  it.each(statements)(
    'is not in the error of a statement that failed on $what',
    async ({ location }) => {
      const { store, end } = await location()
      const { errors, send, id } = await withApp(store)
      // The schema refuses it before it gets here; PostgreSQL does too, and quotes the row or the value.
      const attempts = [
        store.addMessage({ conversationId: id, parentId: null, role: 'user', content: `\0${secret}` }),
        store.addMessage({ conversationId: secret, parentId: null, role: 'user', content: secret }),
        store.addMessage({ conversationId: id, parentId: null, role: 'user', content: secret, omitted: 2 ** 40 }),
        store.update(id, { title: `\0${secret}` }),
        store.create(`\0${secret}`, { systemPrompt: secret }),
        store.list({ search: `\0${secret}`, limit: 3 }),
      ]
      for (const attempt of await Promise.allSettled(attempts)) {
        expect(attempt.status).toBe('rejected')
        const { reason } = attempt as PromiseRejectedResult
        expect(reason).toBeInstanceOf(StoreError)
        expect(reason.message).toMatch(/^The store cannot [\w ]+ \(.+\)\.$/)
        expect(shown(reason)).not.toContain('nobody')
      }
      expect((await send(secret)).status).toBe(201)
      await store.close()
      await end()
      expect((await send(secret)).status).toBeGreaterThanOrEqual(500)
      expect(errors.length).toBe(1)
      expect(errors.join('')).not.toContain('nobody')
    },
    120_000,
  )

  it('is not in an error whose cause, detail, query or parameters have it', () => {
    const driver = Object.assign(new Error(`invalid input syntax: "${secret}"`), {
      code: '22P02',
      detail: `Failing row contains (${secret}).`,
      parameters: [secret],
      query: secret,
      where: secret,
      table_name: 'messages',
    })
    const wrapped = new Error(`Failed query: insert\nparams: ${secret}`, { cause: driver })
    const error = storeError('cannot add a message', wrapped)
    expect(error.message).toBe('The store cannot add a message (22P02, messages).')
    expect(shown(error)).not.toContain(secret)
    expect(shown(storeError('cannot add a message', new Error(secret)))).not.toContain(secret)
    expect(shown(storeError('cannot add a message', secret))).not.toContain(secret)
  })
})

describe.skipIf(lacksOwnPostgres())('a PostgreSQL server that crashes', () => {
  it('is said to be away, gets the end of an answer when it is back, and has all that it acknowledged', async () => {
    const home = join(folder, 'server')
    await mkdir(home)
    execFileSync('chmod', ['755', folder])
    const server = await PostgresServer.start(home)
    const store = await ConversationStore.open({ databaseUrl: server.url })
    const { app, send, id } = await withApp(store)
    const question = (await (await send('before')).json()) as { id: string }
    const { message } = (await store.addMessage({
      ...{ conversationId: id, parentId: question.id, role: 'assistant', content: '' },
    }))!
    await server.stop('immediate')
    const refused = await send('while it is away')
    expect(refused.status).toBe(503)
    expect(await refused.json()).toMatchObject({ error: { code: 'store_unreachable' } })
    const saving = store.saveReply(message.id, { content: 'An answer.', finishReason: 'stop' })
    await new Promise((resolve) => setTimeout(resolve, 500))
    await server.begin()
    expect((await saving)?.content).toBe('An answer.')
    expect((await send('after')).status).toBe(201)
    const read = (await (await app.request(`/api/conversations/${id}`)).json()) as { messages: { content: string }[] }
    expect(read.messages.map(({ content }) => content)).toEqual(['before', 'An answer.', 'after'])
    await store.close()
    await server.stop('fast')
  }, 60_000)

  it('in the midst of many requests fails those, and does not end this process', async () => {
    const home = join(folder, 'busy')
    await mkdir(home)
    execFileSync('chmod', ['755', folder])
    const server = await PostgresServer.start(home)
    const store = await ConversationStore.open({ databaseUrl: server.url })
    const { id } = await store.create('', {})
    const acknowledged = new Set<string>()
    let failed = 0
    let isOver = false
    // What a driver throws outside of any request fails this test.
    const busy = Array.from({ length: 30 }, async (_, client) => {
      for (let n = 0; !isOver; n++) {
        const content = `${client}/${n}`
        await store.addMessage({ conversationId: id, parentId: null, role: 'user', content }).then(
          () => acknowledged.add(content),
          async (error) => {
            failed++
            expect(error).toBeInstanceOf(StoreError)
            expect(error.failure).toBe('unreachable')
            await new Promise((resolve) => setTimeout(resolve, 50))
          },
        )
      }
    })
    for (let crash = 0; crash < 3; crash++) {
      await new Promise((resolve) => setTimeout(resolve, 300))
      await server.stop('immediate')
      await server.begin()
    }
    isOver = true
    await Promise.all(busy)
    expect(failed).toBeGreaterThan(0)
    const kept = (await store.read(id))!.messages.map(({ content }) => content)
    expect(kept).toEqual(expect.arrayContaining([...acknowledged]))
    expect(new Set(kept).size).toBe(kept.length)
    await store.close()
    await server.stop('fast')
  }, 60_000)
})

const canMount = process.getuid?.() === 0 && process.platform === 'linux'
if (!canMount) console.warn('skipped: only root can mount the small disks of these tests')

async function onSmallDisk(name: string, megabytes: number, test: (disk: string) => Promise<void>): Promise<void> {
  const disk = join(folder, name)
  await mkdir(disk)
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', disk])
  try {
    await test(disk)
  } finally {
    // Lazily: PGlite that failed keeps files open until it is collected.
    spawnSync('umount', ['--lazy', disk])
  }
}

describe.skipIf(!canMount)('a full disk', () => {
  it.each([2, 20])('of %i MB is refused at the first start in one sentence', async (megabytes) => {
    await onSmallDisk(`first-${megabytes}`, megabytes, async (disk) => {
      const dataDir = join(disk, 'data')
      const error = await ConversationStore.open({ dataDir }).catch((error: Error) => error)
      expect((error as Error).message).toMatch(
        /^The conversations cannot be kept in \S+: its disk is full \(\d+ MB are free\); make room for 64 MB, or choose another folder with --data\.$/,
      )
    })
  })

  it.each([
    ['for a table', 300_000],
    // PostgreSQL ends where it cannot have the next 16 MB of its log.
    ['for the log', 13_000_000],
  ])(
    'with no room %s keeps what it acknowledged, says that it is full, and goes on when there is room',
    async (what, left) => {
      await onSmallDisk(what.replaceAll(' ', '-'), 90, async (disk) => {
        const store = await ConversationStore.open({ dataDir: join(disk, 'data') })
        const { app, errors, send, id } = await withApp(store)
        const acknowledged: string[] = []
        const filler = join(disk, 'filler')
        const { bavail, bsize } = await statfs(disk)
        await writeFile(filler, Buffer.alloc(Math.max(0, bavail * bsize - left)))
        let refused: Response | undefined
        for (let n = 0; n < 2_000 && !refused; n++) {
          // What does not compress.
          const content = `${n} ${Array.from({ length: 3_000 }, () => Math.random().toString(36).slice(2)).join('')}`
          const response = await send(content)
          if (response.status === 201) acknowledged.push(content)
          else refused = response
        }
        expect(refused?.status).toBe(503)
        expect(await refused?.json()).toMatchObject({
          error: { code: 'store_full', message: expect.stringContaining('is full') },
        })
        expect(errors.join('')).toContain('disk that keeps the conversations is full')
        await rm(filler)
        expect((await send('after')).status).toBe(201)
        const read = await (await app.request(`/api/conversations/${id}`)).json()
        const kept = (read as { messages: { content: string }[] }).messages.map(({ content }) => content)
        expect(kept).toEqual([...acknowledged, 'after'])
        await store.close()
        const again = await ConversationStore.open({ dataDir: join(disk, 'data') })
        expect((await again.read(id))?.messages.map(({ content }) => content)).toEqual([...acknowledged, 'after'])
        await again.close()
      })
    },
    120_000,
  )
})
