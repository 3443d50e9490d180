import { setTimeout as delay } from 'node:timers/promises'
import { and, asc, desc, eq, ilike, isNotNull, isNull, ne, or, type SQL, sql } from 'drizzle-orm'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import type { Pool } from 'pg'
import {
  type AnswerUpdate,
  deleteComparison,
  insertComparison,
  type StoredAnswer,
  type StoredComparison,
  selectComparison,
  selectVoted,
  updateAnswers,
  updateVote,
} from './comparisons.ts'
import { type Connection, openEmbedded } from './embedded-postgres.ts'
import { claimFiles, insertFile, type NewFile, pictureOf, selectFile } from './files.ts'
import { migrate } from './migrations.ts'
import { textParts } from './parts.ts'
import { conversations, feedback, messages } from './schema.ts'
import { snippetOf } from './snippet.ts'
import { StoreError, storeError } from './store-error.ts'
import type {
  AnswerSettings,
  Conversation,
  ConversationSummary,
  ConversationWithMessages,
  Feedback,
  FinishReason,
  Message,
  Part,
  PromptMessage,
  Settings,
  StoredFile,
  Usage,
  Vote,
} from './wire.ts'

/** An answer in writing is saved at least this often; one that was not for `lostAfterMs` lost its server. */
export const saveEveryMs = 1_000
const lostAfterMs = 5_000

const maxTitleLength = 60
const maxSearchWords = 8

/** Where conversations live: a folder for embedded PostgreSQL, or a PostgreSQL server. */
export type StoreLocation = { dataDir: string } | { databaseUrl: string }

export interface NewMessage {
  conversationId: string
  parentId: string | null
  role: 'user' | 'assistant'
  content: string
  model?: string
  settings?: AnswerSettings
  omitted?: number
  /** Where it is more than its content. */
  parts?: readonly Part[]
}

/** Of a message that is not complete: its server has not saved it for too long. */
const isLost = sql<boolean>`${messages.updatedAt} < now() - ${`${lostAfterMs} milliseconds`}::interval`

/** A message whose parent is not where the caller says it is. */
export class ParentError extends Error {}

/** A page's last row: where the next page goes on. */
interface Cursor {
  updatedAt: string
  id: string
}

export interface ListOptions {
  search?: string
  limit: number
  cursor?: string
}

type Database = PgDatabase<PgQueryResultHKT>

/**
 * Conversations, kept: what a method has resolved with outlives the process, and a power cut too. Every method is one
 * transaction. A conversation or message that is not there is `undefined` or `false`, never an error.
 *
 * @throws StoreError from every method where the database fails; what was to be written may or may not be there then
 */
export class ConversationStore {
  private constructor(private readonly connection: Connection) {}

  /** @throws with one sentence where the folder is in use, or the server cannot be reached. */
  static async open(location: StoreLocation): Promise<ConversationStore> {
    const connection =
      'dataDir' in location ? await openEmbedded(location.dataDir) : await openServer(location.databaseUrl)
    try {
      await migrate(await connection.database())
      await connection.flush()
    } catch (error) {
      await connection.close()
      throw 'databaseUrl' in location ? connectionError(location.databaseUrl, error) : error
    }
    return new ConversationStore(connection)
  }

  close(): Promise<void> {
    return this.connection.close()
  }

  private change<T>(doing: string, work: (database: Database) => Promise<T>): Promise<T> {
    return this.use(doing, work, { durable: true })
  }

  private changeTogether<T>(doing: string, work: (transaction: Database) => Promise<T>): Promise<T> {
    return this.change(doing, (database) => database.transaction(work))
  }

  private look<T>(doing: string, work: (database: Database) => Promise<T>): Promise<T> {
    return this.use(doing, work, { durable: false })
  }

  /** @param durable - waits for the disk; without, a power cut may undo it */
  private async use<T>(
    doing: string,
    work: (database: Database) => Promise<T>,
    { durable }: { durable: boolean },
  ): Promise<T> {
    try {
      const result = await work(await this.connection.database())
      if (durable) await this.connection.flush()
      return result
    } catch (error) {
      throw error instanceof ParentError ? error : storeError(doing, error)
    }
  }

