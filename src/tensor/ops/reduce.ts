import { normalizeAxis, type Shape, showShape, sizeOfShape } from '../dim.ts'
import { addMethods, apply, type Op, type Tensor } from '../graph.ts'
import { div, equal, exp, indicator, log, mul, where } from './elementwise.ts'
import { arange, broadcastTo, cast, dimTensor, expandDims, reshape, squeeze, sumKeepingAxes } from './shape.ts'

/** Ops that fold axes away. */

export interface ReduceOptions {
  /** One axis, several, or all of them where left out. */
  axis?: number | readonly number[]
  /** Leave the folded axes with size 1. Default false. */
  keepDims?: boolean
}

function axesOf(name: string, x: Tensor, axis: ReduceOptions['axis']): number[] {
  const axes = axis === undefined ? x.shape.map((_, i) => i) : typeof axis === 'number' ? [axis] : axis
  if (x.dtype === 'bool') throw new TypeError(`${name}: needs numbers, got bool ${showShape(x.shape)}`)
  const normal = axes.map((a) => normalizeAxis(name, a, x.rank)).sort((a, b) => a - b)
  const twice = normal.find((a, i) => a === normal[i - 1])
  if (twice !== undefined) throw new RangeError(`${name}: axis ${twice} is named twice for ${showShape(x.shape)}`)
  return normal
}

const withoutAxes = (shape: Shape, axes: readonly number[]): Shape => shape.filter((_, i) => !axes.includes(i))

const settle = (reduced: Tensor, axes: readonly number[], keepDims = false): Tensor =>
  keepDims ? reduced : reshape(reduced, withoutAxes(reduced.shape, axes))

export function sum(x: Tensor, { axis, keepDims }: ReduceOptions = {}): Tensor {
  const axes = axesOf('sum', x, axis)
  return settle(sumKeepingAxes(x, axes), axes, keepDims)
}

/** How many elements of `x` fold into one, as a float32 scalar or a plain number. */
function foldedCount(x: Tensor, axes: readonly number[]): Tensor | number {
  const count = sizeOfShape(axes.map((a) => x.shape[a]))
  return typeof count === 'number' ? count : cast(dimTensor(count), 'float32')
}

const meanOp: Op<{ axes: readonly number[] }> = {
  name: 'mean',
  infer: ([x], { axes }) => [{ shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)), dtype: x.dtype }],
  lower: (e, [x], { attributes }) => [e.one('ReduceMean', [x, e.ints(attributes.axes)], { keepdims: 1 })],
  grad: ({ inputs: [x], attributes: { axes } }, [dy]) => [dy && broadcastTo(div(dy, foldedCount(x, axes)), x.shape)],
}

export function mean(x: Tensor, { axis, keepDims }: ReduceOptions = {}): Tensor {
  const axes = axesOf('mean', x, axis)
  return settle(axes.length === 0 ? x : apply(meanOp, [x], { axes }), axes, keepDims)
}

/** The mean of squared distances from the mean; divided by n − correction. */
export function variance(x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor {
  const axes = axesOf('variance', x, options.axis)
  const centred = x.sub(mean(x, { axis: axes, keepDims: true }))
  const count = foldedCount(x, axes)
  const divisor = typeof count === 'number' ? count - (options.correction ?? 0) : count.sub(options.correction ?? 0)
  return div(sum(mul(centred, centred), { axis: axes, keepDims: options.keepDims }), divisor)
}

function extreme(name: string, opType: string): (x: Tensor, options?: ReduceOptions) => Tensor {
  const op: Op<{ axes: readonly number[] }> = {
    name,
    infer: ([x], { axes }) => [{ shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)), dtype: x.dtype }],
    lower: (e, [x], { attributes }) => [e.one(opType, [x, e.ints(attributes.axes)], { keepdims: 1 })],
    // Equal extremes share the gradient, as a subgradient must sum to dy.
    grad: ({ inputs: [x], outputs: [y], attributes: { axes } }, [dy]) => {
      if (!dy) return [undefined]
      const hit = indicator(equal(x, y))
      return [mul(hit, div(dy, sumKeepingAxes(hit, axes)))]
    },
  }
  return (x, { axis, keepDims } = {}) => {
    const axes = axesOf(name, x, axis)
    return settle(axes.length === 0 ? x : apply(op, [x], { axes }), axes, keepDims)
  }
}

export const max = extreme('max', 'ReduceMax')
export const min = extreme('min', 'ReduceMin')

