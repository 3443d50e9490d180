/**
 * Files mapped into memory, read-only: a page is read from the disk when it is first touched, and the system takes it
 * back when it needs the room. A write to such memory ends the process. So does reading what another program cut off
 * the end of the file meanwhile (SIGBUS), as in every program that maps files: replace a model's file, do not rewrite it.
 */

import { closeSync, fstatSync, openSync, realpathSync, type Stats, statSync } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { markAsUntransferable } from 'node:worker_threads'
import koffi from './ffi.ts'
import { Native } from './native.ts'

/** Where an array's numbers lie in a file. */
export interface Place {
  /** Absolute, without links. */
  readonly path: string
  /** In bytes. */
  readonly offset: number
}

interface MappedFile {
  readonly address: bigint
  readonly path: string
  readonly identity: string
}

const mapped = new WeakMap<ArrayBufferLike, MappedFile>()

/**
 * A whole file as an array buffer, given back when the buffer is collected. The file may be deleted meanwhile (not on
 * Windows).
 *
 * @throws Error where it cannot be opened or mapped
 */
export function mapFile(path: string): ArrayBuffer {
  const descriptor = openSync(path, 'r')
  try {
    const stat = fstatSync(descriptor)
    if (stat.size === 0) return new ArrayBuffer(0)
    const real = realpathSync(path)
    const address = system().map(real, descriptor, stat.size)
    const buffer = koffi.view(address, stat.size)
    // Transferred to another thread, it would be unmapped here while it is read there.
    markAsUntransferable(buffer)
    new Native('the mapping', address, (start) => system().unmap(start, stat.size)).ownedBy(buffer)
    mapped.set(buffer, { address, path: real, identity: identityOf(stat) })
    return buffer
  } finally {
    closeSync(descriptor)
  }
}

/** The file that an array is a part of, where it is one of a mapped file and the file is still there, unchanged. */
export function placeOf({ buffer, byteOffset }: ArrayBufferView): Place | undefined {
  const file = mapped.get(buffer)
  if (!file) return undefined
  const stat = statSync(file.path, { throwIfNoEntry: false })
  return stat && identityOf(stat) === file.identity ? { path: file.path, offset: byteOffset } : undefined
}

/**
 * Takes the file that an array is a part of out of memory, as far as this process holds it: what is touched again is read
 * again. Windows does so by itself when it needs the room.
 */
export function letGoOfPages({ buffer }: ArrayBufferView): void {
  const file = mapped.get(buffer)
  if (file) system().letGo?.(file.address, buffer.byteLength)
}

const identityOf = ({ dev, ino, size, mtimeMs }: Stats): string => [dev, ino, size, mtimeMs].join()

interface System {
  map(path: string, descriptor: number, byteLength: number): bigint
  unmap(address: bigint, byteLength: number): void
  letGo?(address: bigint, byteLength: number): void
}

let loaded: System | undefined
const system = (): System => (loaded ??= process.platform === 'win32' ? windows() : posix())

function posix(): System {
  const PROT_READ = 1
  const MAP_SHARED = 1
  const MADV_DONTNEED = 4
  const MAP_FAILED = 2n ** 64n - 1n
  const libc = koffi.load(null)
  const mmap = libc.func('void* mmap(void*, size_t, int, int, int, int64_t)')
  const munmap = libc.func('int munmap(void*, size_t)')
  const madvise = libc.func('int madvise(void*, size_t, int)')
  return {
    map: (path, descriptor, byteLength) => {
      const address = mmap(null, byteLength, PROT_READ, MAP_SHARED, descriptor, 0) as bigint
      if (address !== MAP_FAILED) return address
      throw new Error(`${path}: cannot be mapped into memory (${getSystemErrorName(-koffi.errno())})`)
    },
    unmap: (address, byteLength) => munmap(address, byteLength),
    letGo: (address, byteLength) => madvise(address, byteLength, MADV_DONTNEED),
  }
}

function windows(): System {
  const GENERIC_READ = 0x80000000
  const SHARE_ALL = 7
  const OPEN_EXISTING = 3
  const PAGE_READONLY = 2
  const FILE_MAP_READ = 4
  const INVALID_HANDLE = 2n ** 64n - 1n
  const kernel = koffi.load('kernel32.dll')
  const open = kernel.func('void* CreateFileW(str16, uint32, uint32, void*, uint32, uint32, void*)')
  const createMapping = kernel.func('void* CreateFileMappingW(void*, void*, uint32, uint32, uint32, void*)')
  const mapView = kernel.func('void* MapViewOfFile(void*, uint32, uint32, uint32, size_t)')
  const unmapView = kernel.func('int UnmapViewOfFile(void*)')
  const close = kernel.func('int CloseHandle(void*)')
  return {
    // By its path: Node's descriptors mean nothing outside Node. The view keeps file and mapping open by itself.
    map: (path) => {
      const file = open(path, GENERIC_READ, SHARE_ALL, null, OPEN_EXISTING, 0, null) as bigint
      if (file === INVALID_HANDLE) throw new Error(`${path}: cannot be opened to be mapped into memory`)
      const mapping = createMapping(file, null, PAGE_READONLY, 0, 0, null) as bigint | null
      const address = mapping && (mapView(mapping, FILE_MAP_READ, 0, 0, 0) as bigint | null)
      if (mapping) close(mapping)
      close(file)
      if (!address) throw new Error(`${path}: cannot be mapped into memory`)
      return address
    },
    unmap: (address) => unmapView(address),
  }
}