  /** Newest first, those without title and message left out. `undefined` where the cursor is none of ours. */
  async list({
    search,
    limit,
    cursor,
  }: ListOptions): Promise<{ conversations: ConversationSummary[]; nextCursor: string | null } | undefined> {
    const after = cursor === undefined ? undefined : readCursor(cursor)
    if (cursor !== undefined && !after) return undefined
    const words = (search ?? '').split(/\s+/u).filter(Boolean).slice(0, maxSearchWords)
    const patterns = words.map((word) => `%${word.replace(/[\\%_]/g, '\\$&')}%`)

    const conditions: (SQL | undefined)[] = [
      or(isNotNull(conversations.activeMessageId), ne(conversations.title, '')),
      ...patterns.map((pattern) =>
        or(
          ilike(conversations.title, pattern),
          sql`exists (select from ${messages} where ${messages.conversationId} = ${conversations.id}
            and ${messages.content} ilike ${pattern})`,
        ),
      ),
    ]
    if (after) {
      conditions.push(
        sql`(${conversations.updatedAt}, ${conversations.id}) <
          (${after.updatedAt}::timestamptz, ${after.id}::uuid)`,
      )
    }
    const wordsIn = sql.join(
      patterns.map((pattern) => sql`(${messages.content} ilike ${pattern})::int`),
      sql` + `,
    )
    const rows = await this.look('cannot list conversations', (database) => {
      // The message with most of the words, the first of such.
      const bestMatch = database
        .select({ content: messages.content })
        .from(messages)
        .where(
          and(
            eq(messages.conversationId, conversations.id),
            or(...patterns.map((pattern) => ilike(messages.content, pattern))),
          ),
        )
        .orderBy(desc(patterns.length === 0 ? messages.position : wordsIn), asc(messages.position))
        .limit(1)
      const match = patterns.length === 0 ? sql<null>`null` : sql<string | null>`${bestMatch}`
      return database
        .select({ conversation: conversations, match })
        .from(conversations)
        .where(and(...conditions))
        .orderBy(desc(conversations.updatedAt), desc(conversations.id))
        .limit(limit + 1)
    })

    const page = rows.slice(0, limit)
    const last = page.at(-1)?.conversation
    return {
      conversations: page.map((row) => ({
        ...toConversation(row.conversation),
        snippet: row.match === null ? null : snippetOf(row.match, words),
      })),
      nextCursor: rows.length > limit && last ? writeCursor(last) : null,
    }
  }

  async create(title: string, settings: Settings): Promise<Conversation> {
    const [row] = await this.change('cannot create a conversation', (database) =>
      database.insert(conversations).values({ title, settings }).returning(),
    )
    return toConversation(row)
  }

  async find(id: string): Promise<Conversation | undefined> {
    const [row] = await this.look('cannot read a conversation', (database) =>
      database.select().from(conversations).where(eq(conversations.id, id)),
    )
    return row && toConversation(row)
  }

  async read(id: string): Promise<ConversationWithMessages | undefined> {
    const conversation = await this.find(id)
    if (!conversation) return undefined
    const rows = await this.selectMessages(eq(messages.conversationId, id))
    return { ...conversation, messages: rows }
  }

  /** @throws ParentError where the active message is of another conversation. */
  async update(
    id: string,
    change: { title?: string; settings?: Settings; activeMessageId?: string },
  ): Promise<Conversation | undefined> {
    if (change.activeMessageId !== undefined) {
      const found = await this.message(change.activeMessageId)
      if (found?.conversationId !== id) throw new ParentError('There is no such message in this conversation.')
    }
    if (Object.values(change).every((value) => value === undefined)) return this.find(id)
    // Choosing another branch or model is not news: only a new title moves the conversation up the list.
    const set = change.title === undefined ? change : { ...change, updatedAt: sql`now()` }
    const [row] = await this.change('cannot change a conversation', (database) =>
      database.update(conversations).set(set).where(eq(conversations.id, id)).returning(),
    )
    return row && toConversation(row)
  }

