import { type Dim, mulDims, normalizeAxis, type Shape, sameDim, sameShape, showShape, sizeOfShape } from '../dim.ts'
import { MICROSOFT } from '../emitter.ts'
import { apply, applyMany, type Op, type OpNode, type Tensor } from '../graph.ts'
import { add, indicator } from './elementwise.ts'
import { scatterAxisInOneOrder, scatterRowsInOneOrder } from './repeats.ts'
import { arange, cast, expandDims, fillValue, full, reshape, slice, transpose, zerosLike } from './shape.ts'

/** Ops that pick elements by position. Positions are int32. */

function requireIndices(name: string, indices: Tensor): void {
  if (indices.dtype !== 'int32' && indices.dtype !== 'int64') {
    throw new TypeError(`${name}: positions must be int32, got ${indices.dtype}`)
  }
}

const gatherOp: Op<{ axis: number }> = {
  name: 'gather',
  infer: ([x, indices], { axis }) => {
    requireIndices('gather', indices)
    return [{ shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)], dtype: x.dtype }]
  },
  lower: (e, inputs, { inputs: [x, indices], outputs: [y], attributes: { axis } }) => {
    const quantized = e.quantized(x)
    if (!quantized) return [e.one('Gather', inputs, { axis })]
    if (axis !== 0)
      throw new Error(`gather: only rows of a quantised weight can be read, not axis ${axis} of '${inputs[0]}'`)
    const { weight, packed, scales, zeroPoints } = quantized
    const [, columns] = weight.shape
    if (columns % weight.blockSize !== 0) {
      throw new Error(
        `gather: rows of ${columns} in '${inputs[0]}' do not cut into whole blocks of ${weight.blockSize}`,
      )
    }
    const values = e.weightAs(packed, [weight.shape[0], (columns * weight.bits) / 8])
    const perRow = e.weightAs(scales, [weight.shape[0], columns / weight.blockSize])
    const attributes = { bits: weight.bits, block_size: weight.blockSize, gather_axis: axis, quantize_axis: 1 }
    const rows = e.one(
      'GatherBlockQuantized',
      [values, inputs[1], perRow, ...(zeroPoints ? [zeroPoints] : [])],
      attributes,
      MICROSOFT,
    )
    return [indices.rank === 2 ? rows : e.one('Reshape', [rows, e.shape(y.shape)])]
  },
  grad: ({ inputs: [x, indices], attributes: { axis } }, [dy]) => {
    if (!dy) return [undefined, undefined]
    const first =
      axis === 0
        ? dy
        : transpose(dy, [...axes(axis, axis + indices.rank), ...axes(0, axis), ...axes(axis + indices.rank, dy.rank)])
    const order = [axis, ...axes(0, axis), ...axes(axis + 1, x.rank)]
    const rows = scatterAddRows(
      full(
        order.map((i) => x.shape[i]),
        0,
      ),
      indices,
      first,
    )
    return [
      axis === 0
        ? rows
        : transpose(
            rows,
            order.map((_, i) => order.indexOf(i)),
          ),
      undefined,
    ]
  },
}

const axes = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

/** Picks whole slices of an axis: the axis is replaced by the shape of `indices`. Negative positions count from the end. */
export const gather = (x: Tensor, indices: Tensor, axis = 0): Tensor =>
  apply(gatherOp, [x, indices], { axis: normalizeAxis('gather', axis, x.rank) })

/**
 * Looks rows up in a table.
 *
 * @param table - [numEmbeddings, features]
 * @param ids - int32, any shape
 * @returns [...ids, features]
 */
export const embedding = (table: Tensor, ids: Tensor): Tensor => gather(table, ids, 0)

