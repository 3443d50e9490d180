import { setMaxListeners } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { getRequestListener } from '@hono/node-server'
import { type AppOptions, createApp, openRuns } from './app.ts'
import { allowedHosts } from './hosts.ts'
import { defaultLimits } from './limits.ts'
import { ServedModels } from './served-models.ts'
import { ShutdownError } from './stream.ts'

/** How long answers in writing may go on after the server was told to stop. */
const graceMs = 3_000
/** How long their last save may then take. */
const saveMs = 2_000

/** How long a request may take to arrive, body included. */
const requestMs = 60_000

export interface ListenOptions extends Omit<AppOptions, 'allowedHosts' | 'shutdown' | 'runs'> {
  host: string
  /** 0 takes a free one. */
  port: number
  /** Names in the Host header that are answered beside the machine's own; `*` for all. */
  hostNames?: readonly string[]
}

export interface RunningServer {
  /** `http://127.0.0.1:3000` */
  readonly url: string
  /** Takes no more requests, lets answers end for a while, saves what there is of the others, closes the store. */
  close(): Promise<void>
}

/** @throws with one sentence where the port is taken or may not be used. */
export async function listen({ host, port, hostNames, ...options }: ListenOptions): Promise<RunningServer> {
  const shutdown = new AbortController()
  // Every answer in writing listens.
  setMaxListeners(0, shutdown.signal)
  const limits = { ...defaultLimits, ...options.limits }
  const models = options.models instanceof ServedModels ? options.models : new ServedModels(options.models, limits)
  const runs = openRuns(options, models)
  const app = createApp({
    ...options,
    models,
    limits,
    runs,
    allowedHosts: allowedHosts(host, hostNames),
    shutdown: shutdown.signal,
  })
  const server = createServer({ requestTimeout: requestMs }, getRequestListener(app.fetch))
  cutStalled(server, limits.writeTimeoutMs)
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(new Error(listenFailure(error, host, port))))
    server.listen(port, host, resolve)
  })
  const log = (error: unknown) => options.logger.error({ err: error }, 'runs of earlier cannot be gone on with')
  void runs.runModels.open(log)
  runs.trainings.open().catch(log)
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('internal: the server has no port')
  const shownHost = address.family === 'IPv6' ? `[${address.address}]` : address.address
  const idle = () => models.all().every((desk) => !desk.busy)

  const close = async () => {
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve())
    })
    server.closeIdleConnections()
    const trained = runs.trainings.close()
    await waitFor(idle, graceMs)
    shutdown.abort(new ShutdownError())
    await waitFor(idle, saveMs)
    server.closeAllConnections()
    // A reader that does not read holds its answer back until the connection is cut.
    await waitFor(idle, saveMs)
    await closed
    await trained.catch(log)
    await Promise.resolve(options.store).then(
      (store) => store.close(),
      () => {},
    )
  }
  return { url: `http://${shownHost}:${address.port}`, close }
}

/** Ends connections whose client has taken no byte for so long of what was written for it. */
function cutStalled(server: Server, timeoutMs: number): void {
  /** What each had taken when it last took something, and when that was. */
  const sockets = new Map<Socket, { taken: number; at: number }>()
  server.on('connection', (socket: Socket) => {
    sockets.set(socket, { taken: 0, at: performance.now() })
    socket.once('close', () => sockets.delete(socket))
  })
  const timer = setInterval(() => {
    const now = performance.now()
    for (const [socket, before] of sockets) {
      const taken = socket.bytesWritten - socket.writableLength
      if (socket.writableLength === 0 || taken > before.taken) sockets.set(socket, { taken, at: now })
      else if (now - before.at > timeoutMs) socket.destroy()
    }
  }, timeoutMs / 4)
  timer.unref()
  server.once('close', () => clearInterval(timer))
}

async function waitFor(condition: () => boolean, ms: number): Promise<void> {
  for (const end = performance.now() + ms; !condition() && performance.now() < end; ) await delay(10)
}

function listenFailure(error: NodeJS.ErrnoException, host: string, port: number): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `Port ${port} of ${host} is in use; stop what listens there, or choose another with --port.`
    case 'EACCES':
      return `Port ${port} may not be opened by this user; choose one above 1023 with --port.`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `${host} is no address of this machine; choose another with --host.`
    default:
      return `Cannot listen on ${host}, port ${port}: ${error.message}`
  }
}
