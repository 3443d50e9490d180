/**
 * From noise to pictures: the step from one noise level to the next, as pairs of papers describe it.
 * - DDPM: Ho, Jain and Abbeel, 2020. arXiv 2006.11239, algorithm 2; learned variances: Nichol and Dhariwal, 2021.
 *   arXiv 2102.09672, eq. 15.
 * - DDIM: Song, Meng and Ermon, 2020. arXiv 2010.02502, eq. 12.
 * - Guidance by a gradient, in either: Dhariwal and Nichol, 2021. arXiv 2105.05233, algorithms 1 and 2.
 */

import { z } from 'zod'
import { roundHalfToEven } from '../data/round.ts'
import { type NoiseSchedule, noiseSchedule } from '../nn/noise-schedule.ts'
import { Arena, paddedLength } from '../runtime/kernels.ts'
import { grad, sizeOf, type Tensor, type TensorData, tensorData } from '../tensor/index.ts'

/** What a network says about x_t. */
export interface Prediction {
  /** What it was trained to predict, in the shape of x_t; with learned variances, as many channels again for them. */
  readonly sample: TensorData
  /** ∇_{x_t} log p(y | x_t), or of whatever the picture is to score high in. */
  readonly gradient?: TensorData
}

export interface Sampler {
  /** The noise levels at which the network is asked, from noise to picture. */
  readonly timesteps: readonly number[]
  /**
   * From x at `timesteps[index]` to x at the next one, or to the picture.
   *
   * @param noise - fresh noise in the size of x, drawn if it is needed
   */
  step(index: number, x: TensorData, prediction: Prediction, noise: () => Float32Array): TensorData
}

export interface SamplerOptions {
  /** How many times the network is asked. Default: once a level of the schedule. */
  steps?: number
  /** Which levels: every n-th from 0 (`leading`) or from the last (`trailing`), or evenly between. Default `leading`. */
  spacing?: 'leading' | 'trailing' | 'linspace'
  /** Added to the levels of `leading`. Default 0. */
  stepsOffset?: number
  /** What the network was trained to predict: ε, x₀ or v = √ᾱ ε − √(1 − ᾱ) x₀. Default `epsilon`. */
  predicts?: 'epsilon' | 'sample' | 'v_prediction'
  /** Keeps x̂₀ within ± this. Default 1; Infinity for latents. */
  clip?: number
}

export interface DdpmOptions extends SamplerOptions {
  /**
   * σ_t² (§3.2): `fixed_small` is that of the posterior, `fixed_large` is β_t; `learned_range` lies between them, where
   * the network says. Default `fixed_small`.
   */
  variance?: 'fixed_small' | 'fixed_large' | 'learned_range'
}

/** Ancestral sampling: algorithm 2 of DDPM, over all levels or some. */
export function ddpmSampler(schedule: NoiseSchedule, options: DdpmOptions = {}): Sampler {
  const { variance = 'fixed_small' } = options
  const timesteps = spacedTimesteps(schedule.steps, options)
  return {
    timesteps,
    step(index, x, { sample, gradient }, noise) {
      const t = timesteps[index]
      const alphaBar = schedule.alphaBar[t]
      const alphaBarNext = index + 1 < timesteps.length ? schedule.alphaBar[timesteps[index + 1]] : 1
      const alpha = alphaBar / alphaBarNext
      const beta = 1 - alpha
      // The posterior's mean, eq. 7, and its variance.
      const x0Share = (Math.sqrt(alphaBarNext) * beta) / (1 - alphaBar)
      const xShare = (Math.sqrt(alpha) * (1 - alphaBarNext)) / (1 - alphaBar)
      const small = Math.max(((1 - alphaBarNext) / (1 - alphaBar)) * beta, SMALLEST_VARIANCE)
      const [output, learned] = variance === 'learned_range' ? halves(sample, x) : [sample.data as Float32Array]
      const varianceAt = (i: number): number => {
        if (!learned) return variance === 'fixed_large' ? beta : small
        const share = (learned[i] + 1) / 2
        return Math.exp(share * Math.log(beta) + (1 - share) * Math.log(small))
      }
      const { x0Of } = readPrediction(alphaBar, options)
      const z = t > 0 ? noise() : undefined
      return mapped(x, (xt, i) => {
        const sigma2 = varianceAt(i)
        const mean = x0Share * x0Of(xt, output[i]) + xShare * xt
        // Guidance moves the mean by Σ times the gradient (algorithm 1).
        const guided = gradient ? mean + sigma2 * Number(gradient.data[i]) : mean
        return z ? guided + Math.sqrt(sigma2) * z[i] : guided
      })
    },
  }
}

/** The reference's floor: the posterior of the last step has none, and its logarithm is taken. */
const SMALLEST_VARIANCE = 1e-20

export interface DdimOptions extends SamplerOptions {
  /** 0 draws no noise on the way, 1 as much as DDPM. Default 0. */
  eta?: number
  /** ᾱ after the last step: 1, or that of level 0. Default true. */
  alphaEndsAtOne?: boolean
}

