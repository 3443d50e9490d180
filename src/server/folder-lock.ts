import { randomUUID } from 'node:crypto'
import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { readFile, realpath, statfs } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { lockFile } from '../runtime/file-lock.ts'
import { StoreError } from './store-error.ts'

/** Opens a folder to one process at a time. */
export interface FolderLock {
  /** @throws where another process took the folder while this one stood still. */
  check(): void
  release(): void
}

export interface LockOptions {
  /** False: as on a system that has no locks on files. */
  systemLock?: boolean
  /** Without such locks: how often the owner says that it is there, and after which silence it is gone. */
  beatMs?: number
  silenceMs?: number
}

/** File systems that other machines may write too, and whose locks may end at this one (statfs(2), f_type). */
const SHARED_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0x6969, // NFS
  0x517b, // SMB
  0xff534d42, // CIFS
  0xfe534d42, // SMB2
  0x65735546, // FUSE: sshfs, gluster, shared folders of virtual machines
  0x01021997, // 9p
  0x00c36400, // Ceph
])

/** Folders that this process has open. */
const held = new Set<string>()

/**
 * Locks a folder by a file named `lock` in it. The system holds the lock and lets go of it when the process ends, so
 * neither process ids nor what a killed process left behind say anything. Where the system has no such lock (Windows),
 * or where it may end at this machine (network file systems), the owner writes its mark, a file named `owner`, again and
 * again, and whoever starts waits until a mark that it finds has been silent long enough.
 *
 * @throws with one sentence where another process has it.
 */
export async function lockFolder(
  folder: string,
  { systemLock = true, beatMs = 2_000, silenceMs = 15_000 }: LockOptions = {},
): Promise<FolderLock> {
  const real = await realpath(folder)
  if (held.has(real)) throw new Error(`The conversations in ${folder} are open in this process already.`)
  held.add(real)
  const mark = new Mark(folder, join(real, 'owner'), await bootId())
  let descriptor: number | undefined
  const letGo = () => {
    if (descriptor !== undefined) closeSync(descriptor)
    held.delete(real)
  }
  try {
    // For writing: over NFS the lock of a whole file is one on its bytes, which asks for that.
    descriptor = openSync(join(real, 'lock'), 'a+')
    const free = systemLock ? lockFile(descriptor) : undefined
    if (free === false) throw mark.takenError()
    if (free === undefined || (await isShared(real))) await mark.keep({ beatMs, silenceMs, isLocked: free === true })
    else mark.leave()
  } catch (error) {
    letGo()
    throw error
  }
  return {
    check: () => mark.check(),
    release() {
      mark.remove()
      letGo()
    },
  }
}

/** What the owner says of itself in a file, and, where that is the lock, says again and again. */
class Mark {
  private readonly nonce = randomUUID()
  private beats = 0
  private timer?: NodeJS.Timeout
  private beatAt = 0
  private graceMs = 0
  private isLost = false

  constructor(
    private readonly folder: string,
    private readonly path: string,
    private readonly boot: string,
  ) {}

  /** For the message of whoever comes next. A full disk has no room for it, which is no reason not to start. */
  leave(): void {
    try {
      this.write()
    } catch {}
  }

  /** Waits until a mark that is there is silent, and keeps its own beating. */
  async keep({ beatMs, silenceMs, isLocked }: { beatMs: number; silenceMs: number; isLocked: boolean }): Promise<void> {
    const found = this.read()
    // On one kernel the system's lock says more: the owner is gone.
    const isGone = isLocked && this.boot !== '' && markOf(found).boot === this.boot
    for (const end = performance.now() + silenceMs; !isGone && performance.now() < end; await delay(beatMs / 4)) {
      const now = this.read()
      if (now === '') break
      if (now !== found) throw this.takenError()
    }
    this.write()
    // Two may have found the same silence. Each has written by now, and the last one's mark stands.
    await delay(beatMs / 2)
    if (!this.isMine()) throw this.takenError()
    this.removeUnfinished()
    this.graceMs = silenceMs / 2
    this.beat()
    this.timer = setInterval(() => this.beat(), beatMs)
    this.timer.unref()
  }

  /** @throws where another one stands in its place. */
  check(): void {
    // A process that was stopped for a while looks again before it goes on.
    if (this.timer && performance.now() - this.beatAt > this.graceMs) this.beat()
    if (!this.isLost) return
    throw new StoreError(
      `Another jackdaw took the conversations in ${this.folder} while this one stood still; start this one again.`,
      'unreachable',
    )
  }

  remove(): void {
    clearInterval(this.timer)
    try {
      if (this.isMine()) rmSync(this.path)
    } catch {}
  }

  takenError(): Error {
    const { process, host } = markOf(this.read())
    const owner = typeof process === 'number' && typeof host === 'string' ? ` (process ${process} on ${host})` : ''
    return new Error(
      `The conversations in ${this.folder} are open in another jackdaw${owner}; ` +
        'stop it, or choose another folder with --data.',
    )
  }

  private beat(): void {
    if (this.isLost) return
    try {
      // One that is not there was removed by an owner that has been and gone.
      if (this.isMine()) {
        this.beats++
        this.write()
        this.beatAt = performance.now()
      } else {
        this.isLost = true
        clearInterval(this.timer)
      }
    } catch {
      // A full disk, or a network that is away: the next beat tries again.
    }
  }

  /** Whole or as it was: nobody reads half a mark. */
  private write(): void {
    const { path, nonce, beats, boot } = this
    const unfinished = `${path}.${nonce}`
    try {
      writeFileSync(unfinished, JSON.stringify({ process: process.pid, host: hostname(), boot, nonce, beats }))
      renameSync(unfinished, path)
    } catch (error) {
      rmSync(unfinished, { force: true })
      throw error
    }
  }

  /** What owners that were killed while they wrote have left. */
  private removeUnfinished(): void {
    const parent = dirname(this.path)
    const left = readdirSync(parent).filter((name) => name.startsWith(`${basename(this.path)}.`))
    for (const name of left) rmSync(join(parent, name), { force: true })
  }

  /** '' where there is none. @throws where the file cannot be read. */
  private read(): string {
    try {
      return readFileSync(this.path, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
      throw error
    }
  }

  private isMine(): boolean {
    return markOf(this.read()).nonce === this.nonce
  }
}

/** What a mark says, as far as it is one. */
function markOf(text: string): { process?: unknown; host?: unknown; boot?: unknown; nonce?: unknown } {
  try {
    const mark: unknown = JSON.parse(text)
    return typeof mark === 'object' && mark !== null ? mark : {}
  } catch {
    return {}
  }
}

/** The same in all containers of one running kernel, another after it started again; '' where there is none. */
const bootId = (): Promise<string> =>
  readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
    (id) => id.trim(),
    () => '',
  )

const isShared = (folder: string): Promise<boolean> =>
  statfs(folder).then(
    // Signed on some systems.
    ({ type }) => process.platform === 'linux' && SHARED_FILE_SYSTEMS.has(type >>> 0),
    () => false,
  )
