import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  ddimSampler,
  ddpmSampler,
  guidance,
  type Prediction,
  sample,
  samplerFromConfig,
} from '../../src/generate/samplers.ts'
import { UNet2D } from '../../src/models/ddpm.ts'
import { noiseSchedule, predictedX0, qSample } from '../../src/nn/noise-schedule.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { jit } from '../../src/runtime/compiled.ts'
import { type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { uniform } from '../tensor/check.ts'

/** What a reference sampler did with a toy network, which answers 0.3 x + 0.2 sin(t / 100). */
interface Case {
  scheduler: string
  config: Record<string, unknown>
  steps: number
  step: { eta?: number }
  betas: number[]
  alphas_cumprod: number[]
  timesteps: number[]
  shape: number[]
  start: number[]
  noises: number[][]
  path: number[][]
  addNoise?: { timesteps: number[]; original: number[]; noise: number[]; noised: number[] }
}

/** The reference computes its coefficients in single precision, differences of near numbers among them. */
const TOLERANCE = 1e-4

const toy = async ({ sample, timestep }: { sample: TensorData; timestep: TensorData }, learned: boolean) => {
  const x = sample.data as Float32Array
  const wave = 0.2 * Math.sin(Number(timestep.data[0]) / 100)
  const [batch, channels, ...space] = sample.shape
  const size = x.length / batch
  const output: number[] = []
  for (let b = 0; b < batch; b++) {
    const picture = x.subarray(b * size, (b + 1) * size)
    output.push(...picture.map((value) => 0.3 * value + wave))
    if (learned) output.push(...picture.map((value) => 0.5 * Math.tanh(value)))
  }
  return { sample: tensorData('float32', [batch, learned ? 2 * channels : channels, ...space], output) }
}

function expectClose(actual: ArrayLike<number>, expected: readonly number[], about: string): void {
  const largest = Math.max(1e-3, ...expected.map(Math.abs))
  expect(actual.length, about).toBe(expected.length)
  for (let i = 0; i < expected.length; i++) {
    expect(Math.abs(actual[i] - expected[i]) / largest, `${about}, element ${i}`).toBeLessThan(TOLERANCE)
  }
}

async function expectSamePath(test: Case): Promise<void> {
  const config = { _class_name: test.scheduler, ...test.config }
  const sampler = samplerFromConfig(config, { steps: test.steps, ...test.step })
  expect(sampler.timesteps).toEqual(test.timesteps)
  const noises = test.noises.map((noise) => Float32Array.from(noise))
  const path: number[][] = []
  await sample((inputs) => toy(inputs, test.config.variance_type === 'learned_range'), sampler, {
    shape: test.shape,
    start: tensorData('float32', test.shape, test.start),
    noise: () => noises.shift() as Float32Array,
    onStep: (_, { data }) => path.push(Array.from(data as Float32Array)),
  })
  expect(noises).toEqual([])
  test.path.forEach((x, step) => {
    expectClose(path[step], x, `step ${step}`)
  })
}

const BUILT = ['DDPMScheduler', 'DDIMScheduler']
const ours = JSON.parse(readFileSync(fileURLToPath(new URL('../parity/samplers.json', import.meta.url)), 'utf8'))
const label = ({ scheduler, config, step }: Case): string => `${scheduler} ${JSON.stringify({ ...config, ...step })}`

describe('samplers take the steps of the reference implementation', () => {
  it.each((ours as Case[]).map((test) => [label(test), test] as const))('%s', (_, test) => expectSamePath(test))

  it.skipIf(lacksShared('parity/schedulers.json'))(
    'on the shared cases, whose noise schedules they share',
    async () => {
      const all = JSON.parse(readFileSync(sharedPath('parity/schedulers.json'), 'utf8')) as Case[]
      const built = all.filter(({ scheduler }) => BUILT.includes(scheduler))
      expect(built).toHaveLength(8)
      for (const test of built) {
        await expectSamePath(test)
        const { beta_schedule, beta_start, beta_end, rescale_betas_zero_snr } = test.config as Record<string, never>
        const schedule = noiseSchedule({
          kind: beta_schedule,
          betaStart: beta_start,
          betaEnd: beta_end,
          zeroTerminalSnr: rescale_betas_zero_snr,
        })
        const every100 = (values: Float32Array) => values.filter((_, t) => t % 100 === 0)
        expectClose(every100(schedule.betas), test.betas, 'betas')
        expectClose(every100(schedule.alphaBar), test.alphas_cumprod, 'alphaBar')
        if (!test.addNoise) continue
        const { timesteps, original, noise, noised } = test.addNoise
        const noisy = jit(({ x0, t, noise }) => ({ xt: qSample(x0, t, noise, schedule) }))
        const { xt } = await noisy({
          x0: tensorData('float32', [3, 2, 3, 3], original),
          t: tensorData('int32', [3], timesteps),
          noise: tensorData('float32', [3, 2, 3, 3], noise),
        })
        expectClose(xt.data as Float32Array, noised, 'addNoise')
      }
    },
  )
})

describe('the process that adds noise', () => {
  it('leaves of the picture what eq. 4 says, and x̂₀ takes the noise out again', async () => {
    const schedule = noiseSchedule({ steps: 50 })
    const there = jit(({ x0, t, noise }) => {
      const xt = qSample(x0, t, noise, schedule)
      return { xt, again: predictedX0(xt, t, noise, schedule) }
    })
    const [x0, noise] = [uniform([3, 1, 2, 2], 1), uniform([3, 1, 2, 2], 2)]
    const { again } = await there({ x0, noise, t: tensorData('int32', [3], [0, 20, 49]) })
    expectClose(again.data as Float32Array, Array.from(x0.data as Float32Array), 'x0')
  })

  it('has betas in (0, 1) and less of the picture at every step, whatever the schedule', () => {
    for (const kind of ['linear', 'scaled_linear', 'squaredcos_cap_v2'] as const) {
      const { betas, alphaBar } = noiseSchedule({ kind })
      expect(betas.every((beta) => beta > 0 && beta < 1)).toBe(true)
      expect(alphaBar.every((value, t) => value > 0 && value < (alphaBar[t - 1] ?? 1))).toBe(true)
    }
    expect(noiseSchedule({ zeroTerminalSnr: true }).alphaBar[999]).toBeCloseTo(0, 10)
  })
})

const schedule = noiseSchedule({ steps: 20, betaStart: 0.01, betaEnd: 0.3 })

describe('sampling', () => {
  const shape = [2, 1, 2, 2]
  const denoise = (inputs: { sample: TensorData; timestep: TensorData }): Promise<Prediction> => toy(inputs, false)

  it('gives the same pictures for a seed, and others for another', async () => {
    const sampler = ddpmSampler(schedule)
    const first = await sample(denoise, sampler, { shape, seed: 3 })
    expect(await sample(denoise, sampler, { shape, seed: 3 })).toEqual(first)
    expect(await sample(denoise, sampler, { shape, seed: 4 })).not.toEqual(first)
  })

  it('of a perfect network ends at the picture that it knows', async () => {
    const picture = uniform(shape, 5, -1, 1)
    /** The noise that lies between x_t and the picture. */
    const perfect = async ({ sample, timestep }: { sample: TensorData; timestep: TensorData }) => {
      const alphaBar = schedule.alphaBar[Number(timestep.data[0])]
      const data = Float32Array.from(
        sample.data as Float32Array,
        (x, i) => (x - Math.sqrt(alphaBar) * Number(picture.data[i])) / Math.sqrt(1 - alphaBar),
      )
      return { sample: tensorData('float32', shape, data) }
    }
    for (const sampler of [
      ddpmSampler(schedule),
      ddpmSampler(schedule, { steps: 5, variance: 'fixed_large' }),
      ddimSampler(schedule, { steps: 4 }),
    ]) {
      const { data } = await sample(perfect, sampler, { shape })
      expectClose(data as Float32Array, Array.from(picture.data as Float32Array), 'picture')
    }
  })

  it('stops where it is told to', async () => {
    const stop = new AbortController()
    const run = sample(denoise, ddpmSampler(schedule), { shape, signal: stop.signal, onStep: () => stop.abort() })
    await expect(run).rejects.toThrow(/abort/)
  })

  it('says in one sentence what is wrong with a scheduler_config.json', () => {
    expect(() => ddpmSampler(schedule, { steps: 21 })).toThrow('sampling takes 1 to 20 steps, got 21')
    expect(() => samplerFromConfig({ _class_name: 'PNDMScheduler' })).toThrow(
      'scheduler_config.json: "PNDMScheduler" is none of DDPMScheduler, DDIMScheduler',
    )
    expect(() => samplerFromConfig({ _class_name: 'DDPMScheduler', thresholding: true })).toThrow(
      /^scheduler_config.json: thresholding: /,
    )
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('beta_schedule', 'steps_offset', 'clip_sample'), fc.jsonValue()),
        (json) => {
          try {
            samplerFromConfig({ _class_name: 'DDIMScheduler', ...json }, { steps: 4 })
          } catch (error) {
            expect((error as Error).message).toMatch(/^scheduler_config.json: [^\n]+$/)
          }
        },
      ),
    )
  })
})

