import { and, asc, eq, inArray, isNotNull, isNull, sql } from 'drizzle-orm'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import { comparedAnswers, comparisons } from './schema.ts'
import type { AnswerSettings, Comparison, FinishReason, PromptMessage, Usage, Vote } from './wire.ts'

/** Comparisons in the database: prompts, the answers that models gave, and which of these somebody found better. */

type Database = PgDatabase<PgQueryResultHKT>

export interface StoredAnswer {
  model: string
  settings: AnswerSettings
  content: string
  finishReason: FinishReason | null
  usage: Usage | null
}

/** As it is kept: who wrote what is known. */
export interface StoredComparison {
  id: string
  messages: PromptMessage[]
  answers: StoredAnswer[]
  vote: Comparison['vote']
  votedAt: string | null
  createdAt: string
}

/** Of one answer, what it has come to. */
export interface AnswerUpdate {
  place: number
  content: string
  finishReason?: FinishReason
  usage?: Usage
}

export async function insertComparison(
  transaction: Database,
  messages: readonly PromptMessage[],
  answers: readonly Pick<StoredAnswer, 'model' | 'settings'>[],
): Promise<string> {
  const [{ id }] = await transaction
    .insert(comparisons)
    .values({ messages: [...messages] })
    .returning({ id: comparisons.id })
  await transaction
    .insert(comparedAnswers)
    .values(answers.map((answer, place) => ({ ...answer, comparisonId: id, place, content: '' })))
  return id
}

/** @returns false where the comparison was deleted meanwhile */
export async function updateAnswers(
  transaction: Database,
  comparisonId: string,
  updates: readonly AnswerUpdate[],
): Promise<boolean> {
  for (const { place, ...update } of updates) {
    const rows = await transaction
      .update(comparedAnswers)
      .set({ ...update, updatedAt: sql`now()` })
      .where(and(eq(comparedAnswers.comparisonId, comparisonId), eq(comparedAnswers.place, place)))
      .returning({ place: comparedAnswers.place })
    if (rows.length === 0) return false
  }
  return true
}

/** @param lostAfterMs - an answer in writing that was not saved for so long has lost its server */
export async function selectComparison(
  database: Database,
  id: string,
  lostAfterMs: number,
): Promise<StoredComparison | undefined> {
  const [row] = await database.select().from(comparisons).where(eq(comparisons.id, id))
  if (!row) return undefined
  const isLost = sql<boolean>`${comparedAnswers.updatedAt} < now() - ${`${lostAfterMs} milliseconds`}::interval`
  const answers = await database
    .select({ answer: comparedAnswers, lost: isLost })
    .from(comparedAnswers)
    .where(eq(comparedAnswers.comparisonId, id))
    .orderBy(asc(comparedAnswers.place))
  return toComparison(
    row,
    answers.map(({ answer, lost }) => ({
      ...answer,
      finishReason: answer.finishReason ?? (lost ? ('interrupted' as const) : null),
    })),
  )
}

/** Those with a vote, in the order of votes. */
export async function selectVoted(database: Database): Promise<StoredComparison[]> {
  const rows = await database
    .select()
    .from(comparisons)
    .where(isNotNull(comparisons.votedAt))
    .orderBy(asc(comparisons.votedAt), asc(comparisons.id))
  const ids = database.select({ id: comparisons.id }).from(comparisons).where(isNotNull(comparisons.votedAt))
  const answers = await database
    .select()
    .from(comparedAnswers)
    .where(inArray(comparedAnswers.comparisonId, ids))
    .orderBy(asc(comparedAnswers.place))
  const byComparison = new Map<string, typeof answers>(rows.map(({ id }) => [id, []]))
  for (const answer of answers) byComparison.get(answer.comparisonId)?.push(answer)
  // Without answers: deleted while this was read.
  return rows.map((row) => toComparison(row, byComparison.get(row.id) ?? [])).filter((one) => one.answers.length > 0)
}

/** @returns false where there is a vote already, or no comparison */
export async function updateVote(
  database: Database,
  id: string,
  { groups, allBad, comment, voter }: Required<Vote>,
): Promise<boolean> {
  const rows = await database
    .update(comparisons)
    .set({ ranking: groups, allBad, comment, voter, votedAt: sql`clock_timestamp()` })
    .where(and(eq(comparisons.id, id), isNull(comparisons.votedAt)))
    .returning({ id: comparisons.id })
  return rows.length > 0
}

export async function deleteComparison(database: Database, id: string): Promise<boolean> {
  const rows = await database.delete(comparisons).where(eq(comparisons.id, id)).returning({ id: comparisons.id })
  return rows.length > 0
}

function toComparison(
  row: typeof comparisons.$inferSelect,
  answers: readonly (typeof comparedAnswers.$inferSelect)[],
): StoredComparison {
  const { id, messages, ranking, allBad, comment, voter, votedAt, createdAt } = row
  return {
    id,
    messages,
    answers: answers.map(({ model, settings, content, finishReason, usage }) => ({
      model,
      settings,
      content,
      finishReason,
      usage,
    })),
    vote: ranking && { groups: ranking, allBad, comment, voter },
    votedAt: votedAt?.toISOString() ?? null,
    createdAt: createdAt.toISOString(),
  }
}
