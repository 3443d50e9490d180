import { type Dim, mulDims, showShape } from '../dim.ts'
import { apply, constant, type Op, type Tensor } from '../graph.ts'
import { gather } from './index.ts'
import { matmul } from './matmul.ts'
import { averagePool } from './pool.ts'
import { reshape } from './shape.ts'

/** Pictures at another size, with PyTorch's conventions. */

export type InterpolationMode = 'nearest' | 'bilinear' | 'bicubic'

export interface InterpolateOptions {
  /** [height, width] of the result. Give this or `scale`. */
  size?: readonly [number, number]
  /** A factor on height and width, or one each. Sizes are rounded down. */
  scale?: number | readonly [number, number]
  /** Default `nearest`. */
  mode?: InterpolationMode
  /** Corner pixels' centres stay corner pixels' centres; otherwise the pictures' edges meet. Default false. */
  alignCorners?: boolean
}

/**
 * Resizes pictures. `nearest` takes the pixel at ⌊index · in / out⌋; `bicubic` is Keys' kernel with A = −0.75.
 * Height and width must be static, except for `nearest` with a whole `scale`.
 *
 * @param x - [batch, channels, height, width]
 * @returns [batch, channels, newHeight, newWidth]
 */
export function interpolate(x: Tensor, options: InterpolateOptions): Tensor {
  const { size, scale, mode = 'nearest', alignCorners = false } = options
  if (x.rank !== 4 || x.dtype !== 'float32') {
    throw new RangeError(
      `interpolate: x must be float32 [batch, channels, height, width], got ${x.dtype} ${showShape(x.shape)}`,
    )
  }
  if ((size === undefined) === (scale === undefined)) throw new RangeError('interpolate: give either size or scale')
  const factors = typeof scale === 'number' ? [scale, scale] : scale
  if (mode === 'nearest' && factors?.every((factor) => Number.isInteger(factor) && factor > 0)) {
    return repeatPixels(x, factors as readonly number[] as readonly [number, number])
  }
  return [2, 3].reduce((y, axis, d) => {
    const from = x.shape[axis]
    if (typeof from !== 'number') {
      throw new RangeError(`interpolate: height and width must be static for ${mode}, got ${showShape(x.shape)}`)
    }
    const to = size ? size[d] : Math.floor(from * (factors as readonly number[])[d])
    if (!Number.isInteger(to) || to < 1) {
      throw new RangeError(`interpolate: cannot bring ${showShape(x.shape)} to a size of ${to} along axis ${axis}`)
    }
    // Like PyTorch, a scale that was asked for is used as it is, not the one that rounding the size gave.
    const step = factors ? 1 / factors[d] : from / to
    if (mode === 'nearest') return to === from && step === 1 ? y : gather(y, nearestIndices(from, to, step), axis)
    const edgeToEdge = to > 1 ? (from - 1) / (to - 1) : 0
    const position = (i: number): number => (alignCorners ? i * edgeToEdge : (i + 0.5) * step - 0.5)
    return resampleAxis(y, axis, weightRows(mode, from, to, position))
  }, x)
}

function nearestIndices(from: number, to: number, step: number): Tensor {
  const rounded = Math.fround(step)
  const data = Int32Array.from({ length: to }, (_, i) => Math.min(Math.floor(Math.fround(i * rounded)), from - 1))
  return constant({ dtype: 'int32', shape: [to], data })
}

/** The distance within which Keys' kernel is a cubic of its own, and its free parameter (PyTorch's choice). */
const A = -0.75

const cubicNear = (t: number): number => ((A + 2) * t - (A + 3)) * t * t + 1
const cubicFar = (t: number): number => ((A * t - 5 * A) * t + 8 * A) * t - 4 * A

/** What each output takes from which inputs: pairs of [input, weight]. */
function weightRows(
  mode: 'bilinear' | 'bicubic',
  from: number,
  to: number,
  position: (i: number) => number,
): (readonly [number, number])[][] {
  return Array.from({ length: to }, (_, i) => {
    const exact = mode === 'bilinear' ? Math.max(position(i), 0) : position(i)
    const first = Math.floor(exact)
    const t = exact - first
    const taps =
      mode === 'bilinear'
        ? [[first, 1 - t] as const, [first + 1, t] as const]
        : [
            [first - 1, cubicFar(1 + t)] as const,
            [first, cubicNear(t)] as const,
            [first + 1, cubicNear(1 - t)] as const,
            [first + 2, cubicFar(2 - t)] as const,
          ]
    return taps.map(([at, weight]) => [Math.min(Math.max(at, 0), from - 1), weight] as const)
  })
}

/**
 * Replaces an axis by weighted sums of its elements: a product with a constant matrix, whose gradient is the product
 * with its transpose.
 *
 * @param axis - 2 (height) or 3 (width) of [batch, channels, height, width]
 * @param rows - for every element of the result, the elements that it takes and how much of each
 */
export function resampleAxis(
  x: Tensor,
  axis: number,
  rows: readonly (readonly (readonly [number, number])[])[],
): Tensor {
  const from = x.shape[axis] as number
  const data = new Float32Array(rows.length * from)
  rows.forEach((taps, i) => {
    for (const [at, weight] of taps) data[i * from + at] += weight
  })
  const matrix = constant({ dtype: 'float32', shape: [rows.length, from], data })
  if (axis === 2) return matmul(matrix, x)
  const flat = matmul(reshape(x, [-1, from]), matrix, { transposeB: true })
  return reshape(flat, [...x.shape.slice(0, 3), rows.length])
}

const repeatOp: Op<{ factors: readonly [number, number] }> = {
  name: 'repeatPixels',
  infer: ([x], { factors }) => {
    const [batch, channels, height, width] = x.shape
    return [
      { shape: [batch, channels, mulDims(height, factors[0]), mulDims(width, factors[1])] as Dim[], dtype: x.dtype },
    ]
  },
  lower: (e, [x], { attributes: { factors } }) => {
    const scales = e.constant({ dtype: 'float32', shape: [4], data: Float32Array.of(1, 1, ...factors) })
    const nearest = { mode: 'nearest', nearest_mode: 'floor', coordinate_transformation_mode: 'asymmetric' }
    return [e.one('Resize', [x, '', scales], nearest)]
  },
  grad: ({ attributes: { factors } }, [dy]) => [
    dy && averagePool(dy, { kernel: factors, stride: factors }).mul(factors[0] * factors[1]),
  ],
}

/** Every pixel as a block of equal ones: nearest upsampling by whole factors. */
export const repeatPixels = (x: Tensor, factors: readonly [number, number]): Tensor =>
  factors[0] === 1 && factors[1] === 1 ? x : apply(repeatOp, [x], { factors })
