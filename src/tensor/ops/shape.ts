import { type DType, newArray, type TypedArray } from '../data.ts'
import {
  addDims,
  broadcastShapes,
  type Dim,
  evaluateDim,
  exactQuotient,
  floorDivDim,
  mulDims,
  normalizeAxis,
  type Shape,
  sameDim,
  sameShape,
  showShape,
  sizeOfShape,
  subDims,
} from '../dim.ts'
import type { Emitter } from '../emitter.ts'
import { addMethods, apply, applyMany, type Op, type Tensor } from '../graph.ts'

/** Ops that move numbers without changing them. */

const castOp: Op<{ to: DType }> = {
  name: 'cast',
  infer: ([x], { to }) => [{ shape: x.shape, dtype: to }],
  lower: (e, [x], { attributes }) => [e.one('Cast', [x], { to: ONNX_TYPES[attributes.to] })],
  grad: (node, [dy]) => {
    const [x] = node.inputs
    return [dy && x.dtype === 'float32' && node.attributes.to === 'float32' ? dy : undefined]
  },
}

/** ONNX's numbers for element types. */
export const ONNX_TYPES: Record<DType, number> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 }

/** The same values as another type. */
export const cast = (x: Tensor, to: DType): Tensor => (x.dtype === to ? x : apply(castOp, [x], { to }))

const reshapeOp: Op<{ shape: Shape }> = {
  name: 'reshape',
  infer: ([x], { shape }) => [{ shape, dtype: x.dtype }],
  lower: (e, [x], { attributes: { shape }, inputs: [from] }) => {
    const target = reshapeTarget(shape, from.shape)
    if (target) return [e.one('Reshape', [x, e.ints(target)])]
    return [e.one('Reshape', [x, e.shape(shape)], { allowzero: 1 })]
  },
  grad: ({ inputs: [x] }, [dy]) => [dy && reshape(dy, x.shape)],
}

/**
 * The shape as a constant, wherever ONNX's 0 (copy the dimension) and -1 (find it) can say it. Not both at once: beside
 * a copied dimension that turns out to be 0, -1 cannot be found.
 */
function reshapeTarget(shape: Shape, from: Shape): number[] | undefined {
  if (shape.includes(0)) return undefined
  const target = shape.map((dim, i) =>
    typeof dim === 'number' ? dim : i < from.length && sameDim(dim, from[i]) ? 0 : -1,
  )
  const missing = target.filter((dim) => dim === -1).length
  return missing === 0 || (missing === 1 && !target.includes(0)) ? target : undefined
}

/** The same numbers under another shape. One entry may be -1: it is worked out from the others. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const target = fillMissing(x, shape)
  if (sameShape(x.shape, target)) return x
  const source = x.node.op === (reshapeOp as Op<unknown>) ? x.node.inputs[0] : x
  return sameShape(source.shape, target) ? source : apply(reshapeOp, [source], { shape: target })
}

function fillMissing(x: Tensor, shape: Shape): Shape {
  const size = sizeOfShape(x.shape)
  const at = shape.indexOf(-1)
  if (at < 0) {
    if (!sameDim(size, sizeOfShape(shape))) {
      throw new RangeError(
        `reshape: ${showShape(x.shape)} has ${size} elements, ${showShape(shape)} has ${sizeOfShape(shape)}`,
      )
    }
    return shape
  }
  const missing = exactQuotient(size, sizeOfShape(shape.filter((_, i) => i !== at)))
  if (missing === undefined || shape.lastIndexOf(-1) !== at)
    throw new RangeError(`reshape: cannot infer -1 in ${showShape(shape)} from ${showShape(x.shape)}`)
  return shape.map((dim, i) => (i === at ? missing : dim))
}

const transposeOp: Op<{ permutation: readonly number[] }> = {
  name: 'transpose',
  infer: ([x], { permutation }) => {
    if (permutation.length !== x.rank || new Set(permutation).size !== x.rank) {
      throw new RangeError(
        `transpose: [${permutation}] is not a permutation of the ${x.rank} axes of ${showShape(x.shape)}`,
      )
    }
    return [{ shape: permutation.map((axis) => x.shape[axis]), dtype: x.dtype }]
  },
  lower: (e, [x], { attributes }) => [e.one('Transpose', [x], { perm: attributes.permutation })],
  grad: ({ attributes: { permutation } }, [dy]) => [
    dy &&
      transpose(
        dy,
        [...permutation.keys()].sort((a, b) => permutation[a] - permutation[b]),
      ),
  ],
}

/** Reorders axes; reverses them where no permutation is given. */
export function transpose(x: Tensor, permutation?: readonly number[]): Tensor {
  const axes = (permutation ?? x.shape.map((_, i) => x.rank - 1 - i)).map((axis) =>
    normalizeAxis('transpose', axis, x.rank),
  )
  return axes.every((axis, i) => axis === i) ? x : apply(transposeOp, [x], { permutation: axes })
}

