import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, checkOp, integers, property, seeds, shapes, shapesWithAxis, uniform } from './check.ts'
import { get, line, mapLines, type Nd, nd, replaceAt } from './reference.ts'

const wrap = (i: number, size: number): number => (i < 0 ? i + size : i)

/** Distinct positions along an axis, shuffled anew on every line. */
function permutations(shape: readonly number[], at: number, count: number, seed: number): t.TensorData {
  const keys: Nd = { shape, data: Float64Array.from(uniform(shape, seed).data as Float32Array) }
  const order = mapLines(keys, at, count, (values) => sortedOrder(values, false).slice(0, count))
  return t.tensorData('int32', order.shape, Array.from(order.data))
}

const sortedOrder = (values: readonly number[], descending: boolean): number[] =>
  [...values.keys()].sort((a, b) => (descending ? values[b] - values[a] : values[a] - values[b]) || a - b)

/** x with updates set or added at positions along an axis. */
function scattered(x: Nd, indices: Nd, updates: Nd, at: number, add: boolean): Nd {
  const result = { shape: x.shape, data: Float64Array.from(x.data) }
  nd(indices.shape, (index) => {
    const target = replaceAt(index, at, wrap(get(indices, index), x.shape[at]))
    const offset = target.reduce((sum, i, axis) => sum * x.shape[axis] + i, 0)
    result.data[offset] = (add ? result.data[offset] : 0) + get(updates, index)
    return 0
  })
  return result
}

describe('gather', () => {
  it('picks slices of any axis by positions of any rank, from either end; its gradient adds up repeats', () =>
    property(
      fc.tuple(shapesWithAxis(1, 3), shapes(0, 2, 9), seeds),
      ([{ shape, axis, at }, picked, seed]) => {
        const size = shape[at]
        return checkGradient({
          inputs: { x: uniform(shape, seed), indices: integers(picked, seed, -size, size - 1) },
          fn: ({ x, indices }) => ({ y: t.gather(x.mul(x), indices, axis) }),
          reference: ({ x, indices }) => ({
            y: nd([...shape.slice(0, at), ...picked, ...shape.slice(at + 1)], (i) => {
              const position = get(indices, i.slice(at, at + picked.length))
              return get(x, [...i.slice(0, at), wrap(position, size), ...i.slice(at + picked.length)]) ** 2
            }),
          }),
        })
      },
      25,
    ))

  it('is the embedding of ids in a table', () =>
    checkGradient({
      inputs: { table: uniform([5, 3], 1), ids: t.tensorData('int32', [2, 2], [4, 0, 4, 2]) },
      fn: ({ table, ids }) => ({ y: t.embedding(table, ids) }),
      reference: ({ table, ids }) => ({ y: nd([2, 2, 3], ([b, s, f]) => get(table, [get(ids, [b, s]), f])) }),
    }))
})

describe('takeAlongAxis and the scatters', () => {
  it('read and write one element a position', () =>
    property(
      fc.tuple(shapesWithAxis(1, 3), fc.integer({ min: 1, max: 4 }), seeds),
      ([{ shape, axis, at }, count, seed]) => {
        const size = shape[at]
        const some = replaceAt(shape, at, count)
        const few = replaceAt(shape, at, Math.min(count, size))
        return checkGradient({
          inputs: {
            x: uniform(shape, seed),
            indices: integers(some, seed, -size, size - 1),
            distinct: permutations(shape, at, Math.min(count, size), seed),
            updates: uniform(some, seed + 1),
            others: uniform(few, seed + 2),
          },
          fn: ({ x, indices, distinct, updates, others }) => ({
            taken: t.takeAlongAxis(x.mul(x), indices, axis),
            added: t.scatterAddAlongAxis(x, indices, updates.mul(updates), axis),
            replaced: t.scatterAlongAxis(x.mul(x), distinct, others, axis),
          }),
          reference: ({ x, indices, distinct, updates, others }) => {
            const squares = { shape, data: x.data.map((v) => v * v) }
            return {
              taken: nd(some, (i) => get(squares, replaceAt(i, at, wrap(get(indices, i), size)))),
              added: scattered(x, indices, { ...updates, data: updates.data.map((v) => v * v) }, at, true),
              replaced: scattered(squares, distinct, others, at, false),
            }
          },
        })
      },
      25,
    ))

  it('scatterAddRows adds whole rows, repeats too', () =>
    property(fc.tuple(shapes(1, 3), shapes(0, 2, 9), seeds), ([shape, picked, seed]) =>
      checkGradient({
        inputs: {
          x: uniform(shape, seed),
          indices: integers(picked, seed, 0, shape[0] - 1),
          updates: uniform([...picked, ...shape.slice(1)], seed + 1),
        },
        fn: ({ x, indices, updates }) => ({ y: t.scatterAddRows(x, indices, updates.mul(updates)) }),
        reference: ({ x, indices, updates }) => {
          const data = Float64Array.from(x.data)
          const row = data.length / shape[0]
          indices.data.forEach((target, i) => {
            for (let j = 0; j < row; j++) data[target * row + j] += updates.data[i * row + j] ** 2
          })
          return { y: { shape, data } }
        },
      }),
    ))
})