/** Implicit sampling: few steps, and with `eta` 0 the picture is a function of the first noise. */
export function ddimSampler(schedule: NoiseSchedule, options: DdimOptions = {}): Sampler {
  const { steps = schedule.steps, eta = 0, alphaEndsAtOne = true } = options
  const timesteps = spacedTimesteps(schedule.steps, options)
  const stride = Math.floor(schedule.steps / steps)
  return {
    timesteps,
    step(index, x, { sample, gradient }, noise) {
      const t = timesteps[index]
      const alphaBar = schedule.alphaBar[t]
      const next = t - stride
      const alphaBarNext = next >= 0 ? schedule.alphaBar[next] : alphaEndsAtOne ? 1 : schedule.alphaBar[0]
      const sigma = eta * Math.sqrt(((1 - alphaBarNext) / (1 - alphaBar)) * (1 - alphaBar / alphaBarNext)) // eq. 16
      const { x0Of, noiseOf, noiseFrom, shifted } = readPrediction(alphaBar, options)
      const [toX0, toNoise] = [Math.sqrt(alphaBarNext), Math.sqrt(Math.max(0, 1 - alphaBarNext - sigma ** 2))]
      const z = eta > 0 ? noise() : undefined
      return mapped(x, (xt, i) => {
        const output = Number(sample.data[i])
        // Guidance moves the predicted noise (algorithm 2), and no further than to what the clipped x̂₀ leaves: noise
        // pushed on beyond a full pixel would pull the picture back.
        const x0 = x0Of(xt, gradient ? shifted(output, Number(gradient.data[i])) : output)
        const predicted = gradient ? noiseFrom(xt, x0) : noiseOf(xt, output)
        const mean = toX0 * x0 + toNoise * predicted
        return z ? mean + sigma * z[i] : mean
      })
    },
  }
}

function spacedTimesteps(trained: number, options: SamplerOptions): number[] {
  const { steps = trained, spacing = 'leading', stepsOffset = 0 } = options
  if (!Number.isInteger(steps) || steps < 1 || steps > trained) {
    throw new RangeError(`sampling takes 1 to ${trained} steps, got ${steps}`)
  }
  const at = {
    leading: (i: number) => (steps - 1 - i) * Math.floor(trained / steps) + stepsOffset,
    trailing: (i: number) => roundHalfToEven(trained - (i * trained) / steps) - 1,
    linspace: (i: number) => roundHalfToEven(((steps - 1 - i) * (trained - 1)) / (steps - 1 || 1)),
  }[spacing]
  return Array.from({ length: steps }, (_, i) => Math.min(at(i), trained - 1))
}

/** What an element of the network's output means for x₀ and ε at a noise level. */
function readPrediction(alphaBar: number, { predicts = 'epsilon', clip = 1 }: SamplerOptions) {
  const [signal, noise] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)]
  const clipped = (x0: number): number => Math.min(Math.max(x0, -clip), clip)
  const noiseFrom = (x: number, x0: number): number => (x - signal * x0) / noise
  switch (predicts) {
    case 'epsilon':
      return {
        x0Of: (x: number, output: number) => clipped((x - noise * output) / signal),
        noiseFrom,
        noiseOf: (_x: number, output: number) => output,
        shifted: (output: number, gradient: number) => output - noise * gradient,
      }
    case 'sample':
      return {
        x0Of: (_x: number, output: number) => clipped(output),
        noiseFrom,
        noiseOf: noiseFrom,
        shifted: (output: number, gradient: number) => output + (noise ** 2 / signal) * gradient,
      }
    case 'v_prediction':
      return {
        x0Of: (x: number, output: number) => clipped(signal * x - noise * output),
        noiseFrom,
        noiseOf: (x: number, output: number) => signal * output + noise * x,
        shifted: (output: number, gradient: number) => output - (noise / signal) * gradient,
      }
  }
}

const mapped = ({ dtype, shape, data }: TensorData, at: (x: number, i: number) => number): TensorData => ({
  dtype,
  shape,
  data: (data as Float32Array).map(at),
})

/** Of [batch, 2 · channels, …] the first channels and the last, each in the order of x. */
function halves({ data }: TensorData, x: TensorData): [Float32Array, Float32Array] {
  const [batch] = x.shape
  const size = x.data.length / batch
  const pick = (half: number): Float32Array =>
    Float32Array.from(x.data as Float32Array, (_, i) =>
      Number(data[2 * size * Math.floor(i / size) + half * size + (i % size)]),
    )
  return [pick(0), pick(1)]
}

const schedulerSchema = z.object({
  _class_name: z.string().max(100),
  num_train_timesteps: z.int().positive().max(1_000_000).default(1000),
  beta_start: z.number().default(1e-4),
  beta_end: z.number().default(0.02),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).default('linear'),
  trained_betas: z.array(z.number()).min(1).nullish(),
  prediction_type: z.enum(['epsilon', 'sample', 'v_prediction']).default('epsilon'),
  clip_sample: z.boolean().default(true),
  clip_sample_range: z.number().positive().default(1),
  thresholding: z.literal(false).default(false),
  timestep_spacing: z.enum(['leading', 'trailing', 'linspace']).default('leading'),
  steps_offset: z.int().nonnegative().default(0),
  rescale_betas_zero_snr: z.boolean().default(false),
  variance_type: z.enum(['fixed_small', 'fixed_small_log', 'fixed_large', 'learned_range']).default('fixed_small'),
  set_alpha_to_one: z.boolean().default(true),
})