/** Exchanges two axes. */
export function swapAxes(x: Tensor, a: number, b: number): Tensor {
  const axes = x.shape.map((_, i) => i)
  const [i, j] = [normalizeAxis('swapAxes', a, x.rank), normalizeAxis('swapAxes', b, x.rank)]
  ;[axes[i], axes[j]] = [axes[j], axes[i]]
  return transpose(x, axes)
}

const broadcastToOp: Op<{ shape: Shape }> = {
  name: 'broadcastTo',
  infer: ([x], { shape }) => {
    const result = broadcastShapes(x.shape, shape)
    if (!result || !sameShape(result, shape)) {
      throw new RangeError(`broadcastTo: ${showShape(x.shape)} does not stretch to ${showShape(shape)}`)
    }
    return [{ shape, dtype: x.dtype }]
  },
  lower: (e, [x], { attributes }) => [e.one('Expand', [x, e.shape(attributes.shape)])],
  grad: ({ inputs: [x] }, [dy]) => [dy && sumTo(dy, x.shape)],
}

/** Repeats axes of size 1 (and missing leading ones) to reach `shape`. */
export const broadcastTo = (x: Tensor, shape: Shape): Tensor =>
  sameShape(x.shape, shape) ? x : apply(broadcastToOp, [x], { shape })

const sumAxesOp: Op<{ axes: readonly number[] }> = {
  name: 'sumAxes',
  infer: ([x], { axes }) => [{ shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)), dtype: x.dtype }],
  lower: (e, [x], { attributes }) => [e.one('ReduceSum', [x, e.ints(attributes.axes)], { keepdims: 1 })],
  grad: ({ inputs: [x] }, [dy]) => [dy && broadcastTo(dy, x.shape)],
}

/** Sum over axes that stay with size 1. */
export const sumKeepingAxes = (x: Tensor, axes: readonly number[]): Tensor =>
  axes.length === 0 ? x : apply(sumAxesOp, [x], { axes })

/** Undoes a broadcast in a gradient: sums what was repeated, down to `shape`. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x
  const extra = x.rank - shape.length
  const axes = x.shape.flatMap((dim, i) => (i < extra || (shape[i - extra] === 1 && dim !== 1) ? [i] : []))
  return reshape(sumKeepingAxes(x, axes), shape)
}

interface SliceAttributes {
  readonly axis: number
  readonly start: Dim
  readonly end: Dim
  readonly step: number
}

const sliceOp: Op<SliceAttributes> = {
  name: 'slice',
  infer: ([x], { axis, start, end, step }) => {
    const span = step > 0 ? subDims(end, start) : subDims(start, end)
    const size = floorDivDim(addDims(span, Math.abs(step) - 1), Math.abs(step))
    return [{ shape: x.shape.map((dim, i) => (i === axis ? size : dim)), dtype: x.dtype }]
  },
  lower: (e, [x], { attributes: { axis, start, end, step } }) => {
    // Stepping backwards past the first element is written as an end below every index.
    const last = step < 0 && end === -1 ? e.ints([-(2 ** 31)]) : e.shape([end])
    return [e.one('Slice', [x, e.shape([start]), last, e.ints([axis]), e.ints([step])])]
  },
  grad: ({ inputs: [x], outputs: [y], attributes: { axis, start, step } }, [dy]) => {
    if (!dy) return [undefined]
    // Each element goes back to its place: zeros between them, then zeros before and after.
    const count = subDims(y.shape[axis], 1)
    const stride = Math.abs(step)
    const first = step > 0 ? start : subDims(start, mulDims(count, stride))
    const last = step > 0 ? addDims(start, mulDims(count, stride)) : start
    const forwards = step > 0 ? dy : flip(dy, axis)
    return [padAxis(spread(forwards, axis, stride), axis, first, subDims(subDims(x.shape[axis], last), 1))]
  },
}

/** `stride` − 1 zeros between neighbours along an axis. */
function spread(x: Tensor, axis: number, stride: number): Tensor {
  if (stride === 1) return x
  const size = x.shape[axis]
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)]
  const apart = padAxis(expandDims(x, axis + 1), axis + 1, 0, stride - 1)
  const joined = reshape(apart, [...before, mulDims(size, stride), ...after])
  return slice(joined, { axis, start: 0, end: subDims(mulDims(size, stride), stride - 1) })
}