describe('topK and sort', () => {
  it('give elements in order with their positions, and send gradients back there', () =>
    property(fc.tuple(shapesWithAxis(), fc.nat(), seeds), ([{ shape, axis, at }, n, seed]) => {
      const k = 1 + (n % shape[at])
      return checkGradient({
        inputs: { x: uniform(shape, seed) },
        fn: ({ x }) => {
          const [top, bottom] = [t.topK(x, k, { axis }), t.topK(x, k, { axis, largest: false })]
          const sorted = t.sort(x, { axis, descending: true })
          return { top: top.values, bottom: bottom.values.mul(bottom.values), sorted: sorted.values }
        },
        reference: ({ x }) => {
          const ordered = (count: number, descending: boolean) =>
            mapLines(x, at, count, (values) =>
              sortedOrder(values, descending)
                .slice(0, count)
                .map((i) => values[i]),
            )
          const bottom = ordered(k, false)
          return {
            top: ordered(k, true),
            bottom: { ...bottom, data: bottom.data.map((v) => v * v) },
            sorted: ordered(shape[at], true),
          }
        },
      })
    }))

  it('among equals the first comes first', () =>
    property(fc.tuple(shapesWithAxis(), seeds), ([{ shape, axis, at }, seed]) =>
      checkOp({
        inputs: { x: integers(shape, seed, 0, 2) },
        fn: ({ x }) => {
          const rising = t.sort(x.cast('float32'), { axis })
          return { rising: rising.indices, falling: t.sort(x, { axis, descending: true }).indices }
        },
        reference: ({ x }) => ({
          rising: mapLines(x, at, shape[at], (values) => sortedOrder(values, false)),
          falling: mapLines(x, at, shape[at], (values) => sortedOrder(values, true)),
        }),
      }),
    ))
})

describe('oneHot, at and takeRows', () => {
  it('mark the label, and take one slice from either end', () =>
    property(fc.tuple(shapesWithAxis(1, 3), fc.nat(), seeds), ([{ shape, axis, at }, n, seed]) => {
      const position = (n % (2 * shape[at])) - shape[at]
      return checkGradient({
        inputs: { x: uniform(shape, seed), labels: integers(shape, seed, -1, 4) },
        fn: ({ x, labels }) => ({ y: t.at(x.mul(x), axis, position), hot: t.oneHot(labels, 4) }),
        reference: ({ x, labels }) => ({
          y: nd(
            shape.filter((_, i) => i !== at),
            (i) => line(x, [...i.slice(0, at), 0, ...i.slice(at)], at).at(position)! ** 2,
          ),
          hot: nd([...shape, 4], (i) => +(get(labels, i.slice(0, -1)) === i[i.length - 1])),
        }),
        named: { x: [at] },
      })
    }))

  it('take positions counted through all sequences', () =>
    checkGradient({
      inputs: { x: uniform([3, 4, 2], 1), positions: t.tensorData('int32', [4], [0, 11, 5, 1]) },
      fn: ({ x, positions }) => ({ y: t.takeRows(x, positions) }),
      reference: ({ x, positions }) => ({
        y: nd([4, 2], ([row, f]) =>
          get(x, [Math.floor(Number(positions.data[row]) / 4), Number(positions.data[row]) % 4, f]),
        ),
      }),
      named: { x: [2] },
    }))
})

describe('the rules of index ops', () => {
  const [x, i] = [t.input('x', [2, 3]), t.input('i', [2, 2], 'int32')]
  it.each<[string, () => unknown, string]>([
    ['positions that are floats', () => t.gather(x, x), 'gather: positions must be int32, got float32'],
    [
      'positions of another rank',
      () => t.takeAlongAxis(x, i.reshape([4])),
      'takeAlongAxis: [4] must have the rank of [2, 3] (axis 1)',
    ],
    [
      'more lines than there are',
      () => t.takeAlongAxis(x, i, 0),
      'takeAlongAxis: positions [2, 2] must match [2, 3] on every axis but 0',
    ],
    ['more elements than there are', () => t.topK(x, 4), 'topK: the 4 first of axis 1 were asked of [2, 3]'],
    [
      'updates of another shape',
      () => t.scatterAddRows(x, i, x),
      'scatterAddRows: updates must be [2, 2, 3], got [2, 3]',
    ],
    [
      'updates that do not match their positions',
      () => t.scatterAddAlongAxis(x, i, x),
      'scatterAlongAxis: positions [2, 2] and updates [2, 3] must match and have the rank of [2, 3]',
    ],
  ])('refuse %s in one sentence', (_name, call, message) => {
    expect(call).toThrow(message)
  })
})
