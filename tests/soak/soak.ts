import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ConversationStore, type StoreLocation } from '../../src/server/store.ts'
import { type ConversationWithMessages, status } from '../../src/server/wire.ts'
import { freePort, PostgresServer } from '../server/postgres-server.ts'
import { Client, type Counts, seeded } from './client.ts'
import { Ledger, type Verdict } from './ledger.ts'

export interface SoakOptions {
  database: 'embedded' | 'server'
  seconds: number
  clients: number
  seed: number
}

export interface SoakReport extends Verdict {
  /** What clients did and were told, and how often the server was killed and so on. */
  figures: Record<string, unknown>
  /** What the server wrote to its log that clients had sent. */
  leaked: number
  /** How often the server ended by itself. */
  deaths: number
  /** What it wrote to its log. */
  log: string
}

const run = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`
const script = fileURLToPath(new URL('soak-child.ts', import.meta.url))

/** Only root can mount a small disk of its own, to fill it. */
const canMount = process.platform === 'linux' && process.getuid?.() === 0
const DISK_MEGABYTES = 400

/** The server in its process, started again whenever it was ended. */
class Server {
  log = ''
  /** How often it ended by itself. */
  deaths = 0
  /** From the start of a process until it listens with its conversations open, in milliseconds. */
  readonly startsMs: number[] = []
  private child?: ChildProcess
  private isEnding = false

  constructor(
    readonly port: number,
    private readonly location: StoreLocation,
  ) {}

  async start(): Promise<void> {
    this.isEnding = false
    for (;;) {
      const startedAt = performance.now()
      const child = spawn(process.execPath, ['--input-type=module', '-e', run, script], {
        env: { ...process.env, JACKDAW_SOAK: JSON.stringify({ port: this.port, location: this.location }) },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      this.child = child
      child.stderr.on('data', (chunk) => {
        this.log += chunk
      })
      const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), once(child, 'exit')])
      if (line === 'ready') {
        this.startsMs.push(Math.round(performance.now() - startedAt))
        child.once('exit', () => {
          if (this.child !== child || this.isEnding) return
          this.deaths++
          void this.start()
        })
        return
      }
      // A full disk, or a database that is away: as a supervisor would, again in a moment.
      await delay(500)
    }
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.child
    this.isEnding = true
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill(signal)
    await exit
  }

  get residentMegabytes(): number {
    try {
      const pages = Number(readFileSync(`/proc/${this.child?.pid}/statm`, 'utf8').split(' ')[1])
      return Math.round((pages * 4096) / 2 ** 20)
    } catch {
      return 0
    }
  }
}

/**
 * Lets many clients at a server, ends the server, its database and its disk in their midst, and then looks whether
 * everything that was acknowledged is there, once and unchanged.
 */
export async function soak({ database, seconds, clients, seed }: SoakOptions): Promise<SoakReport> {
  const folder = await mkdtemp(join(tmpdir(), 'jackdaw-soak-'))
  const disk = join(folder, 'disk')
  await mkdir(disk)
  if (canMount) execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_MEGABYTES}m`, 'tmpfs', disk])
  const home = join(disk, 'home')
  await mkdir(home)
  let postgres: PostgresServer | undefined
  let server: Server | undefined
  try {
    if (database === 'server') {
      // Its own user has to get there.
      execFileSync('chmod', ['755', folder, disk])
      postgres = await PostgresServer.start(home)
    }
    const location = postgres ? { databaseUrl: postgres.url } : { dataDir: home }
    server = new Server(await freePort(), location)
    await server.start()

    const ledger = new Ledger()
    const counts: Counts = { requests: 0, cut: 0, refused: {}, done: {} }
    const end = performance.now() + 1000 * seconds
    const isOver = () => performance.now() > end
    const watch = new Watch(server)
    const chaos = disturb({
      server,
      postgres,
      disk,
      random: seeded(seed),
      isOver,
      watch,
      secondsBetween: Math.max(4, seconds / 16),
    })
    const busy = Array.from({ length: clients }, (_, index) =>
      new Client(server!.port, index, seed, ledger, counts).run(isOver),
    )
    const [events] = await Promise.all([chaos, ...busy])
    await watch.stop()
    await server.end('SIGTERM')
    const { log, deaths } = server

    const kept = await readAll(location, [...ledger.conversations])
    const { acknowledged, conversations, answersWhole } = ledger
    return {
      ...ledger.judge(kept),
      ...{ log, deaths },
      leaked: [...acknowledged.values()].filter(({ content }) => log.includes(content.slice(0, 30))).length,
      figures: {
        ...{ database, seconds, clients, seed, events },
        requests: counts.requests,
        done: counts.done,
        refused: counts.refused,
        cut: counts.cut,
        conversations: conversations.size,
        acknowledged: acknowledged.size,
        answersWhole,
        kept: kept.reduce((sum, { messages }) => sum + messages.length, 0),
        restartMs: { median: quantile(server.startsMs, 0.5), most: quantile(server.startsMs, 1) },
        statusMs: { median: quantile(watch.statusMs, 0.5), p99: quantile(watch.statusMs, 0.99) },
        activeAfter: watch.activeAfter,
        residentMegabytes: watch.residentMegabytes,
        logLines: log.split('\n').length - 1,
      },
    }
  } finally {
    await server?.end('SIGKILL')
    await postgres?.stop('immediate').catch(() => {})
    if (canMount) spawnSync('umount', ['--lazy', disk])
    await rm(folder, { recursive: true, force: true })
  }
}

