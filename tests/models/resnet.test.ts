import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { writeSafetensorsFolder } from '../../src/hub/safetensors-write.ts'
import { forward } from '../../src/load/run.ts'
import { readWeights } from '../../src/load/weights.ts'
import { cifarConfig, ResNet, ResNetConfig } from '../../src/models/resnet.ts'
import { Scope } from '../../src/nn/scope.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import { compileGraph } from '../../src/runtime/compiled.ts'
import '../../src/runtime/node.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { grad, input, type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { fractions, uniform } from '../tensor/check.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`../parity/${name}`, import.meta.url))

const TINY: Partial<ResNetConfig> = {
  layerType: 'basic',
  embeddingSize: 4,
  hiddenSizes: [4, 6],
  depths: [1, 1],
  nLabels: 3,
}

describe('gradients', () => {
  /** The loss at given parameters, and its gradient by every one of them, in training or evaluation. */
  async function traced(config: Partial<ResNetConfig>, training: boolean, size: number) {
    const model = new ResNet(config)
    const inputs = { pixelValues: float32(3, 3, size, size), labels: int32(3) }
    const forward = (scope: Scope, { pixelValues, labels }: Record<string, Tensor>) =>
      model.forward(scope, { pixelValues, labels })
    const step = trace(forward, inputs, { training })
    const specs = [...step.parameters.values()]
    const trained = specs.filter(({ trainable }) => trainable)
    const loss = step.outputs.loss as Tensor
    const gradients = grad(
      loss,
      trained.map(({ tensor }) => tensor),
    )
    const outputs = { loss, ...Object.fromEntries(trained.map(({ name }, i) => [`grad.${name}`, gradients[i]])) }
    const compiled = await compileGraph({
      inputs: [...Object.values(step.inputs), ...specs.map(({ tensor }) => tensor)],
      outputs,
    })
    const feeds: Record<string, TensorData> = {
      pixelValues: uniform([3, 3, size, size], 1),
      labels: tensorData('int32', [3], [0, 2, 1]),
    }
    specs.forEach(({ name, shape }, i) => {
      const spread = name.endsWith('running_var') || /norm.*weight/.test(name) ? [0.5, 1.5] : [-0.5, 0.5]
      feeds[name] = uniform(shape, 10 + i, ...(spread as [number, number]))
    })
    return { compiled, feeds, trained: trained.map(({ name }) => name) }
  }

  for (const training of [false, true]) {
    for (const [kind, config] of [
      ['a basic network', TINY],
      ['a bottleneck network', { ...TINY, layerType: 'bottleneck', hiddenSizes: [8, 12] }],
      ['the CIFAR form', { ...cifarConfig(1), embeddingSize: 4, hiddenSizes: [4, 6, 8], nLabels: 3 }],
    ] as const) {
      it(`of ${kind} equal differences of its loss in ${training ? 'training' : 'evaluation'}`, async () => {
        const { compiled, feeds, trained } = await traced(config, training, kind === 'the CIFAR form' ? 8 : 32)
        const at = await compiled.run(feeds)
        const next = fractions(5)
        // Along a random direction of each parameter. Single precision leaves a few digits, and a step crosses kinks
        // of the ReLU: enough to tell a wrong rule from a right one.
        for (const name of trained) {
          const { shape, data } = feeds[name]
          const direction = Float32Array.from(data as Float32Array, () => 2 * next() - 1)
          const step = 1e-4
          const moved = async (by: number) => {
            const values = (data as Float32Array).map((x, i) => x + by * direction[i])
            return Number((await compiled.run({ ...feeds, [name]: tensorData('float32', shape, values) })).loss.data[0])
          }
          const difference = ((await moved(step)) - (await moved(-step))) / (2 * step)
          const gradient = at[`grad.${name}`].data as Float32Array
          const slope = gradient.reduce((sum, g, i) => sum + g * direction[i], 0)
          const norm = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0))
          expect(Math.abs(slope - difference), `${name}: ${slope} and ${difference}`).toBeLessThan(0.05 * norm + 5e-3)
        }
        compiled.release()
      })
    }
  }
})

describe('training', () => {
  it('learns one batch by heart, and the running statistics follow', async () => {
    const model = new ResNet({ ...TINY, hiddenSizes: [8, 16], embeddingSize: 8, stem: 'cifar' })
    const trainer = await Trainer.create({
      objective: (scope, { pixelValues, labels }) => {
        const { loss } = model.forward(scope, { pixelValues, labels })
        return { loss: loss as Tensor }
      },
      inputs: { pixelValues: { dtype: 'float32', shape: [6, 3, 8, 8] }, labels: { dtype: 'int32', shape: [6] } },
      learningRate: constantSchedule(1e-2),
      weightDecay: 0,
    })
    const batch = { pixelValues: uniform([6, 3, 8, 8], 2).data, labels: Int32Array.of(0, 1, 2, 2, 1, 0) }
    const first = await trainer.train([batch])
    let last = first
    for (let i = 0; i < 60; i++) last = await trainer.train([batch])
    expect(first.loss).toBeGreaterThan(0.7)
    expect(last.loss).toBeLessThan(0.02)
    const moved = [...(await trainer.weights())].filter(([name]) => name.endsWith('running_mean'))
    expect(moved.length).toBeGreaterThan(4)
    for (const [name, { data }] of moved)
      expect(
        (data as Float32Array).some((x) => Math.abs(x) > 1e-4),
        name,
      ).toBe(true)
    trainer.release()
  })
})

it('takes pictures of any number and size through one graph', async () => {
  const model = new ResNet(TINY)
  const traced = trace((scope, { pixelValues }) => model.forward(scope, { pixelValues }), model.inputs)
  const weights = [...traced.parameters.values()].map(
    ({ name, shape }, i) => [name, uniform(shape, i, 0.1, 0.9)] as const,
  )
  const run = await compile(traced, new Map(weights))
  for (const [batch, height, width] of [
    [1, 32, 32],
    [3, 45, 37],
  ]) {
    const { logits } = await run({ pixelValues: uniform([batch, 3, height, width], 1) })
    expect(logits?.shape).toEqual([batch, 3])
    expect(Array.from(logits?.data ?? [], Number)).toSatisfy((values: number[]) => values.every(Number.isFinite))
  }
  run.release()
})

it('answers with its features, and with no logits, where it has no classifier', async () => {
  const checkpoint = openCheckpoint(fixture('resnet-features'))
  const outputs = await forward(checkpoint, readTensors(join(fixture('resnet-features'), 'inputs.safetensors')))
  checkpoint.close()
  expect(Object.keys(outputs).sort()).toEqual(['last_hidden_state', 'pooler_output'])
})

describe('checkpoints', () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-resnet-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('saved and loaded compute the same', async () => {
    const source = openCheckpoint(fixture('resnet-paper'))
    const model = new ResNet(ResNetConfig.read(source.config as Record<string, unknown>))
    const scope = Scope.root()
    model.forward(scope, { pixelValues: input('pixelValues', [2, 1, 34, 30]) })
    const weights = readWeights(scope.parameters.values(), source, ResNet)
    await writeSafetensorsFolder(folder, weights)
    writeFileSync(join(folder, 'config.json'), JSON.stringify(model.toConfig()))

    const inputs = readTensors(join(fixture('resnet-paper'), 'inputs.safetensors'))
    const saved = openCheckpoint(folder)
    const [before, after] = [await forward(source, inputs), await forward(saved, inputs)]
    expect(after.logits.data).toEqual(before.logits.data)
    source.close()
    saved.close()
    expect(existsSync(join(folder, 'model.safetensors'))).toBe(true)
  })

  it('keep every setting of a configuration', () => {
    for (const config of [
      TINY,
      cifarConfig(3),
      { ...TINY, nLabels: 0 },
      { downsampleInBottleneck: true, nLabels: 7 },
    ]) {
      const model = new ResNet(config)
      expect(ResNetConfig.read(model.toConfig())).toEqual(model.config)
    }
  })

  it('that are none get one sentence', () => {
    const read = (json: Record<string, unknown>) => () => ResNetConfig.read(json)
    expect(read({ layer_type: 'dense' })).toThrow(/config.json is not a ResNet configuration: layer_type: /)
    expect(read({ depths: [1], hidden_sizes: [8, 8] })).toThrow(/depths: must have as many stages as hidden_sizes/)
    expect(read({ problem_type: 'regression' })).toThrow(/problem_type: /)
    expect(() => new ResNet(TINY).forward(Scope.root(), { pixelValues: input('pixelValues', [1, 1, 32, 32]) })).toThrow(
      /pixelValues must be \[batch, 3, height, width\], got \[1, 1, 32, 32\]/,
    )
  })
})
