/** Reading safetensors from disk: one file, or shards under an index. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type TensorData, tensorData } from '../tensor/data.ts'
import { type Checkpoint, elementsToRead, type FilePlace, type TensorInfo } from './checkpoint.ts'
import { InputFile, quote } from './file.ts'
import { type Entry as EntryOf, isObject, readHeader, TO_FLOAT, TYPE_BYTES } from './safetensors-format.ts'

type Entry = EntryOf<InputFile>

const MAX_JSON_BYTES = 64_000_000

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
  for (const name of ['pytorch_model.bin', 'pytorch_model.bin.index.json']) {
    if (!existsSync(join(folder, name))) continue
    throw new Error(`${folder}: has its weights in ${name}, which is not read; store them as safetensors`)
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
