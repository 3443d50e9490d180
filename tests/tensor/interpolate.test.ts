import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jit } from '../../src/runtime/compiled.ts'
import { type InterpolationMode, input, interpolate, symbol, tensorData } from '../../src/tensor/index.ts'
import { checkSecondGradient, expectClose, property, seeds, uniform } from './check.ts'
import { get, type Nd, nd } from './reference.ts'

const pair = (max: number): fc.Arbitrary<[number, number]> =>
  fc.tuple(fc.integer({ min: 1, max }), fc.integer({ min: 1, max }))

/** Keys' cubic convolution kernel with A = −0.75. */
function keys(distance: number): number {
  const [a, t] = [-0.75, Math.abs(distance)]
  if (t <= 1) return (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1
  return t < 2 ? a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a : 0
}

/** Resizes one axis by its definition. */
function resize(x: Nd, axis: number, to: number, step: number, mode: InterpolationMode, alignCorners: boolean): Nd {
  const from = x.shape[axis]
  const shape = x.shape.map((dim, i) => (i === axis ? to : dim))
  const at = (index: readonly number[], position: number) =>
    get(
      x,
      index.map((i, k) => (k === axis ? Math.min(Math.max(position, 0), from - 1) : i)),
    )
  return nd(shape, (index) => {
    const i = index[axis]
    if (mode === 'nearest') return at(index, Math.floor(i * step + 1e-9))
    let place = alignCorners ? (to > 1 ? (i * (from - 1)) / (to - 1) : 0) : (i + 0.5) * step - 0.5
    if (mode === 'bilinear') {
      place = Math.max(place, 0)
      const first = Math.floor(place)
      return at(index, first) * (1 - place + first) + at(index, first + 1) * (place - first)
    }
    const first = Math.floor(place)
    return [-1, 0, 1, 2].reduce((sum, k) => sum + at(index, first + k) * keys(place - first - k), 0)
  })
}

describe('interpolate', () => {
  for (const mode of ['nearest', 'bilinear', 'bicubic'] as const) {
    it(`${mode} resizes by its definition, and its gradient is the transpose`, () =>
      property(
        fc.record({ seed: seeds, picture: pair(5), size: pair(6), alignCorners: fc.boolean() }),
        ({ seed, picture, size, alignCorners }) =>
          checkSecondGradient({
            inputs: { x: uniform([2, 1, ...picture], seed) },
            named: { x: [2, 3] },
            fn: ({ x }) => ({ y: interpolate(x, { size, mode, alignCorners }) }),
            reference: ({ x }) => {
              const rows = resize(x, 2, size[0], picture[0] / size[0], mode, alignCorners)
              return { y: resize(rows, 3, size[1], picture[1] / size[1], mode, alignCorners) }
            },
          }),
      ))
  }

  it('uses a scale as it was asked for, not the one that rounding the size gave', () =>
    property(fc.record({ seed: seeds, picture: pair(5) }), ({ seed, picture }) =>
      checkSecondGradient({
        inputs: { x: uniform([1, 2, ...picture], seed) },
        named: false,
        fn: ({ x }) => ({
          nearest: interpolate(x, { scale: 1.5 }),
          bilinear: interpolate(x, { scale: [1.5, 2.5], mode: 'bilinear' }),
        }),
        reference: ({ x }) => {
          const by = (y: Nd, axis: number, scale: number, mode: InterpolationMode) =>
            resize(y, axis, Math.floor(x.shape[axis] * scale), 1 / scale, mode, false)
          return {
            nearest: by(by(x, 2, 1.5, 'nearest'), 3, 1.5, 'nearest'),
            bilinear: by(by(x, 2, 1.5, 'bilinear'), 3, 2.5, 'bilinear'),
          }
        },
      }),
    ))

  it('repeats pixels by whole factors, whatever the size', () =>
    checkSecondGradient({
      inputs: { x: uniform([2, 3, 3, 4], 3) },
      fn: ({ x }) => ({ twice: interpolate(x, { scale: 2 }), wide: interpolate(x, { scale: [1, 3] }) }),
      reference: ({ x }) => {
        const repeat = (rows: number, columns: number) =>
          nd([2, 3, 3 * rows, 4 * columns], ([b, c, i, j]) =>
            get(x, [b, c, Math.floor(i / rows), Math.floor(j / columns)]),
          )
        return { twice: repeat(2, 2), wide: repeat(1, 3) }
      },
    }))

  it('agrees with PyTorch', async () => {
    const cases: {
      shape: number[]
      x: number[]
      options: Parameters<typeof interpolate>[1]
      outShape: number[]
      y: number[]
    }[] = JSON.parse(readFileSync(new URL('./fixtures/interpolate.json', import.meta.url), 'utf8'))
    for (const { shape, x, options, outShape, y } of cases) {
      const run = jit(({ x }) => ({ y: interpolate(x, options) }))
      const got = await run({ x: tensorData('float32', shape, x) })
      expectClose(got.y, { shape: outShape, data: Float64Array.from(y) }, 1e-5, JSON.stringify(options))
    }
  })

  it('says in one sentence what does not fit', () => {
    const x = input('x', [1, 2, 4, 4])
    expect(() => interpolate(x, {})).toThrow(/give either size or scale/)
    expect(() => interpolate(x, { size: [0, 2] })).toThrow(/to a size of 0 along axis 2/)
    expect(() => interpolate(input('y', [1, 2, symbol('height'), 4]), { size: [8, 8], mode: 'bilinear' })).toThrow(
      /height and width must be static for bilinear/,
    )
  })
})
