import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as t from '../../src/tensor/index.ts'
import {
  booleans,
  checkGradient,
  checkOp,
  checkSecondGradient,
  integers,
  property,
  seeds,
  shapes,
  shapesWithAxis,
  uniform,
} from './check.ts'
import { get, mapLines, type Nd, nd, replaceAt } from './reference.ts'

const shaped = (x: Nd, shape: readonly number[]): Nd => ({ shape, data: x.data })
const permuted = (x: Nd, permutation: readonly number[]): Nd =>
  nd(
    permutation.map((axis) => x.shape[axis]),
    (i) => {
      const source = new Array<number>(i.length)
      permutation.forEach((axis, k) => {
        source[axis] = i[k]
      })
      return get(x, source)
    },
  )

const shapeWithPermutation = shapes(0, 4).chain((shape) =>
  fc
    .shuffledSubarray(
      shape.map((_, i) => i),
      { minLength: shape.length, maxLength: shape.length },
    )
    .map((permutation) => ({ shape, permutation })),
)

describe('reshape', () => {
  it('keeps the numbers in order under any grouping of the axes, with one size left to be found', () =>
    property(
      fc.tuple(shapes(1, 4), fc.nat(), fc.nat(), seeds),
      ([shape, from, count, seed]) => {
        const start = from % shape.length
        const end = start + 1 + (count % (shape.length - start))
        const merged = [...shape.slice(0, start), t.sizeOf(shape.slice(start, end)), ...shape.slice(end)]
        return checkGradient({
          inputs: { x: uniform(shape, seed) },
          fn: ({ x }) => {
            const one = x.reshape([...x.shape.slice(0, start), -1, ...x.shape.slice(end)])
            return { merged: one, back: one.reshape(x.shape).mul(2), flat: x.mul(3).reshape([-1]) }
          },
          reference: ({ x }) => ({
            merged: shaped(x, merged),
            back: { shape, data: x.data.map((v) => 2 * v) },
            flat: { shape: [x.data.length], data: x.data.map((v) => 3 * v) },
          }),
        })
      },
      25,
    ))

  it('adds and removes axes of size 1 anywhere', () =>
    property(fc.tuple(shapes(0, 3), fc.nat(), seeds), ([shape, position, seed]) => {
      const axis = (position % (2 * shape.length + 2)) - shape.length - 1
      const at = axis < 0 ? axis + shape.length + 1 : axis
      return checkGradient({
        inputs: { x: uniform(shape, seed) },
        fn: ({ x }) => ({ wide: x.expandDims(axis), same: x.mul(x).expandDims(axis).squeeze(at) }),
        reference: ({ x }) => ({
          wide: shaped(x, [...shape.slice(0, at), 1, ...shape.slice(at)]),
          same: { shape, data: x.data.map((v) => v * v) },
        }),
      })
    }))

  it('handles dimensions that turn out to be 0 when the graph runs', async () => {
    for (const past of [0, 3]) {
      await checkOp({
        inputs: { x: uniform([past, 2, 3], 1), y: uniform([2, 3], 2) },
        fn: ({ x, y }) => ({
          merged: x.reshape([x.shape[0], t.mulDims(x.shape[1], x.shape[2])]),
          flat: x.reshape([-1, x.shape[2]]),
          swapped: x.transpose([1, 0, 2]).reshape([x.shape[1], t.mulDims(x.shape[0], x.shape[2])]),
          halves: x.reshape([-1, 1, x.shape[1], x.shape[2]]),
          appended: t.concat([x, y.expandDims(0)], 0).sum({ axis: 0 }),
          sum: x.sum({ axis: 0 }),
        }),
        reference: ({ x, y }) => {
          const swapped = permuted(x, [1, 0, 2])
          const sum = nd([2, 3], ([i, j]) => {
            let value = 0
            for (let k = 0; k < past; k++) value += get(x, [k, i, j])
            return value
          })
          return {
            merged: shaped(x, [past, 6]),
            flat: shaped(x, [past * 2, 3]),
            swapped: shaped(swapped, [2, past * 3]),
            halves: shaped(x, [past, 1, 2, 3]),
            appended: nd([2, 3], (i) => get(sum, i) + get(y, i)),
            sum,
          }
        },
      })
    }
  })
})

