import {
  bigint,
  boolean,
  customType,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core'
import type { AnswerSettings, FinishReason, Part, PromptMessage, Settings, Usage } from './wire.ts'

/** The tables as migrations.ts leaves them; the two are held together by a test. */

// Milliseconds, so that a cursor made from a JavaScript date meets its row again.
const date = (name: string) => timestamp(name, { precision: 3, withTimezone: true, mode: 'date' })

export const conversations = pgTable(
  'conversations',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    title: text('title').notNull(),
    settings: jsonb('settings').$type<Settings>().notNull(),
    activeMessageId: uuid('active_message_id'),
    createdAt: date('created_at').notNull().defaultNow(),
    updatedAt: date('updated_at').notNull().defaultNow(),
  },
  (table) => [index('conversations_by_update').on(table.updatedAt.desc(), table.id.desc())],
)

export const messages = pgTable(
  'messages',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    conversationId: uuid('conversation_id').notNull(),
    parentId: uuid('parent_id'),
    /** Order of arrival. */
    position: bigint('position', { mode: 'number' }).notNull().generatedAlwaysAsIdentity(),
    role: text('role', { enum: ['user', 'assistant'] }).notNull(),
    /** All the text in it: what is searched, and all there is of most messages. */
    content: text('content').notNull(),
    /** Null where it is the content alone. */
    parts: jsonb('parts').$type<Part[]>(),
    model: text('model'),
    finishReason: text('finish_reason').$type<FinishReason>(),
    usage: jsonb('usage').$type<Usage>(),
    settings: jsonb('settings').$type<AnswerSettings>(),
    omitted: integer('omitted').notNull().default(0),
    createdAt: date('created_at').notNull().defaultNow(),
    /** Moves every second while an answer is being written: one that stands still has lost its server. */
    updatedAt: date('updated_at').notNull().defaultNow(),
  },
  (table) => [index('messages_by_conversation').on(table.conversationId, table.position)],
)

const bytea = customType<{ data: Uint8Array }>({ dataType: () => 'bytea' })

export const files = pgTable(
  'files',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    /** Null until a message has it. */
    conversationId: uuid('conversation_id'),
    mediaType: text('media_type').notNull(),
    width: integer('width').notNull(),
    height: integer('height').notNull(),
    bytes: bytea('bytes').notNull(),
    createdAt: date('created_at').notNull().defaultNow(),
  },
  (table) => [index('files_by_conversation').on(table.conversationId)],
)

export const feedback = pgTable('feedback', {
  messageId: uuid('message_id').primaryKey(),
  rating: text('rating', { enum: ['up', 'down'] }).notNull(),
  comment: text('comment').notNull(),
  createdAt: date('created_at').notNull().defaultNow(),
})

/** Answers to one prompt, and which of them somebody found better. */
export const comparisons = pgTable(
  'comparisons',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    messages: jsonb('messages').$type<PromptMessage[]>().notNull(),
    /** Places of answers in groups, the best first; null until somebody votes, and the columns below then. */
    ranking: jsonb('ranking').$type<number[][]>(),
    allBad: boolean('all_bad').notNull().default(false),
    comment: text('comment').notNull().default(''),
    voter: text('voter').notNull().default(''),
    votedAt: date('voted_at'),
    createdAt: date('created_at').notNull().defaultNow(),
  },
  (table) => [index('comparisons_by_vote').on(table.votedAt, table.id)],
)

export const comparedAnswers = pgTable(
  'compared_answers',
  {
    comparisonId: uuid('comparison_id').notNull(),
    /** From 0, as they are shown. */
    place: integer('place').notNull(),
    model: text('model').notNull(),
    settings: jsonb('settings').$type<AnswerSettings>().notNull(),
    content: text('content').notNull(),
    finishReason: text('finish_reason').$type<FinishReason>(),
    usage: jsonb('usage').$type<Usage>(),
    /** As of messages. */
    updatedAt: date('updated_at').notNull().defaultNow(),
  },
  (table) => [primaryKey({ columns: [table.comparisonId, table.place] })],
)
