/** Writing GGUF, version 3. */
import { sizeOf } from '../../tensor/data.ts'
import type { TensorSource } from '../checkpoint.ts'
import { quote, writeAtomically } from '../file.ts'
import { DEFAULT_ALIGNMENT, GGUF_MAGIC, GGUF_VALUE_TYPES, type GgufValue, type GgufValueType } from './file.ts'
import { ggufType } from './quants.ts'

/**
 * Writes a GGUF file: whole or not at all, one tensor after the other.
 *
 * @param metadata - `general.architecture` belongs in it; `general.alignment` is obeyed
 * @throws Error where two tensors have the same name, or a row does not fit a type's blocks.
 */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: Iterable<TensorSource>,
): Promise<void> {
  const sources = [...tensors]
  const alignment = Number(metadata.get('general.alignment')?.value ?? DEFAULT_ALIGNMENT)
  const pad = (length: number) => Math.ceil(length / alignment) * alignment - length

  const header = new Writer()
  header.uint32(GGUF_MAGIC)
  header.uint32(3)
  header.uint64(sources.length)
  header.uint64(metadata.size)
  for (const [key, value] of metadata) {
    header.string(key)
    header.uint32(GGUF_VALUE_TYPES.indexOf(value.type))
    header.value(value)
  }
  const names = new Set<string>()
  let offset = 0
  for (const source of sources) {
    const { name, type, shape } = source
    if (names.has(name)) throw new Error(`GGUF: two tensors are named ${quote(name)}`)
    names.add(name)
    if (shape.length > 4)
      throw new Error(`GGUF: ${quote(name)} has ${shape.length} dimensions, at most 4 can be stored`)
    header.string(name)
    header.uint32(shape.length)
    for (const dim of shape.toReversed()) header.uint64(dim)
    header.uint32(ggufType(type).id)
    header.uint64(offset)
    offset += byteLengthOf(source)
    offset += pad(offset)
  }

  await writeAtomically(path, async (write) => {
    const head = header.bytes()
    await write(head)
    await write(new Uint8Array(pad(head.length)))
    for (const source of sources) {
      const bytes = source.bytes()
      if (bytes.length !== byteLengthOf(source)) throw new Error(`internal: ${quote(source.name)} changed its length`)
      await write(bytes)
      await write(new Uint8Array(pad(bytes.length)))
    }
  })
}

function byteLengthOf({ name, type, shape }: TensorSource): number {
  const { blockElements, blockBytes } = ggufType(type)
  if ((shape.at(-1) ?? 1) % blockElements !== 0) {
    throw new Error(
      `GGUF: rows of ${quote(name)} have ${shape.at(-1)} elements, ${type} needs a multiple of ${blockElements}`,
    )
  }
  return (sizeOf(shape) / blockElements) * blockBytes
}

/** Bytes that grow as they are written. */
class Writer {
  #buffer = Buffer.alloc(1 << 16)
  #length = 0

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  #grow(length: number): number {
    const at = this.#length
    this.#length += length
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.alloc(2 * this.#length)
      this.#buffer.copy(larger, 0, 0, at)
      this.#buffer = larger
    }
    return at
  }

  uint32(value: number): void {
    const at = this.#grow(4)
    this.#buffer.writeUInt32LE(value, at)
  }

  uint64(value: number | bigint): void {
    const at = this.#grow(8)
    this.#buffer.writeBigUInt64LE(BigInt(value), at)
  }

  string(text: string): void {
    const bytes = Buffer.from(text)
    this.uint64(bytes.length)
    const at = this.#grow(bytes.length)
    bytes.copy(this.#buffer, at)
  }

  value(value: GgufValue): void {
    if (value.type !== 'array') {
      this.#scalar(value.type, value.value)
      return
    }
    this.uint32(GGUF_VALUE_TYPES.indexOf(value.itemType))
    this.uint64(value.value.length)
    if (value.itemType === 'array') for (const item of value.value) this.value(item)
    else for (const item of value.value) this.#scalar(value.itemType, item)
  }

  #scalar(type: Exclude<GgufValueType, 'array'>, value: number | bigint | boolean | string): void {
    if (type === 'string') {
      this.string(String(value))
      return
    }
    const number = Number(value)
    const at = this.#grow(SCALAR_BYTES[type])
    switch (type) {
      case 'uint8':
        this.#buffer.writeUInt8(number, at)
        break
      case 'int8':
        this.#buffer.writeInt8(number, at)
        break
      case 'uint16':
        this.#buffer.writeUInt16LE(number, at)
        break
      case 'int16':
        this.#buffer.writeInt16LE(number, at)
        break
      case 'uint32':
        this.#buffer.writeUInt32LE(number, at)
        break
      case 'int32':
        this.#buffer.writeInt32LE(number, at)
        break
      case 'float32':
        this.#buffer.writeFloatLE(number, at)
        break
      case 'float64':
        this.#buffer.writeDoubleLE(number, at)
        break
      case 'bool':
        this.#buffer.writeUInt8(number, at)
        break
      case 'uint64':
        this.#buffer.writeBigUInt64LE(BigInt(value), at)
        break
      case 'int64':
        this.#buffer.writeBigInt64LE(BigInt(value), at)
        break
    }
  }
}

const SCALAR_BYTES = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  bool: 1,
  uint64: 8,
  int64: 8,
  float64: 8,
} as const
