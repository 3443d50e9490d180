/**
 * Reading safetensors: eight bytes of header length, a JSON header, then the tensors' bytes back to back.
 * Checked as strictly as the official library does: no gap, no overlap, nothing beyond the file.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { sizeOf, type TensorData, tensorData } from '../tensor/data.ts'
import { type Checkpoint, elementsToRead, type FilePlace, type TensorInfo } from './checkpoint.ts'
import { InputFile, isUnicode, quote } from './file.ts'
import { bfloatToFloat, halfToFloat } from './half.ts'

const TYPE_BYTES: Readonly<Record<string, number>> = {
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
const MAX_JSON_BYTES = 64_000_000

interface Entry extends TensorInfo {
  readonly file: InputFile
  readonly offset: number
}

class SafetensorsCheckpoint implements Checkpoint {
  readonly config: Record<string, unknown> | undefined
  readonly metadata: Record<string, unknown>
  readonly #entries: ReadonlyMap<string, Entry>
  readonly #files: readonly InputFile[]
  readonly #path: string

  constructor(
    path: string,
    files: readonly InputFile[],
    entries: ReadonlyMap<string, Entry>,
    metadata: Record<string, unknown>,
    config: Record<string, unknown> | undefined,
  ) {
    this.#path = path
    this.#files = files
    this.#entries = entries
    this.metadata = metadata
    this.config = config
  }

  names(): string[] {
    return [...this.#entries.keys()]
  }

  info(name: string): TensorInfo {
    return this.#entry(name)
  }

  read(name: string, into?: Float32Array, firstRow = 0): Float32Array {
    const { type, shape, file, offset } = this.#entry(name)
    const { start, length } = elementsToRead(`${this.#path}: ${quote(name)}`, shape, into, firstRow)
    const from = offset + start * TYPE_BYTES[type]
    if (type === 'F32') {
      const target = into ?? new Float32Array(length)
      file.readInto(from, bytesOf(target))
      return target
    }
    const convert = TO_FLOAT[type]
    if (!convert) throw new Error(`${this.#path}: ${quote(name)} has type ${type}, which cannot be read as numbers`)
    const target = into ?? new Float32Array(length)
    convert(file.read(from, length * TYPE_BYTES[type]).buffer, target)
    return target
  }

  readRaw(name: string): Uint8Array<ArrayBuffer> {
    const { file, offset, byteLength } = this.#entry(name)
    return file.read(offset, byteLength)
  }

  place(name: string): FilePlace | undefined {
    const { type, file, offset } = this.#entry(name)
    return type === 'F32' ? { path: file.path, offset } : undefined
  }

  close(): void {
    for (const file of this.#files) file.close()
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name)
    if (!entry) throw new Error(`${this.#path}: has no tensor ${quote(name)}`)
    return entry
  }
}

const bytesOf = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

const TO_FLOAT: Readonly<Record<string, (buffer: ArrayBuffer, target: Float32Array) => void>> = {
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

/**
 * Opens one `.safetensors` file.
 *
 * @throws Error with one sentence where the file is cut short or its header lies.
 */
export function openSafetensors(path: string): Checkpoint {
  const file = new InputFile(path)
  try {
    const { entries, metadata } = readHeader(file)
    return new SafetensorsCheckpoint(path, [file], entries, metadata, undefined)
  } catch (error) {
    file.close()
    throw error
  }
}

const WEIGHT_FILES = ['model.safetensors', 'diffusion_pytorch_model.safetensors'] as const

/** Networks of the diffusers library say what they are under `_class_name`, and have a file name of their own. */
export const weightsFile = (config: Record<string, unknown> | undefined): string =>
  WEIGHT_FILES[config && '_class_name' in config ? 1 : 0]

/**
 * Opens a folder in the Hugging Face layout: `config.json` beside `model.safetensors` or
 * `diffusion_pytorch_model.safetensors`, whole or in shards named by `….index.json`.
 */
export function openSafetensorsFolder(folder: string): Checkpoint {
  const configPath = join(folder, 'config.json')
  const config = existsSync(configPath) ? readJsonObject(configPath) : undefined
  for (const name of WEIGHT_FILES) {
    const path = join(folder, name)
    if (existsSync(path)) return openShards(path, [path], undefined, {}, config)
    if (existsSync(`${path}.index.json`)) return openIndex(`${path}.index.json`, config)
  }
  if (existsSync(join(folder, 'pytorch_model.bin'))) {
    throw new Error(`${folder}: has its weights in pytorch_model.bin, which is not read; store them as safetensors`)
  }
  throw new Error(`${folder}: has no ${WEIGHT_FILES[0]} (nor ${WEIGHT_FILES[1]}, nor an index of shards)`)
}

