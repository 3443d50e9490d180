import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import { getTableConfig } from 'drizzle-orm/pg-core'
import { drizzle } from 'drizzle-orm/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { migrate } from '../../src/server/migrations.ts'
import { comparedAnswers, comparisons, conversations, feedback, files, messages } from '../../src/server/schema.ts'
import { ConversationStore, ParentError, type StoreLocation } from '../../src/server/store.ts'
import { lacksPostgres, startPostgres } from './postgres-server.ts'

const temporary: string[] = []
const temporaryFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'jackdaw-store-'))
  temporary.push(folder)
  return folder
}
afterAll(async () => {
  for (const folder of temporary) await rm(folder, { recursive: true, force: true })
})

const noServer = lacksPostgres()
const places: { name: string; skip: boolean; locate(): Promise<{ location: StoreLocation; end(): Promise<void> }> }[] =
  [
    {
      name: 'embedded PostgreSQL',
      skip: false,
      locate: async () => ({ location: { dataDir: await temporaryFolder() }, end: async () => {} }),
    },
    {
      name: 'a PostgreSQL server',
      skip: noServer,
      locate: async () => {
        const server = await startPostgres()
        return { location: { databaseUrl: server.url }, end: server.end }
      },
    },
  ]

describe.each(places.filter(({ skip }) => !skip))('the store on $name', ({ locate }) => {
  let store: ConversationStore
  let location: StoreLocation
  let end: () => Promise<void>

  beforeAll(async () => {
    ;({ location, end } = await locate())
    store = await ConversationStore.open(location)
  })
  afterAll(async () => {
    await store?.close()
    await end?.()
  })

  const ask = async (conversationId: string, parentId: string | null, content: string) =>
    (await store.addMessage({ conversationId, parentId, role: 'user', content }))!.message
  const answer = async (conversationId: string, parentId: string, content: string) =>
    (await store.addMessage({ conversationId, parentId, role: 'assistant', content, model: 'mock' }))!.message

  it('gives back what it was given, branches and all', async () => {
    const created = await store.create('', { temperature: 0.5, systemPrompt: 'Be brief. 🐦' })
    const first = await ask(
      created.id,
      null,
      'What is a jackdaw, in  one sentence of moderate length, if you would be so kind?',
    )
    const one = await answer(created.id, first.id, 'A bird.')
    const two = await answer(created.id, first.id, 'A small crow. 🐦')
    const edited = await ask(created.id, null, 'Edited')

    const read = (await store.read(created.id))!
    expect(read.messages.map(({ id, parentId }) => [id, parentId])).toEqual([
      [first.id, null],
      [one.id, first.id],
      [two.id, first.id],
      [edited.id, null],
    ])
    expect(read.messages[2]).toEqual(two)
    expect(read.settings).toEqual({ temperature: 0.5, systemPrompt: 'Be brief. 🐦' })
    expect(read.activeMessageId).toBe(edited.id)
    expect(read.title).toBe('What is a jackdaw, in one sentence of moderate length, if…')
    expect((await store.branch(created.id, two.id))!.map(({ id }) => id)).toEqual([first.id, two.id])
  })

  it('refuses a message that hangs nowhere, or follows its own side', async () => {
    const a = await store.create('a', {})
    const b = await store.create('b', {})
    const inA = await ask(a.id, null, 'in a')
    await expect(ask(b.id, inA.id, 'from b')).rejects.toThrow(ParentError)
    await expect(ask(a.id, inA.id, 'again')).rejects.toThrow('cannot follow another')
    await expect(
      store.addMessage({ conversationId: a.id, parentId: null, role: 'assistant', content: 'x' }),
    ).rejects.toThrow('begins with a message of the user')
    await expect(store.update(b.id, { activeMessageId: inA.id })).rejects.toThrow(ParentError)
    expect((await store.read(b.id))!.messages).toEqual([])
  })

  it('finds every word in titles and messages, in any letter case, and takes % and _ as they are', async () => {
    const created = await store.create('Über Dohlen', {})
    const question = await ask(
      created.id,
      null,
      `${'Anfang '.repeat(40)}ÄPFEL kosten 100%_sicher Geld ${'Ende '.repeat(60)}`,
    )
    await answer(created.id, question.id, 'Ja.')
    const find = async (search: string) => (await store.list({ search, limit: 10 }))!.conversations

    expect((await find('über äpfel')).map(({ id }) => id)).toEqual([created.id])
    expect((await find('äpfel'))[0].snippet).toMatch(/^….*ÄPFEL kosten.*…$/)
    expect((await find('dohlen'))[0].snippet).toBeNull()
    expect((await find('100%_S')).map(({ id }) => id)).toEqual([created.id])
    expect(await find('100__S')).toEqual([])
    expect(await find('äpfel nirgends')).toEqual([])
    expect(await find('\\')).toEqual([])
  })

  it('shows of a conversation the message that has most of the searched words, and there the place', async () => {
    const created = await store.create('Snippets', {})
    const question = await ask(created.id, null, 'A heron stands in the water.')
    const reply = `${'Nothing of note. '.repeat(20)}A heron ${'and so on '.repeat(30)}then the kingfisher dives by the heron.`
    await answer(created.id, question.id, reply)
    const [{ snippet }] = (await store.list({ search: 'heron kingfisher', limit: 10 }))!.conversations
    expect(snippet).toMatch(/^….*kingfisher dives by the heron\.$/)
  })

  it('pages through the list without gaps or repeats while it changes', async () => {
    const made: string[] = []
    for (let index = 0; index < 7; index++) made.push((await store.create(`paged ${index}`, {})).id)
    const seen: string[] = []
    let cursor: string | undefined
    do {
      const page = (await store.list({ search: 'paged', limit: 3, cursor }))!
      seen.push(...page.conversations.map(({ id }) => id))
      cursor = page.nextCursor ?? undefined
      if (seen.length === 3) await store.create('paged, new', {})
    } while (cursor)
    expect(seen).toHaveLength(7)
    expect(new Set(seen)).toEqual(new Set(made))
    for (const bad of ['', 'x', Buffer.from('9999-99-99T99:99:99.999Z 0').toString('base64url')]) {
      expect(await store.list({ limit: 3, cursor: bad })).toBeUndefined()
    }
  })

  it('keeps one opinion of an answer, and none of a question', async () => {
    const created = await store.create('', {})
    const question = await ask(created.id, null, 'q')
    const given = await answer(created.id, question.id, 'a')
    expect(await store.setFeedback(question.id, { rating: 'up', comment: '' })).toBe(false)
    expect(await store.setFeedback(given.id, { rating: 'up', comment: '' })).toBe(true)
    expect(await store.setFeedback(given.id, { rating: 'down', comment: 'wrong' })).toBe(true)
    expect((await store.read(created.id))!.messages[1].feedback).toEqual({ rating: 'down', comment: 'wrong' })
    expect(await store.removeFeedback(given.id)).toBe(true)
    expect(await store.removeFeedback(given.id)).toBe(false)
    expect((await store.read(created.id))!.messages[1].feedback).toBeNull()
  })

  it('deletes a conversation with all that hangs on it', async () => {
    const created = await store.create('', {})
    const question = await ask(created.id, null, 'to be deleted')
    const given = await answer(created.id, question.id, 'also')
    await store.setFeedback(given.id, { rating: 'up', comment: '' })
    expect(await store.remove(created.id)).toBe(true)
    expect(await store.remove(created.id)).toBe(false)
    expect(await store.read(created.id)).toBeUndefined()
    expect(await store.saveReply(given.id, { content: 'late' })).toBeUndefined()
    expect(await store.removeFeedback(given.id)).toBe(false)
    expect((await store.list({ search: 'to be deleted', limit: 5 }))!.conversations).toEqual([])
  })

  it('has everything after closing and opening again', async () => {
    const created = await store.create('kept', { seed: 7 })
    await ask(created.id, null, 'still here?')
    const before = await store.read(created.id)
    await store.close()
    store = await ConversationStore.open(location)
    expect(await store.read(created.id)).toEqual(before)
  })
})

