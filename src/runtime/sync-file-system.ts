import { closeSync, openSync } from 'node:fs'
import { getSystemErrorName, promisify } from 'node:util'
import koffi from './ffi.ts'

/** Whether the system can be asked for a whole file system at once. */
export const canSyncFileSystem = process.platform === 'linux'

let syncfs: ReturnType<ReturnType<typeof koffi.load>['func']> | undefined

/**
 * Has everything on the disk that was written to the file system that a folder is on: for a thousand files in a fraction
 * of the time that they take one by one. Linux only.
 *
 * @throws Error where the disk fails
 */
export function syncFileSystem(folder: string): void {
  const descriptor = openSync(folder, 'r')
  try {
    check(folder, call()(descriptor))
  } finally {
    closeSync(descriptor)
  }
}

/** The same, off the event loop. */
export async function syncFileSystemAside(folder: string): Promise<void> {
  const descriptor = openSync(folder, 'r')
  try {
    check(folder, await promisify(call().async)(descriptor))
  } finally {
    closeSync(descriptor)
  }
}

const call = () => (syncfs ??= koffi.load(null).func('int syncfs(int descriptor)'))

function check(folder: string, result: unknown): void {
  if (result === 0) return
  const code = getSystemErrorName(-koffi.errno())
  throw Object.assign(new Error(`${folder}: what was written cannot be flushed to the disk (${code})`), { code })
}