/** Elements `start` (kept) to `end` (left out) of one axis. Negative positions count from the end. */
export function slice(x: Tensor, range: { axis: number; start?: Dim; end?: Dim; step?: number }): Tensor {
  const axis = normalizeAxis('slice', range.axis, x.rank)
  const size = x.shape[axis]
  const step = range.step ?? 1
  const place = (position: Dim): Dim =>
    typeof position === 'number' && position < 0 ? addDims(size, position) : position
  const start = range.start === undefined ? (step > 0 ? 0 : subDims(size, 1)) : place(range.start)
  const end = range.end === undefined ? (step > 0 ? size : -1) : place(range.end)
  if (!Number.isInteger(step) || step === 0)
    throw new RangeError(`slice: the step must be a whole number other than 0, got ${step}`)
  if (typeof start === 'number' && typeof end === 'number' && typeof size === 'number') {
    const inside = step > 0 ? start >= 0 && start <= end && end <= size : start < size && end <= start && end >= -1
    if (!inside) {
      throw new RangeError(`slice: ${start}:${end}:${step} is outside axis ${axis} of ${showShape(x.shape)}`)
    }
  }
  return step === 1 && start === 0 && sameDim(end, size) ? x : apply(sliceOp, [x], { axis, start, end, step })
}

/** The same numbers backwards along an axis. */
export const flip = (x: Tensor, axis: number): Tensor => slice(x, { axis, step: -1 })

const splitOp: Op<{ axis: number; sizes: readonly number[] }> = {
  name: 'split',
  infer: ([x], { axis, sizes }) => {
    const total = sizes.reduce((sum, size) => sum + size, 0)
    if (total !== x.shape[axis]) {
      throw new RangeError(`split: sizes [${sizes}] do not add up to axis ${axis} of ${showShape(x.shape)}`)
    }
    return sizes.map((size) => ({ shape: x.shape.map((dim, i) => (i === axis ? size : dim)), dtype: x.dtype }))
  },
  lower: (e, [x], { attributes: { axis, sizes } }) =>
    e.many('Split', [x, e.ints(sizes)], { axis }, { outputs: sizes.length }),
  grad: (node, grads) => {
    const parts = node.outputs.map((output, i) => grads[i] ?? zerosLike(output))
    return [concat(parts, node.attributes.axis)]
  },
}

/** Cuts an axis into pieces of the given sizes, or into `pieces` equal ones. */
export function split(x: Tensor, pieces: number | readonly number[], axis = -1): readonly Tensor[] {
  const at = normalizeAxis('split', axis, x.rank)
  const size = x.shape[at]
  if (typeof pieces !== 'number') return applyMany(splitOp, [x], { axis: at, sizes: pieces })
  if (typeof size !== 'number' || size % pieces !== 0) {
    throw new RangeError(`split: axis ${at} of ${showShape(x.shape)} does not cut into ${pieces} equal pieces`)
  }
  return applyMany(splitOp, [x], { axis: at, sizes: new Array<number>(pieces).fill(size / pieces) })
}

const concatOp: Op<{ axis: number }> = {
  name: 'concat',
  infer: (inputs, { axis }) => {
    const [first] = inputs
    for (const x of inputs) {
      if (
        x.rank !== first.rank ||
        x.dtype !== first.dtype ||
        x.shape.some((dim, i) => i !== axis && !sameDim(dim, first.shape[i]))
      ) {
        throw new RangeError(
          `concat: all but axis ${axis} must match, got ${inputs.map((t) => `${t.dtype} ${showShape(t.shape)}`).join(' and ')}`,
        )
      }
    }
    const size = inputs.reduce<Dim>((sum, x) => addDims(sum, x.shape[axis]), 0)
    return [{ shape: first.shape.map((dim, i) => (i === axis ? size : dim)), dtype: first.dtype }]
  },
  lower: (e, inputs, { attributes }) => [e.one('Concat', inputs, { axis: attributes.axis })],
  grad: ({ inputs, attributes: { axis } }, [dy]) => {
    if (!dy) return inputs.map(() => undefined)
    const sizes = inputs.map((x) => x.shape[axis])
    if (sizes.every((size) => typeof size === 'number')) return [...split(dy, sizes as number[], axis)]
    let start: Dim = 0
    return sizes.map((size) => {
      const end = addDims(start, size)
      const part = slice(dy, { axis, start, end })
      start = end
      return part
    })
  },
}

