import { mkdir, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import { canSyncFileSystem, syncFileSystemAside } from '../runtime/sync-file-system.ts'
import { type FolderLock, lockFolder } from './folder-lock.ts'
import { isFull, StoreError } from './store-error.ts'
import type { SyncedPglite } from './synced-pglite.ts'

/** What a new database takes, and room for its log. */
const ROOM_BYTES = 64 << 20
/** A database that ended is opened again, and that may fail, no more often than this: it takes a second of its own. */
const REOPEN_MS = 1_000
/** With less than the log's next file takes, whatever fails fails for that. */
const LITTLE_BYTES = 16 << 20

/** A database that may come and go behind the one who asks it. */
export interface Connection {
  /** @throws with one sentence where it cannot be used. */
  database(): Promise<PgDatabase<PgQueryResultHKT>>
  /** Resolves when what was committed by now outlives a power cut. */
  flush(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens embedded PostgreSQL (PGlite) in a folder, creating it the first time.
 *
 * @throws with one sentence where another process has the folder open (PGlite itself would let both write), or it
 *   cannot be written.
 */
export async function openEmbedded(folder: string): Promise<Connection> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch(async (error: Error) => {
    throw await openFailure(folder, error)
  })
  const lock = await lockFolder(folder).catch(async (error: NodeJS.ErrnoException) => {
    throw error.code === undefined ? error : await openFailure(folder, error)
  })
  try {
    const connection = new EmbeddedPostgres(folder, lock)
    await connection.database()
    return connection
  } catch (error) {
    lock.release()
    throw error
  }
}

class EmbeddedPostgres implements Connection {
  private opened?: Promise<{ client: SyncedPglite; database: PgDatabase<PgQueryResultHKT> }>
  private openedAt = Number.NEGATIVE_INFINITY

  constructor(
    private readonly folder: string,
    private readonly lock: FolderLock,
  ) {}

  async database(): Promise<PgDatabase<PgQueryResultHKT>> {
    this.lock.check()
    const before = this.opened
    const isDue = (await hasEnded(before)) && performance.now() - this.openedAt > REOPEN_MS
    // Once one has begun to open it again, all wait for that.
    if (isDue && this.opened === before) {
      this.opened = this.open()
      this.openedAt = performance.now()
    }
    return (await this.opened!).database
  }

  async flush(): Promise<void> {
    await (await this.opened)?.client.flush()
  }

  async close(): Promise<void> {
    const client = await this.opened?.then(
      (opened) => opened.client,
      () => undefined,
    )
    try {
      // Where another process took the folder, closing would write into its database.
      this.lock.check()
      if (client && !client.end) await client.close()
    } finally {
      this.lock.release()
    }
  }

  private async open() {
    try {
      const [{ SyncedPglite }, { drizzle }] = await Promise.all([
        import('./synced-pglite.ts'),
        import('drizzle-orm/pglite'),
        initialise(this.folder),
      ])
      const client = await SyncedPglite.open(join(this.folder, 'postgres'))
      return { client, database: drizzle(client) }
    } catch (error) {
      throw await openFailure(this.folder, error)
    }
  }
}

const hasEnded = async (opened: Promise<{ client: SyncedPglite }> | undefined): Promise<boolean> =>
  opened === undefined ||
  opened.then(
    ({ client }) => client.end !== undefined,
    () => true,
  )

/**
 * Creating a database takes seconds in which the thread does nothing else, hence a worker; and it is moved into place
 * when whole and on the disk, so that a process killed meanwhile leaves nothing that looks like a database.
 */
async function initialise(folder: string): Promise<void> {
  const target = join(folder, 'postgres')
  if (await exists(join(target, 'PG_VERSION'))) return
  const unfinished = join(folder, 'postgres.new')
  await rm(unfinished, { recursive: true, force: true })
  const worker = new Worker(
    `const { closeSync, fsyncSync, openSync, readdirSync } = require('node:fs')
    const { join } = require('node:path')
    const { workerData } = require('node:worker_threads')
    const { module, dataDir, parameters, syncFiles } = workerData
    import(module)
      .then(({ PGlite }) => PGlite.create({ dataDir, initDbStartParams: parameters }))
      .then((database) => database.close())
      .then(() => {
        const entries = syncFiles ? readdirSync(dataDir, { recursive: true, withFileTypes: true }) : []
        for (const entry of entries) {
          if (!entry.isFile()) continue
          const file = openSync(join(entry.parentPath ?? entry.path, entry.name), 'r+')
          fsyncSync(file)
          closeSync(file)
        }
      })
      .catch((error) => {
        throw error instanceof Error ? error : new Error('its file system failed with ' + error?.errno)
      })`,
    {
      eval: true,
      // What the process was started with may not suit a script.
      execArgv: [],
      workerData: {
        module: import.meta.resolve('@electric-sql/pglite'),
        dataDir: unfinished,
        syncFiles: !canSyncFileSystem,
        // Letter case is folded for every script, on every system alike.
        parameters: ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
      },
      stdout: true,
      stderr: true,
    },
  )
  try {
    await new Promise<void>((resolve, reject) => {
      worker.once('error', reject)
      worker.once('exit', (code) => (code === 0 ? resolve() : reject(new Error('its creation ended early'))))
    })
    if (canSyncFileSystem) await syncFileSystemAside(unfinished)
  } catch (error) {
    // Before there is room again: what there is of it would be in the way of everything.
    const failure = await openFailure(folder, error)
    await rm(unfinished, { recursive: true, force: true })
    throw failure
  }
  await rename(unfinished, target)
}

/** One sentence, whatever it was. */
async function openFailure(folder: string, error: unknown): Promise<StoreError> {
  if (error instanceof StoreError) return error
  const room = await roomAt(folder)
  if (isFull(error) || room < LITTLE_BYTES) {
    const free = Number.isFinite(room) ? ` (${Math.floor(room / 2 ** 20)} MB are free)` : ''
    return new StoreError(
      `The conversations cannot be kept in ${folder}: its disk is full${free}; make room for ` +
        `${ROOM_BYTES >> 20} MB, or choose another folder with --data.`,
      'full',
    )
  }
  const reason = error instanceof Error && error.message ? error.message : String(error)
  return new StoreError(`The conversations cannot be kept in ${folder}: ${reason}`, 'unreachable')
}

const roomAt = (folder: string): Promise<number> =>
  statfs(folder).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => Number.POSITIVE_INFINITY,
  )

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