describe('axes', () => {
  it('are permuted, swapped and reversed by transpose', () =>
    property(fc.tuple(shapeWithPermutation, seeds), ([{ shape, permutation }, seed]) => {
      const reversed = shape.map((_, i) => shape.length - 1 - i)
      const swap = shape.map((_, i) => i)
      if (shape.length > 0) [swap[0], swap[shape.length - 1]] = [shape.length - 1, 0]
      return checkGradient({
        inputs: { x: uniform(shape, seed) },
        fn: ({ x }) => ({
          permuted: x.transpose(permutation),
          reversed: x.mul(x).transpose(),
          ...(shape.length > 0 ? { swapped: x.swapAxes(0, -1) } : {}),
        }),
        reference: ({ x }) => ({
          permuted: permuted(x, permutation),
          reversed: permuted({ shape, data: x.data.map((v) => v * v) }, reversed),
          ...(shape.length > 0 ? { swapped: permuted(x, swap) } : {}),
        }),
      })
    }))

  it('of size 1 are stretched by broadcastTo, whose gradient sums', () =>
    property(
      fc.tuple(shapes(0, 4), fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), fc.nat({ max: 4 }), seeds),
      ([shape, ones, lead, seed]) =>
        checkSecondGradient({
          inputs: {
            x: uniform(shape.map((dim, i) => (ones[i] ? 1 : dim)).slice(Math.min(lead, shape.length)), seed),
            like: uniform(shape, seed + 1),
          },
          fn: ({ x, like }) => ({ y: t.broadcastTo(x.mul(x), like.shape).mul(like) }),
          reference: ({ x, like }) => ({ y: nd(like.shape, (i) => get(x, i) ** 2 * get(like, i)) }),
        }),
    ))

  it('are reversed by flip and turned by roll', () =>
    property(
      fc.tuple(shapesWithAxis(), fc.integer({ min: -9, max: 9 }), seeds),
      ([{ shape, axis, at }, shift, seed]) => {
        const size = shape[at]
        return checkGradient({
          inputs: { x: uniform(shape, seed) },
          fn: ({ x }) => ({ flip: t.flip(x, axis), roll: t.roll(x, shift, axis) }),
          reference: ({ x }) => ({
            flip: mapLines(x, at, size, (values) => values.toReversed()),
            roll: mapLines(x, at, size, (values) => values.map((_, i) => values[(((i - shift) % size) + size) % size])),
          }),
          named: { x: [at] },
        })
      },
    ))
})

/** JavaScript's own slice, and every step-th element of it, forwards or backwards. */
const stepped = (values: readonly number[], start: number, end: number, step: number): number[] => {
  const kept: number[] = []
  for (let i = start; step > 0 ? i < end : i > end; i += step) kept.push(values[i])
  return kept
}

describe('slice', () => {
  const ranges = shapesWithAxis().chain(({ shape, axis, at }) =>
    fc
      .tuple(fc.nat({ max: shape[at] - 1 }), fc.nat({ max: shape[at] - 1 }), fc.constantFrom(1, 2, 3, -1, -2, -3))
      .map(([a, b, step]) => {
        const [low, high] = [Math.min(a, b), Math.max(a, b)]
        return step > 0
          ? { shape, axis, at, start: low, end: high + 1, step }
          : { shape, axis, at, start: high, end: low - 1, step }
      }),
  )
  it('takes every step-th element either way, and its gradient puts each back where it was', () =>
    property(
      fc.tuple(ranges, seeds),
      ([{ shape, axis, at, start, end, step }, seed]) =>
        checkSecondGradient({
          inputs: { x: uniform(shape, seed) },
          fn: ({ x }) => ({
            y: t.slice(x.mul(x), { axis, start, step, ...(end < 0 ? {} : { end }) }),
            whole: t.slice(x, { axis, step }),
          }),
          reference: ({ x }) => {
            const squares = { shape, data: x.data.map((v) => v * v) }
            const last = shape[at]
            const all = step > 0 ? [0, last] : [last - 1, -1]
            const length = (a: number, b: number) => stepped(new Array(last).fill(0), a, b, step).length
            return {
              y: mapLines(squares, at, length(start, end), (values) => stepped(values, start, end, step)),
              whole: mapLines(x, at, length(all[0], all[1]), (values) => stepped(values, all[0], all[1], step)),
            }
          },
        }),
      40,
    ))

  it('counts negative positions from the end, as arrays do', () =>
    checkGradient({
      inputs: { x: uniform([5, 4], 3) },
      fn: ({ x }) => ({
        tail: t.slice(x, { axis: 0, start: -2 }),
        head: t.slice(x, { axis: 0, end: -1 }),
        middle: t.slice(x, { axis: 1, start: -3, end: -1 }),
      }),
      reference: ({ x }) => ({
        tail: mapLines(x, 0, 2, (values) => values.slice(-2)),
        head: mapLines(x, 0, 4, (values) => values.slice(0, -1)),
        middle: mapLines(x, 1, 2, (values) => values.slice(-3, -1)),
      }),
    }))
})

