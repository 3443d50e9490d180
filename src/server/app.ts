import { createHash, timingSafeEqual } from 'node:crypto'
import { Hono, type MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { compress } from 'hono/compress'
import { cors } from 'hono/cors'
import type { Logger } from 'pino'
import type { ServedModel } from '../generate/types.ts'
import { conversationRoutes } from './conversations.ts'
import { internalError, RequestError } from './errors.ts'
import { maxFileBytes } from './files.ts'
import { openaiRoutes } from './openai.ts'
import { ServedModels } from './served-models.ts'
import { staticFiles } from './static.ts'
import type { ConversationStore } from './store.ts'

const defaultMaxBodyBytes = 1024 * 1024

export interface AppOptions {
  /** The first is the default. */
  models: readonly ServedModel[] | ServedModels
  /** May still be opening: the routes under /v1 do not wait for it. */
  store: ConversationStore | Promise<ConversationStore>
  logger: Pick<Logger, 'debug' | 'error'>
  /** The built page; without it there is only the API. */
  staticDir?: string
  /** Asked of every request to the API, as `Authorization: Bearer`. */
  apiKey?: string
  /** Origins whose pages may use /v1; `*` for all. None by default. */
  corsOrigins?: readonly string[]
  /** Names in the Host header that are answered; all by default. */
  allowedHosts?: readonly string[]
  /** Default 1 MiB. */
  maxBodyBytes?: number
  /** Ends answers in writing. */
  shutdown?: AbortSignal
}

/** The whole server as a function from requests to responses. */
export function createApp(options: AppOptions): Hono {
  const { store, logger, shutdown, maxBodyBytes = defaultMaxBodyBytes } = options
  const models = options.models instanceof ServedModels ? options.models : new ServedModels(options.models)
  const app = new Hono()

  app.onError((error, context) => {
    if (error instanceof RequestError) {
      if (error.status === 429) context.header('retry-after', '1')
      return context.json(error.body, error.status)
    }
    if (!context.req.raw.signal.aborted) logger.error({ err: error, path: context.req.path }, 'a request failed')
    return context.json(internalError().body, 500)
  })

  app.use(async (context, next) => {
    const startedAt = performance.now()
    await next()
    context.header('x-content-type-options', 'nosniff')
    context.header('referrer-policy', 'no-referrer')
    context.header('cross-origin-opener-policy', 'same-origin')
    const ms = Math.round(performance.now() - startedAt)
    logger.debug({ method: context.req.method, path: context.req.path, status: context.res.status, ms }, 'request')
  })
  // What is streamed is not, or it would be held back; files of the page bring their own.
  app.use(compress({ contentTypeFilter: /^application\/json/ }))
  if (options.allowedHosts) app.use(onlyHosts(options.allowedHosts))
  if (options.corsOrigins?.length) {
    const origins = [...options.corsOrigins]
    app.use('/v1/*', cors({ origin: origins.includes('*') ? '*' : origins }))
  }
  for (const api of ['/v1/*', '/api/*']) {
    if (options.apiKey) app.use(api, onlyWithKey(options.apiKey))
    const limits = { body: limitTo(maxBodyBytes), file: limitTo(Math.max(maxBodyBytes, maxFileBytes)) }
    app.use(api, (context, next) => limits[context.req.path === '/api/files' ? 'file' : 'body'](context, next))
  }

  app.route('/v1', openaiRoutes({ models, logger, shutdown }))
  app.route('/api', conversationRoutes({ models, store, logger, shutdown }))
  const noRoute: MiddlewareHandler = (context) => {
    throw new RequestError(404, `There is no route ${context.req.method} ${context.req.path}.`, { code: 'unknown_url' })
  }
  app.all('/v1/*', noRoute)
  app.all('/api/*', noRoute)
  app.all('*', options.staticDir ? staticFiles(options.staticDir) : noRoute)
  return app
}

const limitTo = (maxSize: number): MiddlewareHandler =>
  bodyLimit({
    maxSize,
    onError: () => {
      throw new RequestError(413, `The body is larger than ${maxSize} bytes.`, { code: 'body_too_large' })
    },
  })

/**
 * A page anywhere may have its own name point at 127.0.0.1, and its requests then count as its own site's (DNS
 * rebinding). The Host header still has that name.
 */
function onlyHosts(allowed: readonly string[]): MiddlewareHandler {
  return async (context, next) => {
    const host = context.req.header('host') ?? new URL(context.req.url).host
    const name = URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : ''
    if (!allowed.includes(name)) {
      throw new RequestError(403, `This server answers only as ${allowed.join(', ')}; --host opens it to a network.`, {
        code: 'wrong_host',
      })
    }
    await next()
  }
}

function onlyWithKey(key: string): MiddlewareHandler {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(`Bearer ${key}`)
  return async (context, next) => {
    // Digests have one length, and comparing them takes one time.
    if (!timingSafeEqual(digest(context.req.header('authorization') ?? ''), expected)) {
      throw new RequestError(401, 'The API key is missing or wrong; send it as "Authorization: Bearer KEY".', {
        code: 'invalid_api_key',
      })
    }
    await next()
  }
}