/** Asks the server how it is, over and over. */
class Watch {
  readonly statusMs: number[] = []
  residentMegabytes = 0
  /** Answers being written when every client was gone. */
  activeAfter?: number
  private readonly timer: NodeJS.Timeout

  constructor(private readonly server: Server) {
    this.timer = setInterval(() => void this.ask(), 250)
  }

  async ask(): Promise<number | undefined> {
    this.residentMegabytes = Math.max(this.residentMegabytes, this.server.residentMegabytes)
    const startedAt = performance.now()
    try {
      const response = await fetch(`http://127.0.0.1:${this.server.port}/api/status`)
      const { models } = status.parse(await response.json())
      this.statusMs.push(Math.round(performance.now() - startedAt))
      return models[0].activeRequests
    } catch {
      return undefined
    }
  }

  /** Once answers that go on without their readers have ended. */
  async stop(): Promise<void> {
    clearInterval(this.timer)
    for (let n = 0; n < 40; n++) {
      this.activeAfter = await this.ask()
      if (this.activeAfter === 0) return
      await delay(250)
    }
  }
}

interface Disturbance {
  server: Server
  postgres?: PostgresServer
  disk: string
  random: () => number
  isOver: () => boolean
  watch: Watch
  secondsBetween: number
}

/** One disturbance after the other, in an order that the seed determines. @returns how many of each */
async function disturb({ server, postgres, disk, random, isOver, secondsBetween }: Disturbance) {
  const kinds: Record<string, () => Promise<void>> = {
    'server killed': async () => {
      await server.end('SIGKILL')
      await server.start()
    },
    'server told to stop': async () => {
      await server.end('SIGTERM')
      await server.start()
    },
  }
  if (postgres) {
    kinds['PostgreSQL crashed'] = async () => {
      await postgres.stop('immediate')
      await delay(1_000 * random())
      await postgres.begin()
    }
    kinds['PostgreSQL restarted'] = async () => {
      await postgres.stop('fast')
      await postgres.begin()
    }
  }
  if (canMount) {
    kinds['disk filled'] = async () => {
      const { bavail, bsize } = await statfs(disk)
      const filler = join(disk, 'filler')
      await writeFile(filler, Buffer.alloc(bavail * bsize)).catch(() => {})
      await delay(3_000)
      await rm(filler)
      // A real server whose log has no room has ended; whoever looks after it starts it again.
      await postgres?.begin().catch(() => {})
    }
    kinds['disk filled, server killed'] = async () => {
      const { bavail, bsize } = await statfs(disk)
      const filler = join(disk, 'filler')
      await writeFile(filler, Buffer.alloc(bavail * bsize)).catch(() => {})
      await delay(500)
      await server.end('SIGKILL')
      const starting = server.start()
      await delay(2_000)
      await rm(filler)
      await postgres?.begin().catch(() => {})
      await starting
    }
  }
  const events: Record<string, number> = {}
  let waiting: string[] = []
  while (!isOver()) {
    await delay(1_000 * secondsBetween * (0.5 + random()))
    if (isOver()) break
    if (waiting.length === 0) waiting = Object.keys(kinds)
    const [kind] = waiting.splice(Math.floor(random() * waiting.length), 1)
    await kinds[kind]()
    events[kind] = (events[kind] ?? 0) + 1
  }
  return events
}

/** Straight from the database, by a store of our own. */
async function readAll(location: StoreLocation, ids: readonly string[]): Promise<ConversationWithMessages[]> {
  const store = await ConversationStore.open(location)
  try {
    const kept: ConversationWithMessages[] = []
    for (const id of ids) {
      const conversation = await store.read(id)
      if (conversation) kept.push(conversation)
    }
    return kept
  } finally {
    await store.close()
  }
}

function quantile(values: readonly number[], part: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]
}
