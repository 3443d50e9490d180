import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ConvOptions, conv2d, convTranspose2d, input, symbol } from '../../src/tensor/index.ts'
import { checkGradient, checkOp, checkSecondGradient, property, seeds, uniform } from './check.ts'
import { get, type Nd, nd, size } from './reference.ts'

/** Everything spelt out: [vertical, horizontal], and [top, left, bottom, right]. */
interface Geometry {
  stride: [number, number]
  dilation: [number, number]
  pads: [number, number, number, number]
  groups: number
}

const optionsOf = ({ stride, dilation, pads: [top, left, bottom, right], groups }: Geometry): ConvOptions => ({
  stride,
  dilation,
  groups,
  padding: { top, left, bottom, right },
})

/** The definition: for each output, taps over the picture with zeros around it. */
function convolve(x: Nd, w: Nd, bias: Nd | undefined, { stride, dilation, pads, groups }: Geometry): Nd {
  const [batch, channels, height, width] = x.shape
  const [out, inPerGroup, kh, kw] = w.shape
  const span = (d: 0 | 1, length: number, kernel: number) =>
    Math.floor((length + pads[d] + pads[d + 2] - dilation[d] * (kernel - 1) - 1) / stride[d]) + 1
  return nd([batch, out, span(0, height, kh), span(1, width, kw)], ([b, o, i, j]) => {
    const first = Math.floor(o / (out / groups)) * (channels / groups)
    let sum = bias ? bias.data[o] : 0
    for (let c = 0; c < inPerGroup; c++) {
      for (let u = 0; u < kh; u++) {
        for (let v = 0; v < kw; v++) {
          const [row, column] = [i * stride[0] + u * dilation[0] - pads[0], j * stride[1] + v * dilation[1] - pads[1]]
          if (row < 0 || row >= height || column < 0 || column >= width) continue
          sum += get(x, [b, first + c, row, column]) * get(w, [o, c, u, v])
        }
      }
    }
    return sum
  })
}

/** The definition: every element adds the kernel at its place; what falls outside is dropped. */
function spread(x: Nd, w: Nd, bias: Nd | undefined, { stride, dilation, pads, groups }: Geometry, extra: number[]): Nd {
  const [batch, channels, height, width] = x.shape
  const [, outPerGroup, kh, kw] = w.shape
  const span = (d: 0 | 1, length: number, kernel: number) =>
    (length - 1) * stride[d] - pads[d] - pads[d + 2] + dilation[d] * (kernel - 1) + extra[d] + 1
  const shape = [batch, outPerGroup * groups, span(0, height, kh), span(1, width, kw)]
  const y = nd(shape, ([, o]) => (bias ? bias.data[o] : 0))
  nd(x.shape, ([b, c, i, j]) => {
    const group = Math.floor(c / (channels / groups))
    nd([outPerGroup, kh, kw], ([o, u, v]) => {
      const [row, column] = [i * stride[0] + u * dilation[0] - pads[0], j * stride[1] + v * dilation[1] - pads[1]]
      if (row >= 0 && row < shape[2] && column >= 0 && column < shape[3]) {
        const at = ((b * shape[1] + group * outPerGroup + o) * shape[2] + row) * shape[3] + column
        y.data[at] += get(x, [b, c, i, j]) * get(w, [c, o, u, v])
      }
      return 0
    })
    return 0
  })
  return y
}

const pair = (max: number): fc.Arbitrary<[number, number]> =>
  fc.tuple(fc.integer({ min: 1, max }), fc.integer({ min: 1, max }))

const cases = fc
  .record({
    seed: seeds,
    batch: fc.integer({ min: 1, max: 2 }),
    perGroup: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
    picture: fc.tuple(fc.integer({ min: 2, max: 5 }), fc.integer({ min: 2, max: 5 })),
    kernel: pair(3),
    geometry: fc.record({
      stride: pair(3),
      dilation: pair(2),
      pads: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
      groups: fc.integer({ min: 1, max: 2 }),
    }),
  })
  .filter(({ picture, kernel, geometry: { dilation, pads } }) =>
    [0, 1].every((d) => picture[d] + pads[d] + pads[d + 2] > dilation[d] * (kernel[d] - 1)),
  )

