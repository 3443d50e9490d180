/**
 * Reading GGUF, versions 2 and 3: metadata, tensor descriptions, then aligned tensor data. Dimensions are turned
 * round to row-major order. Every count is held against what the file could hold before memory is taken.
 */
import { sizeOf } from '../../tensor/data.ts'
import { type Checkpoint, elementsToRead, type FilePlace, type TensorInfo } from '../checkpoint.ts'
import { InputFile, quote } from '../file.ts'
import { dequantize, GGUF_TYPES, type GgufType, ggufType } from './quants.ts'

/** In the order of their numbers in a file. */
export const GGUF_VALUE_TYPES = [
  'uint8',
  'int8',
  'uint16',
  'int16',
  'uint32',
  'int32',
  'float32',
  'bool',
  'string',
  'array',
  'uint64',
  'int64',
  'float64',
] as const
export type GgufValueType = (typeof GGUF_VALUE_TYPES)[number]

/** A metadata value with the type it has in the file. 64-bit integers beyond 2^53 are bigints. */
export type GgufValue =
  | { type: Exclude<GgufValueType, 'array'>; value: number | bigint | boolean | string }
  | { type: 'array'; itemType: Exclude<GgufValueType, 'array'>; value: readonly (number | bigint | boolean | string)[] }
  | { type: 'array'; itemType: 'array'; value: readonly GgufValue[] }

export interface GgufCheckpoint extends Checkpoint {
  /** The metadata with their types, in the file's order: what a GGUF writer needs. */
  readonly typedMetadata: ReadonlyMap<string, GgufValue>
}

export const GGUF_MAGIC = 0x46554747
export const DEFAULT_ALIGNMENT = 32

// Far above any real model, far below what would hurt.
const MAX_ARRAY_ITEMS = 1 << 24
const MAX_STRING_BYTES = 1 << 26
const MAX_ARRAY_DEPTH = 4
const MAX_DIMENSIONS = 4
const MAX_ALIGNMENT = 1 << 20

/** The least bytes that one value takes in the file. */
const VALUE_BYTES: Readonly<Record<GgufValueType, number>> = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  bool: 1,
  string: 8,
  array: 12,
  uint64: 8,
  int64: 8,
  float64: 8,
}

interface Entry extends TensorInfo {
  readonly ggufType: GgufType
  readonly offset: number
}

/**
 * Opens a GGUF file; tensors keep the names they have in it.
 *
 * @throws Error with one sentence where the file is cut short, lies, or is of an unknown version.
 */
export function openGguf(path: string): GgufCheckpoint {
  const file = new InputFile(path)
  try {
    const reader = new Reader(file)
    const { metadata, entries } = readHeader(file, reader)
    return new GgufFile(file, metadata, entries)
  } catch (error) {
    file.close()
    throw error
  }
}

class GgufFile implements GgufCheckpoint {
  readonly config = undefined
  readonly metadata: Record<string, unknown>
  readonly typedMetadata: ReadonlyMap<string, GgufValue>
  readonly #file: InputFile
  readonly #entries: ReadonlyMap<string, Entry>

  constructor(file: InputFile, metadata: ReadonlyMap<string, GgufValue>, entries: ReadonlyMap<string, Entry>) {
    this.#file = file
    this.#entries = entries
    this.typedMetadata = metadata
    this.metadata = Object.fromEntries(Array.from(metadata, ([key, value]) => [key, plainValue(value)]))
  }

