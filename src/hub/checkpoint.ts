/** What a stored model is, whatever the file: named tensors, read one at a time. */

import { sizeOf } from '../tensor/data.ts'

export interface TensorInfo {
  /** As the file calls it: `F32`, `F16`, `BF16`, `I64`, `Q4_0`, … */
  readonly type: string
  /** Row-major: the last dimension is contiguous. */
  readonly shape: readonly number[]
  /** As stored. */
  readonly byteLength: number
}

/** A part of a file. */
export interface FilePlace {
  readonly path: string
  /** In bytes. */
  readonly offset: number
}

/** Opening one reads headers only; tensors are read from the disk when they are asked for. */
export interface Checkpoint {
  /** `config.json`, or what a GGUF file's metadata say in its words; undefined for bare tensors. */
  readonly config: Record<string, unknown> | undefined
  /** What the file says about itself beside its tensors. */
  readonly metadata: Record<string, unknown>
  names(): string[]
  /** @throws Error where there is no tensor of that name. */
  info(name: string): TensorInfo
  /**
   * The tensor as float32, converted or dequantised, in memory of its own. Where `into` is given, it is filled with as
   * many rows as it holds, from `firstRow` on: a row is all but the first dimension, a vector is one row.
   *
   * @throws Error where there is no tensor of that name, its type is unknown, or `into` holds no such rows.
   */
  read(name: string, into?: Float32Array, firstRow?: number): Float32Array
  /** The tensor's bytes as stored, in memory of their own. */
  readRaw(name: string): Uint8Array<ArrayBuffer>
  /** Where a tensor lies that is stored as float32, in the same order; undefined for any other. */
  place(name: string): FilePlace | undefined
  /** Gives the files back. Reading afterwards throws. */
  close(): void
}

/**
 * Which elements of a tensor a read is to give.
 *
 * @param about - begins the error
 * @throws Error where `into` is not a whole number of rows, or the tensor does not have them.
 */
export function elementsToRead(
  about: string,
  shape: readonly number[],
  into: Float32Array | undefined,
  firstRow: number,
): { start: number; length: number } {
  const [rows, rowLength] = shape.length < 2 ? [1, sizeOf(shape)] : [shape[0], sizeOf(shape.slice(1))]
  const length = into?.length ?? (rows - firstRow) * rowLength
  const isWhole = rowLength === 0 ? length === 0 : length % rowLength === 0
  if (Number.isInteger(firstRow) && firstRow >= 0 && isWhole && firstRow * rowLength + length <= rows * rowLength) {
    return { start: firstRow * rowLength, length }
  }
  throw new Error(
    `${about} has ${rows * rowLength} elements in ${rows} rows; it cannot fill ${length} from row ${firstRow}`,
  )
}

/** A tensor on its way into a file. `bytes` is called once, when its turn comes. */
export interface TensorSource {
  readonly name: string
  /** A type of the target format. */
  readonly type: string
  readonly shape: readonly number[]
  bytes(): Uint8Array
}
