/** Lazy tensors: what a computation is. Importing this gives `Tensor` all its methods. */

export * from './data.ts'
export * from './dim.ts'
export type { QuantizedWeight } from './emitter.ts'
export { grad } from './grad.ts'
export { constant, constantValue, deferredConstant, input, type OpNode, scalar, Tensor } from './graph.ts'
export * from './ops/activation.ts'
export * from './ops/attention.ts'
export {
  type ConvOptions,
  type ConvTransposeOptions,
  conv2d,
  convTranspose2d,
  type Padding,
  type Pair,
} from './ops/conv/conv.ts'
export * from './ops/custom.ts'
export * from './ops/elementwise.ts'
export * from './ops/index.ts'
export { type InterpolateOptions, type InterpolationMode, interpolate } from './ops/interpolate.ts'
export * from './ops/loss.ts'
export * from './ops/lstm.ts'
export * from './ops/matmul.ts'
export * from './ops/norm.ts'
export * from './ops/pool.ts'
export * from './ops/random.ts'
export * from './ops/reduce.ts'
export * from './ops/shape.ts'
