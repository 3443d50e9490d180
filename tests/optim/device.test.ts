import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import '../../src/runtime/node.ts'
import { zeros } from '../../src/nn/initializers.ts'
import { linear } from '../../src/nn/layers.ts'
import type { Batch } from '../../src/optim/runner.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer, type TrainerOptions } from '../../src/optim/trainer.ts'
import type { Provider } from '../../src/runtime/backend.ts'
import { Compiled } from '../../src/runtime/compiled.ts'
import { identityModel } from '../../src/runtime/identity-model.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import { mean, relu, square } from '../../src/tensor/index.ts'
import { countingBatch, SEQ, tinyOptions } from './tiny.ts'

// Chromium's software adapter, where the machine has no GPU.
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json'
if (existsSync(SWIFTSHADER)) process.env.VK_ICD_FILENAMES ??= SWIFTSHADER
process.env.XDG_RUNTIME_DIR ??= tmpdir()

const FLOAT = 1

async function trained(options: TrainerOptions, steps: number, batch: (step: number) => Batch | Iterable<Batch>) {
  const trainer = await Trainer.create(options)
  const results: { loss: number; gradNorm: number }[] = []
  for (let step = 0; step < steps; step++) {
    const { loss, gradNorm } = await trainer.train(batch(step))
    results.push({ loss, gradNorm })
  }
  const weights = [...(await trainer.weights())].map(([name, { data }]) => [name, [...data]] as const)
  const averaged = options.emaDecay ? [...(await trainer.weights({ averaged: true })).values()] : []
  const average = averaged.map(({ data }) => [...data])
  trainer.release()
  return { results, weights, average }
}

/** Two runs whose numbers differ by rounding only. */
function expectSame(a: Awaited<ReturnType<typeof trained>>, b: Awaited<ReturnType<typeof trained>>): void {
  const numbers = ({ results }: typeof a) => results.flatMap(({ loss, gradNorm }) => [loss, gradNorm])
  for (const [i, x] of numbers(a).entries()) expect(Math.abs(x - numbers(b)[i])).toBeLessThan(1e-4)
  const flat = ({ weights, average }: typeof a) => [...weights.flatMap(([, data]) => data), ...average.flat()]
  const [ours, theirs] = [flat(a), flat(b)]
  expect(ours.length).toBe(theirs.length)
  // Adam's step is as large for a gradient that is all rounding: hence not 1e-4 for every parameter.
  const squares = ours.reduce((sum, x, i) => sum + (x - theirs[i]) ** 2, 0)
  expect(Math.sqrt(squares / ours.length)).toBeLessThan(1e-4)
}

