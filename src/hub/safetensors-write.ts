/** Writing safetensors, byte for byte as the official library does. */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { sizeOf, type TensorData } from '../tensor/data.ts'
import type { TensorSource } from './checkpoint.ts'
import { isUnicode, quote, type WriteBytes, writeAtomically } from './file.ts'
import { floatToBfloat, floatToHalf } from './half.ts'

/** The official order: types from the widest to the narrowest, so that every tensor is aligned. */
const TYPES = ['U64', 'I64', 'F64', 'F32', 'U32', 'I32', 'BF16', 'F16', 'U16', 'I16', 'I8', 'U8', 'BOOL'] as const
const ELEMENT_BYTES = [8, 8, 8, 4, 4, 4, 2, 2, 2, 2, 1, 1, 1]

export type FloatType = 'F32' | 'F16' | 'BF16'

export interface SafetensorsOptions {
  /** Strings stored in the header. Default `{ format: 'pt' }`, without which Python's transformers refuses the file. */
  metadata?: Readonly<Record<string, string>>
  /** What float32 tensors are stored as. Default `F32`. */
  dtype?: FloatType
}

/**
 * Writes tensors to one file: whole or not at all, from where the arrays lie, one after the other. A number of bytes
 * above 4 GB is no matter.
 *
 * @throws Error where two tensors have the same name.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, TensorData]>,
  { metadata, dtype }: SafetensorsOptions = {},
): Promise<void> {
  await writeSafetensorsFrom(path, Array.from(tensors, toItem(dtype)), metadata)
}

export interface FolderOptions extends SafetensorsOptions {
  /** Above this many bytes the tensors go to several files with an index. Default 5 GB. */
  maxShardBytes?: number
  /** Default `model.safetensors`; `weightsFile` knows what a network's is called. */
  file?: string
}

/**
 * Writes `model.safetensors`, or `model-00001-of-0000N.safetensors` … and `model.safetensors.index.json`, and removes
 * what an earlier checkpoint of the other form left in the folder.
 */
export async function writeSafetensorsFolder(
  folder: string,
  tensors: Iterable<readonly [string, TensorData]>,
  { dtype, ...options }: FolderOptions = {},
): Promise<void> {
  await writeFolderFrom(folder, Array.from(tensors, toItem(dtype)), options)
}

/** One tensor and how its bytes are written: whole, or converted piece by piece. */
interface Item {
  readonly name: string
  readonly type: string
  readonly shape: readonly number[]
  write(write: WriteBytes): Promise<void>
}

const toItem =
  (dtype: FloatType = 'F32') =>
  ([name, tensor]: readonly [string, TensorData]): Item => {
    const { shape, data } = tensor
    if (data.length !== sizeOf(shape)) {
      throw new Error(`safetensors: ${quote(name)} has ${data.length} elements, its shape [${shape}] needs others`)
    }
    if (tensor.dtype === 'float32' && dtype !== 'F32') {
      return { name, type: dtype, shape, write: (write) => writeHalves(data as Float32Array, dtype, write) }
    }
    const type = { float32: 'F32', int32: 'I32', int64: 'I64', uint8: 'U8', bool: 'BOOL' }[tensor.dtype]
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    return { name, type, shape, write: (write) => write(bytes) }
  }

async function writeHalves(data: Float32Array, dtype: 'F16' | 'BF16', write: WriteBytes): Promise<void> {
  const convert = dtype === 'F16' ? floatToHalf : floatToBfloat
  const piece = new Uint16Array(Math.min(data.length, 1 << 20))
  for (let start = 0; start < data.length; start += piece.length) {
    const part = data.subarray(start, start + piece.length)
    convert(part, piece)
    await write(new Uint8Array(piece.buffer, 0, part.length * 2))
  }
}

const sourceItem = (source: TensorSource): Item => ({
  name: source.name,
  type: source.type,
  shape: source.shape,
  write: async (write) => {
    const bytes = source.bytes()
    if (bytes.length !== byteLengthOf(source)) throw new Error(`internal: ${quote(source.name)} changed its length`)
    await write(bytes)
  },
})

/** `writeSafetensors` for tensors of any safetensors type whose bytes are made when their turn comes. */
export async function writeSafetensorsSources(
  path: string,
  sources: Iterable<TensorSource>,
  options: Pick<SafetensorsOptions, 'metadata'> = {},
): Promise<void> {
  await writeSafetensorsFrom(path, Array.from(sources, sourceItem), options.metadata)
}

