import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command, Option } from 'commander'
import type { ServedModel } from '../generate/types.ts'
import { isLoopback } from '../server/hosts.ts'
import type { RunningServer } from '../server/listen.ts'
import { withDownloadBar } from './download-bar.ts'
import { collect, integer, providerOption, type Quantize, quantizeOption } from './flags.ts'
import { databaseOption, type StoreFlags, storeLocation } from './store-location.ts'

interface ServeOptions extends StoreFlags {
  model?: string[]
  host: string
  port: number
  open?: boolean
  runs: string
  apiKey?: string
  allowAnonymous?: boolean
  allowedHost?: string[]
  cors?: string[]
  maxRequests: number
  maxRequestsPerClient: number
  deterministic?: boolean
  provider: 'cpu' | 'webgpu' | 'cuda'
  quantize?: Quantize
  threads?: number
  logLevel: string
}

/** The model of our own, under weights/. */
const defaultModel = 'jackdaw-base'

export function serveCommand(): Command {
  return new Command('serve')
    .description('serve the chat page, and an API that speaks as OpenAI does')
    .option(
      '--model <ref>',
      'a folder, hf:owner/name, gguf:FILE or a shipped name; repeatable, the first is the default',
      collect,
    )
    .option('--host <address>', 'address to listen on; any but this machine’s own opens it to the network', '127.0.0.1')
    .option('--port <number>', 'port to listen on; 0 takes a free one', integer(0, 65_535), 3000)
    .option('--open', 'open the page in the browser')
    .option('--data <dir>', 'folder that keeps the conversations')
    .option('--runs <dir>', 'folder of runs that the lab shows, as train --out writes them', 'runs')
    .addOption(databaseOption('keep them in a PostgreSQL server instead'))
    .addOption(new Option('--api-key <key>', 'ask this key of every request to the API').env('JACKDAW_API_KEY'))
    .option('--allow-anonymous', 'serve a network without a key: whoever reaches the address may use it')
    .option('--allowed-host <name>', 'a name that the server is reached by; repeatable, * for all', collect)
    .option('--cors <origin>', 'let pages of this origin use /v1; repeatable, * for all', collect)
    .addOption(providerOption())
    .addOption(quantizeOption())
    .option('--threads <number>', 'threads of the CPU provider', integer(1, 1024))
    .option('--deterministic', 'answers that depend on nothing that is cached or computed beside them; slower')
    .option(
      '--max-requests <number>',
      'requests that a model has in hand, waiting ones included',
      integer(1, 100_000),
      64,
    )
    .option('--max-requests-per-client <number>', 'requests that one address has open', integer(1, 100_000), 32)
    .addOption(
      new Option('--log-level <level>', 'what goes to standard error')
        .choices(['silent', 'error', 'warn', 'info', 'debug'])
        .default('warn'),
    )
    .addHelpText('after', '\nExample:\n  jackdaw serve --model gguf:model.gguf --quantize q4 --open')
    .action(serve)
}

async function serve(options: ServeOptions, command: Command): Promise<void> {
  const startedAt = performance.now()
  refuseOpenServer(options)
  // The models, the conversations and the server's own code are made ready side by side.
  const loader = modelLoader(options)
  const loading = loader.then((load) => Promise.all((options.model ?? [defaultModel]).map(load)))
  // Waited for below; until then its failure is nobody's.
  loading.catch(() => {})
  const [{ listen }, { ConversationStore }, { packageRoot }, { pino, destination }] = await Promise.all([
    import('../server/listen.ts'),
    import('../server/store.ts'),
    import('../server/package.ts'),
    import('pino'),
  ])
  const logger = pino({ level: options.logLevel }, destination({ dest: 2, sync: true }))
  const store = ConversationStore.open(storeLocation(options, command))
  store.catch(() => {})
  const sinceStart = () => Math.round(performance.now() - startedAt)

  let server: RunningServer | undefined
  try {
    const models = await loading
    const staticDir = join(packageRoot, 'dist', 'web')
    server = await listen({
      models,
      store,
      logger,
      host: options.host,
      port: options.port,
      apiKey: options.apiKey,
      hostNames: options.allowedHost,
      limits: { maxRequests: options.maxRequests, maxRequestsPerClient: options.maxRequestsPerClient },
      corsOrigins: options.cors,
      runsDir: resolve(options.runs),
      loadModel: await loader,
      staticDir: existsSync(join(staticDir, 'index.html')) ? staticDir : undefined,
    })
    const { url, close } = server
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop(close(), signal))
    logger.info({ ms: sinceStart() }, 'listening')
    await store
    logger.info({ ms: sinceStart() }, 'the conversations are open')
    console.log(`jackdaw serves ${models.map(({ id }) => id).join(', ')} at ${url}`)
    if (options.open) openBrowser(url)
  } catch (error) {
    // Not waited for: the reason is to be read at once, and the process ends when they are closed.
    if (server) void server.close()
    else store.then((opened) => opened.close()).catch(() => {})
    throw error
  }
}

/** @throws where a network could use the server, and read the conversations, and nobody said that it may */
function refuseOpenServer({ host, apiKey, allowAnonymous }: ServeOptions): void {
  if (isLoopback(host) || apiKey || allowAnonymous) return
  throw new Error(
    `--host ${host} lets whoever reaches this machine use the server and read its conversations; set a key with --api-key, or say --allow-anonymous.`,
  )
}

/** The address is printed anyway: a machine without a browser loses nothing. */
function openBrowser(url: string): void {
  import('open').then(({ default: open }) => open(url)).catch(() => {})
}

/** Loads models as the flags say; those that runs leave, too. */
async function modelLoader({ provider, quantize, threads, deterministic }: ServeOptions) {
  const { loadServedModel } = await import('../generate/served.ts')
  return (reference: string): Promise<ServedModel> =>
    withDownloadBar((onProgress) =>
      loadServedModel(reference, { provider, quantize, threads, deterministic, onProgress }),
    )
}

function stop(closed: Promise<void>, signal: NodeJS.Signals): void {
  // Who asks twice does not want to wait.
  process.once(signal, () => process.exit(1))
  closed.then(
    () => process.exit(0),
    (error) => {
      console.error(`The server did not shut down cleanly: ${error instanceof Error ? error.message : error}`)
      process.exit(1)
    },
  )
}