/** Kernels, and so channels, are static; batch, height and width may be names. */
const named = { x: [1], w: true, bias: true } as const

describe('conv2d', () => {
  it('is the cross-correlation, and its gradients have gradients, for every stride, padding, dilation and group', () =>
    property(
      cases.filter(({ picture, perGroup, geometry }) => size([...picture, ...perGroup]) * geometry.groups <= 60),
      ({ seed, batch, perGroup, picture, kernel, geometry }) => {
        const { groups } = geometry
        return checkSecondGradient({
          inputs: {
            x: uniform([batch, perGroup[0] * groups, ...picture], seed),
            w: uniform([perGroup[1] * groups, perGroup[0], ...kernel], seed + 1),
            bias: uniform([perGroup[1] * groups], seed + 2),
          },
          named,
          fn: ({ x, w, bias }) => ({ y: conv2d(x, w, bias, optionsOf(geometry)) }),
          reference: ({ x, w, bias }) => ({ y: convolve(x, w, bias, geometry) }),
        })
      },
      25,
    ))

  it('has the same gradient by product over all pictures and by product a picture', () =>
    Promise.all(
      // Planes of 9 and of 144 positions, on either side of where the lowering changes.
      [3, 12].map((side) =>
        checkGradient({
          inputs: { x: uniform([2, 1, side, side], 3), w: uniform([2, 1, 3, 3], 4) },
          named: false,
          fn: ({ x, w }) => ({ y: conv2d(x, w, undefined, { padding: 1 }) }),
          reference: ({ x, w }) => ({
            y: convolve(x, w, undefined, { stride: [1, 1], dilation: [1, 1], pads: [1, 1, 1, 1], groups: 1 }),
          }),
        }),
      ),
    ))

  it('computes the same in blocks of channels, where the backend has them', () =>
    property(
      fc.record({
        seed: seeds,
        kernel: pair(3),
        stride: pair(2),
        pads: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
      }),
      async ({ seed, kernel, stride, pads }) => {
        const geometry: Geometry = { kernel, stride, pads, dilation: [1, 1], groups: 1 } as Geometry
        const reference = ({ x, w, bias }: Record<string, Nd>) => convolve(x, w, bias, geometry)
        // 32 and 16 channels are whole blocks on every processor; the gradient is checked through its own reference.
        const inputs = {
          x: uniform([2, 32, 5, 4], seed),
          w: uniform([16, 32, ...kernel], seed + 1, -0.2, 0.2),
          bias: uniform([16], seed + 2),
        }
        await checkOp({
          inputs,
          named,
          fn: ({ x, w, bias }) => ({ y: conv2d(x, w, bias, optionsOf(geometry)) }),
          reference: (values) => ({ y: reference(values) }),
        })
        const size = reference({
          x: { shape: [1, 32, 5, 4], data: new Float64Array(640) },
          w: { shape: [16, 32, ...kernel], data: new Float64Array(512 * kernel[0] * kernel[1]) },
        }).shape.slice(2)
        const extra = [0, 1].map((d) => (5 - d + pads[d] + pads[d + 2] - kernel[d]) % stride[d])
        await checkOp({
          inputs: { dy: uniform([2, 16, ...size], seed + 3), w: inputs.w },
          named: { dy: [1], w: true },
          fn: ({ dy, w }) => ({
            dx: convTranspose2d(dy, w, undefined, { ...optionsOf(geometry), outputPadding: extra as [number, number] }),
          }),
          reference: ({ dy, w }) => ({ dx: spread(dy, w, undefined, geometry, extra) }),
        })
      },
    ))

  it('takes padding as one number, as two, and side by side', () => {
    const [x, w] = [input('x', [1, 2, 5, 6]), input('w', [3, 2, 3, 3])]
    expect(conv2d(x, w, undefined, { padding: 1 }).shape).toEqual([1, 3, 5, 6])
    expect(conv2d(x, w, undefined, { padding: [0, 1] }).shape).toEqual([1, 3, 3, 6])
    // The stride-2 convolution of diffusion models: one row and one column, at the end only.
    expect(conv2d(x, w, undefined, { padding: { bottom: 1, right: 1 }, stride: 2 }).shape).toEqual([1, 3, 2, 3])
  })

  it('says in one sentence what does not fit', () => {
    const x = input('x', [1, 3, 8, 8])
    const weight = (...shape: number[]) => input('w', shape)
    expect(() => conv2d(x, weight(4, 2, 3, 3))).toThrow(/conv2d: needs x .* got \[1, 3, 8, 8\], \[4, 2, 3, 3\]/)
    expect(() => conv2d(x, weight(4, 3, 9, 9))).toThrow(/reaching over 9 × 9 does not fit/)
    expect(() => conv2d(x, weight(4, 3, 3))).toThrow(/the weight must be/)
    expect(() => conv2d(x, weight(4, 3, 3, 3), undefined, { stride: 0 })).toThrow(
      /stride, dilation and groups must be positive/,
    )
    expect(() => conv2d(x, weight(4, 3, 3, 3), undefined, { padding: -1 })).toThrow(/padding not negative/)
    expect(() => conv2d(x, weight(4, 1, 3, 3), undefined, { groups: 3 })).toThrow(/3 groups/)
    expect(() => conv2d(x, weight(4, 3, 3, 3), input('b', [3]))).toThrow(/bias \[out\]/)
  })

  it('keeps named sizes symbolic', () => {
    const x = input('x', [symbol('batch'), 1, symbol('height'), 9])
    expect(`${conv2d(x, input('w', [1, 1, 3, 3]), undefined, { stride: 2, padding: 1 }).shape}`).toBe(
      'batch,1,floor((height+1)/2),5',
    )
  })
})

