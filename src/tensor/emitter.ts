import type { TensorData } from './data.ts'
import type { Dim, Shape } from './dim.ts'
import type { Tensor } from './graph.ts'

/** A node attribute. Plain numbers are integers in ONNX; `{ float }` marks the others. */
export type AttributeValue =
  | number
  | string
  | readonly number[]
  | { readonly float: number }
  | { readonly floats: readonly number[] }

export interface EmitOptions {
  /** `com.microsoft` for ONNX Runtime's own operators. */
  domain?: string
  /** How many outputs to name. Default 1. */
  outputs?: number
}

/**
 * A weight in blocks of 4- or 8-bit integers along its last axis, as `MatMulNBits` reads it. The last block of a row may
 * reach past its end.
 */
export interface QuantizedWeight {
  readonly bits: 4 | 8
  /** A power of two, 16 or more. */
  readonly blockSize: number
  /** [outFeatures, inFeatures] */
  readonly shape: readonly [number, number]
  /** [outFeatures, ⌈inFeatures / blockSize⌉, blockSize * bits / 8] */
  readonly packed: Uint8Array
  /** [outFeatures * ⌈inFeatures / blockSize⌉]. */
  readonly scales: Float32Array
  /** The level that stands for zero in each block, packed like the values: [outFeatures, ⌈blocks · bits / 8⌉]. Default 2^(bits-1). */
  readonly zeroPoints?: Uint8Array
}

/** A quantised weight and what its parts are called in the graph. */
export interface QuantizedNames {
  readonly weight: QuantizedWeight
  readonly packed: string
  readonly scales: string
  readonly zeroPoints?: string
}

/** Where ops write their ONNX nodes. Implemented by the lowering in `runtime/`; equal nodes are emitted once. */
export interface Emitter {
  /** Emits one node and returns the names of its outputs. An empty name leaves an optional input out. */
  many(
    opType: string,
    inputs: readonly string[],
    attributes?: Record<string, AttributeValue>,
    options?: EmitOptions,
  ): string[]
  /** The same for one output. */
  one(opType: string, inputs: readonly string[], attributes?: Record<string, AttributeValue>, domain?: string): string
  constant(value: TensorData): string
  /** A float32 scalar. */
  float(value: number): string
  /** An int64 vector. */
  ints(values: readonly number[]): string
  /** A shape as an int64 vector, computed from the inputs' shapes where it is not static. */
  shape(shape: Shape): string
  /** One dimension as an int64 scalar. */
  dim(dim: Dim): string
  /** Gives a named dimension its value: an int64 vector of one element, for a size that no input's shape has. */
  define(dimension: string, value: string): void
  /**
   * A compiled-in weight under another shape, without a node: reshaping a constant while running copies it.
   *
   * @param name - one of the names of a quantised weight
   */
  weightAs(name: string, shape: readonly number[]): string
  /** A weight that was compiled in as quantised blocks: the names of its parts. */
  quantized(tensor: Tensor): QuantizedNames | undefined
  /**
   * Channels that the backend's blocked convolution takes at a time, where it has one and this weight may change from
   * run to run; 0 otherwise. A constant weight is arranged by the backend.
   */
  convolutionBlock(weight: Tensor): number
  /** Whether the backend adds scattered updates one after the other. GPUs add them as they come, so sums vary. */
  readonly scattersInOrder: boolean
}

export const MICROSOFT = 'com.microsoft'
