import { constant, gather, type Tensor } from '../tensor/index.ts'

/** How a diffusion process adds noise, step by step (Ho et al., 2020, arXiv 2006.11239, §2), and what follows from it. */

export interface NoiseScheduleOptions {
  /** T. Default 1000. */
  steps?: number
  /** β_1. Default 1e-4. */
  betaStart?: number
  /** β_T. Default 0.02. */
  betaEnd?: number
  /**
   * The betas themselves, or how they follow: `linear` from β_1 to β_T; `scaled_linear`, so that the roots of β are linear (latent diffusion);
   * `squaredcos_cap_v2`, so that ᾱ is a squared cosine (Nichol and Dhariwal, 2021, arXiv 2102.09672, eq. 17).
   */
  kind?: readonly number[] | 'linear' | 'scaled_linear' | 'squaredcos_cap_v2'
  /** Nothing of the picture is left at the last step (Lin et al., 2023, arXiv 2305.08891, alg. 1). Default false. */
  zeroTerminalSnr?: boolean
}

/** Index t − 1 of each array is step t of the paper: times are counted from 0, as checkpoints count them. */
export interface NoiseSchedule {
  /** T */
  readonly steps: number
  /** β_t: the variance of the noise that a step adds. */
  readonly betas: Float32Array
  /** ᾱ_t = Π (1 − β_s): how much of the picture's variance is left. */
  readonly alphaBar: Float32Array
}

export function noiseSchedule(options: NoiseScheduleOptions = {}): NoiseSchedule {
  const { steps = 1000, betaStart = 1e-4, betaEnd = 0.02, kind = 'linear', zeroTerminalSnr = false } = options
  const betas = typeof kind === 'string' ? betasOf(kind, steps, betaStart, betaEnd) : Float32Array.from(kind)
  if (zeroTerminalSnr) betas.set(withoutSignalAtEnd(betas))
  return { steps: betas.length, betas, alphaBar: products(betas) }
}

function betasOf(kind: string, steps: number, start: number, end: number): Float32Array {
  const between = (from: number, to: number) => (_: unknown, i: number) => from + ((to - from) * i) / (steps - 1 || 1)
  const length = steps
  switch (kind) {
    case 'scaled_linear':
      return Float32Array.from({ length }, between(Math.sqrt(start), Math.sqrt(end))).map((root) => root * root)
    case 'squaredcos_cap_v2': {
      const alphaBar = (t: number): number => Math.cos(((t / steps + 0.008) / 1.008) * (Math.PI / 2)) ** 2
      return Float32Array.from({ length }, (_, t) => Math.min(1 - alphaBar(t + 1) / alphaBar(t), 0.999))
    }
    default:
      return Float32Array.from({ length }, between(start, end))
  }
}

function products(betas: Float32Array): Float32Array {
  let product = 1
  return betas.map((beta) => {
    product *= Math.fround(1 - beta)
    return product
  })
}

/** √ᾱ moved so that it ends at 0, and stretched so that it begins as it did. */
function withoutSignalAtEnd(betas: Float32Array): Float32Array {
  const roots = products(betas).map(Math.sqrt)
  const [first, last] = [roots[0], roots[roots.length - 1]]
  const alphaBar = roots.map((root) => ((root - last) * (first / (first - last))) ** 2)
  return alphaBar.map((value, t) => 1 - (t === 0 ? value : value / alphaBar[t - 1]))
}

/**
 * Entry t of a table, to be multiplied with pictures.
 *
 * @param t - int32 [batch]
 * @returns [batch, 1, 1, 1]
 */
const atTime = (table: Float32Array, t: Tensor): Tensor =>
  gather(constant({ dtype: 'float32', shape: [table.length], data: table }), t).reshape([t.shape[0], 1, 1, 1])

const signal = ({ alphaBar }: NoiseSchedule, t: Tensor): Tensor => atTime(alphaBar.map(Math.sqrt), t)
const noiseLevel = ({ alphaBar }: NoiseSchedule, t: Tensor): Tensor =>
  atTime(
    alphaBar.map((value) => Math.sqrt(1 - value)),
    t,
  )

/**
 * x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε (eq. 4): a picture after t steps at once.
 *
 * @param x0 - [batch, channels, height, width]
 * @param t - int32 [batch]
 * @param noise - in the shape of x0
 */
export const qSample = (x0: Tensor, t: Tensor, noise: Tensor, schedule: NoiseSchedule): Tensor =>
  signal(schedule, t).mul(x0).add(noiseLevel(schedule, t).mul(noise))

/**
 * x̂₀ = (x_t − √(1 − ᾱ_t) ε) / √ᾱ_t (eq. 15): the picture that the predicted noise leaves.
 *
 * @param xt - [batch, channels, height, width]
 * @param t - int32 [batch]
 * @param noise - ε_θ(x_t, t)
 */
export const predictedX0 = (xt: Tensor, t: Tensor, noise: Tensor, schedule: NoiseSchedule): Tensor =>
  xt.sub(noiseLevel(schedule, t).mul(noise)).div(signal(schedule, t))