describe('convTranspose2d', () => {
  it('adds the kernel at the place of every element, and its gradients have gradients', () =>
    property(
      fc.tuple(cases, fc.tuple(fc.nat(1), fc.nat(1))).filter(
        ([{ picture, perGroup, kernel, geometry }, extra]) =>
          size([...picture, ...perGroup]) * geometry.groups <= 48 &&
          [0, 1].every((d) => {
            const { stride, dilation, pads } = geometry
            const result =
              (picture[d] - 1) * stride[d] - pads[d] - pads[d + 2] + dilation[d] * (kernel[d] - 1) + extra[d]
            return extra[d] < stride[d] && result >= 1
          }),
      ),
      ([{ seed, batch, perGroup, picture, kernel, geometry }, extra]) => {
        const { groups } = geometry
        return checkSecondGradient({
          inputs: {
            x: uniform([batch, perGroup[0] * groups, ...picture], seed),
            w: uniform([perGroup[0] * groups, perGroup[1], ...kernel], seed + 1),
            bias: uniform([perGroup[1] * groups], seed + 2),
          },
          named,
          fn: ({ x, w, bias }) => ({
            y: convTranspose2d(x, w, bias, { ...optionsOf(geometry), outputPadding: extra }),
          }),
          reference: ({ x, w, bias }) => ({ y: spread(x, w, bias, geometry, extra) }),
        })
      },
      25,
    ))

  it('doubles a picture as decoders do', () =>
    checkOp({
      inputs: { x: uniform([1, 2, 4, 4], 5), w: uniform([2, 3, 4, 4], 6) },
      named: { x: [1], w: true },
      fn: ({ x, w }) => ({ y: convTranspose2d(x, w, undefined, { stride: 2, padding: 1 }) }),
      reference: ({ x, w }) => ({
        y: spread(x, w, undefined, { stride: [2, 2], dilation: [1, 1], pads: [1, 1, 1, 1], groups: 1 }, [0, 0]),
      }),
    }))

  it('says in one sentence what does not fit', () => {
    const x = input('x', [1, 3, 8, 8])
    const weight = input('w', [3, 4, 3, 3])
    expect(() => convTranspose2d(x, weight, undefined, { stride: 2, outputPadding: 2 })).toThrow(
      /outputPadding \[2,2\]/,
    )
    expect(() => convTranspose2d(input('x', [1, 2, 8, 8]), weight)).toThrow(/convTranspose2d: needs x/)
    expect(() => convTranspose2d(input('y', [1, 3, 1, 1]), weight, undefined, { padding: 2 })).toThrow(/leaves nothing/)
  })
})
