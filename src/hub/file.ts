import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** A name out of a file, short and on one line, for an error message. */
export function quote(name: string): string {
  const quoted = JSON.stringify(name.slice(0, 80)).replace(/[\u007f-\u009f\u2028\u2029]/g, '?')
  return name.length > 80 || quoted.length > 90 ? `${quoted.slice(0, 80)}…"` : quoted
}

/** False where a string has half a surrogate pair, which UTF-8 cannot say. */
export const isUnicode = (text: string): boolean => !/\p{Surrogate}/u.test(text)

/** One read or write system call moves at most this much. */
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
 * disk, then renamed. What `write` is given goes to the disk from where it lies.
 */
export async function writeAtomically(path: string, produce: (write: WriteBytes) => Promise<void>): Promise<void> {
  const folder = dirname(path)
  const unfinished = join(folder, `.${basename(path)}.${process.pid}-${Math.random().toString(36).slice(2)}`)
  try {
    const file = await open(unfinished, 'wx')
    try {
      await produce(async (bytes) => {
        for (let done = 0; done < bytes.length; ) {
          done += (await file.write(bytes, done, Math.min(CALL_BYTES, bytes.length - done))).bytesWritten
        }
      })
      await file.sync()
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

/** Makes a rename outlive a power cut. Windows has no such call. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
