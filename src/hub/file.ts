import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

export { isUnicode, quote } from './quote.ts'

/** One read moves at most this much. */
const CALL_BYTES = 1 << 30

/** Closes the files of objects that were collected without being closed. */
const forgotten = new FinalizationRegistry<number>((descriptor) => closeSync(descriptor))

/** A file read at given positions. Everything is checked against the file's real size before memory is taken. */
export class InputFile {
  readonly path: string
  readonly size: number
  #descriptor: number | undefined

  /** @throws Error where there is no such file, or it is a folder. */
  constructor(path: string) {
    this.path = path
    try {
      this.#descriptor = openSync(path, 'r')
    } catch (error) {
      throw new Error(`${path}: cannot be opened (${(error as NodeJS.ErrnoException).code})`, { cause: error })
    }
    forgotten.register(this, this.#descriptor, this)
    const stat = fstatSync(this.#descriptor)
    this.size = stat.size
    if (!stat.isFile()) {
      this.close()
      throw new Error(`${path}: is not a file`)
    }
  }

  /** `length` bytes from `offset`, in memory of their own. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.size)) {
      throw new Error(`${this.path}: is cut short: it has ${this.size} bytes, not ${offset + length}`)
    }
    const bytes = new Uint8Array(length)
    this.readInto(offset, bytes)
    return bytes
  }

  /** Fills `target` with the bytes from `offset`. */
  readInto(offset: number, target: Uint8Array): void {
    if (this.#descriptor === undefined) throw new Error(`${this.path}: was closed`)
    for (let done = 0; done < target.length; ) {
      const count = readSync(this.#descriptor, target, done, Math.min(CALL_BYTES, target.length - done), offset + done)
      if (count === 0) throw new Error(`${this.path}: is cut short: it ends at byte ${offset + done}`)
      done += count
    }
  }

  close(): void {
    if (this.#descriptor === undefined) return
    forgotten.unregister(this)
    closeSync(this.#descriptor)
    this.#descriptor = undefined
  }
}

export type WriteBytes = (bytes: Uint8Array) => Promise<void>

/**
 * Writes a file that is either there and whole, or not there: under another name in the same folder, flushed to the
 * disk, then renamed.
 */
export async function writeAtomically(path: string, produce: (write: WriteBytes) => Promise<void>): Promise<void> {
  const folder = dirname(path)
  const unfinished = join(folder, `.${basename(path)}.${process.pid}-${Math.random().toString(36).slice(2)}`)
  const file = new OutputFile(unfinished)
  try {
    try {
      await produce((bytes) => file.write(bytes))
      await file.finish()
    } finally {
      await file.close()
    }
    await rename(unfinished, path)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
  await syncFolder(folder)
}

const STAGE_BYTES = 8 << 20
const WASM_PAGE_BYTES = 1 << 16
/** Direct writes begin, and are as long, as multiples of this. */
const SECTOR_BYTES = 4096

/** WebAssembly's memory begins at a page, which direct writes ask for and Node's buffers do not. */
const newStage = () => new Uint8Array(new WebAssembly.Memory({ initial: STAGE_BYTES / WASM_PAGE_BYTES }).buffer)

/**
 * A new file, written from its start to its end through two buffers: one is filled while the other is on its way. Files
 * of more than a buffer go past the system's cache where it can be done (Linux, most file systems): filling the cache
 * takes longer than the disk does, and puts out what is read again.
 */
class OutputFile {
  #handle: FileHandle | undefined
  #isDirect = false
  #stage: Uint8Array = newStage()
  #other: Uint8Array | undefined
  #filled = 0
  /** Bytes handed over before those in the stage. */
  #position = 0
  #pending: Promise<void> = Promise.resolve()

  constructor(private readonly path: string) {}

  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      if (this.#filled === STAGE_BYTES) await this.#handOver()
      const part = bytes.subarray(done, done + STAGE_BYTES - this.#filled)
      this.#stage.set(part, this.#filled)
      this.#filled += part.length
      done += part.length
    }
  }

  /** Everything is on the disk. */
  async finish(): Promise<void> {
    await this.#pending
    const handle = (this.#handle ??= await open(this.path, 'wx'))
    const size = this.#position + this.#filled
    const length = this.#isDirect ? Math.ceil(this.#filled / SECTOR_BYTES) * SECTOR_BYTES : this.#filled
    await writeAll(handle, this.#stage.subarray(0, length), this.#position)
    if (length > this.#filled) await handle.truncate(size)
    await handle.sync()
  }

  async close(): Promise<void> {
    await this.#pending.catch(() => {})
    await this.#handle?.close()
  }

  async #handOver(): Promise<void> {
    await this.#pending
    const handle = (this.#handle ??= await this.#openLarge())
    const full = this.#stage
    this.#pending = writeAll(handle, full, this.#position)
    this.#pending.catch(() => {}) // thrown where it is awaited
    this.#stage = this.#other ?? newStage()
    this.#other = full
    this.#position += STAGE_BYTES
    this.#filled = 0
  }

  async #openLarge(): Promise<FileHandle> {
    const { O_WRONLY, O_CREAT, O_TRUNC, O_DIRECT } = constants
    if (O_DIRECT) {
      try {
        const handle = await open(this.path, O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT)
        this.#isDirect = true
        return handle
      } catch (error) {
        // The file system cannot, and may have made the file all the same.
        if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
      }
    }
    return open(this.path, 'w')
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
  }
}

/** Makes a rename outlive a power cut. Windows has no such call. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