  async remove(id: string): Promise<boolean> {
    const rows = await this.change('cannot delete a conversation', (database) =>
      database.delete(conversations).where(eq(conversations.id, id)).returning({ id: conversations.id }),
    )
    return rows.length > 0
  }

  /**
   * Adds a message, makes it the active one, and names a conversation that has no title after it.
   *
   * An assistant's message without content is an answer in writing: `saveReply` must follow.
   *
   * @throws ParentError where the parent is not in the conversation or is not the other side's.
   */
  async addMessage(message: NewMessage): Promise<{ conversation: Conversation; message: Message } | undefined> {
    return this.changeTogether('cannot add a message', async (transaction) => {
      const [conversation] = await transaction
        .select()
        .from(conversations)
        .where(eq(conversations.id, message.conversationId))
        .for('update')
      if (!conversation) return undefined
      await checkParent(transaction, message)
      const parts = message.parts && (await claimFiles(transaction, message.parts, message.conversationId))
      if (message.parts && !parts) throw new ParentError('There is no such file for this conversation.')
      const [row] = await transaction
        .insert(messages)
        .values({
          ...message,
          parts,
          finishReason: message.role === 'assistant' && message.content !== '' ? 'stop' : null,
          // Not now(), which is when the transaction began: messages of one instant must still be in order.
          createdAt: sql`clock_timestamp()`,
          updatedAt: sql`clock_timestamp()`,
        })
        .returning()
      const title =
        conversation.title === '' && message.role === 'user' ? titleFrom(message.content) : conversation.title
      const [updated] = await transaction
        .update(conversations)
        .set({ activeMessageId: row.id, title, updatedAt: sql`clock_timestamp()` })
        .where(eq(conversations.id, message.conversationId))
        .returning()
      return {
        conversation: toConversation(updated),
        message: toMessage({ message: row, feedback: null, lost: false }),
      }
    })
  }

  /** The messages from the first to this one; `undefined` where it is not in the conversation. */
  async branch(conversationId: string, messageId: string): Promise<Message[] | undefined> {
    const rows = await this.selectMessages(eq(messages.conversationId, conversationId))
    const byId = new Map(rows.map((message) => [message.id, message]))
    const path: Message[] = []
    for (let at = byId.get(messageId); at; at = at.parentId === null ? undefined : byId.get(at.parentId)) path.push(at)
    return path.length > 0 ? path.reverse() : undefined
  }

  /**
   * Saves what an answer has come to; its end, with a `finishReason`, again for some seconds where the database is away.
   * `undefined` where its conversation was deleted meanwhile.
   */
  async saveReply(
    id: string,
    reply: { content: string; parts?: Part[]; finishReason?: FinishReason; usage?: Usage },
  ): Promise<Message | undefined> {
    const isEnd = reply.finishReason !== undefined
    const save = () =>
      this.use(
        'cannot save an answer',
        (database) =>
          database
            .update(messages)
            .set({ ...reply, updatedAt: sql`now()` })
            .where(eq(messages.id, id))
            .returning(),
        // What is saved on the way to an answer's end is no promise, and the next second saves more.
        { durable: isEnd },
      )
    const rows = await (isEnd ? patiently(save) : save())
    return rows[0] && this.message(id)
  }

  /**
   * Opens an answer that did not come to its own end, to be written on: `saveReply` must follow. `undefined` where there
   * is none, or it is being written.
   */
  async reopenReply(id: string): Promise<{ conversation: Conversation; message: Message } | undefined> {
    const [row] = await this.change('cannot open an answer again', (database) =>
      database
        .update(messages)
        .set({ finishReason: null, updatedAt: sql`clock_timestamp()` })
        .where(
          and(
            eq(messages.id, id),
            eq(messages.role, 'assistant'),
            or(
              and(isNotNull(messages.finishReason), ne(messages.finishReason, 'stop')),
              and(isNull(messages.finishReason), isLost),
            ),
          ),
        )
        .returning(),
    )
    const conversation = row && (await this.find(row.conversationId))
    const message = conversation && (await this.message(id))
    return message && { conversation, message }
  }