/** Joins tensors along an axis. */
export function concat(tensors: readonly Tensor[], axis = -1): Tensor {
  if (tensors.length === 0) throw new RangeError('concat: needs at least one tensor')
  if (tensors.length === 1) return tensors[0]
  return apply(concatOp, tensors, { axis: normalizeAxis('concat', axis, tensors[0].rank) })
}

/** Joins tensors of one shape along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  if (tensors.length === 0) throw new RangeError('stack: needs at least one tensor')
  const at = normalizeAxis('stack', axis, tensors[0].rank + 1)
  return concat(
    tensors.map((x) => expandDims(x, at)),
    at,
  )
}

export type PadMode = 'constant' | 'reflect' | 'edge'

interface PadAttributes {
  /** [before, after] for every axis. */
  readonly pads: readonly (readonly [Dim, Dim])[]
  readonly mode: PadMode
  readonly value: number
}

const typedScalar = (e: Emitter, value: number, dtype: DType): string =>
  e.constant({ dtype, shape: [], data: dtype === 'int64' ? BigInt64Array.of(BigInt(value)) : filled(dtype, value) })

const filled = (dtype: DType, value: number): TypedArray => {
  const array = newArray(dtype, 1) as Exclude<TypedArray, BigInt64Array>
  return array.fill(value)
}

const padOp: Op<PadAttributes> = {
  name: 'pad',
  infer: ([x], { pads, mode }) => {
    if (pads.length !== x.rank) {
      throw new RangeError(`pad: needs a pair for each axis of ${showShape(x.shape)}, got ${pads.length}`)
    }
    pads.forEach((pair, axis) => {
      const size = x.shape[axis]
      if (
        mode === 'reflect' &&
        pair.some((width) => typeof width === 'number' && width !== 0 && width >= Number(size))
      ) {
        throw new RangeError(`pad: [${pair}] cannot be mirrored within axis ${axis} of ${showShape(x.shape)}`)
      }
    })
    return [{ shape: x.shape.map((dim, i) => addDims(addDims(dim, pads[i][0]), pads[i][1])), dtype: x.dtype }]
  },
  lower: (e, [x], { attributes: { pads, mode, value }, inputs }) => {
    const amounts = e.shape([...pads.map(([before]) => before), ...pads.map(([, after]) => after)])
    const fill = mode === 'constant' && value !== 0 ? [typedScalar(e, value, inputs[0].dtype)] : []
    return [e.one('Pad', [x, amounts, ...fill], { mode })]
  },
  grad: ({ inputs: [x], attributes: { pads, mode } }, [dy]) => {
    if (!dy) return [undefined]
    let dx = dy
    pads.forEach(([before, after], axis) => {
      const size = x.shape[axis]
      if (before === 0 && after === 0) return
      const inner = slice(dx, { axis, start: before, end: addDims(before, size) })
      if (mode === 'constant') {
        dx = inner
        return
      }
      const [head, tail] = [
        slice(dx, { axis, start: 0, end: before }),
        slice(dx, { axis, start: addDims(before, size) }),
      ]
      const fold = (border: Tensor, atEnd: boolean): Tensor => {
        const width = border.shape[axis]
        if (mode === 'edge') {
          const sum = sumKeepingAxes(border, [axis])
          return atEnd ? padAxis(sum, axis, subDims(size, 1), 0) : padAxis(sum, axis, 0, subDims(size, 1))
        }
        const rest = subDims(subDims(size, width), 1)
        return atEnd ? padAxis(flip(border, axis), axis, rest, 1) : padAxis(flip(border, axis), axis, 1, rest)
      }
      dx = inner
      if (before !== 0) dx = dx.add(fold(head, false))
      if (after !== 0) dx = dx.add(fold(tail, true))
    })
    return [dx]
  },
}

/** Adds a border: `pads[axis]` is [before, after]. `reflect` mirrors without repeating the edge. */
export function pad(x: Tensor, pads: readonly (readonly [Dim, Dim])[], mode: PadMode = 'constant', value = 0): Tensor {
  return pads.every(([before, after]) => before === 0 && after === 0) ? x : apply(padOp, [x], { pads, mode, value })
}

/** Zeros before and after along one axis. */
export const padAxis = (x: Tensor, axis: number, before: Dim, after: Dim): Tensor =>
  pad(
    x,
    x.shape.map((_, i) => (i === axis ? [before, after] : [0, 0])),
  )