describe('guidance', () => {
  const config = { channels: [4, 8], layersPerBlock: 1, normGroups: 2, headDim: 4, inChannels: 1, outChannels: 1 }
  const model = new UNet2D({
    ...config,
    downBlocks: ['DownBlock2D', 'AttnDownBlock2D'],
    upBlocks: ['AttnUpBlock2D', 'UpBlock2D'],
  })
  const shape = [2, 1, 8, 8]
  const { parameters } = trace(
    (scope, { sample, timestep }) => model.forward(scope, { sample, timestep }),
    model.inputs,
  )
  const weights = new Map([...parameters.values()].map(({ name, shape }, i) => [name, uniform(shape, i, -0.2, 0.2)]))
  const topLeft = (pictures: Tensor): Tensor => pictures.slice({ axis: 2, end: 4 }).slice({ axis: 3, end: 4 })
  const brightness = (pictures: Tensor): Tensor => topLeft(pictures).mean({ axis: [1, 2, 3] })

  async function drawn(scale: number, sampler = ddpmSampler(schedule)): Promise<TensorData> {
    const traced = trace(
      (scope, { sample, timestep }) => {
        const { sample: noise } = model.forward(scope, { sample, timestep })
        const x0 = predictedX0(sample, timestep, noise, schedule)
        return { sample: noise, gradient: guidance(sample, brightness(x0), scale) }
      },
      { sample: float32('batch', 1, 8, 8), timestep: int32('batch') },
    )
    const run = await compile(traced, weights)
    const pictures = await sample(run, sampler, { shape, seed: 1 })
    run.release()
    return pictures
  }

  const scores = async (pictures: TensorData): Promise<number[]> => {
    const { score } = await jit(({ pictures }) => ({ score: brightness(pictures) }))({ pictures })
    return Array.from(score.data as Float32Array)
  }

  it('by a gradient through the network draws pictures that score higher, from the same noise', async () => {
    for (const sampler of [ddpmSampler(schedule), ddimSampler(schedule, { steps: 10 })]) {
      const plain = await scores(await drawn(0, sampler))
      const guided = await scores(await drawn(4, sampler))
      guided.forEach((score, i) => {
        expect(score).toBeGreaterThan(plain[i] + 0.05)
      })
    }
  })

  it('of zero changes nothing', async () => {
    const run = await compile(
      trace((scope, { sample, timestep }) => ({ sample: model.forward(scope, { sample, timestep }).sample }), {
        sample: float32('batch', 1, 8, 8),
        timestep: int32('batch'),
      }),
      weights,
    )
    const plain = await sample(run, ddpmSampler(schedule), { shape, seed: 1 })
    run.release()
    expectClose((await drawn(0)).data as Float32Array, Array.from(plain.data as Float32Array), 'pictures')
  })

  it('is the derivative of the score by every pixel', async () => {
    const traced = trace(
      (scope, { sample, timestep }) => {
        const { sample: noise } = model.forward(scope, { sample, timestep })
        const score = brightness(predictedX0(sample, timestep, noise, schedule))
        return { score, gradient: guidance(sample, score) }
      },
      { sample: float32(...shape), timestep: int32(2) },
    )
    const run = await compile(traced, weights)
    const timestep = tensorData('int32', [2], [3, 15])
    const at = uniform(shape, 9)
    const { gradient } = await run({ sample: at, timestep })
    const direction = uniform(shape, 10)
    const moved = async (by: number): Promise<number> => {
      const data = (at.data as Float32Array).map((x, i) => x + by * Number(direction.data[i]))
      const { score } = await run({ sample: tensorData('float32', shape, data), timestep })
      return Number(score.data[0]) + Number(score.data[1])
    }
    const slope = (gradient.data as Float32Array).reduce((sum, g, i) => sum + g * Number(direction.data[i]), 0)
    const difference = ((await moved(1e-2)) - (await moved(-1e-2))) / 2e-2
    expect(Math.abs(slope - difference)).toBeLessThan(1e-2 * Math.abs(difference) + 1e-3)
    run.release()
  })
})
