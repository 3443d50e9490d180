import { closeSync, fdatasyncSync, fsyncSync, openSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { PGlite } from '@electric-sql/pglite'
import { NodeFS } from '@electric-sql/pglite/nodefs'
import { canSyncFileSystem, syncFileSystem } from '../runtime/sync-file-system.ts'

/** A file as PGlite has it open. */
interface Stream {
  readonly path: string
  /** Node's descriptor. */
  readonly nfd?: number
}

/** What PGlite calls for open files of its data folder. */
interface StreamCalls {
  write(stream: Stream, ...rest: unknown[]): number
  fsync?(stream: Stream): number
}

/** WASI's number of an input or output error. */
const EIO = 29

/** A file of the write-ahead log. */
const SEGMENT = /\/pg_wal\/([0-9A-F]{24})$/

/**
 * PGlite's data folder, on the disk when PostgreSQL says so. PGlite itself leaves it to the operating system when that
 * is, and a power cut may then lose commits, or tear the database apart.
 *
 * A synchronous call to the disk would stop all answers for as long as the disk takes, at every commit. So the log is
 * owed first, and paid off the event loop, for all commits that wait at once: `flush`. Nothing else that PostgreSQL
 * writes may reach the disk before the log that tells of it: where something is owed, any other write pays it at once.
 */
export class SyncedFiles extends NodeFS {
  /** Files of the log that PostgreSQL wants on the disk, and those of them that are on their way. */
  private readonly owed = new Set<string>()
  private readonly paying = new Set<string>()
  private running: Promise<void> = Promise.resolve()
  private next?: Promise<void>
  /** Where the whole folder is owed, all of it is flushed at once. */
  private isOpening = canSyncFileSystem
  private owesAll = false

  override async init(...[client, options]: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const initialised = await super.init(client, options)
    initialised.emscriptenOpts.preRun?.push((module) => {
      // Of this instance alone; its types leave it out.
      this.watch((module as unknown as { NODEFS: { stream_ops: StreamCalls } }).NODEFS.stream_ops)
    })
    return initialised
  }

  /**
   * Resolves when every commit made by now is on the disk.
   *
   * @throws where the disk failed, and ever after: what was committed since the last time may be lost
   */
  flush(): Promise<void> {
    if (this.owed.size === 0) return this.running
    this.next ??= this.running.then(() => {
      this.next = undefined
      this.running = this.pay()
      return this.running
    })
    return this.next
  }

  /**
   * PostgreSQL is open, and from now on flushes file by file. After a crash it begins by flushing all of its thousand
   * files, which one by one takes seconds in which nothing else goes on.
   */
  opened(): void {
    this.payAll()
    this.isOpening = false
  }

  private payAll(): void {
    if (!this.owesAll) return
    this.payNow()
    syncFileSystem(this.rootDir)
    this.owesAll = false
  }

  private async pay(): Promise<void> {
    for (const path of this.owed) this.paying.add(path)
    this.owed.clear()
    for (const path of [...this.paying]) {
      const file = await open(path, 'r+').catch(unlessGone)
      await file?.datasync().finally(() => file.close())
      this.paying.delete(path)
    }
  }

  private payNow(): void {
    for (const path of [...this.owed, ...this.paying]) {
      let descriptor: number | undefined
      try {
        descriptor = openSync(path, 'r+')
        fdatasyncSync(descriptor)
      } catch (error) {
        unlessGone(error)
      } finally {
        if (descriptor !== undefined) closeSync(descriptor)
      }
    }
    this.owed.clear()
    this.paying.clear()
  }

  private watch(calls: StreamCalls): void {
    const write = calls.write
    calls.write = (stream, ...rest) => {
      if ((this.owesAll || this.owed.size + this.paying.size > 0) && !SEGMENT.test(stream.path)) {
        try {
          this.payNow()
          // What PostgreSQL says there, all else has to bear out.
          if (stream.path.endsWith('/pg_control')) this.payAll()
        } catch {
          // As PGlite's file system says it, and PostgreSQL hears it.
          throw Object.assign(new Error('The disk failed.'), { name: 'ErrnoError', errno: EIO })
        }
      }
      return write.call(calls, stream, ...rest)
    }
    calls.fsync = ({ path, nfd }) => {
      const segment = SEGMENT.exec(path)
      try {
        if (segment) this.owed.add(join(this.rootDir, 'pg_wal', segment[1]))
        else if (this.isOpening && !path.includes('/pg_wal')) this.owesAll = true
        else {
          if (this.owed.size + this.paying.size > 0) this.payNow()
          if (nfd !== undefined) fsyncSync(nfd)
        }
        return 0
      } catch (error) {
        // Windows has no such call for folders.
        return (error as NodeJS.ErrnoException).code === 'EPERM' ? 0 : EIO
      }
    }
  }
}

/** PostgreSQL removes and renames a file of its log when nothing needs it any more. */
function unlessGone(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
}

/** What PGlite is set up for without its `-F`, which would never call the disk. */
const settings = [
  'fsync=on',
  // Of the ways that PostgreSQL knows, the one that PGlite passes on.
  'wal_sync_method=fsync',
  // PGlite is set up for databases that fill 128 MB of buffers. Chats do not: this is 140 MB less resident memory, and
  // a start in three quarters of the processor time.
  'shared_buffers=4MB',
  'max_connections=10',
]

/** What PostgreSQL ended with. */
class PanicError extends Error {}

/**
 * PGlite that flushes, and that is not asked any more once PostgreSQL has ended: the next call would never return. It is
 * opened again then, as a server is started again, and recovers from its log.
 */
export class SyncedPglite extends PGlite {
  /** Why PostgreSQL ended, where it did. */
  end?: Error
  private readonly files: SyncedFiles

  private constructor(files: SyncedFiles) {
    const startParams = PGlite.defaultStartParams.filter((parameter) => parameter !== '-F')
    super({ fs: files, startParams: [...startParams, ...settings.flatMap((setting) => ['-c', setting])] })
    this.files = files
  }

  /** Opens the database in a folder, where there is one. */
  static async open(folder: string): Promise<SyncedPglite> {
    const client = new SyncedPglite(new SyncedFiles(folder))
    await client.waitReady
    client.files.opened()
    return client
  }

  /** @throws where what was committed may not be on the disk; PostgreSQL counts as ended then. */
  async flush(): Promise<void> {
    try {
      await this.files.flush()
    } catch (error) {
      this.end ??= error as Error
      throw error
    }
  }

  override execProtocolRawSync(message: Uint8Array): Uint8Array {
    if (this.end) throw new PanicError('PostgreSQL has ended.', { cause: this.end })
    return super.execProtocolRawSync(message)
  }

  override execProtocol(...call: Parameters<PGlite['execProtocol']>): ReturnType<PGlite['execProtocol']> {
    return this.inTurn(() => super.execProtocol(...call))
  }

  override execProtocolStream(
    ...call: Parameters<PGlite['execProtocolStream']>
  ): ReturnType<PGlite['execProtocolStream']> {
    return this.inTurn(() => super.execProtocolStream(...call))
  }

  private async inTurn<T>(ask: () => Promise<T>): Promise<T> {
    // PostgreSQL runs on this thread and is never waited for: a hundred requests at once would go through it one after
    // the other, for a second or more, before anything else had its turn.
    await turn()
    try {
      return await ask()
    } catch (error) {
      // FATAL, PANIC, or no answer of PostgreSQL's at all.
      if ((error as { severity?: unknown }).severity !== 'ERROR') this.end ??= error as Error
      throw error
    }
  }
}
