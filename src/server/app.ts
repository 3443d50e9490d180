import { createHash, timingSafeEqual } from 'node:crypto'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { compress } from 'hono/compress'
import { cors } from 'hono/cors'
import { routePath } from 'hono/route'
import { getPath } from 'hono/utils/url'
import type { Logger } from 'pino'
import type { ServedModel } from '../generate/types.ts'
import { conversationRoutes } from './conversations.ts'
import { internalError, RequestError } from './errors.ts'
import { maxFileBytes } from './files.ts'
import type { AllowedHosts } from './hosts.ts'
import { defaultLimits, type Limits, limitClients } from './limits.ts'
import { type Figure, gauge, HttpTally, metricsText } from './metrics.ts'
import { openaiRoutes } from './openai.ts'
import { paperRoutes } from './papers-api.ts'
import { type AppEnv, requestIdOf } from './request-id.ts'
import { RunModels } from './run-models.ts'
import { runRoutes } from './runs-api.ts'
import { type ModelDesk, ServedModels } from './served-models.ts'
import { staticFiles } from './static.ts'
import type { ConversationStore } from './store.ts'
import { tabModelRoutes } from './tab-models-api.ts'
import { tokenRoutes } from './tokens-api.ts'
import { type TrainingOptions, Trainings } from './trainings.ts'
import { trainingRoutes } from './trainings-api.ts'

const defaultMaxBodyBytes = 1024 * 1024

export interface AppOptions {
  /** The first is the default. */
  models: readonly ServedModel[] | ServedModels
  /** May still be opening: the routes under /v1 do not wait for it. */
  store: ConversationStore | Promise<ConversationStore>
  logger: Pick<Logger, 'debug' | 'error'>
  /** The built page; without it there is only the API. */
  staticDir?: string
  /** Where `jackdaw train` writes its runs; ./runs by default. */
  runsDir?: string
  /** Loads a model that a run has left; without it, runs are not served. */
  loadModel?: (folder: string) => Promise<ServedModel>
  training?: TrainingOptions
  /** What `openRuns` made of these options. */
  runs?: OpenRuns
  /** Asked of every request to the API, as `Authorization: Bearer`. */
  apiKey?: string
  /** Origins whose pages may use /v1; `*` for all. None by default. */
  corsOrigins?: readonly string[]
  /** Whether a name in the Host header is answered; all are by default. */
  allowedHosts?: AllowedHosts
  /** Default 1 MiB. */
  maxBodyBytes?: number
  limits?: Partial<Limits>
  /** Ends answers in writing. */
  shutdown?: AbortSignal
}

/** The path as routes see it: a base address that ends in a slash makes two of one. */
const pathOf = (request: Request): string => getPath(request).replace(/\/{2,}/g, '/')

