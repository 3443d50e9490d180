/**
 * A GGUF file as if it were a Hugging Face checkpoint. The two differ in names, in the keys of the configuration, in the
 * order of LLaMA's query and key rows, and in what Gemma's norms are stored around.
 */
import { sizeOf } from '../../tensor/data.ts'
import { type Checkpoint, elementsToRead, type FilePlace, type TensorInfo } from '../checkpoint.ts'
import { quote } from '../file.ts'
import { differenceOf, huggingFaceName } from './architectures.ts'
import { configFromGguf, ROPE_FACTORS } from './config.ts'
import { type GgufCheckpoint, openGguf } from './file.ts'

/**
 * The rows of a query or key projection, from GGUF's order into Hugging Face's or back.
 *
 * @param rows - [heads · headDim, anything]: values or stored blocks, as long as a row is a whole number of items
 */
export function reorderRotaryRows<T extends Float32Array | Uint8Array>(
  rows: T,
  rowCount: number,
  heads: number,
  to: 'huggingFace' | 'gguf',
): T {
  const headDim = rowCount / heads
  if (!Number.isInteger(headDim / 2)) throw new Error(`GGUF: ${rowCount} rows do not make ${heads} heads of even size`)
  const rowLength = rows.length / rowCount
  const reordered = rows.slice() as T
  for (let head = 0; head < heads; head++) {
    for (let pair = 0; pair < headDim / 2; pair++) {
      for (let half = 0; half < 2; half++) {
        const interleaved = head * headDim + 2 * pair + half
        const halved = head * headDim + half * (headDim / 2) + pair
        const [source, target] = to === 'huggingFace' ? [interleaved, halved] : [halved, interleaved]
        reordered.set(rows.subarray(source * rowLength, (source + 1) * rowLength), target * rowLength)
      }
    }
  }
  return reordered
}

/**
 * A GGUF file of a model as if it were a Hugging Face checkpoint: its tensor names, its `config`, its row order, its
 * values. `readRaw` gives stored blocks, reordered too.
 *
 * @throws Error where the file is damaged or of an unknown architecture.
 */
export function openGgufAsHuggingFace(path: string): Checkpoint {
  const file = openGguf(path)
  try {
    return new HuggingFaceView(file, path)
  } catch (error) {
    file.close()
    throw error
  }
}

class HuggingFaceView implements Checkpoint {
  readonly config: Record<string, unknown>
  readonly metadata: Record<string, unknown>
  readonly #file: GgufCheckpoint
  readonly #storedName = new Map<string, string>()
  readonly #path: string

  constructor(file: GgufCheckpoint, path: string) {
    this.#file = file
    this.#path = path
    this.metadata = file.metadata
    const { config, architecture } = configFromGguf(file, path)
    this.config = config
    for (const stored of file.names()) {
      if (stored === ROPE_FACTORS) continue
      const name = huggingFaceName(stored, architecture)
      if (!name)
        throw new Error(`${path}: ${quote(stored)} is no tensor of a model of architecture ${architecture.name}`)
      this.#storedName.set(name, stored)
      const { heads } = differenceOf(name, config)
      const rows = file.info(stored).shape[0]
      if (heads > 0 && !Number.isInteger(rows / heads / 2)) {
        throw new Error(`${path}: the ${rows} rows of ${quote(stored)} do not make ${heads} heads of even size`)
      }
    }
  }

  names(): string[] {
    return [...this.#storedName.keys()]
  }

  info(name: string): TensorInfo {
    const info = this.#file.info(this.#stored(name))
    if (differenceOf(name, this.config).offset === 0) return info
    return { ...info, type: 'F32', byteLength: sizeOf(info.shape) * Float32Array.BYTES_PER_ELEMENT }
  }

  read(name: string, into?: Float32Array, firstRow = 0): Float32Array {
    const stored = this.#stored(name)
    const { heads, offset } = differenceOf(name, this.config)
    if (offset !== 0) {
      const values = this.#file.read(stored, into, firstRow)
      for (let i = 0; i < values.length; i++) values[i] -= offset
      return values
    }
    if (heads === 0) return this.#file.read(stored, into, firstRow)
    const { shape } = this.info(name)
    const { start, length } = elementsToRead(`${this.#path}: ${quote(name)}`, shape, into, firstRow)
    const headLength = sizeOf(shape) / heads
    // Rows change places within their head.
    const firstHead = Math.floor(start / headLength)
    const headCount = Math.ceil((start + length) / headLength) - firstHead
    const headDim = shape[0] / heads
    const whole = this.#file.read(stored, new Float32Array(headCount * headLength), firstHead * headDim)
    const values = reorderRotaryRows(whole, headCount * headDim, headCount, 'huggingFace')
    if (!into) return values
    const from = start - firstHead * headLength
    into.set(values.subarray(from, from + length))
    return into
  }

  readRaw(name: string): Uint8Array<ArrayBuffer> {
    const { heads, offset } = differenceOf(name, this.config)
    if (offset !== 0) return new Uint8Array(this.read(name).slice().buffer)
    const bytes = this.#file.readRaw(this.#stored(name))
    return heads === 0 ? bytes : reorderRotaryRows(bytes, this.info(name).shape[0], heads, 'huggingFace')
  }

  place(name: string): FilePlace | undefined {
    const { heads, offset } = differenceOf(name, this.config)
    return heads === 0 && offset === 0 ? this.#file.place(this.#stored(name)) : undefined
  }

  close(): void {
    this.#file.close()
  }

  #stored(name: string): string {
    const stored = this.#storedName.get(name)
    if (!stored) throw new Error(`${this.#path}: has no tensor ${quote(name)}`)
    return stored
  }
}
