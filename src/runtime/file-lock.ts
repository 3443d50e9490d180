import { getSystemErrorName } from 'node:util'
import koffi from './ffi.ts'

const LOCK_EX = 2
const LOCK_NB = 4

let flock: ((descriptor: number, operation: number) => number) | undefined

/**
 * Takes the system's lock of an open file: the system holds it until the descriptor is closed, however the process ends,
 * and shows it to every process on the same kernel, in whatever container.
 *
 * @returns whether it was free; `undefined` where the system or the file system has no such lock
 */
export function lockFile(descriptor: number): boolean | undefined {
  if (process.platform === 'win32') return undefined
  flock ??= koffi.load(null).func('int flock(int descriptor, int operation)')
  for (;;) {
    if (flock(descriptor, LOCK_EX | LOCK_NB) === 0) return true
    const error = getSystemErrorName(-koffi.errno())
    if (error === 'EAGAIN') return false
    if (error !== 'EINTR') return undefined
  }
}