  /** @throws RequestError where it is no picture that is taken. */
  async addFile(file: NewFile): Promise<StoredFile> {
    const picture = pictureOf(file.bytes)
    return this.change('cannot keep a file', (database) => insertFile(database, file, picture))
  }

  file(id: string): Promise<{ mediaType: string; bytes: Uint8Array } | undefined> {
    return this.look('cannot read a file', (database) => selectFile(database, id))
  }

  async message(id: string): Promise<Message | undefined> {
    const [message] = await this.selectMessages(eq(messages.id, id))
    return message
  }

  /** Marks an answer in writing as stopped, for whoever writes it. */
  async markStopped(id: string): Promise<boolean> {
    const rows = await this.change('cannot stop an answer', (database) =>
      database
        .update(messages)
        .set({ finishReason: 'stopped' })
        .where(and(eq(messages.id, id), eq(messages.role, 'assistant'), isNull(messages.finishReason)))
        .returning({ id: messages.id }),
    )
    return rows.length > 0
  }

  async setFeedback(messageId: string, { rating, comment }: Feedback): Promise<boolean> {
    return this.changeTogether('cannot keep an opinion', async (transaction) => {
      const found = await transaction
        .select({ id: messages.id })
        .from(messages)
        .where(and(eq(messages.id, messageId), eq(messages.role, 'assistant')))
        .for('update')
      if (found.length === 0) return false
      await transaction
        .insert(feedback)
        .values({ messageId, rating, comment })
        .onConflictDoUpdate({ target: feedback.messageId, set: { rating, comment } })
      return true
    })
  }

  async removeFeedback(messageId: string): Promise<boolean> {
    const rows = await this.change('cannot remove an opinion', (database) =>
      database.delete(feedback).where(eq(feedback.messageId, messageId)).returning(),
    )
    return rows.length > 0
  }

  /** Answers to one prompt, all still to be written: `saveAnswers` must follow. */
  addComparison(
    messages: readonly PromptMessage[],
    answers: readonly Pick<StoredAnswer, 'model' | 'settings'>[],
  ): Promise<string> {
    return this.changeTogether('cannot begin a comparison', (transaction) =>
      insertComparison(transaction, messages, answers),
    )
  }

  comparison(id: string): Promise<StoredComparison | undefined> {
    return this.look('cannot read a comparison', (database) => selectComparison(database, id, lostAfterMs))
  }

  /** As `saveReply`. @returns false where the comparison was deleted meanwhile */
  async saveAnswers(id: string, updates: readonly AnswerUpdate[]): Promise<boolean> {
    const isEnd = updates.some(({ finishReason }) => finishReason !== undefined)
    const save = () =>
      this.use(
        'cannot save answers',
        (database) => database.transaction((transaction) => updateAnswers(transaction, id, updates)),
        { durable: isEnd },
      )
    return isEnd ? patiently(save) : save()
  }

  /** @returns false where there is a vote already, or no comparison */
  vote(id: string, vote: Required<Vote>): Promise<boolean> {
    return this.change('cannot keep a vote', (database) => updateVote(database, id, vote))
  }

  removeComparison(id: string): Promise<boolean> {
    return this.change('cannot delete a comparison', (database) => deleteComparison(database, id))
  }

  /** Comparisons with a vote, in the order of votes. */
  votedComparisons(): Promise<StoredComparison[]> {
    return this.look('cannot read comparisons', selectVoted)
  }

  /** Answers with a thumb, in the order in which it was given, each with the messages before it. */
  async ratedAnswers(): Promise<{ answer: Message; path: Message[]; ratedAt: string }[]> {
    const rated = await this.look('cannot read ratings', (database) =>
      database
        .select({ id: feedback.messageId, conversationId: messages.conversationId, ratedAt: feedback.createdAt })
        .from(feedback)
        .innerJoin(messages, eq(feedback.messageId, messages.id))
        .orderBy(asc(feedback.createdAt), asc(messages.position)),
    )
    const found = []
    for (const { id, conversationId, ratedAt } of rated) {
      const branch = await this.branch(conversationId, id)
      const answer = branch?.at(-1)
      // Taken back while this was read.
      if (!branch || !answer?.feedback) continue
      found.push({ answer, path: branch.slice(0, -1), ratedAt: ratedAt.toISOString() })
    }
    return found
  }