/** Opens a sharded checkpoint by its `….safetensors.index.json`. */
export function openIndex(indexPath: string, config?: Record<string, unknown>): Checkpoint {
  const index = readJsonObject(indexPath)
  const map = index.weight_map
  if (!isObject(map)) throw new Error(`${indexPath}: has no "weight_map" from tensor names to files`)
  const fileOf = new Map<string, string>()
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !/^[^/\\\0:]+\.safetensors$/.test(file)) {
      throw new Error(`${indexPath}: ${quote(name)} is in ${quote(String(file))}, which is no plain file name`)
    }
    fileOf.set(name, join(dirname(indexPath), file))
  }
  const metadata = isObject(index.metadata) ? index.metadata : {}
  return openShards(indexPath, [...new Set(fileOf.values())].sort(), fileOf, metadata, config)
}

const FORMER = { query: 'to_q', key: 'to_k', value: 'to_v', proj_attn: 'to_out.0' } as const

/** Today's name of a parameter: attention over pixels had others in the first checkpoints. */
const currentName = (name: string): string =>
  name.replace(
    /(\battentions\.\d+\.)(query|key|value|proj_attn)(?=\.(?:weight|bias)$)/,
    (_, place: string, former: keyof typeof FORMER) => place + FORMER[former],
  )

function openShards(
  path: string,
  paths: readonly string[],
  fileOf: ReadonlyMap<string, string> | undefined,
  indexMetadata: Record<string, unknown>,
  config: Record<string, unknown> | undefined,
): Checkpoint {
  const files: InputFile[] = []
  try {
    const all = new Map<string, Entry>()
    const allMetadata = { ...indexMetadata }
    for (const shard of paths) {
      const file = new InputFile(shard)
      files.push(file)
      const { entries, metadata } = readHeader(file)
      Object.assign(allMetadata, metadata)
      for (const [name, entry] of entries) {
        // The index decides; a shard may hold more than the index names.
        if (!fileOf || fileOf.get(name) === shard) all.set(name, entry)
      }
    }
    for (const [name, shard] of fileOf ?? []) {
      if (!all.has(name)) throw new Error(`${path}: says that ${quote(name)} is in ${shard}, but it is not`)
    }
    // diffusers' files only: elsewhere these are the names of today.
    const isDiffusers = typeof config?._class_name === 'string'
    const named = isDiffusers ? new Map([...all].map(([name, entry]) => [currentName(name), entry])) : all
    return new SafetensorsCheckpoint(path, files, named, allMetadata, config)
  } catch (error) {
    for (const file of files) file.close()
    throw error
  }
}

function readHeader(file: InputFile): { entries: Map<string, Entry>; metadata: Record<string, unknown> } {
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
  const entries = new Map<string, Entry>()
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

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((count) => Number.isSafeInteger(count) && count >= 0)

/** @throws Error where the file is not a JSON object, or too long to be a configuration. */
export function readJsonObject(path: string): Record<string, unknown> {
  const value = readJson(path)
  if (!isObject(value)) throw new Error(`${path}: is not a JSON object`)
  return value
}

/** What a small JSON file holds. @throws Error with one sentence where it is none */
export function readJson(path: string): unknown {
  const { size } = statSync(path)
  if (size > MAX_JSON_BYTES) throw new Error(`${path}: ${size} bytes are too many for such a file`)
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    throw new Error(`${path}: is not JSON`)
  }
}

/**
 * All tensors of a file, integers kept as integers: F64, F16 and BF16 become float32; I8, I16, U16 and I32 become
 * int32. For files of inputs and outputs; weights are better read one at a time from `openSafetensors`.
 */
export function readTensors(path: string): Record<string, TensorData> {
  const checkpoint = openSafetensors(path)
  try {
    return Object.fromEntries(checkpoint.names().map((name) => [name, readTensor(checkpoint, name)]))
  } finally {
    checkpoint.close()
  }
}

/** One tensor of a safetensors checkpoint, integers kept as integers (see `readTensors`). */
export function readTensor(checkpoint: Checkpoint, name: string): TensorData {
  const { type, shape } = checkpoint.info(name)
  if (type.startsWith('F') || type === 'BF16') return tensorData('float32', shape, checkpoint.read(name))
  const buffer = checkpoint.readRaw(name).buffer
  switch (type) {
    case 'I64':
      return tensorData('int64', shape, new BigInt64Array(buffer))
    case 'I32':
      return tensorData('int32', shape, new Int32Array(buffer))
    case 'I16':
      return tensorData('int32', shape, Int32Array.from(new Int16Array(buffer)))
    case 'U16':
      return tensorData('int32', shape, Int32Array.from(new Uint16Array(buffer)))
    case 'I8':
      return tensorData('int32', shape, Int32Array.from(new Int8Array(buffer)))
    case 'U8':
      return tensorData('uint8', shape, new Uint8Array(buffer))
    case 'BOOL':
      // A byte that is neither 0 nor 1 is still true.
      return tensorData(
        'bool',
        shape,
        new Uint8Array(buffer).map((byte) => (byte ? 1 : 0)),
      )
    default:
      throw new Error(`${quote(name)} has type ${type}, for which there is no tensor type here`)
  }
}
