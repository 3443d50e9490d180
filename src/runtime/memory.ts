/** Memory that the process holds and does not use, on its way back to the system. */

import koffi from './ffi.ts'

/** glibc's parameter of that name, and the size from which an allocation gets pages of its own. */
const M_MMAP_THRESHOLD = -3
const LARGE_BYTES = 1 << 17

/**
 * Lets every large array have pages of its own, which are not touched before they are written and go back when it is
 * freed. glibc begins so, but each one that is freed raises the size that counts as large, up to 32 MB; what loading
 * frees is then kept, and filled with zeros for the next array. Other systems do this by themselves.
 */
export function separateLargeArrays(): void {
  if (process.platform === 'linux') koffi.load(null).func('int mallopt(int, int)')(M_MMAP_THRESHOLD, LARGE_BYTES)
}

/** Collects all garbage and gives the room back: to be called once a model is loaded. Takes some 50 ms. */
export async function giveBackMemory(): Promise<void> {
  if (process.features.inspector) {
    const { Session } = await import('node:inspector')
    const session = new Session()
    session.connect()
    // Shrinks the heap as well, which a collection alone does only after seconds of quiet.
    await new Promise((resolve) => session.post('HeapProfiler.collectGarbage', resolve))
    session.disconnect()
  }
  if (process.platform === 'linux') koffi.load(null).func('int malloc_trim(size_t)')(0)
}
