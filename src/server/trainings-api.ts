import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { RequestError, readBody } from './errors.ts'
import { comparisonExample } from './feedback-export.ts'
import { isLoopback } from './hosts.ts'
import { addressOf } from './limits.ts'
import type { RunModels } from './run-models.ts'
import { findRun, resultOf } from './runs-api.ts'
import { requireWriter, type ServedModels } from './served-models.ts'
import { preferencesIn } from './standings.ts'
import type { ConversationStore } from './store.ts'
import type { NewTraining, Trainings } from './trainings.ts'
import { changeTraining, type PromptMessage, serveRun, startTraining, type TrainingList } from './wire.ts'

interface TrainingContext {
  models: ServedModels
  store: ConversationStore | Promise<ConversationStore>
  trainings: Trainings
  runModels: RunModels
  runsDir: string
  /** Whoever comes here has sent a key. */
  hasKey: boolean
}

/** Of which one is learned from, and one kept apart. */
const leastExamples = 2

/** Starting runs from the page, and serving what they leave. */
export function trainingRoutes({ models, store, trainings, runModels, runsDir, hasKey }: TrainingContext): Hono {
  const app = new Hono()

  /** These take the machine for hours, and what it serves is changed. */
  const refusalFor = (context: Context): string | null =>
    hasKey || isHere(context)
      ? null
      : 'Trainings are started on the machine that serves, or with a key: begin the server with --api-key.'
  const onlyHere: MiddlewareHandler = async (context, next) => {
    const refusal = context.req.method === 'GET' ? null : refusalFor(context)
    if (refusal !== null) throw new RequestError(403, refusal, { code: 'not_allowed' })
    await next()
  }
  for (const path of ['/trainings', '/trainings/*', '/models', '/models/*']) app.use(path, onlyHere)

  app.get('/trainings', async (context) =>
    context.json({
      trainings: await trainings.list(),
      leastPreferences: trainings.leastPreferences,
      refusal: refusalFor(context),
    } satisfies TrainingList),
  )

  app.post('/trainings', async (context) => {
    const body = await readBody(context, startTraining)
    const comparisons = await (await store).votedComparisons()
    const { settings } = body
    if (body.kind === 'reward') {
      const told = comparisons.filter((one) => preferencesIn(one) > 0)
      const pairs = told.reduce((sum, one) => sum + preferencesIn(one), 0)
      const least = trainings.leastPreferences
      if (pairs < least) {
        throw new RequestError(
          409,
          `A reward model needs ${least} pairs of answers of which one is better, and there are ${pairs}: vote on more in the arena.`,
        )
      }
      if (told.length < leastExamples) {
        throw new RequestError(409, 'A reward model needs two prompts at least: some are kept apart to measure it.')
      }
      const examples = told.map((one) => JSON.stringify(comparisonExample(one)))
      const from = beginning(models, body.model ?? models.default.model.id)
      return context.json(await trainings.start({ kind: 'reward', ...from, examples, settings }), 201)
    }
    const { name: run, path: folder } = await findRun(runsDir, body.reward)
    if (resultOf(folder)?.state !== 'finished') throw new RequestError(409, `${run} has not come to its end yet.`)
    const judge = (await trainings.list()).find((one) => one.run === run)
    const from = beginning(models, body.model ?? judge?.model ?? models.default.model.id)
    const examples = promptsOf(comparisons.map(({ messages }) => messages))
    if (examples.length < leastExamples) {
      throw new RequestError(409, 'PPO needs two prompts at least: some are kept apart to measure it.')
    }
    return context.json(
      await trainings.start({ kind: 'ppo', ...from, reward: { run, folder }, examples, settings }),
      201,
    )
  })

  app.patch('/trainings/:run', async (context) => {
    const { state } = await readBody(context, changeTraining)
    const run = context.req.param('run')
    return context.json(await (state === 'stopped' ? trainings.stop(run) : trainings.resume(run)))
  })

  app.post('/models', async (context) => {
    const { run } = await readBody(context, serveRun)
    return context.json((await runModels.serve(run)).status(), 201)
  })

  app.delete('/models/:run', async (context) => {
    if (!(await runModels.withdraw(context.req.param('run')))) {
      throw new RequestError(404, 'No run of that name is served.', { code: 'not_found' })
    }
    return context.body(null, 204)
  })

  return app
}

/** Whether the request comes from this machine, and from nobody for whom a proxy on it asks. */
function isHere(context: Context): boolean {
  const forwarded = ['forwarded', 'x-forwarded-for', 'x-real-ip'].some((name) => context.req.header(name) !== undefined)
  return !forwarded && isLoopback(addressOf(context))
}

/** What a training begins from. @throws RequestError where the model has no files to be trained on from */
function beginning(models: ServedModels, id: string): Pick<NewTraining, 'model' | 'modelReference'> {
  const { model } = models.get(id)
  requireWriter(model)
  if (model.path === undefined) throw new RequestError(409, `${id} has no files to begin a training from.`)
  return { model: id, modelReference: model.path }
}

/** Each prompt once. */
function promptsOf(paths: readonly (readonly PromptMessage[])[]): string[] {
  return [...new Set(paths.map((messages) => JSON.stringify({ messages })))]
}