const prodOp: Op<{ axes: readonly number[] }> = {
  name: 'prod',
  infer: ([x], { axes }) => [{ shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)), dtype: x.dtype }],
  lower: (e, [x], { attributes }) => [e.one('ReduceProd', [x, e.ints(attributes.axes)], { keepdims: 1 })],
  // The product of the others, not y / x: that is right where an element is zero, too. Axes one after the other.
  grad: ({ inputs: [x], attributes: { axes } }, [dy]) => {
    if (!dy) return [undefined]
    const partial = [x]
    for (const axis of axes) partial.push(prodOver(partial[partial.length - 1], axis))
    return [axes.reduceRight((dx, axis, i) => mul(dx, productOfOthers(partial[i], axis)), dy)]
  },
}

const prodOver = (x: Tensor, axis: number): Tensor => apply(prodOp, [x], { axes: [axis] })

/** At each position of an axis, the product of all other positions. */
function productOfOthers(x: Tensor, axis: number): Tensor {
  const size = x.shape[axis]
  const column = expandDims(x, axis)
  const diagonal = expandDims(arange(size), 1).equal(arange(size))
  const mask = reshape(diagonal, [size, size, ...x.shape.slice(axis + 1).map(() => 1)])
  return squeeze(prodOver(where(mask, 1, column), axis + 1), axis + 1)
}

export function prod(x: Tensor, { axis, keepDims }: ReduceOptions = {}): Tensor {
  const axes = axesOf('prod', x, axis)
  return settle(axes.length === 0 ? x : apply(prodOp, [x], { axes }), axes, keepDims)
}

/** log Σ eˣ, without overflow. */
export function logSumExp(x: Tensor, { axis, keepDims }: ReduceOptions = {}): Tensor {
  const axes = axesOf('logSumExp', x, axis)
  return settle(axes.length === 0 ? x : apply(logSumExpOp, [x], { axes }), axes, keepDims)
}

const logSumExpOp: Op<{ axes: readonly number[] }> = {
  name: 'logSumExp',
  infer: ([x], { axes }) => [{ shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)), dtype: x.dtype }],
  lower: (e, [x], { attributes }) => [e.one('ReduceLogSumExp', [x, e.ints(attributes.axes)], { keepdims: 1 })],
  grad: ({ inputs: [x], outputs: [y] }, [dy]) => [dy && mul(dy, exp(x.sub(y)))],
}

function argExtreme(name: string, opType: string): (x: Tensor, axis?: number, keepDims?: boolean) => Tensor {
  const op: Op<{ axis: number }> = {
    name,
    infer: ([x], { axis }) => [{ shape: x.shape.map((dim, i) => (i === axis ? 1 : dim)), dtype: 'int32' }],
    lower: (e, [x], { attributes: { axis } }) => [
      e.one('Cast', [e.one(opType, [x], { axis, keepdims: 1 })], { to: 6 }),
    ],
  }
  return (x, axis = -1, keepDims = false) => {
    const at = normalizeAxis(name, axis, x.rank)
    return settle(apply(op, [x], { axis: at }), [at], keepDims)
  }
}

/** The position of the largest element (the first of equals), int32. */
export const argMax = argExtreme('argMax', 'ArgMax')
export const argMin = argExtreme('argMin', 'ArgMin')

const cumSumOp: Op<{ axis: number; reverse: boolean; exclusive: boolean }> = {
  name: 'cumSum',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, [x], { attributes: { axis, reverse, exclusive } }) => [
    e.one('CumSum', [x, e.constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(axis)) })], {
      reverse: +reverse,
      exclusive: +exclusive,
    }),
  ],
  grad: ({ attributes }, [dy]) => [dy && apply(cumSumOp, [dy], { ...attributes, reverse: !attributes.reverse })],
}

/** Running sums along an axis; `exclusive` leaves each element out of its own sum. */
export const cumSum = (x: Tensor, axis: number, { reverse = false, exclusive = false } = {}): Tensor =>
  apply(cumSumOp, [x], { axis: normalizeAxis('cumSum', axis, x.rank), reverse, exclusive })

/** Running products of positive numbers along an axis. */
export const cumProd = (x: Tensor, axis: number): Tensor => exp(cumSum(log(x), axis))

/** ‖x‖₂ along axes; the gradient at zero is zero. */
export function l2Norm(x: Tensor, options: ReduceOptions = {}): Tensor {
  const squares = sum(mul(x, x), options)
  const safe = where(equal(squares, 0), 1, squares)
  return where(equal(squares, 0), 0, safe.sqrt())
}

declare module '../graph.ts' {
  interface Tensor {
    sum(options?: ReduceOptions): Tensor
    mean(options?: ReduceOptions): Tensor
    max(options?: ReduceOptions): Tensor
    min(options?: ReduceOptions): Tensor
  }
}

addMethods({
  sum(options?: ReduceOptions) {
    return sum(this, options)
  },
  mean(options?: ReduceOptions) {
    return mean(this, options)
  },
  max(options?: ReduceOptions) {
    return max(this, options)
  },
  min(options?: ReduceOptions) {
    return min(this, options)
  },
})