describe('joining and cutting', () => {
  it("concat and split are each other's inverse, and each other's gradient", () =>
    property(
      fc.tuple(shapesWithAxis(), fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 }), seeds),
      ([{ shape, axis, at }, sizes, seed]) => {
        const whole = replaceAt(
          shape,
          at,
          sizes.reduce((a, b) => a + b),
        )
        const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + b, 0))
        return checkGradient({
          inputs: { x: uniform(whole, seed), extra: uniform(shape, seed + 1) },
          fn: ({ x, extra }) => {
            const parts = t.split(x, sizes, axis)
            return {
              ...Object.fromEntries(parts.map((part, i) => [`part ${i}`, part.mul(part)])),
              joined: t.concat([...parts, extra].toReversed(), axis),
            }
          },
          reference: ({ x, extra }) => {
            const part = (i: number) =>
              mapLines(x, at, sizes[i], (values) => values.slice(starts[i], starts[i] + sizes[i]))
            const pieces = [...sizes.keys()].map(part)
            const size = whole[at] + shape[at]
            const joined = nd(replaceAt(shape, at, size), (index) => {
              let offset = index[at]
              for (const piece of [...pieces, extra].toReversed()) {
                if (offset < piece.shape[at]) return get(piece, replaceAt(index, at, offset))
                offset -= piece.shape[at]
              }
              return Number.NaN
            })
            return {
              ...Object.fromEntries(pieces.map((p, i) => [`part ${i}`, { ...p, data: p.data.map((v) => v * v) }])),
              joined,
            }
          },
          named: { x: [at] },
        })
      },
      20,
    ))

  it('one piece of a split may be used alone', () =>
    checkGradient({
      inputs: { x: uniform([2, 6], 5) },
      fn: ({ x }) => ({ first: t.split(x, 3)[0], second: t.split(x, [1, 2, 3], 1)[1] }),
      reference: ({ x }) => ({
        first: mapLines(x, 1, 2, (values) => values.slice(0, 2)),
        second: mapLines(x, 1, 2, (values) => values.slice(1, 3)),
      }),
      named: { x: [1] },
    }))

  it('stack makes a new axis anywhere', () =>
    property(fc.tuple(shapes(0, 3), fc.nat(), seeds), ([shape, position, seed]) => {
      const axis = (position % (2 * shape.length + 2)) - shape.length - 1
      const at = axis < 0 ? axis + shape.length + 1 : axis
      return checkGradient({
        inputs: { a: uniform(shape, seed), b: uniform(shape, seed + 1), c: uniform(shape, seed + 2) },
        fn: ({ a, b, c }) => ({ y: t.stack([a, b, c], axis) }),
        reference: ({ a, b, c }) => ({
          y: nd([...shape.slice(0, at), 3, ...shape.slice(at)], (i) =>
            get(
              [a, b, c][i[at]],
              i.filter((_, k) => k !== at),
            ),
          ),
        }),
      })
    }))
})

describe('pad', () => {
  const source = { constant: () => -1, edge: clampTo, reflect: mirror }
  function clampTo(i: number, size: number): number {
    return Math.min(Math.max(i, 0), size - 1)
  }
  function mirror(i: number, size: number): number {
    const j = i < 0 ? -i : i
    return j < size ? j : 2 * (size - 1) - j
  }
  for (const mode of ['constant', 'edge', 'reflect'] as const) {
    it(`adds a border (${mode}), and its gradient folds the border back`, () =>
      property(
        fc.tuple(
          shapes(1, 4, 30),
          fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 3 })), { minLength: 4, maxLength: 4 }),
          seeds,
        ),
        ([shape, wanted, seed]) => {
          const pads = shape.map((dim, i): [number, number] =>
            mode === 'reflect' ? [Math.min(wanted[i][0], dim - 1), Math.min(wanted[i][1], dim - 1)] : wanted[i],
          )
          return checkSecondGradient({
            inputs: { x: uniform(shape, seed) },
            fn: ({ x }) => ({ y: t.pad(x.mul(x), pads, mode, 1.5) }),
            reference: ({ x }) => ({
              y: nd(
                shape.map((dim, i) => pads[i][0] + dim + pads[i][1]),
                (index) => {
                  const from = index.map((i, axis) => i - pads[axis][0])
                  const outside = from.some((i, axis) => i < 0 || i >= shape[axis])
                  if (outside && mode === 'constant') return 1.5
                  const at = outside ? from.map((i, axis) => source[mode](i, shape[axis])) : from
                  return get(x, at) ** 2
                },
              ),
            }),
          })
        },
        15,
      ))
  }

  it('fills integers of every width with the value asked for', () =>
    checkOp({
      inputs: { x: integers([3], 1, -4, 4) },
      fn: ({ x }) => ({
        int32: t.pad(x, [[1, 2]], 'constant', 9),
        int64: t.pad(x.cast('int64'), [[1, 2]], 'constant', 9),
      }),
      reference: ({ x }) => {
        const y = nd([6], ([i]) => (i < 1 || i > 3 ? 9 : x.data[i - 1]))
        return { int32: y, int64: y }
      },
    }))
})

