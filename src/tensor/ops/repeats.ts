import { type Dim, sizeOfShape } from '../dim.ts'
import type { Emitter } from '../emitter.ts'
import type { OpNode } from '../graph.ts'

/**
 * Scattered sums where the backend adds in no fixed order. A GPU adds atomically, as its threads happen to arrive, and
 * a sum of floats depends on that. So every update is first summed with the others of its position, by a product with
 * the matrix that says which positions are equal; repeats then all write the one value, and the order is nobody's
 * business. (Where one update is not finite, the sums of its whole piece are not.)
 */

const [FLOAT, INT64] = [1, 7]

/** Updates that are compared with each other at a time: the matrix has as many rows and columns. */
const PIECE = 2048

/** scatterAddRows(x, indices, updates) with the same bits in every run. */
export function scatterRowsInOneOrder(e: Emitter, [x, indices, updates]: readonly string[], node: OpNode): string {
  const [table, positions] = node.inputs
  const [rows, ...rest] = table.shape
  const count = sizeOfShape(positions.shape)
  const width = sizeOfShape(rest)
  const ids = e.one('Reshape', [fromTheFront(e, indices, rows, positions), e.shape([count])])
  const values = e.one('Reshape', [updates, e.shape([count, width])])
  let sum = e.one('Reshape', [x, e.shape([rows, width])])
  for (const [start, end] of pieces(count)) {
    const [id, value] = [ids, values].map((name) => (end === undefined ? name : cut(e, name, 0, start, end)))
    const { same, first } = repeatsOf(e, id)
    const total = e.one('Add', [e.one('Gather', [sum, id]), e.one('MatMul', [same, value])])
    sum = e.one('ScatterND', [sum, e.one('Unsqueeze', [id, e.ints([-1])]), e.one('Gather', [total, first])])
  }
  return e.one('Reshape', [sum, e.shape(table.shape)])
}

/** scatterAddAlongAxis(x, indices, updates) with the same bits in every run. */
export function scatterAxisInOneOrder(
  e: Emitter,
  [x, indices, updates]: readonly string[],
  node: OpNode,
  axis: number,
): string {
  const [target, positions] = node.inputs
  const last = target.rank - 1
  const perm = target.shape.map((_, i) => (i === axis ? last : i === last ? axis : i)) // its own inverse
  const turn = (name: string): string => (axis === last ? name : e.one('Transpose', [name], { perm }))
  const ids = turn(fromTheFront(e, indices, target.shape[axis], positions))
  const values = turn(updates)
  let sum = turn(x)
  for (const [start, end] of pieces(positions.shape[axis])) {
    const [id, value] = [ids, values].map((name) => (end === undefined ? name : cut(e, name, last, start, end)))
    const { same, first } = repeatsOf(e, id) // [..., n, n], [..., n]
    const column = e.one('MatMul', [same, e.one('Unsqueeze', [value, e.ints([-1])])])
    const before = e.one('GatherElements', [sum, id], { axis: last })
    const total = e.one('Add', [before, e.one('Squeeze', [column, e.ints([-1])])])
    const shared = e.one('GatherElements', [total, first], { axis: last })
    sum = e.one('ScatterElements', [sum, id, shared], { axis: last })
  }
  return turn(sum)
}

/** Positions as int64 that count from the front, so that equal ones are equal. */
function fromTheFront(e: Emitter, indices: string, size: Dim, { dtype }: { dtype: string }): string {
  const wide = dtype === 'int64' ? indices : e.one('Cast', [indices], { to: INT64 })
  return e.one('Where', [e.one('Less', [wide, e.ints([0])]), e.one('Add', [wide, e.dim(size)]), wide])
}

/** For positions [..., n]: which equal which, as floats [..., n, n], and where each stands first [..., n]. */
function repeatsOf(e: Emitter, positions: string): { same: string; first: string } {
  const equal = e.one('Equal', [
    e.one('Unsqueeze', [positions, e.ints([-1])]),
    e.one('Unsqueeze', [positions, e.ints([-2])]),
  ])
  const same = e.one('Cast', [equal], { to: FLOAT })
  return { same, first: e.one('ArgMax', [same], { axis: -1, keepdims: 0 }) }
}

/** Ranges that cover a count; one without an end where the count is not known or small. */
function pieces(count: Dim): (readonly [start: number, end: number | undefined])[] {
  if (typeof count !== 'number' || count <= PIECE) return [[0, undefined]]
  return Array.from({ length: Math.ceil(count / PIECE) }, (_, i) => [i * PIECE, Math.min(count, (i + 1) * PIECE)])
}

const cut = (e: Emitter, name: string, axis: number, start: number, end: number): string =>
  e.one('Slice', [name, e.ints([start]), e.ints([end]), e.ints([axis])])