/** The whole server as a function from requests to responses. */
export function createApp(options: AppOptions): Hono<AppEnv> {
  const { store, logger, shutdown, maxBodyBytes = defaultMaxBodyBytes } = options
  const limits = { ...defaultLimits, ...options.limits }
  const models = options.models instanceof ServedModels ? options.models : new ServedModels(options.models, limits)
  const http = new HttpTally()
  const app = new Hono<AppEnv>({ getPath: pathOf })

  app.onError((error, context) => {
    if (error instanceof RequestError) {
      if (error.retryAfter !== undefined) context.header('retry-after', String(error.retryAfter))
      return context.json(error.body, error.status)
    }
    const { requestId } = context.var
    if (!context.req.raw.signal.aborted) {
      logger.error({ err: error, requestId, path: context.req.path }, 'a request failed')
    }
    return context.json(internalError().body, 500)
  })

  app.use(async (context, next) => {
    const startedAt = performance.now()
    const requestId = requestIdOf(context.req.header('x-request-id'))
    context.set('requestId', requestId)
    await next()
    context.header('x-request-id', requestId)
    context.header('x-content-type-options', 'nosniff')
    context.header('referrer-policy', 'no-referrer')
    // Both together give the page shared memory, which models that run in the tab compute with.
    context.header('cross-origin-opener-policy', 'same-origin')
    context.header('cross-origin-embedder-policy', 'require-corp')
    const ms = Math.round(performance.now() - startedAt)
    const { method, path } = context.req
    const { status } = context.res
    http.add(method, routeOf(context), status, ms / 1000)
    logger.debug({ requestId, method, path, status, ms }, 'request')
  })
  // What is streamed is not, or it would be held back; files of the page bring their own.
  app.use(compress({ contentTypeFilter: /^application\/json/ }))
  if (options.allowedHosts) app.use(onlyHosts(options.allowedHosts))
  if (options.corsOrigins?.length) {
    const origins = [...options.corsOrigins]
    const exposeHeaders = ['x-request-id', 'retry-after']
    app.use('/v1/*', cors({ origin: origins.includes('*') ? '*' : origins, exposeHeaders }))
  }
  if (options.apiKey) for (const path of ['/v1/*', '/api/*', '/metrics']) app.use(path, onlyWithKey(options.apiKey))
  const limitedClients = limitClients(limits)
  for (const api of ['/v1/*', '/api/*']) {
    app.use(api, limitedClients)
    const sizes = { body: limitTo(maxBodyBytes), file: limitTo(Math.max(maxBodyBytes, maxFileBytes)) }
    app.use(api, (context, next) => sizes[context.req.path === '/api/files' ? 'file' : 'body'](context, next))
  }

  const { runsDir = 'runs' } = options
  app.route('/v1', openaiRoutes({ models, logger, shutdown, limits }))
  app.route('/api', conversationRoutes({ models, store, logger, shutdown }))
  app.route('/api', paperRoutes())
  app.route('/api', runRoutes(runsDir))
  app.route('/api', tabModelRoutes(runsDir))
  const { runModels, trainings } = options.runs ?? openRuns(options, models)
  app.route('/api', trainingRoutes({ models, store, trainings, runModels, runsDir, hasKey: !!options.apiKey }))
  app.route('/api', tokenRoutes(models))
  const noRoute: MiddlewareHandler = (context) => {
    throw new RequestError(404, `There is no route ${context.req.method} ${context.req.path}.`, { code: 'unknown_url' })
  }
  app.all('/v1/*', noRoute)
  app.all('/api/*', noRoute)

  const health = watchStore(store, shutdown)
  app.get('/health', (context) => {
    const state = health()
    return context.json({ status: state }, state === 'ready' ? 200 : 503)
  })
  app.get('/metrics', (context) => {
    const text = metricsText([...http.figures(), ...models.all().flatMap(modelFigures), ...processFigures()])
    return context.body(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  })

  const page = options.staticDir ? staticFiles(options.staticDir) : noRoute
  // Whoever spells an address of the API in another way wants JSON, and not the page.
  app.all('*', (context, next) =>
    (/^\/(v1|api)(\/|$)/i.test(decoded(context.req.path)) ? noRoute : page)(context, next),
  )
  return app
}

export interface OpenRuns {
  runModels: RunModels
  trainings: Trainings
}

/** What trains, and what is served of it; whoever opens it closes it. */
export function openRuns(
  { runsDir = 'runs', loadModel, training, logger }: Pick<AppOptions, 'runsDir' | 'loadModel' | 'training' | 'logger'>,
  models: ServedModels,
): OpenRuns {
  const log = (error: unknown) => logger.error({ err: error }, 'a training failed')
  const runModels = new RunModels(models, runsDir, loadModel)
  // What PPO leaves writes, and is there to be compared at once.
  const onFinished = (run: string, kind: 'reward' | 'ppo') => {
    if (kind === 'ppo') runModels.serve(run).catch(log)
  }
  return { runModels, trainings: new Trainings(runsDir, log, onFinished, training) }
}

const limitTo = (maxSize: number): MiddlewareHandler =>
  bodyLimit({
    maxSize,
    onError: () => {
      throw new RequestError(413, `The body is larger than ${maxSize} bytes.`, { code: 'body_too_large' })
    },
  })

/** The pattern that answered: a path may hold anything. */
function routeOf(context: Context): string {
  const route = routePath(context)
  return route === '*' || route === '/*' ? 'page' : route
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path).replace(/\/{2,}/g, '/')
  } catch {
    return path
  }
}

/** Models are loaded before a server listens; the conversations may take a little longer. */
function watchStore(
  store: ConversationStore | Promise<ConversationStore>,
  shutdown: AbortSignal | undefined,
): () => 'ready' | 'loading' | 'failed' | 'stopping' {
  let state: 'ready' | 'loading' | 'failed' = 'loading'
  Promise.resolve(store).then(
    () => {
      state = 'ready'
    },
    () => {
      state = 'failed'
    },
  )
  return () => (shutdown?.aborted ? 'stopping' : state)
}

function modelFigures({ model, tally, load }: ModelDesk): Figure[] {
  const labels = { model: model.id }
  return [
    gauge('jackdaw_places_in_use', 'Requests in hand.', load.active, labels),
    gauge('jackdaw_requests_running', 'Of these, requests that have their turn.', load.running, labels),
    gauge('jackdaw_requests_waiting', 'Of these, requests that wait for it.', load.waiting, labels),
    ...tally.figures(model.id),
  ]
}

const processFigures = (): Figure[] => [
  gauge('process_resident_memory_bytes', 'Memory of the process.', process.memoryUsage.rss()),
  gauge('process_uptime_seconds', 'Time since the start.', Math.round(process.uptime())),
]

/**
 * A page anywhere may have its own name point at 127.0.0.1, and its requests then count as its own site's (DNS
 * rebinding). The Host header still has that name.
 */
function onlyHosts(allowed: AllowedHosts): MiddlewareHandler {
  return async (context, next) => {
    const host = context.req.header('host') ?? new URL(context.req.url).host
    const name = URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : ''
    if (!allowed.has(name)) throw new RequestError(403, allowed.refusal(name), { code: 'wrong_host' })
    await next()
  }
}

function onlyWithKey(key: string): MiddlewareHandler {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(key)
  return async (context, next) => {
    // Digests have one length, and comparing them takes one time.
    const [, given = ''] = /^bearer +(.*)$/i.exec(context.req.header('authorization') ?? '') ?? []
    if (!timingSafeEqual(digest(given), expected)) {
      throw new RequestError(401, 'The API key is missing or wrong; send it as "Authorization: Bearer KEY".', {
        code: 'invalid_api_key',
      })
    }
    await next()
  }
}