  names(): string[] {
    return [...this.#entries.keys()]
  }

  info(name: string): TensorInfo {
    const entry = this.#entries.get(name)
    if (!entry) throw new Error(`${this.#file.path}: has no tensor ${quote(name)}`)
    return entry
  }

  read(name: string, into?: Float32Array, firstRow = 0): Float32Array {
    const { ggufType, offset, shape } = this.info(name) as Entry
    const { start, length } = elementsToRead(`${this.#file.path}: ${quote(name)}`, shape, into, firstRow)
    const target = into ?? new Float32Array(length)
    const { blockBytes, blockElements } = ggufType
    // A row is a whole number of blocks.
    const from = offset + (start / blockElements) * blockBytes
    if (ggufType.name === 'F32') {
      this.#file.readInto(from, new Uint8Array(target.buffer, target.byteOffset, target.byteLength))
      return target
    }
    // About a megabyte at a time, so that the stored form is never in memory as a whole.
    const byteLength = (length / blockElements) * blockBytes
    const pieceBytes = Math.max(1, Math.floor((1 << 20) / blockBytes)) * blockBytes
    const piece = new Uint8Array(Math.min(pieceBytes, byteLength))
    for (let done = 0; done < byteLength; done += piece.length) {
      const bytes = piece.subarray(0, Math.min(piece.length, byteLength - done))
      this.#file.readInto(from + done, bytes)
      const first = (done / blockBytes) * blockElements
      const end = first + (bytes.length / blockBytes) * blockElements
      dequantize(ggufType.name, bytes, target.subarray(first, end))
    }
    return target
  }

  readRaw(name: string): Uint8Array<ArrayBuffer> {
    const { offset, byteLength } = this.info(name) as Entry
    return this.#file.read(offset, byteLength)
  }

  place(name: string): FilePlace | undefined {
    const { ggufType, offset } = this.info(name) as Entry
    return ggufType.name === 'F32' ? { path: this.#file.path, offset } : undefined
  }

  close(): void {
    this.#file.close()
  }
}

const plainValue = (value: GgufValue): unknown =>
  value.type === 'array' && value.itemType === 'array' ? value.value.map(plainValue) : value.value

/** Reads forward through a file, a window at a time. */
class Reader {
  position = 0
  readonly #file: InputFile
  #window = new Uint8Array(0)
  #view = new DataView(this.#window.buffer)
  #start = 0

  constructor(file: InputFile) {
    this.#file = file
  }

  fail(what: string): never {
    throw new Error(`${this.#file.path}: not a valid GGUF file: ${what}`)
  }

  /** How many bytes are left; a count of things larger than that is a lie. */
  get left(): number {
    return this.#file.size - this.position
  }

  /** Moves past `length` bytes and says where in the window they begin. */
  #take(length: number): number {
    if (length > this.left) this.fail(`it is cut short at byte ${this.#file.size}`)
    if (this.position + length > this.#start + this.#window.length) {
      this.#start = this.position
      this.#window = this.#file.read(this.position, Math.min(this.left, Math.max(length, 1 << 18)))
      this.#view = new DataView(this.#window.buffer)
    }
    const at = this.position - this.#start
    this.position += length
    return at
  }

  uint32(): number {
    const at = this.#take(4)
    return this.#view.getUint32(at, true)
  }

  /** A count, length or offset, which never reaches 2^53 in an honest file. */
  count(what: string): number {
    const at = this.#take(8)
    const count = this.#view.getBigUint64(at, true)
    if (count > Number.MAX_SAFE_INTEGER) this.fail(`${what} is ${count}`)
    return Number(count)
  }

  string(what: string, maxBytes = MAX_STRING_BYTES): string {
    const length = this.count(`the length of ${what}`)
    if (length > this.left) this.fail(`the length of ${what} is ${length}, with ${this.left} bytes left`)
    if (length > maxBytes) this.fail(`the length of ${what} is ${length}`)
    const at = this.#take(length)
    try {
      return UTF8.decode(this.#window.subarray(at, at + length))
    } catch {
      return this.fail(`${what} is not UTF-8`)
    }
  }

  valueType(what: string): GgufValueType {
    const number = this.uint32()
    return GGUF_VALUE_TYPES[number] ?? this.fail(`${what} has the unknown type ${number}`)
  }

  scalar(type: Exclude<GgufValueType, 'array'>, what: string): number | bigint | boolean | string {
    if (type === 'string') return this.string(what)
    const at = this.#take(VALUE_BYTES[type])
    switch (type) {
      case 'uint8':
        return this.#view.getUint8(at)
      case 'int8':
        return this.#view.getInt8(at)
      case 'uint16':
        return this.#view.getUint16(at, true)
      case 'int16':
        return this.#view.getInt16(at, true)
      case 'uint32':
        return this.#view.getUint32(at, true)
      case 'int32':
        return this.#view.getInt32(at, true)
      case 'float32':
        return this.#view.getFloat32(at, true)
      case 'float64':
        return this.#view.getFloat64(at, true)
      case 'bool':
        return this.#view.getUint8(at) !== 0
      case 'uint64':
        return smallest(this.#view.getBigUint64(at, true))
      case 'int64':
        return smallest(this.#view.getBigInt64(at, true))
    }
  }

  value(type: GgufValueType, what: string, depth = 0): GgufValue {
    if (type !== 'array') return { type, value: this.scalar(type, what) }
    if (depth === MAX_ARRAY_DEPTH) this.fail(`${what} is nested more than ${MAX_ARRAY_DEPTH} deep`)
    const itemType = this.valueType(what)
    const length = this.count(`the length of ${what}`)
    if (length * VALUE_BYTES[itemType] > this.left || length > MAX_ARRAY_ITEMS) {
      this.fail(`${what} is said to have ${length} items, with ${this.left} bytes left`)
    }
    if (itemType === 'array') {
      return { type, itemType, value: Array.from({ length }, () => this.value('array', what, depth + 1)) }
    }
    return { type, itemType, value: Array.from({ length }, () => this.scalar(itemType, what)) }
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const smallest = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value

function readHeader(
  file: InputFile,
  reader: Reader,
): { metadata: Map<string, GgufValue>; entries: Map<string, Entry> } {
  const fail = (what: string): never => reader.fail(what)
  if (reader.uint32() !== GGUF_MAGIC) fail('it does not begin with "GGUF"')
  const version = reader.uint32()
  if (version !== 0 && (version & 0xffff) === 0) fail('it is big-endian, which is not supported')
  if (version !== 2 && version !== 3) fail(`its version is ${version}; 2 and 3 are supported`)
  const tensorCount = reader.count('the number of tensors')
  const valueCount = reader.count('the number of metadata values')
  // The least that each takes: lengths, type and offset.
  if (tensorCount * 24 + valueCount * 13 > reader.left) {
    fail(`${tensorCount} tensors and ${valueCount} metadata values do not fit into ${file.size} bytes`)
  }

  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < valueCount; i++) {
    const key = reader.string(`the key of metadata value ${i}`, 65535)
    if (metadata.has(key)) fail(`the metadata key ${quote(key)} is there twice`)
    metadata.set(key, reader.value(reader.valueType(quote(key)), quote(key)))
  }

  const entries = new Map<string, Entry>()
  for (let i = 0; i < tensorCount; i++) {
    const name = reader.string(`the name of tensor ${i}`, 65535)
    if (entries.has(name)) fail(`two tensors are named ${quote(name)}`)
    entries.set(name, readTensorInfo(reader, name))
  }

  const alignment = metadata.get('general.alignment')?.value ?? DEFAULT_ALIGNMENT
  if (typeof alignment !== 'number' || !isPowerOfTwo(alignment) || alignment > MAX_ALIGNMENT) {
    return fail(`its general.alignment is ${String(alignment)}`)
  }
  const dataStart = Math.ceil(reader.position / alignment) * alignment
  const placed = new Map<string, Entry>()
  for (const [name, entry] of entries) {
    const offset = dataStart + entry.offset
    if (entry.offset % alignment !== 0) fail(`the offset of ${quote(name)} is no multiple of ${alignment}`)
    if (offset + entry.byteLength > file.size) {
      fail(`${quote(name)} ends at byte ${offset + entry.byteLength}, the file has ${file.size}`)
    }
    placed.set(name, { ...entry, offset })
  }
  let reached = dataStart
  for (const [name, { offset, byteLength }] of [...placed].sort(([, a], [, b]) => a.offset - b.offset)) {
    if (byteLength === 0) continue
    if (offset < reached) fail(`${quote(name)} overlaps another tensor`)
    reached = offset + byteLength
  }
  return { metadata, entries: placed }
}

/** One tensor's description; its offset is still relative to where the data begin. */
function readTensorInfo(reader: Reader, name: string): Entry {
  const about = quote(name)
  const rank = reader.uint32()
  if (rank > MAX_DIMENSIONS) reader.fail(`${about} has ${rank} dimensions`)
  const shape = Array.from({ length: rank }, () => reader.count(`a dimension of ${about}`)).reverse()
  const id = reader.uint32()
  const found = GGUF_TYPES.find((type) => type.id === id)
  if (!found) return reader.fail(`${about} has the unknown type ${id}`)
  const elements = sizeOf(shape)
  const rowLength = shape.at(-1) ?? 1
  if (rowLength % found.blockElements !== 0) {
    reader.fail(`a row of ${about} has ${rowLength} elements, no multiple of ${found.name}'s ${found.blockElements}`)
  }
  const byteLength = (elements / found.blockElements) * found.blockBytes
  if (!Number.isSafeInteger(elements) || !Number.isSafeInteger(byteLength)) reader.fail(`${about} is too large`)
  return { type: found.name, ggufType: ggufType(found.name), shape, byteLength, offset: reader.count(`an offset`) }
}

const isPowerOfTwo = (value: number): boolean => Number.isInteger(Math.log2(value)) && value >= 1
