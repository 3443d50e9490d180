import { Hono } from 'hono'
import type { StoredComparison } from './comparisons.ts'
import { check } from './errors.ts'
import type { ConversationStore } from './store.ts'
import { exportQuery, type FeedbackKind, type Message } from './wire.ts'

/**
 * What people said of answers, as JSON lines. A comparison is one example of what a reward model learns from,
 *
 *     {"messages": […the prompt…], "answers": ["the best", ["as good", "as this"], "the worst"], …}
 *
 * and a rating one answer with its thumb:
 *
 *     {"messages": […the prompt…], "answer": "…", "rating": "up", "comment": "", …}
 *
 * `models` and `settings` of a comparison have the shape of its `answers`.
 */
export async function* feedbackLines(
  store: Pick<ConversationStore, 'votedComparisons' | 'ratedAnswers'>,
  kind: FeedbackKind,
): AsyncGenerator<string, void, void> {
  if (kind !== 'ratings') {
    for (const comparison of await store.votedComparisons()) yield `${JSON.stringify(comparisonExample(comparison))}\n`
  }
  if (kind !== 'comparisons') {
    for (const rated of await store.ratedAnswers()) yield `${JSON.stringify(ratingExample(rated))}\n`
  }
}

/** A comparison with its vote. */
export function comparisonExample({ id, messages, answers, vote, votedAt }: StoredComparison) {
  const { groups = [], allBad = false, comment = '', voter = '' } = vote ?? {}
  const ranked = <T>(of: (place: number) => T): (T | T[])[] =>
    groups.map((group) => (group.length === 1 ? of(group[0]) : group.map(of)))
  return {
    messages,
    answers: ranked((place) => answers[place].content),
    models: ranked((place) => answers[place].model),
    settings: ranked((place) => answers[place].settings),
    finishReasons: ranked((place) => answers[place].finishReason),
    allBad,
    comment,
    voter,
    id,
    date: votedAt,
  }
}

function ratingExample({ answer, path, ratedAt }: { answer: Message; path: readonly Message[]; ratedAt: string }) {
  const { settings, model, content, finishReason, feedback, id } = answer
  const { systemPrompt, ...sampling } = settings ?? {}
  const system = systemPrompt ? [{ role: 'system', content: systemPrompt }] : []
  return {
    messages: [...system, ...path.map(({ role, content }) => ({ role, content }))],
    answer: content,
    rating: feedback?.rating,
    comment: feedback?.comment,
    model,
    settings: settings && sampling,
    finishReason,
    id,
    date: ratedAt,
  }
}

export function feedbackRoutes(openStore: () => Promise<ConversationStore>): Hono {
  const app = new Hono()

  app.get('/export', async (context) => {
    const { kind } = check(exportQuery, context.req.query())
    const lines = feedbackLines(await openStore(), kind)
    const first = await lines.next()
    const encoder = new TextEncoder()
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        // Asked for first, so that a database that fails is an error and not an empty file.
        if (!first.done) controller.enqueue(encoder.encode(first.value))
      },
      async pull(controller) {
        const { done, value } = await lines.next()
        if (done) controller.close()
        else controller.enqueue(encoder.encode(value))
      },
    })
    return context.body(body, 200, {
      'content-type': 'application/x-ndjson; charset=utf-8',
      'content-disposition': `attachment; filename="jackdaw-${kind === 'all' ? 'feedback' : kind}.jsonl"`,
      'cache-control': 'no-store',
    })
  })

  return app
}