/** Shifts elements along an axis; those pushed over the end come back at the front. */
export function roll(x: Tensor, shift: number, axis: number): Tensor {
  const at = normalizeAxis('roll', axis, x.rank)
  const size = x.shape[at]
  if (typeof size !== 'number') throw new RangeError(`roll: axis ${at} of ${showShape(x.shape)} must be static`)
  const offset = ((shift % size) + size) % size
  if (offset === 0) return x
  return concat(
    [slice(x, { axis: at, start: size - offset }), slice(x, { axis: at, start: 0, end: size - offset })],
    at,
  )
}

/** Adds an axis of size 1 before position `axis`. */
export function expandDims(x: Tensor, axis: number): Tensor {
  const at = normalizeAxis('expandDims', axis, x.rank + 1)
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)])
}

/** Removes an axis of size 1. */
export function squeeze(x: Tensor, axis: number): Tensor {
  const at = normalizeAxis('squeeze', axis, x.rank)
  if (x.shape[at] !== 1) throw new RangeError(`squeeze: axis ${at} of ${showShape(x.shape)} is not 1`)
  return reshape(
    x,
    x.shape.filter((_, i) => i !== at),
  )
}

const fullOp: Op<{ shape: Shape; value: number; dtype: DType }> = {
  name: 'full',
  infer: (_inputs, { shape, dtype }) => [{ shape, dtype }],
  lower: (e, _inputs, { attributes: { shape, value, dtype } }) => [
    e.one('Expand', [typedScalar(e, value, dtype), e.shape(shape)]),
  ],
}

/** One number everywhere. */
export const full = (shape: Shape, value: number, dtype: DType = 'float32'): Tensor =>
  apply(fullOp, [], { shape, value, dtype })

/** The number that a `full` tensor repeats; undefined for any other tensor. */
export const fillValue = (x: Tensor): number | undefined =>
  x.node.op === (fullOp as Op<unknown>) ? (x.node.attributes as { value: number }).value : undefined

export const zerosLike = (x: Tensor): Tensor => full(x.shape, 0, x.dtype)

const arangeOp: Op<{ size: Dim }> = {
  name: 'arange',
  infer: (_inputs, { size }) => [{ shape: [size], dtype: 'int32' }],
  lower: (e, _inputs, { attributes: { size } }) => {
    if (typeof size === 'number')
      return [e.constant({ dtype: 'int32', shape: [size], data: Int32Array.from({ length: size }, (_, i) => i) })]
    const bound = e.one('Cast', [e.dim(size)], { to: ONNX_TYPES.int32 })
    const int = (value: number) => e.constant({ dtype: 'int32', shape: [], data: Int32Array.of(value) })
    return [e.one('Range', [int(0), bound, int(1)])]
  },
}

/** 0, 1, …, size − 1 as int32. */
export const arange = (size: Dim): Tensor => apply(arangeOp, [], { size })

/** The value of a dimension as an int32 scalar, for arithmetic inside the graph. */
export function dimTensor(dim: Dim): Tensor {
  return apply(dimOp, [], { dim })
}

const dimOp: Op<{ dim: Dim }> = {
  name: 'dim',
  infer: () => [{ shape: [], dtype: 'int32' }],
  lower: (e, _inputs, { attributes: { dim } }) => [
    typeof dim === 'number'
      ? e.constant({ dtype: 'int32', shape: [], data: Int32Array.of(evaluateDim(dim, new Map())) })
      : e.one('Cast', [e.dim(dim)], { to: ONNX_TYPES.int32 }),
  ],
}

declare module '../graph.ts' {
  interface Tensor {
    cast(to: DType): Tensor
    reshape(shape: Shape): Tensor
    transpose(permutation?: readonly number[]): Tensor
    swapAxes(a: number, b: number): Tensor
    broadcastTo(shape: Shape): Tensor
    slice(range: { axis: number; start?: Dim; end?: Dim; step?: number }): Tensor
    split(pieces: number | readonly number[], axis?: number): readonly Tensor[]
    expandDims(axis: number): Tensor
    squeeze(axis: number): Tensor
  }
}

addMethods({
  cast(to: DType) {
    return cast(this, to)
  },
  reshape(shape: Shape) {
    return reshape(this, shape)
  },
  transpose(permutation?: readonly number[]) {
    return transpose(this, permutation)
  },
  swapAxes(a: number, b: number) {
    return swapAxes(this, a, b)
  },
  broadcastTo(shape: Shape) {
    return broadcastTo(this, shape)
  },
  slice(range: { axis: number; start?: Dim; end?: Dim; step?: number }) {
    return slice(this, range)
  },
  split(pieces: number | readonly number[], axis?: number) {
    return split(this, pieces, axis)
  },
  expandDims(axis: number) {
    return expandDims(this, axis)
  },
  squeeze(axis: number) {
    return squeeze(this, axis)
  },
})