/** `writeSafetensorsFolder` for tensors whose bytes are made when their turn comes. */
export async function writeFolderSources(
  folder: string,
  sources: Iterable<TensorSource>,
  options: Omit<FolderOptions, 'dtype'> = {},
): Promise<void> {
  await writeFolderFrom(folder, Array.from(sources, sourceItem), options)
}

async function writeSafetensorsFrom(
  path: string,
  items: readonly Item[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const sorted = inFileOrder(items)
  const header = headerOf(sorted, metadata)
  await writeAtomically(path, async (write) => {
    await write(header)
    for (const item of sorted) await item.write(write)
  })
}

async function writeFolderFrom(
  folder: string,
  items: readonly Item[],
  { metadata, maxShardBytes = 5e9, file = 'model.safetensors' }: Omit<FolderOptions, 'dtype'>,
): Promise<void> {
  const shards: Item[][] = [[]]
  let shardBytes = 0
  let totalBytes = 0
  for (const item of items) {
    const bytes = byteLengthOf(item)
    if (shardBytes > 0 && shardBytes + bytes > maxShardBytes) {
      shards.push([])
      shardBytes = 0
    }
    shards.at(-1)?.push(item)
    shardBytes += bytes
    totalBytes += bytes
  }
  const number = (n: number) => String(n).padStart(5, '0')
  const stem = file.replace(/\.safetensors$/, '')
  const nameOf = (i: number) =>
    shards.length === 1 ? file : `${stem}-${number(i + 1)}-of-${number(shards.length)}.safetensors`
  const written = new Set<string>()
  for (const [i, shard] of shards.entries()) {
    await writeSafetensorsFrom(join(folder, nameOf(i)), shard, metadata)
    written.add(nameOf(i))
  }
  if (shards.length > 1) {
    const weightMap = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, nameOf(i)])))
    const index = { metadata: { total_size: totalBytes }, weight_map: weightMap }
    const indexName = `${file}.index.json`
    await writeAtomically(join(folder, indexName), (write) => write(Buffer.from(`${JSON.stringify(index, null, 2)}\n`)))
    written.add(indexName)
  }
  for (const name of await readdir(folder)) {
    const isWeights =
      name.startsWith(stem) && /^(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/.test(name.slice(stem.length))
    if (isWeights && !written.has(name)) await rm(join(folder, name))
  }
}

const byteLengthOf = ({ type, shape }: { type: string; shape: readonly number[] }): number =>
  sizeOf(shape) * ELEMENT_BYTES[typeRank(type)]

function typeRank(type: string): number {
  const rank = (TYPES as readonly string[]).indexOf(type)
  if (rank < 0) throw new Error(`safetensors has no type ${type}`)
  return rank
}

function inFileOrder(items: readonly Item[]): Item[] {
  const keyed = items.map((item) => ({ item, rank: typeRank(item.type), name: Buffer.from(item.name) }))
  keyed.sort((a, b) => a.rank - b.rank || Buffer.compare(a.name, b.name))
  const names = new Set<string>()
  for (const { name } of items) {
    if (name === '__metadata__' || !isUnicode(name)) throw new Error(`safetensors: ${quote(name)} cannot be a name`)
    if (names.has(name)) throw new Error(`safetensors: two tensors are named ${quote(name)}`)
    names.add(name)
  }
  return keyed.map(({ item }) => item)
}

function headerOf(items: readonly Item[], metadata: Readonly<Record<string, string>>): Uint8Array {
  let offset = 0
  const entries: [string, unknown][] = items.map((item) => {
    const start = offset
    offset += byteLengthOf(item)
    return [item.name, { dtype: item.type, shape: item.shape, data_offsets: [start, offset] }]
  })
  const stored = Object.keys(metadata).length > 0 ? [['__metadata__', metadata] as const, ...entries] : entries
  // Written by hand: an object would put names that look like numbers first.
  const json = `{${stored.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`
  const text = Buffer.from(json)
  const padded = Math.ceil(text.length / 8) * 8
  const header = Buffer.alloc(8 + padded, ' ')
  header.writeBigUInt64LE(BigInt(padded))
  text.copy(header, 8)
  return header
}
