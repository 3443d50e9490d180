import { link, mkdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'

/**
 * PGlite is set up for databases that fill 128 MB of buffers. Chats do not: this is 140 MB less resident memory, and a
 * start in three quarters of the processor time.
 */
const smallMemory = ['shared_buffers=4MB', 'max_connections=10']

/**
 * Opens embedded PostgreSQL (PGlite) in a folder, creating it the first time.
 *
 * Statements are with the operating system when they return, so the death of the process loses nothing; a power cut
 * may, since PGlite runs with fsync off.
 *
 * @throws where another process has the folder open: PGlite itself would let both write.
 */
export async function openEmbedded(
  folder: string,
): Promise<{ database: PgDatabase<PgQueryResultHKT>; close(): Promise<void> }> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: Error) => {
    throw new Error(`The conversations cannot be kept in ${folder}: ${error.message}`, { cause: error })
  })
  const unlock = await lock(folder)
  try {
    const [{ PGlite }, { drizzle }] = await Promise.all([
      import('@electric-sql/pglite'),
      import('drizzle-orm/pglite'),
      initialise(folder),
    ])
    const client = await PGlite.create({
      dataDir: join(folder, 'postgres'),
      startParams: [...PGlite.defaultStartParams, ...smallMemory.flatMap((setting) => ['-c', setting])],
    })
    const close = async () => {
      await client.close()
      await unlock()
    }
    return { database: drizzle(client), close }
  } catch (error) {
    await unlock()
    throw error
  }
}

/**
 * Creating a database takes seconds in which the thread does nothing else, hence a worker; and it is moved into place
 * when whole, so that a process killed meanwhile leaves nothing that looks like a database.
 */
async function initialise(folder: string): Promise<void> {
  const target = join(folder, 'postgres')
  if (await exists(join(target, 'PG_VERSION'))) return
  const unfinished = join(folder, 'postgres.new')
  await rm(unfinished, { recursive: true, force: true })
  const worker = new Worker(
    `const { workerData } = require('node:worker_threads')
    import(workerData.module)
      .then(({ PGlite }) => PGlite.create({ dataDir: workerData.dataDir, initDbStartParams: workerData.parameters }))
      .then((database) => database.close())`,
    {
      eval: true,
      // What the process was started with may not suit a script.
      execArgv: [],
      workerData: {
        module: import.meta.resolve('@electric-sql/pglite'),
        dataDir: unfinished,
        // Letter case is folded for every script, on every system alike.
        parameters: ['--encoding=UTF8', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
      },
    },
  )
  await new Promise<void>((resolve, reject) => {
    worker.once('error', reject)
    worker.once('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`Cannot create the database of conversations in ${folder}.`)),
    )
  })
  await rename(unfinished, target)
}

/** Folders that this process has open. */
const held = new Set<string>()

/** A file with the owner's process id. One whose process is gone is a leftover, and is taken over. */
async function lock(folder: string): Promise<() => Promise<void>> {
  const path = await realpath(folder).then((real) => join(real, 'lock'))
  if (held.has(path)) throw new Error(`The conversations in ${folder} are open in this process already.`)
  const mine = `${path}.${process.pid}`
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      await writeFile(mine, String(process.pid))
      try {
        // A link appears with its content, or not at all.
        await link(mine, path)
        held.add(path)
        return async () => {
          held.delete(path)
          await rm(path, { force: true })
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      const owner = Number.parseInt(await readFile(path, 'utf8').catch(() => ''), 10)
      if (isRunning(owner)) {
        throw new Error(
          `The conversations in ${folder} are open in another jackdaw (process ${owner}); ` +
            'stop it, or choose another folder with --data.',
        )
      }
      await rm(path, { force: true })
    }
    throw new Error(`Cannot lock ${folder}; is another jackdaw starting on it?`)
  } finally {
    await rm(mine, { force: true })
  }
}

function isRunning(pid: number): boolean {
  // In a container every run may have the same process id: our own is a leftover too, or `held` would have it.
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )
