import { describe, expect, it } from 'vitest'
import { ddpmSampler, sample } from '../../src/generate/samplers.ts'
import { DDPM_SIZES, UNet2D, UNet2DConfig } from '../../src/models/ddpm.ts'
import { noiseSchedule } from '../../src/nn/noise-schedule.ts'
import { float32, type InputSpecs, int32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer, type TrainerOptions } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { ddpmLoss, uniformTimesteps } from '../../src/train/diffusion.ts'
import { relativeError } from '../parity/parity.ts'
import { uniform } from '../tensor/check.ts'

const TINY: Partial<UNet2DConfig> = {
  sampleSize: 8,
  inChannels: 1,
  outChannels: 1,
  channels: [8, 16],
  layersPerBlock: 1,
  downBlocks: ['DownBlock2D', 'AttnDownBlock2D'],
  upBlocks: ['AttnUpBlock2D', 'UpBlock2D'],
  normGroups: 4,
  headDim: 8,
}

/** A network with made-up weights, whose last layers are not zero as at the start of training. */
async function answer(
  config: Partial<UNet2DConfig>,
  specs: InputSpecs,
  feeds: Record<string, TensorData>,
): Promise<TensorData> {
  const model = new UNet2D({ ...TINY, ...config })
  const traced = trace((scope, { sample, timestep, classLabels }) => {
    return { sample: model.forward(scope, { sample, timestep, classLabels }).sample }
  }, specs)
  const weights = [...traced.parameters.values()].map(({ shape }, i) => uniform(shape, i, -0.3, 0.3))
  const run = await compile(traced, new Map([...traced.parameters.keys()].map((name, i) => [name, weights[i]])))
  const { sample } = await run(feeds)
  run.release()
  return sample
}

describe('the network', () => {
  const pictures = uniform([2, 1, 8, 8], 1, -1, 1)

  it('takes one noise level for all pictures as it takes one each, and levels between two', async () => {
    const at = (shape: number[], dtype: 'int32' | 'float32', levels: number[]): Promise<TensorData> =>
      answer(
        {},
        { sample: float32(2, 1, 8, 8), timestep: { dtype, shape } },
        {
          sample: pictures,
          timestep: tensorData(dtype, shape, levels),
        },
      )
    const each = await at([2], 'int32', [5, 5])
    for (const same of [await at([], 'int32', [5]), await at([1], 'int32', [5]), await at([2], 'float32', [5, 5])]) {
      expect(relativeError(same, each)).toBeLessThan(1e-6)
    }
    const next = await at([], 'int32', [6])
    const between = await at([], 'float32', [5.5])
    for (const level of [each, next]) expect(relativeError(between, level)).toBeGreaterThan(1e-3)
  })

  it('does not mix the pictures of a batch, and takes pictures of any size', async () => {
    const specs = { sample: float32('batch', 1, 'height', 'width'), timestep: int32('batch') }
    const both = await answer({}, specs, { sample: pictures, timestep: tensorData('int32', [2], [3, 700]) })
    const second = await answer({}, specs, {
      sample: tensorData('float32', [1, 1, 8, 8], pictures.data.slice(64) as Float32Array),
      timestep: tensorData('int32', [1], [700]),
    })
    expect(relativeError(second, { ...second, data: both.data.slice(64) as Float32Array })).toBeLessThan(1e-5)
    const wide = { sample: uniform([1, 1, 4, 12], 2, -1, 1), timestep: tensorData('int32', [1], [9]) }
    const known = await answer({}, { sample: float32(1, 1, 4, 12), timestep: int32(1) }, wide)
    expect(relativeError(await answer({}, specs, wide), known)).toBeLessThan(1e-5)
  }, 20_000)

  it('says in one sentence what does not fit', () => {
    const traced = (config: Partial<UNet2DConfig>, inputs: InputSpecs) => () => {
      const model = new UNet2D({ ...TINY, ...config })
      trace(
        (scope, { sample, timestep, classLabels }) => model.forward(scope, { sample, timestep, classLabels }),
        inputs,
      )
    }
    const inputs = { sample: float32(2, 1, 8, 8), timestep: int32(2) }
    expect(traced({}, { ...inputs, sample: float32(2, 3, 8, 8) })).toThrow(
      'UNet2D: sample must be [batch, 1, height, width], got [2, 3, 8, 8]',
    )
    expect(traced({}, { ...inputs, sample: float32(2, 1, 8, 9) })).toThrow(
      'UNet2D: height and width must be multiples of 2, got [2, 1, 8, 9]',
    )
    expect(traced({ nClasses: 3 }, inputs)).toThrow('UNet2D: classLabels are missing')
    expect(traced({}, { ...inputs, classLabels: int32(2) })).toThrow('it knows no classes')
    expect(traced({ headDim: 32 }, inputs)).toThrow('a head of 32 channels does not fit into 16')
    expect(traced({ normGroups: 3 }, inputs)).toThrow('8 channels do not cut into 3 groups')
  })
})

