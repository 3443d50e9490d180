import { cast, concat, cos, deferredConstant, padAxis, silu, sin, type Tensor } from '../tensor/index.ts'
import { fanAverageUniform } from './initializers.ts'
import { linear } from './layers.ts'
import type { Scope } from './scope.ts'

/** How a diffusion network learns which noise level it is asked about. */

const LONGEST_PERIOD = 10_000

export interface SinusoidOptions {
  /** Cosines come first. Default false. */
  flipSinToCos?: boolean
  /** Frequencies fall to 1/10000 after dim / 2 − freqShift steps. Default 0. */
  freqShift?: number
}

/**
 * sin(t ω_i) and cos(t ω_i) with ω_i = 10000^(−i / (dim / 2 − freqShift)): the Transformer's positions (Vaswani et al.,
 * 2017, arXiv 1706.03762, §3.5) of a time instead of a place.
 *
 * @param t - int32 or float32 [batch]; a time may lie between two steps
 * @returns [batch, dim]: sines, cosines, and a zero where `dim` is odd
 */
export function sinusoids(
  t: Tensor,
  dim: number,
  { flipSinToCos = false, freqShift = 0 }: SinusoidOptions = {},
): Tensor {
  const half = Math.floor(dim / 2)
  if (!(half - freqShift > 0)) {
    throw new RangeError(`sinusoids: dim / 2 must be above freqShift, got ${dim} and ${freqShift}`)
  }
  // Rounded where the reference rounds: at t = 1000 an error of a frequency counts a thousandfold.
  const exponent = (i: number): number =>
    Math.fround(Math.fround(-Math.fround(Math.log(LONGEST_PERIOD)) * i) / Math.fround(half - freqShift))
  const frequencies = deferredConstant([1, half], () =>
    Float32Array.from({ length: half }, (_, i) => Math.exp(exponent(i))),
  )
  const angles = cast(t, 'float32').reshape([t.shape[0], 1]).mul(frequencies) // [batch, half]
  const waves = concat(flipSinToCos ? [cos(angles), sin(angles)] : [sin(angles), cos(angles)], 1)
  return dim % 2 === 0 ? waves : padAxis(waves, 1, 0, 1)
}

/**
 * Two layers that turn sinusoids, or other features of a condition, into the vector that every residual block reads.
 *
 * @param features - [batch, features]
 * @returns [batch, dim]
 */
export function timeEmbedding(scope: Scope, features: Tensor, dim: number): Tensor {
  const layer = (name: string, x: Tensor): Tensor => linear(scope.at(name), x, dim, { init: fanAverageUniform })
  return layer('linear_2', silu(layer('linear_1', features)))
}
