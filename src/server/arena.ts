import { randomInt } from 'node:crypto'
import { type Context, Hono } from 'hono'
import type { AnswerUpdate, StoredComparison } from './comparisons.ts'
import { badRequest, internalError, RequestError, readBody } from './errors.ts'
import { LiveComparison } from './live-comparisons.ts'
import type { RouteContext } from './openai.ts'
import { type ReplyRequest, replyRequest, storable } from './replies.ts'
import type { ModelDesk, ServedModels } from './served-models.ts'
import { standingsOf } from './standings.ts'
import { type ConversationStore, saveEveryMs } from './store.ts'
import { answerScope, eventStream, ShutdownError } from './stream.ts'
import {
  type Comparison,
  type ComparisonEvent,
  type FinishReason,
  type Standings,
  type StartComparison,
  startComparison,
  type Usage,
  vote,
} from './wire.ts'

/**
 * The arena: several answers to one prompt, written side by side, in places that are drawn and without names until
 * somebody has said which is better. A page that is loaded again finds them going on.
 */

interface ArenaContext extends RouteContext {
  openStore: () => Promise<ConversationStore>
  idOf: (context: Context) => string
}

interface Contender {
  readonly desk: ModelDesk
  readonly request: ReplyRequest
}

export function arenaRoutes({ models, openStore, idOf, logger, shutdown }: ArenaContext): Hono {
  const app = new Hono()
  const live = new Map<string, LiveComparison>()

  app.post('/comparisons', async (context) => {
    const body = await readBody(context, startComparison)
    const store = await openStore()
    const contenders: Contender[] = []
    for (const { desk, settings } of drawn(body, models)) {
      contenders.push({ desk, request: await requestOf(desk, body.messages, settings) })
    }
    // A place for every answer first: with some of them alone there would be nothing to compare.
    const leaves: (() => void)[] = []
    try {
      for (const { desk } of contenders) leaves.push(desk.enter())
      const id = await store.addComparison(
        body.messages,
        contenders.map(({ desk, request }) => ({ model: desk.model.id, settings: request.settings })),
      )
      const stopped = new AbortController()
      const comparison = new LiveComparison(contenders.length, () => stopped.abort())
      live.set(id, comparison)
      const log = (error: unknown) => logger.error({ err: error }, 'an answer failed')
      writeAll({ id, store, contenders, leaves, comparison, stopped: stopped.signal, shutdown, log })
        .catch(log)
        .finally(() => live.delete(id))
      return context.json(shown(await whole(store.comparison(id))), 201)
    } catch (error) {
      for (const leave of leaves) leave()
      throw error
    }
  })

  app.get('/comparisons/:id', async (context) => {
    const stored = await whole((await openStore()).comparison(idOf(context)))
    return context.json(shown(withWritten(stored, live.get(stored.id)?.follow())))
  })

  app.get('/comparisons/:id/events', async (context) => {
    const id = idOf(context)
    const stored = await whole((await openStore()).comparison(id))
    const followed = live.get(id)?.follow()
    // Another server on the same database may be writing: then there is nothing to be heard here.
    if (!followed) throw new RequestError(404, 'These answers are not being written here.', { code: 'not_found' })
    const events = async function* (): AsyncGenerator<ComparisonEvent, void, void> {
      yield { type: 'start', comparison: shown(withWritten(stored, followed)) }
      yield* followed.events
    }
    return eventStream(serverSentEvents(events()), () => {})
  })

  app.post('/comparisons/:id/stop', (context) => {
    const comparison = live.get(idOf(context))
    if (!comparison) throw new RequestError(404, 'These answers are not being written here.', { code: 'not_found' })
    comparison.stop()
    return context.body(null, 204)
  })

  app.put('/comparisons/:id/vote', async (context) => {
    const id = idOf(context)
    const given = await readBody(context, vote)
    const store = await openStore()
    const stored = await whole(store.comparison(id))
    const places = given.groups.flat().sort((a, b) => a - b)
    if (places.length !== stored.answers.length || places.some((place, i) => place !== i)) {
      throw badRequest(`Every answer, 0 to ${stored.answers.length - 1}, must be in one group.`, 'groups')
    }
    if (given.allBad && given.groups.length > 1) {
      throw badRequest('Where all are bad, they are one group.', 'allBad')
    }
    if (stored.answers.some(({ finishReason }) => finishReason === null) || (live.has(id) && !live.get(id)?.isDone)) {
      throw new RequestError(409, 'The answers are still being written; stop them, or wait for their end.')
    }
    if (!(await store.vote(id, given))) {
      throw new RequestError(409, 'There is a vote on these answers already: who has seen the names cannot vote again.')
    }
    return context.json(shown(await whole(store.comparison(id))))
  })

  app.delete('/comparisons/:id', async (context) => {
    const id = idOf(context)
    live.get(id)?.stop()
    if (!(await (await openStore()).removeComparison(id))) throw noSuch()
    return context.body(null, 204)
  })

  app.get('/standings', async (context) => {
    const voted = await (await openStore()).votedComparisons()
    return context.json(standingsOf(voted) satisfies Standings)
  })

  return app
}

const noSuch = () => new RequestError(404, 'There is no such comparison.', { code: 'not_found' })

async function whole(stored: Promise<StoredComparison | undefined>): Promise<StoredComparison> {
  const found = await stored
  if (!found) throw noSuch()
  return found
}