describe('training on WebGPU', { timeout: 120_000 }, () => {
  let lacksAdapter = false
  beforeAll(async () => {
    const backend = await nodeBackend('webgpu')
    lacksAdapter = await backend.createSession(identityModel(FLOAT)).then(
      (session) => {
        session.release()
        return false
      },
      () => {
        console.warn('skipped: this machine has no WebGPU adapter')
        return true
      },
    )
  })
  afterEach(() => {
    vi.restoreAllMocks()
  })

  it("equals the CPU's, step for step", async ({ skip }) => {
    if (lacksAdapter) skip('no WebGPU adapter')
    const run = (provider: Provider) =>
      trained(tinyOptions({ dropout: 0.1 }, { provider, emaDecay: 0.9, clipNorm: 0.5 }), 10, countingBatch)
    expectSame(await run('webgpu'), await run('cpu'))
  })

  it("equals the CPU's over micro-batches, with groups, frozen parameters and running statistics", async ({ skip }) => {
    if (lacksAdapter) skip('no WebGPU adapter')
    const options = (provider: Provider): TrainerOptions => ({
      objective: (scope, { x, y }) => {
        const hidden = relu(linear(scope.at('first'), x, 8))
        const running = scope.buffer('running', [8], zeros)
        scope.updateBuffer('running', running.mul(0.9).add(mean(hidden, { axis: 0 }).mul(0.1)))
        return { loss: mean(square(linear(scope.at('last'), hidden.sub(running), 1).sub(y))), hidden: mean(hidden) }
      },
      inputs: { x: { dtype: 'float32', shape: [6, 4] }, y: { dtype: 'float32', shape: [6, 1] } },
      learningRate: constantSchedule(1e-2),
      groups: [
        { takes: ({ name }) => name.startsWith('first'), weightDecay: 0.3, learningRateScale: 0.5 },
        { takes: ({ name }) => name === 'last.weight' },
      ],
      accumulate: 2,
      provider,
    })
    const batches = (step: number): Batch[] =>
      [0, 1].map((i) => ({
        x: Float32Array.from({ length: 24 }, (_, j) => Math.sin(3 * j + i + step)),
        y: Float32Array.from({ length: 6 }, (_, j) => Math.cos(j - i - step)),
      }))
    const [gpu, cpu] = [await trained(options('webgpu'), 6, batches), await trained(options('cpu'), 6, batches)]
    expectSame(gpu, cpu)
    const moved = new Map(gpu.weights).get('running') as number[]
    expect(Math.max(...moved.map(Math.abs))).toBeGreaterThan(1e-3)
  })

  it('leaves parameters, gradients and moments on the device between steps', async ({ skip }) => {
    if (lacksAdapter) skip('no WebGPU adapter')
    const trainer = await Trainer.create(tinyOptions({}, { provider: 'webgpu', emaDecay: 0.9 }))
    await trainer.train(countingBatch(0))
    const runs = vi.spyOn(Compiled.prototype, 'runOnDevice')
    await trainer.train(countingBatch(1))
    expect(runs).toHaveBeenCalledTimes(2)
    let [toDevice, toHost] = [0, 0]
    for (const [i, { value }] of runs.mock.results.entries()) {
      for (const feed of Object.values(runs.mock.calls[i][0])) if ('data' in feed) toDevice += feed.data.byteLength
      for (const result of Object.values(await (value as ReturnType<Compiled['runOnDevice']>)))
        if ('data' in result) toHost += result.data.byteLength
    }
    // Two int32 arrays [4, 16] and the update's scalars; back come a sum, its count and a norm.
    // The model itself is a hundred times as large.
    expect(toDevice).toBeLessThan(2 * 4 * 4 * SEQ + 64)
    expect(toHost).toBe(3 * 4)
    expect(trainer.layout.length * 4).toBeGreaterThan(100_000)
    trainer.release()
  })

  it('evaluates there, reads back what it computed and goes on from what is put in its place', async ({ skip }) => {
    if (lacksAdapter) skip('no WebGPU adapter')
    const trainer = await Trainer.create(tinyOptions({}, { provider: 'webgpu' }))
    for (let step = 0; step < 3; step++) await trainer.train(countingBatch(step))
    const weights = await trainer.weights()
    const before = [...(weights.get('transformer.wte.weight')?.data ?? [])]
    const state = await trainer.snapshot()
    const saved = new Map([...state.flat].map(([name, array]) => [name, array.slice()]))

    const evaluator = await trainer.evaluator()
    const { inputIds, shiftLabels } = countingBatch(3)
    const feeds = {
      inputIds: { dtype: 'int32', shape: [4, SEQ], data: inputIds },
      shiftLabels: { dtype: 'int32', shape: [4, SEQ], data: shiftLabels },
    } as const
    const evaluated = await evaluator.mean([feeds])
    const fourth = await trainer.train(countingBatch(3))
    expect(Math.abs(fourth.loss - evaluated.loss)).toBeLessThan(1e-5)
    expect((await evaluator.mean([feeds])).loss).toBeLessThan(evaluated.loss)
    // The same views, read again.
    await trainer.weights()
    expect([...(weights.get('transformer.wte.weight')?.data ?? [])]).not.toEqual(before)

    for (const [name, array] of (await trainer.snapshot()).flat) array.set(saved.get(name) as Float32Array)
    trainer.restore(3)
    const again = await trainer.train(countingBatch(3))
    expect(again.step).toBe(4)
    expect(Math.abs(again.loss - fourth.loss)).toBeLessThan(1e-6)
    trainer.release()
  })
})
