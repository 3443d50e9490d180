/**
 * The format of safetensors: eight bytes of header length, a JSON header, then the tensors' bytes back to back.
 * Checked as strictly as the official library does: no gap, no overlap, nothing beyond the file. Needs no disk.
 */
import { sizeOf, type TensorData } from '../tensor/data.ts'
import type { TensorInfo } from './checkpoint.ts'
import { bfloatToFloat, halfToFloat } from './half.ts'
import { isUnicode, quote } from './quote.ts'

export const TYPE_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
}

/** A hundred bytes for each of 300,000 tensors; a third of what the official library would parse. */
const MAX_HEADER_BYTES = 32_000_000

/** Where the bytes are: a file, or an array in memory. */
export interface ByteSource {
  /** What errors call it. */
  readonly path: string
  readonly size: number
  /** In memory of their own. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer>
}

export interface Entry<Source extends ByteSource> extends TensorInfo {
  readonly file: Source
  readonly offset: number
}

export const TO_FLOAT: Readonly<Record<string, (buffer: ArrayBuffer, target: Float32Array) => void>> = {
  F16: (buffer, target) => halfToFloat(new Uint16Array(buffer), target),
  BF16: (buffer, target) => bfloatToFloat(new Uint16Array(buffer), target),
  F64: (buffer, target) => target.set(new Float64Array(buffer)),
  I64: (buffer, target) => target.set(Float32Array.from(new BigInt64Array(buffer), Number)),
  U64: (buffer, target) => target.set(Float32Array.from(new BigUint64Array(buffer), Number)),
  I32: (buffer, target) => target.set(new Int32Array(buffer)),
  U32: (buffer, target) => target.set(new Uint32Array(buffer)),
  I16: (buffer, target) => target.set(new Int16Array(buffer)),
  U16: (buffer, target) => target.set(new Uint16Array(buffer)),
  I8: (buffer, target) => target.set(new Int8Array(buffer)),
  U8: (buffer, target) => target.set(new Uint8Array(buffer)),
  BOOL: (buffer, target) => target.set(new Uint8Array(buffer)),
}

/** @throws Error with one sentence where the file is cut short or its header lies. */
export function readHeader<Source extends ByteSource>(
  file: Source,
): { entries: Map<string, Entry<Source>>; metadata: Record<string, unknown> } {
  const fail = (what: string): never => {
    throw new Error(`${file.path}: not a valid safetensors file: ${what}`)
  }
  if (file.size < 8) fail(`it has only ${file.size} bytes`)
  const headerBytes = Number(new DataView(file.read(0, 8).buffer).getBigUint64(0, true))
  if (headerBytes > file.size - 8) fail(`its header is said to be ${headerBytes} bytes, the file has ${file.size}`)
  if (headerBytes > MAX_HEADER_BYTES) fail(`its header of ${headerBytes} bytes is above ${MAX_HEADER_BYTES}`)
  const bytes = file.read(8, headerBytes)
  const header = parseHeader(bytes, fail)

  const dataStart = 8 + headerBytes
  const entries = new Map<string, Entry<Source>>()
  let metadata: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') {
      if (!isObject(value)) fail('its __metadata__ is not an object')
      metadata = value as Record<string, unknown>
      continue
    }
    const about = quote(name)
    if (!isUnicode(name)) fail(`the name ${about} is not Unicode`)
    if (!isObject(value)) return fail(`the entry of ${about} is not an object`)
    const { dtype, shape, data_offsets: offsets } = value
    const elementBytes = typeof dtype === 'string' && Object.hasOwn(TYPE_BYTES, dtype) ? TYPE_BYTES[dtype] : 0
    if (elementBytes === 0) return fail(`${about} has the unknown type ${quote(String(JSON.stringify(dtype)))}`)
    if (!isCounts(shape)) return fail(`the shape of ${about} is not a list of whole numbers`)
    if (!isCounts(offsets) || offsets.length !== 2) return fail(`the offsets of ${about} are not two whole numbers`)
    const [start, end] = offsets
    const byteLength = sizeOf(shape) * elementBytes
    if (!Number.isSafeInteger(byteLength)) fail(`${about} is too large`)
    if (end - start !== byteLength)
      fail(`${about} has ${end - start} bytes, its shape [${shape.slice(0, 8)}] needs ${byteLength}`)
    if (dataStart + end > file.size) fail(`${about} ends at byte ${dataStart + end}, the file has ${file.size}`)
    entries.set(name, { type: dtype as string, shape, byteLength, file, offset: dataStart + start })
  }

  let reached = dataStart
  for (const [name, { offset, byteLength }] of [...entries].sort(([, a], [, b]) => a.offset - b.offset)) {
    if (byteLength === 0) continue
    if (offset !== reached) fail(`${quote(name)} ${offset < reached ? 'overlaps another tensor' : 'follows a gap'}`)
    reached = offset + byteLength
  }
  if (reached !== file.size) fail(`${file.size - reached} bytes at its end belong to no tensor`)
  return { entries, metadata }
}

function parseHeader(bytes: Uint8Array, fail: (what: string) => never): Record<string, unknown> {
  // Before JSON.parse, which keeps the last of two equal names and builds any nesting.
  const keys = countKeys(bytes)
  if (keys === undefined) fail('its header is nested too deeply')
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    fail('its header is not JSON')
  }
  if (!isObject(header)) return fail('its header is not a JSON object')
  if (Object.keys(header).length !== keys) fail('two tensors have the same name')
  return header
}

/** The number of names in the outermost object; undefined where anything is nested more than three deep. */
function countKeys(json: Uint8Array): number | undefined {
  let depth = 0
  let keys = 0
  let inString = false
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]
    if (inString) {
      if (byte === 0x5c) i++
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > 3) return undefined
    } else if (byte === 0x7d || byte === 0x5d) depth--
    else if (byte === 0x3a && depth === 1) keys++
  }
  return keys
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0)

/**
 * The weights in a safetensors file that is in memory, as float32: for pages, which have no disk.
 *
 * @param path - what errors call it
 * @throws Error with one sentence where the file is cut short or its header lies.
 */
export function weightsFromSafetensors(bytes: Uint8Array, path = 'the file'): Map<string, TensorData> {
  const source: ByteSource = {
    path,
    size: bytes.length,
    read(offset, length) {
      if (offset + length > bytes.length) throw new Error(`${path}: is cut short`)
      // A Buffer's `slice` would share memory.
      return Uint8Array.from(bytes.subarray(offset, offset + length))
    },
  }
  const { entries } = readHeader(source)
  return new Map(
    [...entries].map(([name, { type, shape, offset, byteLength }]) => {
      const { buffer } = source.read(offset, byteLength)
      const convert = TO_FLOAT[type]
      if (type !== 'F32' && !convert) {
        throw new Error(`${path}: ${quote(name)} has type ${type}, which cannot be read as numbers`)
      }
      const data = type === 'F32' ? new Float32Array(buffer) : new Float32Array(sizeOf(shape))
      if (type !== 'F32') convert(buffer, data)
      return [name, { dtype: 'float32', shape, data }]
    }),
  )
}
