import type { DType, TensorData } from './data.ts'
import { type Shape, showShape } from './dim.ts'
import type { Emitter } from './emitter.ts'

/**
 * The recorded graph. Calling an op computes nothing: it makes a node whose output tensors carry a shape and a dtype.
 * Node ids grow, and a node's inputs are older than itself, so descending ids are always a valid backward order.
 */

/** Everything known about one operation, in one place. */
export interface Op<Attributes> {
  readonly name: string
  /** The shape rule: the type of every output, or an error that names the op, what it expects and what it got. */
  infer(inputs: readonly Tensor[], attributes: Attributes): TensorType[]
  /** Emits ONNX nodes and returns the name of every output. */
  lower(emitter: Emitter, inputs: readonly string[], node: OpNode<Attributes>): string[]
  /**
   * The vector-Jacobian product: gradients of the inputs from those of the outputs (undefined where an output does not
   * matter). Written with ops, so it can be differentiated again. Left out where nothing is differentiable.
   */
  grad?(node: OpNode<Attributes>, outputGrads: readonly (Tensor | undefined)[]): (Tensor | undefined)[]
}

export interface TensorType {
  shape: Shape
  dtype: DType
}

let nextId = 0

export class OpNode<Attributes = unknown> {
  readonly id = nextId++
  readonly outputs: readonly Tensor[]

  constructor(
    readonly op: Op<Attributes>,
    readonly inputs: readonly Tensor[],
    readonly attributes: Attributes,
  ) {
    this.outputs = op.infer(inputs, attributes).map((type, index) => new Tensor(this as OpNode, index, type))
  }
}

/**
 * A lazy tensor: one output of a recorded node. Methods are added by the files under `ops/`, each beside the op that
 * it calls.
 */
export class Tensor {
  readonly shape: Shape
  readonly dtype: DType

  constructor(
    readonly node: OpNode,
    readonly index: number,
    type: TensorType,
  ) {
    this.shape = type.shape
    this.dtype = type.dtype
  }

  get rank(): number {
    return this.shape.length
  }

  toString(): string {
    return `${this.node.op.name}#${this.node.id}: ${this.dtype} ${showShape(this.shape)}`
  }
}

/** Adds methods to `Tensor`; their types are declared beside the call with `declare module`. */
export function addMethods(methods: { [name: string]: unknown } & ThisType<Tensor>): void {
  Object.assign(Tensor.prototype, methods)
}

export function apply<Attributes>(op: Op<Attributes>, inputs: readonly Tensor[], attributes: Attributes): Tensor {
  return new OpNode(op, inputs, attributes).outputs[0]
}

export function applyMany<Attributes>(
  op: Op<Attributes>,
  inputs: readonly Tensor[],
  attributes: Attributes,
): readonly Tensor[] {
  return new OpNode(op, inputs, attributes).outputs
}

export interface InputAttributes {
  readonly name: string
  readonly shape: Shape
  readonly dtype: DType
}

/** A leaf that gets its value when the graph runs (or, for weights that serve, when it is compiled). */
export const inputOp: Op<InputAttributes> = {
  name: 'input',
  infer: (_inputs, { shape, dtype }) => [{ shape, dtype }],
  lower: () => {
    throw new Error('internal: inputs are named by the lowering')
  },
}

export const input = (name: string, shape: Shape, dtype: DType = 'float32'): Tensor =>
  apply(inputOp, [], { name, shape, dtype })

const constantOp: Op<{ value: TensorData }> = {
  name: 'constant',
  infer: (_inputs, { value }) => [{ shape: value.shape, dtype: value.dtype }],
  lower: (emitter, _inputs, { attributes }) => [emitter.constant(attributes.value)],
}

/** Numbers known while tracing. */
export const constant = (value: TensorData): Tensor => apply(constantOp, [], { value })

/** The same for a table that is worked out when a graph with it is compiled: a trace alone costs nothing. */
export function deferredConstant(shape: readonly number[], numbers: () => Float32Array): Tensor {
  let known: Float32Array | undefined
  return constant({
    dtype: 'float32',
    shape,
    get data() {
      return (known ??= numbers())
    },
  })
}

/**
 * A number as a tensor without dimensions.
 *
 * @throws RangeError for a fraction as an integer: it would be cut off unseen.
 */
export function scalar(value: number, dtype: DType = 'float32'): Tensor {
  if (dtype !== 'float32' && !Number.isInteger(value)) {
    throw new RangeError(`scalar: ${value} is not an ${dtype}; cast the tensor that it meets to float32 first`)
  }
  return constant({
    dtype,
    shape: [],
    data:
      dtype === 'float32'
        ? Float32Array.of(value)
        : dtype === 'int64'
          ? BigInt64Array.of(BigInt(value))
          : dtype === 'int32'
            ? Int32Array.of(value)
            : Uint8Array.of(value),
  })
}

/** What a constant holds, where the tensor is one. */
export const constantValue = (tensor: Tensor): TensorData | undefined =>
  tensor.node.op === (constantOp as Op<unknown>) ? (tensor.node.attributes as { value: TensorData }).value : undefined
