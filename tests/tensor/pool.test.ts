import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  adaptiveAveragePool,
  averagePool,
  globalAveragePool,
  input,
  maxPool,
  type Padding,
  tensorData,
} from '../../src/tensor/index.ts'
import { checkGradient, checkSecondGradient, fractions, property, seeds, uniform } from './check.ts'
import { get, type Nd, nd, total } from './reference.ts'

interface Geometry {
  kernel: [number, number]
  stride: [number, number]
  /** [top, left, bottom, right] */
  pads: [number, number, number, number]
}

const sides = ([top, left, bottom, right]: Geometry['pads']): Padding => ({ top, left, bottom, right })

/** What `f` makes of the elements that every window covers. */
function pool(x: Nd, { kernel, stride, pads }: Geometry, f: (values: number[]) => number): Nd {
  const span = (d: 0 | 1) => Math.floor((x.shape[d + 2] + pads[d] + pads[d + 2] - kernel[d]) / stride[d]) + 1
  return nd([x.shape[0], x.shape[1], span(0), span(1)], ([b, c, i, j]) => {
    const values: number[] = []
    for (let u = 0; u < kernel[0]; u++) {
      for (let v = 0; v < kernel[1]; v++) {
        const [row, column] = [i * stride[0] + u - pads[0], j * stride[1] + v - pads[1]]
        const inside = row >= 0 && row < x.shape[2] && column >= 0 && column < x.shape[3]
        if (inside) values.push(get(x, [b, c, row, column]))
      }
    }
    return f(values)
  })
}

/** Different numbers at least 0.1 apart, so that small steps do not change which is largest. */
function apart(shape: readonly number[], seed: number) {
  const next = fractions(seed)
  const ranks = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ({ i, key: next() }))
  ranks.sort((a, b) => a.key - b.key)
  const data = new Float32Array(ranks.length)
  ranks.forEach(({ i }, rank) => {
    data[i] = rank * 0.1 - 1
  })
  return tensorData('float32', shape, data)
}

const pair = (min: number, max: number): fc.Arbitrary<[number, number]> =>
  fc.tuple(fc.integer({ min, max }), fc.integer({ min, max }))

const cases = fc
  .record({
    seed: seeds,
    batch: fc.integer({ min: 1, max: 2 }),
    picture: pair(2, 5),
    kernel: pair(1, 3),
    stride: pair(1, 3),
  })
  .chain((fixed) =>
    fc
      .tuple(...[0, 1, 0, 1].map((d) => fc.nat(fixed.kernel[d] - 1)))
      .map((pads) => ({ ...fixed, pads: pads as Geometry['pads'] })),
  )
  .filter(({ picture, kernel, pads }) => [0, 1].every((d) => picture[d] + pads[d] + pads[d + 2] >= kernel[d]))

describe('pooling', () => {
  it('maxPool takes the largest element of every window, and its gradient goes there', () =>
    property(cases, ({ seed, batch, picture, ...geometry }) =>
      checkSecondGradient({
        inputs: { x: apart([batch, 2, ...picture], seed) },
        fn: ({ x }) => ({ y: maxPool(x, { ...geometry, padding: sides(geometry.pads) }) }),
        reference: ({ x }) => ({ y: pool(x, geometry, (values) => Math.max(...values)) }),
      }),
    ))

  it('maxPool gives the gradient of equal maxima to the first', () =>
    checkGradient({
      inputs: { x: tensorData('float32', [1, 1, 2, 4], [1, 3, 2, 2, 3, 3, 2, 2]) },
      fn: ({ x }) => ({ y: maxPool(x, { kernel: 2 }) }),
      // The reference moves with the first maximum alone: row by row, 3 at (0, 1) and 2 at (0, 2).
      reference: ({ x }) => ({ y: nd([1, 1, 1, 2], ([, , , j]) => get(x, [0, 0, 0, j + 1])) }),
    }))

  it('averagePool divides by the window, or by the elements that it covers', () =>
    property(cases, ({ seed, batch, picture, ...geometry }) =>
      checkSecondGradient({
        inputs: { x: uniform([batch, 2, ...picture], seed) },
        fn: ({ x }) => {
          const options = { ...geometry, padding: sides(geometry.pads) }
          return {
            withPadding: averagePool(x, options),
            without: averagePool(x, { ...options, countIncludePad: false }),
          }
        },
        reference: ({ x }) => ({
          withPadding: pool(x, geometry, (values) => total(values) / (geometry.kernel[0] * geometry.kernel[1])),
          without: pool(x, geometry, (values) => total(values) / values.length),
        }),
      }),
    ))

  it('averagePool over tiles and global pooling have their gradients', () =>
    checkSecondGradient({
      inputs: { x: uniform([2, 3, 4, 6], 8) },
      fn: ({ x }) => ({ tiles: averagePool(x, { kernel: [2, 3] }), all: globalAveragePool(x) }),
      reference: ({ x }) => {
        const mean = (kernel: [number, number]) =>
          pool(x, { kernel, stride: kernel, pads: [0, 0, 0, 0] }, (values) => total(values) / values.length)
        return { tiles: mean([2, 3]), all: mean([4, 6]) }
      },
    }))

  it('adaptiveAveragePool cuts an axis into the windows asked for', () =>
    property(fc.record({ seed: seeds, picture: pair(1, 7), size: pair(1, 4) }), ({ seed, picture, size }) =>
      checkGradient({
        inputs: { x: uniform([1, 2, ...picture], seed) },
        named: { x: [2, 3] },
        fn: ({ x }) => ({ y: adaptiveAveragePool(x, size) }),
        reference: ({ x }) => ({
          y: nd([1, 2, ...size], ([b, c, i, j]) => {
            const window = (at: number, d: 0 | 1) => [
              Math.floor((at * picture[d]) / size[d]),
              Math.ceil(((at + 1) * picture[d]) / size[d]),
            ]
            const [[top, bottom], [left, right]] = [window(i, 0), window(j, 1)]
            let sum = 0
            for (let row = top; row < bottom; row++)
              for (let column = left; column < right; column++) sum += get(x, [b, c, row, column])
            return sum / ((bottom - top) * (right - left))
          }),
        }),
      }),
    ))

  it('says in one sentence what does not fit', () => {
    const x = input('x', [1, 2, 4, 4])
    expect(() => maxPool(x, { kernel: 5 })).toThrow(/a window of \[5,5\] does not fit \[1, 2, 4, 4\]/)
    expect(() => maxPool(x, { kernel: 2, padding: 2 })).toThrow(/padding \[2,2,2,2\] less than the kernel/)
    expect(() => averagePool(x, { kernel: 0 })).toThrow(/must be positive integers/)
    expect(() => averagePool(input('y', [2, 4, 4]), { kernel: 2 })).toThrow(/must be float32 \[batch, channels/)
  })
})