describe('made from nothing', () => {
  it('full, zerosLike, arange and dimTensor follow the sizes of the run', () =>
    property(fc.tuple(shapes(1, 3), seeds), ([shape, seed]) =>
      checkOp({
        inputs: { x: uniform(shape, seed), b: booleans(shape, seed) },
        fn: ({ x, b }) => ({
          full: t.full(x.shape, 2.5),
          ints: t.full([...x.shape, 2], -3, 'int32'),
          zeros: t.zerosLike(x),
          range: t.arange(x.shape[0]),
          longer: t.arange(t.addDims(t.mulDims(x.shape[0], 2), 1)),
          size: t.dimTensor(t.sizeOfShape(x.shape)),
          half: t.dimTensor(t.floorDivDim(t.addDims(x.shape[0], 3), 2)),
          cast: b.cast('int32').add(1),
        }),
        reference: ({ x, b }) => ({
          full: nd(shape, () => 2.5),
          ints: nd([...shape, 2], () => -3),
          zeros: nd(shape, () => 0),
          range: nd([shape[0]], ([i]) => i),
          longer: nd([2 * shape[0] + 1], ([i]) => i),
          size: nd([], () => x.data.length),
          half: nd([], () => Math.floor((shape[0] + 3) / 2)),
          cast: { shape, data: b.data.map((v) => v + 1) },
        }),
      }),
    ))
})

describe('the rules of shape ops', () => {
  const x = t.input('x', [2, 3])
  const s = t.input(
    's',
    ['batch', 4].map((dim) => (typeof dim === 'string' ? t.symbol(dim) : dim)),
  )
  it('each say in one sentence what they expect and what they got', () => {
    const message = (call: () => unknown): string => {
      try {
        call()
      } catch (error) {
        return (error as Error).message
      }
      return 'no error'
    }
    expect([
      message(() => x.reshape([4, 2])),
      message(() => x.reshape([4, -1])),
      message(() => s.reshape([3, -1])),
      message(() => x.reshape([-1, -1])),
      message(() => x.transpose([0, 0])),
      message(() => x.transpose([0, 2])),
      message(() => x.broadcastTo([2, 4])),
      message(() => x.slice({ axis: 1, start: 2, end: 5 })),
      message(() => x.slice({ axis: 1, start: 0, step: 0 })),
      message(() => x.slice({ axis: 1, start: 4, step: -1 })),
      message(() => x.split(2)),
      message(() => x.split([1, 1])),
      message(() => t.concat([x, s], 0)),
      message(() => t.concat([])),
      message(() => t.stack([])),
      message(() => t.pad(x, [[1, 1]])),
      message(() =>
        t.pad(
          x,
          [
            [2, 0],
            [0, 0],
          ],
          'reflect',
        ),
      ),
      message(() => x.expandDims(4)),
      message(() => x.squeeze(0)),
    ]).toMatchInlineSnapshot(`
      [
        "reshape: [2, 3] has 6 elements, [4, 2] has 8",
        "reshape: cannot infer -1 in [4, -1] from [2, 3]",
        "reshape: cannot infer -1 in [3, -1] from [batch, 4]",
        "reshape: cannot infer -1 in [-1, -1] from [2, 3]",
        "transpose: [0,0] is not a permutation of the 2 axes of [2, 3]",
        "transpose: axis 2 is outside a tensor of 2 dimensions",
        "broadcastTo: [2, 3] does not stretch to [2, 4]",
        "slice: 2:5:1 is outside axis 1 of [2, 3]",
        "slice: the step must be a whole number other than 0, got 0",
        "slice: 4:-1:-1 is outside axis 1 of [2, 3]",
        "split: axis 1 of [2, 3] does not cut into 2 equal pieces",
        "split: sizes [1,1] do not add up to axis 1 of [2, 3]",
        "concat: all but axis 0 must match, got float32 [2, 3] and float32 [batch, 4]",
        "concat: needs at least one tensor",
        "stack: needs at least one tensor",
        "pad: needs a pair for each axis of [2, 3], got 1",
        "pad: [2,0] cannot be mirrored within axis 0 of [2, 3]",
        "expandDims: axis 4 is outside a tensor of 3 dimensions",
        "squeeze: axis 0 of [2, 3] is not 1",
      ]
    `)
  })
})