  private async selectMessages(where: SQL): Promise<Message[]> {
    const rows = await this.look('cannot read messages', (database) =>
      database
        .select({
          message: messages,
          feedback,
          lost: isLost,
        })
        .from(messages)
        .leftJoin(feedback, eq(feedback.messageId, messages.id))
        .where(where)
        .orderBy(asc(messages.position)),
    )
    return rows.map(toMessage)
  }
}

/** Tries again what may be done twice, for about six seconds: as long as a database takes to be started again. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let waitMs = 200; ; waitMs *= 2) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StoreError) || error.failure === 'failed' || waitMs > 3_200) throw error
    }
    await delay(waitMs)
  }
}

async function openServer(url: string): Promise<Connection> {
  const [{ default: pg }, { drizzle }] = await Promise.all([import('pg'), import('drizzle-orm/node-postgres')])
  let pool: Pool
  try {
    pool = new pg.Pool({ connectionString: url, max: 8, connectionTimeoutMillis: 5_000, keepAlive: true })
  } catch (error) {
    throw connectionError(url, error)
  }
  // A connection that breaks fails its query, where there is one. Unheard, the event would end the process.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  const database = drizzle(pool)
  return {
    // The driver connects again by itself, and the server answers a commit when it is on its disk.
    database: async () => database,
    flush: async () => {},
    close: () => Promise.race([pool.end(), delay(5_000, undefined, { ref: false })]),
  }
}

/** The address without its password. */
function connectionError(url: string, error: unknown): Error {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const address = URL.canParse(url) ? `${new URL(url).host}${new URL(url).pathname}` : 'the given URL'
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new Error(`Cannot use the PostgreSQL database at ${address}: ${reason}`, { cause: error })
}

async function checkParent(database: Database, message: NewMessage): Promise<void> {
  if (message.parentId === null) {
    if (message.role !== 'user') throw new ParentError('A conversation begins with a message of the user.')
    return
  }
  const [parent] = await database
    .select({ role: messages.role })
    .from(messages)
    .where(and(eq(messages.id, message.parentId), eq(messages.conversationId, message.conversationId)))
  if (!parent) throw new ParentError('There is no such message in this conversation.')
  if (parent.role === message.role) throw new ParentError(`A message of the ${message.role} cannot follow another one.`)
}

function toConversation(row: typeof conversations.$inferSelect): Conversation {
  return { ...row, createdAt: row.createdAt.toISOString(), updatedAt: row.updatedAt.toISOString() }
}

function toMessage(row: {
  message: typeof messages.$inferSelect
  feedback: typeof feedback.$inferSelect | null
  lost: boolean
}): Message {
  const { position: _, updatedAt: __, ...message } = row.message
  return {
    ...message,
    parts: message.parts ?? textParts(message.content),
    finishReason: message.finishReason ?? (message.role === 'assistant' && row.lost ? 'interrupted' : null),
    feedback: row.feedback && { rating: row.feedback.rating, comment: row.feedback.comment },
    createdAt: message.createdAt.toISOString(),
  }
}

function titleFrom(content: string): string {
  const line = content.trim().replace(/\s+/gu, ' ')
  const characters = [...line]
  if (characters.length <= maxTitleLength) return line
  const cut = characters.slice(0, maxTitleLength).join('')
  const space = cut.lastIndexOf(' ')
  return `${cut.slice(0, space > maxTitleLength / 2 ? space : undefined)}…`
}

function writeCursor(row: { updatedAt: Date; id: string }): string {
  return Buffer.from(`${row.updatedAt.toISOString()} ${row.id}`).toString('base64url')
}

function readCursor(cursor: string): Cursor | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(
    Buffer.from(cursor, 'base64url').toString(),
  )
  if (!match || Number.isNaN(Date.parse(match[1]))) return undefined
  return { updatedAt: match[1], id: match[2] }
}
