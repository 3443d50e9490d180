import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { batchNorm } from '../../src/nn/conv.ts'
import { constantInit, normal, zeros } from '../../src/nn/initializers.ts'
import { linear } from '../../src/nn/layers.ts'
import type { Scope } from '../../src/nn/scope.ts'
import { decayMatrices } from '../../src/optim/flat-parameters.ts'
import type { Batch } from '../../src/optim/runner.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer, type TrainerOptions } from '../../src/optim/trainer.ts'
import { mean, square, type Tensor, tanh } from '../../src/tensor/index.ts'
import { countingBatch, SEQ, tinyOptions } from './tiny.ts'

/** A trainer's parameters, in one copy. */
async function parametersOf(trainer: Trainer): Promise<number[]> {
  return [...(await trainer.weights()).values()].flatMap(({ data }) => [...data])
}

async function trained(options: TrainerOptions, steps: number, batch: (step: number) => Batch | Iterable<Batch>) {
  const trainer = await Trainer.create(options)
  const results = []
  for (let step = 0; step < steps; step++) results.push(await trainer.train(batch(step)))
  const parameters = await parametersOf(trainer)
  trainer.release()
  return { losses: results.map(({ loss }) => loss), gradNorms: results.map(({ gradNorm }) => gradNorm), parameters }
}

const distance = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((x, i) => Math.abs(x - b[i])))

/** (w · x − y)², averaged: its gradient is known in closed form. */
const LINEAR: Pick<TrainerOptions, 'objective' | 'inputs'> = {
  objective: (scope, { x, y }) => {
    const w = scope.param('w', [1, 2], constantInit(1))
    const b = scope.param('b', [1], constantInit(0.5))
    return { loss: mean(square(x.mul(w).sum({ axis: 1 }).add(b).sub(y))) }
  },
  inputs: { x: { dtype: 'float32', shape: [1, 2] }, y: { dtype: 'float32', shape: [1] } },
}
const LINEAR_BATCH: Batch = { x: Float32Array.of(3, -4), y: Float32Array.of(0) }