const scatterRowsOp: Op<null> = {
  name: 'scatterAddRows',
  infer: ([x, indices, updates]) => {
    requireIndices('scatterAddRows', indices)
    const expected: Shape = [...indices.shape, ...x.shape.slice(1)]
    if (!sameShape(updates.shape, expected)) {
      throw new RangeError(`scatterAddRows: updates must be ${showShape(expected)}, got ${showShape(updates.shape)}`)
    }
    return [{ shape: x.shape, dtype: x.dtype }]
  },
  lower: (e, inputs, node) => {
    if (!e.scattersInOrder) return [scatterRowsInOneOrder(e, inputs, node as OpNode)]
    const [x, indices, updates] = inputs
    const [table, positions] = node.inputs
    const rest = table.shape.slice(1)
    // Not ScatterND: on several threads its sums lose updates of a row that is named twice. ScatterElements adds one
    // after the other, and wants a position for every element.
    const count = sizeOfShape(positions.shape)
    const shape = e.shape([count, ...rest])
    const column = e.one('Reshape', [indices, e.shape([count, ...rest.map(() => 1)])], { allowzero: 1 })
    const values = positions.rank === 1 ? updates : e.one('Reshape', [updates, shape], { allowzero: 1 })
    const each = rest.length === 0 ? column : e.one('Expand', [column, shape])
    return [e.one('ScatterElements', [x, each, values], { axis: 0, reduction: 'add' })]
  },
  grad: ({ inputs: [, indices] }, [dy]) => [dy, undefined, dy && gather(dy, indices, 0)],
}

/**
 * Adds slices to rows of `x`; a row named twice gets both.
 *
 * @param x - [rows, ...]
 * @param indices - int32 of any shape
 * @param updates - [...indices, ...]
 */
export const scatterAddRows = (x: Tensor, indices: Tensor, updates: Tensor): Tensor =>
  apply(scatterRowsOp, [x, indices, updates], null)

/**
 * a + b for gradients of one tensor. A gradient scattered into zeros is scattered into the other one instead: a table
 * used twice (tied embeddings) then costs no pass over zeros and no sum.
 */
export function addGradients(a: Tensor, b: Tensor): Tensor {
  for (const [scattered, other] of [
    [a, b],
    [b, a],
  ]) {
    const { op, inputs } = scattered.node
    if (op === (scatterRowsOp as Op<unknown>) && fillValue(inputs[0]) === 0) {
      return scatterAddRows(other, inputs[1], inputs[2])
    }
  }
  return add(a, b)
}

const takeOp: Op<{ axis: number }> = {
  name: 'takeAlongAxis',
  infer: ([x, indices], { axis }) => {
    requireIndices('takeAlongAxis', indices)
    if (indices.rank !== x.rank) {
      throw new RangeError(
        `takeAlongAxis: ${showShape(indices.shape)} must have the rank of ${showShape(x.shape)} (axis ${axis})`,
      )
    }
    if (indices.shape.some((dim, i) => i !== axis && !sameDim(dim, x.shape[i]))) {
      throw new RangeError(
        `takeAlongAxis: positions ${showShape(indices.shape)} must match ${showShape(x.shape)} on every axis but ${axis}`,
      )
    }
    return [{ shape: indices.shape, dtype: x.dtype }]
  },
  lower: (e, inputs, { attributes: { axis } }) => [e.one('GatherElements', inputs, { axis })],
  grad: ({ inputs: [x, indices], attributes: { axis } }, [dy]) => [
    dy && scatterAddAlongAxis(zerosLike(x), indices, dy, axis),
    undefined,
  ],
}

/** y[i][j] = x[i][indices[i][j]] for axis 1, and likewise for others. */
export const takeAlongAxis = (x: Tensor, indices: Tensor, axis = -1): Tensor =>
  apply(takeOp, [x, indices], { axis: normalizeAxis('takeAlongAxis', axis, x.rank) })

interface ScatterAttributes {
  readonly axis: number
  readonly reduction: 'add' | 'none'
  /** No position is named twice. */
  readonly distinct: boolean
}

const scatterAddOp: Op<ScatterAttributes> = {
  name: 'scatterAlongAxis',
  infer: ([x, indices, updates]) => {
    requireIndices('scatterAlongAxis', indices)
    if (!sameShape(indices.shape, updates.shape) || indices.rank !== x.rank) {
      throw new RangeError(
        `scatterAlongAxis: positions ${showShape(indices.shape)} and updates ${showShape(updates.shape)} must match and have the rank of ${showShape(x.shape)}`,
      )
    }
    return [{ shape: x.shape, dtype: x.dtype }]
  },
  lower: (e, inputs, node) => {
    const { axis, reduction, distinct } = node.attributes
    const repeats = !distinct && node.inputs[1].shape[axis] !== 1
    if (repeats && !e.scattersInOrder) return [scatterAxisInOneOrder(e, inputs, node as OpNode, axis)]
    return [e.one('ScatterElements', inputs, { axis, reduction })]
  },
  grad: ({ inputs: [, indices, updates], attributes }, [dy]) => {
    if (!dy) return [undefined, undefined, undefined]
    const { axis, reduction } = attributes
    const kept = reduction === 'add' ? dy : apply(scatterAddOp, [dy, indices, zerosLike(updates)], attributes)
    return [kept, undefined, takeAlongAxis(dy, indices, axis)]
  },
}