describe('the configuration', () => {
  it('comes back from config.json, null where the reference writes null', () => {
    const config = UNet2DConfig.complete({ ...TINY, headDim: 'channels', midBlock: 'none', nClasses: 4 })
    const json = JSON.parse(JSON.stringify(new UNet2D(config).toConfig()))
    expect(json).toMatchObject({ _class_name: 'UNet2DModel', attention_head_dim: null, mid_block_type: null })
    expect(UNet2DConfig.read(json)).toEqual(config)
    expect(UNet2DConfig.read({ attention_head_dim: 4 }).headDim).toBe(4)
    expect(UNet2DConfig.read({}).headDim).toBe(8)
  })

  it('refuses with one sentence what is not built', () => {
    const read = (json: object) => () => UNet2DConfig.read(json as Record<string, unknown>)
    expect(read({ time_embedding_type: 'fourier' })).toThrow(/UNet2DModel configuration: time_embedding_type: [^\n]+$/)
    expect(read({ down_block_types: ['SkipDownBlock2D'] })).toThrow(
      /UNet2DModel configuration: down_block_types\.0: [^\n]+$/,
    )
    expect(read({ class_embed_type: 'projection' })).toThrow(/UNet2DModel configuration: class_embed_type: [^\n]+$/)
    expect(read({ block_out_channels: [8] })).toThrow('down_block_types: there must be as many as block_out_channels')
  })

  it('of the paper has the paper’s number of parameters', () => {
    const count = (config: Partial<UNet2DConfig>): number => {
      const model = new UNet2D(config)
      const { parameters } = trace(
        (scope, { sample, timestep }) => model.forward(scope, { sample, timestep }),
        model.inputs,
      )
      return [...parameters.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
    }
    // Appendix B: 35.7 and 114 million.
    expect(count(DDPM_SIZES['ddpm-cifar10']) / 1e6).toBeCloseTo(35.7, 1)
    expect(count(DDPM_SIZES['ddpm-256']) / 1e6).toBeCloseTo(114, 0)
  })
})

describe('training (algorithm 1)', () => {
  const schedule = noiseSchedule({ steps: 100, betaEnd: 0.1 })
  const batch = { x0: uniform([4, 1, 8, 8], 3, -1, 1).data }

  const trainerOf = (options: Partial<TrainerOptions> = {}, dropout = 0): Promise<Trainer> => {
    const model = new UNet2D({ ...TINY, dropout })
    return Trainer.create({
      objective: (scope, { x0 }: Record<string, Tensor>) => ({
        loss: ddpmLoss(scope, model, x0, uniformTimesteps(scope, x0.shape[0], schedule), schedule),
      }),
      inputs: { x0: float32(4, 1, 8, 8) },
      learningRate: constantSchedule(3e-3),
      weightDecay: 0,
      ...options,
    })
  }

  it('starts at the noise’s variance, learns two pictures, and draws one or the other', async () => {
    const pixel = (picture: number, i: number): number => ((picture === 0 ? i % 8 : Math.floor(i / 8)) < 4 ? 1 : -1)
    const x0 = Float32Array.from({ length: 8 * 64 }, (_, i) => pixel(Math.floor(i / 64) % 2, i % 64))
    const trainer = await trainerOf({ inputs: { x0: float32(8, 1, 8, 8) }, emaDecay: 0.95 })
    const losses: number[] = []
    for (let i = 0; i < 400; i++) losses.push((await trainer.train([{ x0 }])).loss)
    // The last layer is zero at first, so what is predicted is zero.
    expect(losses[0]).toBeGreaterThan(0.8)
    expect(losses[0]).toBeLessThan(1.2)
    const traced = trace(
      (scope, { sample, timestep }) => ({ sample: new UNet2D(TINY).forward(scope, { sample, timestep }).sample }),
      { sample: float32(8, 1, 8, 8), timestep: int32(8) },
    )
    const run = await compile(traced, trainer.averaged)
    const { data } = await sample(run, ddpmSampler(schedule), { shape: [8, 1, 8, 8], seed: 5 })
    run.release()
    trainer.release()
    const distance = (drawn: number, picture: number): number => {
      const pixels = Array.from({ length: 64 }, (_, i) => Math.abs(Number(data[64 * drawn + i]) - pixel(picture, i)))
      return pixels.reduce((a, b) => a + b) / 64
    }
    const nearest = Array.from({ length: 8 }, (_, drawn) => [distance(drawn, 0), distance(drawn, 1)])
    // The two lie 1 apart. Four hundred steps leave some speckles.
    const least = nearest.map((distances) => Math.min(...distances))
    expect(least.reduce((a, b) => a + b) / 8).toBeLessThan(0.3)
    expect(new Set(nearest.map(([first, second]) => first < second)).size).toBe(2)
  }, 60_000)

  it('takes the same steps where activations are computed again', async () => {
    const [kept, again] = [await trainerOf({}, 0.2), await trainerOf({ recompute: true }, 0.2)]
    for (let i = 0; i < 4; i++) {
      const [a, b] = [await kept.train([batch]), await again.train([batch])]
      expect(b.loss).toBeCloseTo(a.loss, 5)
      expect(b.gradNorm / a.gradNorm).toBeCloseTo(1, 3)
    }
    kept.release()
    again.release()
  }, 60_000)
})
