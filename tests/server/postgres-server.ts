import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const asRoot = process.getuid?.() === 0

const hasBinary = (name: string): boolean => spawnSync(name, ['--version']).status === 0

/** Says once, plainly, that tests against a PostgreSQL server are skipped. */
export function lacksPostgres(): boolean {
  const lacks = !process.env.DATABASE_URL && lacksBinaries()
  if (lacks) console.warn('skipped: there is no PostgreSQL server (neither DATABASE_URL nor initdb and pg_ctl)')
  return lacks
}

/** The same of tests that crash and restart theirs: that of DATABASE_URL is not ours to crash. */
export function lacksOwnPostgres(): boolean {
  const lacks = lacksBinaries()
  if (lacks) console.warn('skipped: there is no PostgreSQL server to be started and crashed (initdb and pg_ctl)')
  return lacks
}

const lacksBinaries = (): boolean => !(hasBinary('initdb') && hasBinary('pg_ctl'))

/** DATABASE_URL, or a server of our own in a temporary folder. */
export async function startPostgres(): Promise<{ url: string; end(): Promise<void> }> {
  if (process.env.DATABASE_URL) return { url: process.env.DATABASE_URL, end: async () => {} }
  const folder = await mkdtemp(join(tmpdir(), 'jackdaw-postgres-'))
  const server = await PostgresServer.start(folder)
  return {
    url: server.url,
    async end() {
      await server.stop('fast')
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A PostgreSQL server of our own, on 127.0.0.1. */
export class PostgresServer {
  private constructor(
    readonly url: string,
    private readonly folder: string,
    private readonly settings: string,
  ) {}

  /** @param folder - empty, and ours to give to the user that PostgreSQL runs as */
  static async start(folder: string): Promise<PostgresServer> {
    // PostgreSQL does not run as root.
    if (asRoot) await run('chown', ['nobody', folder])
    const port = await freePort()
    const settings = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off`
    const server = new PostgresServer(`postgres://jackdaw@127.0.0.1:${port}/postgres`, folder, settings)
    const options = ['-U', 'jackdaw', '--auth=trust', '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync']
    await server.as('initdb', ['-D', server.data, ...options])
    await server.begin()
    return server
  }

  /** Starts it again. */
  async begin(): Promise<void> {
    await this.as('pg_ctl', ['-D', this.data, '-l', join(this.folder, 'log'), '-w', '-o', this.settings, 'start'])
  }

  /** `immediate` is as a crash: it recovers when it begins again. */
  async stop(mode: 'fast' | 'immediate'): Promise<void> {
    await this.as('pg_ctl', ['-D', this.data, '-m', mode, '-w', 'stop'])
  }

  private get data(): string {
    return join(this.folder, 'data')
  }

  private as(command: string, args: string[]): Promise<unknown> {
    if (!asRoot) return run(command, args)
    return run('setpriv', ['--reuid=nobody', '--clear-groups', command, ...args], { cwd: this.folder })
  }
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