describe.each(places.filter(({ skip }) => !skip))('comparisons on $name', ({ locate }) => {
  it('are kept with what was asked, written and said of them, and voted on once', async () => {
    const { location, end } = await locate()
    let store = await ConversationStore.open(location)
    const settings = { temperature: 0.5, seed: 3, continues: false }
    const messages = [{ role: 'user', content: 'Which is better?' }] as const
    const answers = [
      { model: 'one', settings },
      { model: 'two', settings },
    ]
    const id = await store.addComparison(messages, answers)
    const other = await store.addComparison(messages, answers)
    expect(await store.saveAnswers(id, [{ place: 1, content: 'On its way' }])).toBe(true)
    const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 2, promptMs: 3, decodeMs: 4 }
    await store.saveAnswers(id, [{ place: 0, content: 'Done', finishReason: 'stop', usage }])
    expect(await store.saveAnswers(id, [{ place: 2, content: 'There is no such place' }])).toBe(false)

    const vote = { groups: [[1], [0]], allBad: false, comment: 'clearer', voter: 'me' }
    expect(await store.vote(id, vote)).toBe(true)
    expect(await store.vote(id, { ...vote, groups: [[0, 1]] })).toBe(false)

    await store.close()
    store = await ConversationStore.open(location)
    const kept = await store.comparison(id)
    expect(kept).toMatchObject({ id, messages, vote })
    expect(kept?.answers).toEqual([
      { model: 'one', settings, content: 'Done', finishReason: 'stop', usage },
      { model: 'two', settings, content: 'On its way', finishReason: null, usage: null },
    ])
    // A server's database may hold the comparisons of others.
    const voted = (await store.votedComparisons()).filter((one) => [id, other].includes(one.id))
    expect(voted).toEqual([kept])
    expect(await store.removeComparison(id)).toBe(true)
    expect(await store.comparison(id)).toBeUndefined()
    expect(await store.saveAnswers(id, [{ place: 0, content: 'too late' }])).toBe(false)
    await store.removeComparison(other)
    await store.close()
    await end()
  })
})