const SCHEDULERS = ['DDPMScheduler', 'DDIMScheduler']

/**
 * The sampler that a checkpoint's scheduler_config.json describes.
 *
 * @param options.steps - default: all of the schedule's
 * @param options.eta - of DDIM
 * @throws Error with one sentence where it is not of a kind that is built here
 */
export function samplerFromConfig(
  json: Readonly<Record<string, unknown>>,
  { steps, eta }: { steps?: number; eta?: number } = {},
): Sampler {
  const parsed = schedulerSchema.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    throw new Error(`scheduler_config.json: ${issue.path.join('.') || 'the file'}: ${issue.message}`)
  }
  const c = parsed.data
  if (!SCHEDULERS.includes(c._class_name)) {
    throw new Error(`scheduler_config.json: ${JSON.stringify(c._class_name)} is none of ${SCHEDULERS.join(', ')}`)
  }
  const schedule = noiseSchedule({
    steps: c.num_train_timesteps,
    betaStart: c.beta_start,
    betaEnd: c.beta_end,
    kind: c.trained_betas ?? c.beta_schedule,
    zeroTerminalSnr: c.rescale_betas_zero_snr,
  })
  const options: SamplerOptions = {
    steps,
    spacing: c.timestep_spacing,
    stepsOffset: c.steps_offset,
    predicts: c.prediction_type,
    clip: c.clip_sample ? c.clip_sample_range : Number.POSITIVE_INFINITY,
  }
  if (c._class_name === 'DDIMScheduler') {
    return ddimSampler(schedule, { ...options, eta, alphaEndsAtOne: c.set_alpha_to_one })
  }
  // The reference's other name for the same variance.
  const variance = c.variance_type === 'fixed_small_log' ? 'fixed_small' : c.variance_type
  return ddpmSampler(schedule, { ...options, variance })
}

/**
 * What guidance needs of a network: ∇_{x_t} of a score that is computed on x_t, or on the x̂₀ that follows from it
 * (`predictedX0`): a classifier's log p(y | x_t), the brightness of a corner.
 *
 * ```ts
 * const traced = trace((scope, { sample, timestep }) => {
 *   const { sample: noise } = model.forward(scope, { sample, timestep })
 *   const x0 = predictedX0(sample, timestep, noise, schedule)
 *   return { sample: noise, gradient: guidance(sample, logProbability(x0)) }
 * }, { sample: float32(4, 3, 32, 32), timestep: int32(4) })
 * const pictures = await sample(await compile(traced, weights), ddpmSampler(schedule), { shape: [4, 3, 32, 32] })
 * ```
 *
 * @param xt - an input of the trace: the pixels
 * @param score - [batch] or a scalar
 * @param scale - how much it counts: s of algorithm 1
 * @returns in the shape of xt
 */
export const guidance = (xt: Tensor, score: Tensor, scale = 1): Tensor => grad(score.sum(), [xt])[0].mul(scale)

/** A compiled network, or anything else that predicts. */
export type Denoiser = (inputs: { sample: TensorData; timestep: TensorData }) => Promise<Prediction>

export interface SampleOptions {
  /** [batch, channels, height, width] */
  shape: readonly number[]
  /** The same seed gives the same pictures. Default 1337. */
  seed?: number
  /** What to begin with. Default: noise. */
  start?: TensorData
  /** Noise from elsewhere, in place of the seed's: an array in the size of x every time. */
  noise?: () => Float32Array
  /** Called after every step with x as it is then. */
  onStep?: (index: number, x: TensorData) => void
  signal?: AbortSignal
}

/** The stream of numbers drawn while sampling, apart from those drawn in graphs and for first values. */
const STREAM = 0xd1f

/**
 * Draws pictures: asks the network at every noise level and takes the sampler's step.
 *
 * @returns [batch, channels, height, width]
 */
export async function sample(
  denoise: Denoiser,
  sampler: Sampler,
  { shape, seed = 1337, start, noise, onStep, signal }: SampleOptions,
): Promise<TensorData> {
  const length = sizeOf(shape)
  const arena = new Arena(paddedLength(length))
  const array = arena.alloc(length)
  let draws = 0
  const normal = (): Float32Array => {
    arena.philoxNormal(array, { key: [seed, Math.floor(seed / 2 ** 32)], counter: [0, 0, draws++, STREAM] })
    return array
  }
  const fresh = noise ?? normal
  let x = start ?? tensorData('float32', shape, fresh().slice())
  for (const [index, t] of sampler.timesteps.entries()) {
    signal?.throwIfAborted()
    const timestep = tensorData('int32', [shape[0]], new Int32Array(shape[0]).fill(t))
    x = sampler.step(index, x, await denoise({ sample: x, timestep }), fresh)
    onStep?.(index, x)
  }
  return x
}