/**
 * x with updates[i][j] added at [i][indices[i][j]] for axis 1, and likewise for others.
 *
 * @param options.distinct - promises that no position is named twice, which spares a GPU the search for those that are
 */
export const scatterAddAlongAxis = (
  x: Tensor,
  indices: Tensor,
  updates: Tensor,
  axis = -1,
  { distinct = false } = {},
): Tensor =>
  apply(scatterAddOp, [x, indices, updates], {
    axis: normalizeAxis('scatterAlongAxis', axis, x.rank),
    reduction: 'add',
    distinct,
  })

/** x with elements replaced by updates; no position may be named twice. */
export const scatterAlongAxis = (x: Tensor, indices: Tensor, updates: Tensor, axis = -1): Tensor =>
  apply(scatterAddOp, [x, indices, updates], {
    axis: normalizeAxis('scatterAlongAxis', axis, x.rank),
    reduction: 'none',
    distinct: true,
  })

interface TopKAttributes {
  readonly k: Dim
  readonly axis: number
  readonly largest: boolean
}

const topKOp: Op<TopKAttributes> = {
  name: 'topK',
  infer: ([x], { k, axis }) => {
    const size = x.shape[axis]
    if (typeof k === 'number' && (!Number.isInteger(k) || k < 0 || (typeof size === 'number' && k > size))) {
      throw new RangeError(`topK: the ${k} first of axis ${axis} were asked of ${showShape(x.shape)}`)
    }
    const shape = x.shape.map((dim, i) => (i === axis ? k : dim))
    return [
      { shape, dtype: x.dtype },
      { shape, dtype: 'int32' },
    ]
  },
  lower: (e, [x], { attributes: { k, axis, largest } }) => {
    const [values, indices] = e.many('TopK', [x, e.shape([k])], { axis, largest: +largest, sorted: 1 }, { outputs: 2 })
    return [values, e.one('Cast', [indices], { to: 6 })]
  },
  grad: ({ inputs: [x], outputs: [, indices], attributes: { axis } }, [dy]) => [
    dy && scatterAlongAxis(zerosLike(x), indices, dy, axis),
  ],
}

/** The k largest (or smallest) elements of an axis in order, and where they were. */
export function topK(x: Tensor, k: Dim, { axis = -1, largest = true } = {}): { values: Tensor; indices: Tensor } {
  const [values, indices] = applyMany(topKOp, [x], { k, axis: normalizeAxis('topK', axis, x.rank), largest })
  return { values, indices }
}

/** All elements of an axis in order, and where they were. */
export const sort = (x: Tensor, { axis = -1, descending = false } = {}): { values: Tensor; indices: Tensor } =>
  topK(x, x.shape[normalizeAxis('sort', axis, x.rank)], { axis, largest: descending })

/** 1 at the label, 0 elsewhere: [...labels, classes]. */
export const oneHot = (labels: Tensor, classes: number): Tensor =>
  indicator(expandDims(cast(labels, 'int32'), -1).equal(arange(classes)))

/** The one slice at `position` of an axis, with the axis removed. */
export const at = (x: Tensor, axis: number, position: number): Tensor => {
  const i = normalizeAxis('at', axis, x.rank)
  const one = slice(x, position === -1 ? { axis: i, start: -1 } : { axis: i, start: position, end: position + 1 })
  return reshape(
    one,
    x.shape.filter((_, j) => j !== i),
  )
}

/**
 * Some positions of a batch of sequences.
 *
 * @param x - [batch, seq, features]
 * @param positions - int32 [rows], counted through all sequences: position s of sequence b is b · seq + s
 * @returns [rows, features]
 */
export function takeRows(x: Tensor, positions: Tensor): Tensor {
  const [batch, seq, features] = x.shape
  return gather(reshape(x, [mulDims(batch, seq), features]), cast(positions, 'int32'), 0)
}