describe('a trainer', () => {
  it('learns one batch by heart', async () => {
    const { losses } = await trained(tinyOptions({}, { learningRate: constantSchedule(1e-2) }), 60, () =>
      countingBatch(0),
    )
    expect(losses[0]).toBeGreaterThan(2.4) // ln 13 = 2.56 is chance
    expect(losses[59]).toBeLessThan(0.05)
  })

  it('k micro-batches are one batch k times as large', async () => {
    const whole = await trained(tinyOptions({ batch: 6 }), 5, (step) => countingBatch(step, 6))
    const part = ({ inputIds, shiftLabels }: Batch, i: number): Batch => ({
      inputIds: inputIds.subarray(i * 2 * SEQ, (i + 1) * 2 * SEQ),
      shiftLabels: shiftLabels.subarray(i * 2 * SEQ, (i + 1) * 2 * SEQ),
    })
    const parts = await trained(tinyOptions({ batch: 2 }, { accumulate: 3 }), 5, function* (step) {
      for (let i = 0; i < 3; i++) yield part(countingBatch(step, 6), i)
    })
    expect(distance(parts.losses, whole.losses)).toBeLessThan(1e-5)
    expect(distance(parts.gradNorms, whole.gradNorms)).toBeLessThan(1e-5)
    // Adam divides by the gradient's size: where that is all rounding, two orders of summing differ by more than they do.
    expect(distance(parts.parameters, whole.parameters)).toBeLessThan(1e-3)
  })

  it('reads a micro-batch before the next one is made, so a loader may fill the same arrays again', async () => {
    const fresh = await trained(tinyOptions({}, { accumulate: 2 }), 2, (step) => [
      countingBatch(2 * step),
      countingBatch(2 * step + 1),
    ])
    const arrays = countingBatch(0)
    const reused = await trained(tinyOptions({}, { accumulate: 2 }), 2, function* (step) {
      for (const i of [0, 1]) {
        const next = countingBatch(2 * step + i)
        ;(arrays.inputIds as Int32Array).set(next.inputIds as Int32Array)
        ;(arrays.shiftLabels as Int32Array).set(next.shiftLabels as Int32Array)
        yield arrays
      }
    })
    expect(reused).toEqual(fresh)
  })

  it('scales a gradient that is too long down to clipNorm', async () => {
    // d loss / d(w, b) = 2 (3 − 4 + 0.5) (3, −4, 1); AdamW with β = 0 and a large ε is plain gradient descent by lr / ε.
    const settings = {
      ...LINEAR,
      beta1: 0,
      beta2: 0,
      epsilon: 1e4,
      weightDecay: 0,
      learningRate: constantSchedule(1e4),
    }
    const norm = Math.sqrt(26)
    for (const clipNorm of [0.1, Infinity]) {
      const { parameters, gradNorms } = await trained({ ...settings, clipNorm }, 1, () => LINEAR_BATCH)
      expect(gradNorms[0]).toBeCloseTo(norm, 5)
      const scale = Math.min(1, clipNorm / norm)
      const expected = [1 + 3 * scale, 1 - 4 * scale, 0.5 + scale]
      expect(distance(parameters, expected)).toBeLessThan(2e-3) // ε is not infinite: |g| / ε = 4e-4
    }
  })

  it("takes AdamW's steps as its paper gives them", async () => {
    const { parameters } = await trained(
      {
        ...LINEAR,
        beta1: 0.8,
        beta2: 0.9,
        epsilon: 1e-6,
        weightDecay: 0.5,
        clipNorm: Infinity,
        learningRate: () => 0.1,
      },
      3,
      () => LINEAR_BATCH,
    )
    const p = [1, 1, 0.5]
    const [m, v] = [
      [0, 0, 0],
      [0, 0, 0],
    ]
    for (let t = 1; t <= 3; t++) {
      const error = 3 * p[0] - 4 * p[1] + p[2]
      const g = [3, -4, 1].map((x) => 2 * error * x)
      g.forEach((gi, i) => {
        m[i] = 0.8 * m[i] + 0.2 * gi
        v[i] = 0.9 * v[i] + 0.1 * gi * gi
        p[i] *= 1 - 0.1 * (i < 2 ? 0.5 : 0) // w is a matrix, b is not
        p[i] -= (0.1 * (m[i] / (1 - 0.8 ** t))) / (Math.sqrt(v[i] / (1 - 0.9 ** t)) + 1e-6)
      })
    }
    expect(distance(parameters, p)).toBeLessThan(1e-5)
  })

  it('trains groups at their own rates and decays, and leaves alone what no group takes', async () => {
    const options: TrainerOptions = {
      objective: (scope, { x }) => {
        const parts = ['slow', 'fast', 'frozen'].map((name) => scope.param(name, [3], constantInit(1)))
        return { loss: mean(parts.reduce((sum, part) => sum.add(part)).mul(x)) }
      },
      inputs: { x: { dtype: 'float32', shape: [3] } },
      learningRate: constantSchedule(0.01),
      groups: [
        { takes: ({ name }) => name === 'slow', learningRateScale: 0.1, weightDecay: 2 },
        { takes: ({ name }) => name === 'fast' },
      ],
    }
    const trainer = await Trainer.create(options)
    await trainer.train({ x: Float32Array.of(1, 1, 1) })
    const weights = await trainer.weights()
    // Adam's first step is the learning rate, whatever the gradient.
    expect(weights.get('slow')?.data[0]).toBeCloseTo(1 * (1 - 0.001 * 2) - 0.001, 6)
    expect(weights.get('fast')?.data[0]).toBeCloseTo(1 - 0.01, 6)
    expect(weights.get('frozen')?.data[0]).toBe(1)
    expect(trainer.layout.parameterCount).toBe(6)
    trainer.release()
    await expect(Trainer.create({ ...options, groups: [] })).rejects.toThrow('no group takes any parameter')
  })

  it('decays matrices and neither gains nor biases', () => {
    const [first, second] = decayMatrices(0.1)
    const spec = (shape: number[]) => ({
      name: 'p',
      plainName: 'p',
      shape,
      init: zeros,
      trainable: true,
      tensor: {} as Tensor,
    })
    expect([[2, 3], [2], [2, 3, 1, 1], []].map((shape) => first.takes(spec(shape)))).toEqual([true, false, true, false])
    expect([first.weightDecay, second.weightDecay]).toEqual([0.1, undefined])
  })

  it('keeps the exponential average of the parameters', async () => {
    const trainer = await Trainer.create(tinyOptions({}, { emaDecay: 0.7 }))
    let average = await parametersOf(trainer)
    for (let step = 0; step < 4; step++) {
      await trainer.train(countingBatch(step))
      const now = await parametersOf(trainer)
      average = average.map((x, i) => 0.7 * x + 0.3 * now[i])
    }
    const kept = [...(await trainer.weights({ averaged: true })).values()].flatMap(({ data }) => [...data])
    expect(distance(kept, average)).toBeLessThan(1e-6)
    expect(distance(kept, await parametersOf(trainer))).toBeGreaterThan(1e-4)

    const batch = countingBatch(9)
    const feeds = Object.fromEntries(
      Object.entries(batch).map(([name, data]) => [name, { dtype: 'int32' as const, shape: [4, SEQ], data }]),
    )
    const evaluators = [await trainer.evaluator(), await trainer.evaluator(undefined, { averaged: true })]
    const [current, averaged] = await Promise.all(evaluators.map((evaluator) => evaluator.mean([feeds])))
    expect(Math.abs(current.loss - averaged.loss)).toBeGreaterThan(1e-3)
    trainer.release()
  })

  it('drops the same elements again with the same seed, and others with another', async () => {
    const run = (seed: number) => trained(tinyOptions({ dropout: 0.2 }, { seed }), 4, countingBatch)
    const [once, again, other] = [await run(1), await run(1), await run(2)]
    expect(again).toEqual(once)
    expect(other.losses).not.toEqual(once.losses)
  })

  it('a recomputed block trains exactly as if it were not', async () => {
    const block = (scope: Scope, x: Tensor) => scope.dropout(tanh(linear(scope.at('inner'), x, 8)), 0.3)
    const options = (recompute: boolean): TrainerOptions => ({
      objective: (scope, { x, y }) => {
        let hidden = linear(scope.at('first'), x, 8)
        for (let i = 0; i < 2; i++) hidden = scope.block(block, scope.at('block', i), hidden)
        return { loss: mean(square(linear(scope.at('last'), hidden, 1).sub(y))) }
      },
      inputs: { x: { dtype: 'float32', shape: [5, 4] }, y: { dtype: 'float32', shape: [5, 1] } },
      learningRate: constantSchedule(1e-2),
      recompute,
    })
    const batch = (step: number): Batch => ({
      x: Float32Array.from({ length: 20 }, (_, i) => Math.sin(i + step)),
      y: Float32Array.from({ length: 5 }, (_, i) => Math.cos(i - step)),
    })
    expect(await trained(options(true), 10, batch)).toEqual(await trained(options(false), 10, batch))
  })

  it('moves the running statistics of batch normalisation, over micro-batches too', async () => {
    const trainer = await Trainer.create({
      objective: (scope, { x }) => ({ loss: mean(square(batchNorm(scope.at('bn'), x, { momentum: 0.5 }).sub(1))) }),
      inputs: { x: { dtype: 'float32', shape: [4, 1] } },
      learningRate: constantSchedule(1e-3),
      accumulate: 2,
    })
    await trainer.train([{ x: Float32Array.of(0, 2, 4, 6) }, { x: Float32Array.of(10, 10, 12, 12) }])
    const weights = await trainer.weights()
    expect(weights.get('bn.running_mean')?.data[0]).toBeCloseTo(0.5 * (0.5 * 3) + 0.5 * 11, 5)
    // Unbiased variances 20/3 and 4/3 (PyTorch's running variance).
    expect(weights.get('bn.running_var')?.data[0]).toBeCloseTo(0.5 * (0.5 + (0.5 * 20) / 3) + (0.5 * 4) / 3, 5)
    trainer.release()
  })

  it('begins with weights that are given, and refuses those of another shape', async () => {
    const first = await Trainer.create(tinyOptions())
    for (let step = 0; step < 3; step++) await first.train(countingBatch(step))
    const weights = await first.weights()
    const second = await Trainer.create(tinyOptions({}, { weights, seed: 5 }))
    expect(await parametersOf(second)).toEqual(await parametersOf(first))
    weights.set('transformer.wte.weight', { dtype: 'float32', shape: [2, 2], data: new Float32Array(4) })
    await expect(Trainer.create(tinyOptions({}, { weights }))).rejects.toThrow(
      'parameter transformer.wte.weight is [13, 32] in the model and [2, 2] in the weights',
    )
    first.release()
    second.release()
  })

  it('first values do not depend on how parameters are grouped', async () => {
    const values = async (groups: TrainerOptions['groups']) => {
      const trainer = await Trainer.create(tinyOptions({}, { groups }))
      const weights = await trainer.weights()
      trainer.release()
      return new Map([...weights].sort(([a], [b]) => (a < b ? -1 : 1)))
    }
    expect(await values(decayMatrices(0.1))).toEqual(await values([{ takes: () => true }]))
  })

  it('stops at a loss that is no number, with the parameters as they were', async () => {
    const trainer = await Trainer.create({
      objective: (scope, { x }) => ({ loss: mean(scope.param('w', [2], normal(1)).mul(x).log()) }),
      inputs: { x: { dtype: 'float32', shape: [2] } },
      learningRate: constantSchedule(1),
    })
    const before = await parametersOf(trainer)
    await expect(trainer.train({ x: Float32Array.from(before, (w) => -w) })).rejects.toThrow(
      /^the loss is NaN and the norm of the gradient [\d.]+ at step 1: start again with a lower learning rate or a longer warm-up$/,
    )
    expect(await parametersOf(trainer)).toEqual(before)
    expect(trainer.step).toBe(0)
    trainer.release()
  })

  it('says which input a batch lacks, and how many micro-batches a step needs', async () => {
    const trainer = await Trainer.create(tinyOptions({}, { accumulate: 2 }))
    const { inputIds, shiftLabels } = countingBatch(0)
    await expect(trainer.train([{ inputIds }, { inputIds }])).rejects.toThrow(
      "train: input 'shiftLabels' needs 64 numbers, got none",
    )
    await expect(trainer.train([{ inputIds, shiftLabels: shiftLabels.subarray(1) }])).rejects.toThrow(
      "'shiftLabels' needs 64 numbers",
    )
    await expect(trainer.train(countingBatch(0))).rejects.toThrow('train: needs 2 micro-batches, got 1')
    await expect(trainer.train([0, 1, 2].map((step) => countingBatch(step)))).rejects.toThrow('got more')
    await expect(Trainer.create(tinyOptions({}, { accumulate: 0 }))).rejects.toThrow(/accumulate must be an integer/)
    trainer.release()
  })
})
