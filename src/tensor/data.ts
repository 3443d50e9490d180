/** Concrete numbers: what goes into a compiled function and what comes out of it. */

export type DType = 'float32' | 'int32' | 'int64' | 'uint8' | 'bool'

export type TypedArray = Float32Array | Int32Array | BigInt64Array | Uint8Array

/** A dense array in row-major order. `bool` is stored as one byte an element, 0 or 1. */
export interface TensorData {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: TypedArray
}

const ARRAYS = {
  float32: Float32Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

/** The number of elements of a shape; 1 for a scalar. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1)

/** A fresh zero-filled typed array of `length` elements. */
export const newArray = (dtype: DType, length: number): TypedArray => new ARRAYS[dtype](length)

export const bytesPerElement = (dtype: DType): number => ARRAYS[dtype].BYTES_PER_ELEMENT

/**
 * Wraps numbers in a `TensorData`, converting plain arrays to the dtype's typed array.
 *
 * @throws RangeError where the number of elements differs from the shape's.
 */
export function tensorData(
  dtype: DType,
  shape: readonly number[],
  values: TypedArray | readonly number[] = newArray(dtype, sizeOf(shape)),
): TensorData {
  const data = Array.isArray(values) ? fromNumbers(dtype, values) : (values as TypedArray)
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(`tensorData: shape [${shape}] needs ${sizeOf(shape)} elements, got ${data.length}`)
  }
  return { dtype, shape, data }
}

function fromNumbers(dtype: DType, values: readonly number[]): TypedArray {
  if (dtype === 'int64') return BigInt64Array.from(values, BigInt)
  const array = newArray(dtype, values.length) as Exclude<TypedArray, BigInt64Array>
  array.set(values)
  return array
}
