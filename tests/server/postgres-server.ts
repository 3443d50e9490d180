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
  const here = process.env.DATABASE_URL || (hasBinary('initdb') && hasBinary('pg_ctl'))
  if (!here) console.warn('skipped: there is no PostgreSQL server (neither DATABASE_URL nor initdb and pg_ctl)')
  return !here
}

/** DATABASE_URL, or a server of our own in a temporary folder. */
export async function startPostgres(): Promise<{ url: string; end(): Promise<void> }> {
  if (process.env.DATABASE_URL) return { url: process.env.DATABASE_URL, end: async () => {} }
  const folder = await mkdtemp(join(tmpdir(), 'jackdaw-postgres-'))
  const data = join(folder, 'data')
  // PostgreSQL does not run as root.
  if (asRoot) await run('chown', ['nobody', folder])
  const as = (command: string, args: string[]) =>
    asRoot
      ? run('setpriv', ['--reuid=nobody', '--clear-groups', command, ...args], { cwd: folder })
      : run(command, args)
  const port = await freePort()
  await as('initdb', ['-D', data, '-U', 'jackdaw', '--auth=trust', '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync'])
  const settings = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off`
  await as('pg_ctl', ['-D', data, '-l', join(folder, 'log'), '-w', '-o', settings, 'start'])
  return {
    url: `postgres://jackdaw@127.0.0.1:${port}/postgres`,
    async end() {
      await as('pg_ctl', ['-D', data, '-m', 'fast', '-w', 'stop'])
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