/** Who answers, in places that are drawn: nothing about an answer's place tells who wrote it. */
function drawn({ contenders, answers = 2 }: StartComparison, models: ServedModels) {
  const writers = models.all().filter(({ model }) => model.canWrite ?? true)
  const named = contenders.map(({ model }) => (model === undefined ? undefined : models.writer(model)))
  const taken = new Set(named)
  const chosen = named.map((desk) => {
    if (desk) return desk
    const left = writers.filter((writer) => !taken.has(writer))
    const one = pick(left.length > 0 ? left : writers)
    taken.add(one)
    return one
  })
  const all = Array.from({ length: answers }, (_, i) => {
    const place = i % contenders.length
    return { desk: chosen[place], settings: contenders[place].settings ?? {} }
  })
  for (let i = all.length - 1; i > 0; i--) {
    const j = randomInt(i + 1)
    ;[all[i], all[j]] = [all[j], all[i]]
  }
  return all
}

const pick = <T>(all: readonly T[]): T => all[randomInt(all.length)]

function requestOf(
  desk: ModelDesk,
  messages: StartComparison['messages'],
  settings: NonNullable<StartComparison['contenders'][number]['settings']>,
): Promise<ReplyRequest> {
  const systemPrompt = messages
    .filter(({ role }) => role === 'system')
    .map(({ content }) => content)
    .join('\n\n')
  const turns = messages.flatMap(({ role, content }) => (role === 'system' ? [] : [{ role, content }]))
  return replyRequest(desk, { settings: { ...settings, systemPrompt: systemPrompt || undefined } }, turns, noFile)
}

const noFile = (): never => {
  throw badRequest('The arena compares texts alone.', 'messages')
}

interface Writing {
  id: string
  store: ConversationStore
  contenders: readonly Contender[]
  /** Of each contender's place. */
  leaves: readonly (() => void)[]
  comparison: LiveComparison
  stopped: AbortSignal
  shutdown: AbortSignal | undefined
  log: (error: unknown) => void
}

/** Writes all answers at once, saving them every second as they grow, and each at its end, however it ends. */
async function writeAll(writing: Writing): Promise<void> {
  const { id, store, contenders, comparison, log } = writing
  const ended = new Set<number>()
  let saving: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    const growing = contenders.flatMap((_, place) => (ended.has(place) ? [] : [place]))
    const updates = growing.map((place) => ({ place, content: comparison.contentOf(place) }))
    saving = store.saveAnswers(id, updates).then((isThere) => {
      if (!isThere) comparison.stop()
    }, log)
  }, saveEveryMs)
  try {
    await Promise.all(
      contenders.map(async (_, place) => {
        const { finishReason, usage } = await writeOne(writing, place)
        ended.add(place)
        // Over several connections an earlier save could come later.
        await saving
        const update: AnswerUpdate = { place, content: comparison.contentOf(place), finishReason, usage }
        await store.saveAnswers(id, [update]).catch(log)
        comparison.end(place, finishReason)
      }),
    )
  } finally {
    clearInterval(timer)
  }
}

async function writeOne(
  { contenders, leaves, comparison, stopped, shutdown, log }: Writing,
  place: number,
): Promise<{ finishReason: FinishReason; usage?: Usage }> {
  const { desk, request } = contenders[place]
  const scope = answerScope(leaves[place], stopped, shutdown)
  // A model with tools of its own calls them; what it says before and after is what is compared.
  let gap = ''
  try {
    for await (const event of desk.answer({ ...request.generation, signal: scope.signal }, request.ownTools)) {
      if (event.type === 'tool' && comparison.contentOf(place) !== '') gap = '\n\n'
      if (event.type === 'token' && event.text !== '') {
        comparison.add(place, gap + storable(event.text))
        gap = ''
      }
      if (event.type !== 'end') continue
      const { promptTokens, cachedTokens, completionTokens, promptMs, decodeMs } = event
      return { finishReason: event.reason, usage: { promptTokens, cachedTokens, completionTokens, promptMs, decodeMs } }
    }
    throw internalError()
  } catch (error) {
    if (scope.signal.reason instanceof ShutdownError) return { finishReason: 'interrupted' }
    if (scope.signal.aborted) return { finishReason: 'stopped' }
    log(error)
    return { finishReason: 'error' }
  } finally {
    scope.release()
  }
}

/** What is stored, as far as a reader may know it: before the vote no name, and nothing that gives one away. */
function shown({ id, messages, answers, vote, createdAt }: StoredComparison): Comparison {
  return {
    id,
    messages,
    answers: answers.map((answer) => (vote ? answer : { ...answer, model: null, settings: null, usage: null })),
    vote,
    createdAt,
  }
}

/** What is written by now, which is more than what was saved last. */
function withWritten(
  stored: StoredComparison,
  followed: ReturnType<LiveComparison['follow']> | undefined,
): StoredComparison {
  if (!followed) return stored
  const answers = stored.answers.map((answer, place) => ({
    ...answer,
    content: followed.contents[place],
    finishReason: followed.ends[place] ?? null,
  }))
  return { ...stored, answers }
}

async function* serverSentEvents(events: AsyncGenerator<ComparisonEvent>): AsyncGenerator<string, void, void> {
  for await (const event of events) yield `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}
