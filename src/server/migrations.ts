import { sql } from 'drizzle-orm'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import { integer, pgTable } from 'drizzle-orm/pg-core'

/**
 * What turned the empty database into today's, in order. Entries are never changed, only added: each has run on
 * somebody's conversations already.
 */
const migrations: readonly (readonly string[])[] = [
  [
    `create table conversations (
      id uuid primary key default gen_random_uuid(),
      title text not null,
      settings jsonb not null,
      active_message_id uuid,
      created_at timestamp(3) with time zone not null default now(),
      updated_at timestamp(3) with time zone not null default now()
    )`,
    'create index conversations_by_update on conversations (updated_at desc, id desc)',
    `create table messages (
      id uuid primary key default gen_random_uuid(),
      conversation_id uuid not null references conversations (id) on delete cascade,
      parent_id uuid references messages (id) on delete cascade,
      position bigint not null generated always as identity,
      role text not null check (role in ('user', 'assistant')),
      content text not null,
      model text,
      finish_reason text,
      usage jsonb,
      created_at timestamp(3) with time zone not null default now(),
      updated_at timestamp(3) with time zone not null default now()
    )`,
    'create index messages_by_conversation on messages (conversation_id, position)',
    'create index messages_by_parent on messages (parent_id)',
    `create table feedback (
      message_id uuid primary key references messages (id) on delete cascade,
      rating text not null check (rating in ('up', 'down')),
      comment text not null,
      created_at timestamp(3) with time zone not null default now()
    )`,
  ],
  ['alter table messages add column omitted integer not null default 0'],
  ['alter table messages add column settings jsonb'],
  [
    // Null where the content is all there is to say, as in every message until now.
    'alter table messages add column parts jsonb',
    `create table files (
      id uuid primary key default gen_random_uuid(),
      conversation_id uuid references conversations (id) on delete cascade,
      media_type text not null,
      width integer not null,
      height integer not null,
      bytes bytea not null,
      created_at timestamp(3) with time zone not null default now()
    )`,
    'create index files_by_conversation on files (conversation_id)',
  ],
  [
    `create table comparisons (
      id uuid primary key default gen_random_uuid(),
      messages jsonb not null,
      ranking jsonb,
      all_bad boolean not null default false,
      comment text not null default '',
      voter text not null default '',
      voted_at timestamp(3) with time zone,
      created_at timestamp(3) with time zone not null default now()
    )`,
    'create index comparisons_by_vote on comparisons (voted_at, id)',
    `create table compared_answers (
      comparison_id uuid not null references comparisons (id) on delete cascade,
      place integer not null,
      model text not null,
      settings jsonb not null,
      content text not null,
      finish_reason text,
      usage jsonb,
      updated_at timestamp(3) with time zone not null default now(),
      primary key (comparison_id, place)
    )`,
  ],
]

const applied = pgTable('jackdaw_migrations', { number: integer('number').primaryKey() })

/**
 * Brings the database to today's tables, all or nothing; several servers may start on one database at once.
 *
 * @param upTo - how many migrations it then has; fewer make a database of an older jackdaw
 */
export async function migrate(database: PgDatabase<PgQueryResultHKT>, upTo = migrations.length): Promise<void> {
  await database.transaction(async (transaction) => {
    // Held until the transaction ends. The number is only ours to know.
    await transaction.execute(sql`select pg_advisory_xact_lock(7203181151)`)
    await transaction.execute(sql`create table if not exists jackdaw_migrations (number integer primary key)`)
    const done = (await transaction.select().from(applied)).length
    if (done > migrations.length) {
      throw new Error('The database of conversations was written by a newer jackdaw; update jackdaw to open it.')
    }
    for (let number = done; number < upTo; number++) {
      for (const statement of migrations[number]) await transaction.execute(sql.raw(statement))
      await transaction.insert(applied).values({ number })
    }
  })
}