describe('the database', () => {
  it('has after all migrations the columns that the schema says', async () => {
    const client = new PGlite()
    await migrate(drizzle(client))
    await migrate(drizzle(client))
    for (const table of [conversations, messages, feedback, files, comparisons, comparedAnswers]) {
      const { name, columns } = getTableConfig(table)
      const { rows } = await client.query<{ column_name: string; is_nullable: string; data_type: string }>(
        'select column_name, is_nullable, data_type from information_schema.columns where table_name = $1',
        [name],
      )
      const actual = rows.map((row) => [row.column_name, row.data_type, row.is_nullable === 'NO']).sort()
      const expected = columns
        .map((column) => [column.name, column.getSQLType().replace(/ ?\(3\)/, ''), column.notNull])
        .sort()
      expect(actual).toEqual(expected)
    }
    await client.close()
  })

  it('is refused in one sentence where a newer jackdaw wrote it', async () => {
    const client = new PGlite()
    await migrate(drizzle(client))
    await client.exec('insert into jackdaw_migrations select generate_series(1000, 1100)')
    await expect(migrate(drizzle(client))).rejects.toThrow('written by a newer jackdaw')
    await client.close()
  })

  it('is not opened twice, and is where an earlier jackdaw left its lock behind', async () => {
    const dataDir = await temporaryFolder()
    const store = await ConversationStore.open({ dataDir })
    await expect(ConversationStore.open({ dataDir })).rejects.toThrow('open in this process already')
    await store.close()
    // A process that runs, and did not lock the file: what it says counts for nothing.
    await writeFile(join(dataDir, 'lock'), String(process.ppid))
    await (await ConversationStore.open({ dataDir })).close()
  })

  it('that cannot be reached is named without its password', async () => {
    const opening = ConversationStore.open({ databaseUrl: 'postgres://user:secret@127.0.0.1:1/chats' })
    await expect(opening).rejects.toThrow(/127\.0\.0\.1:1\/chats: .*ECONNREFUSED/)
    await expect(opening).rejects.not.toThrow('secret')
  })
})
