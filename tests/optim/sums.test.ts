import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { constantInit } from '../../src/nn/initializers.ts'
import { float32 } from '../../src/nn/trace.ts'
import type { Batch } from '../../src/optim/runner.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer, type TrainerOptions } from '../../src/optim/trainer.ts'
import type { Comm } from '../../src/runtime/comm.ts'
import { square, sum, tensorData } from '../../src/tensor/index.ts'
import { countingBatch, SEQ, tinyOptions } from './tiny.ts'

/** Labels of which a different share counts in every row. */
function masked(step: number, batch: number): Batch {
  const { inputIds, shiftLabels } = countingBatch(step, batch)
  return {
    inputIds,
    shiftLabels: (shiftLabels as Int32Array).map((label, i) => ((i * 7) % 13 < 2 + (i >> 4) * 3 ? label : -100)),
  }
}

const rows = ({ inputIds, shiftLabels }: Batch, from: number, to: number): Batch => ({
  inputIds: inputIds.subarray(from * SEQ, to * SEQ),
  shiftLabels: shiftLabels.subarray(from * SEQ, to * SEQ),
})

async function stepped(options: TrainerOptions, batches: (step: number) => Batch | Iterable<Batch>) {
  const trainer = await Trainer.create(options)
  const results = [await trainer.train(batches(0)), await trainer.train(batches(1))]
  const weights = [...(await trainer.weights()).values()].flatMap(({ data }) => [...data])
  trainer.release()
  return { results, weights }
}

const farthest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((x, i) => Math.abs(x - b[i])))

describe('a step divides once', () => {
  it('so micro-batches equal one batch where masks differ', async () => {
    const whole = await stepped(tinyOptions({ batch: 4 }), (step) => masked(step, 4))
    const parts = await stepped(tinyOptions({ batch: 1 }, { accumulate: 4 }), (step) =>
      [0, 1, 2, 3].map((row) => rows(masked(step, 4), row, row + 1)),
    )
    for (const [i, { loss, gradNorm }] of whole.results.entries()) {
      expect(parts.results[i].loss).toBeCloseTo(loss, 5)
      expect(parts.results[i].gradNorm).toBeCloseTo(gradNorm, 4)
    }
    expect(farthest(parts.weights, whole.weights)).toBeLessThan(1e-3)
  })

  it('and so do processes that train together, to the same bits in each', async () => {
    const whole = await stepped(tinyOptions({ batch: 4 }), (step) => masked(step, 4))
    const comms = together(2)
    const halves = await Promise.all(
      comms.map((comm) =>
        stepped(tinyOptions({ batch: 2 }, { comm }), (step) => rows(masked(step, 4), 2 * comm.rank, 2 * comm.rank + 2)),
      ),
    )
    expect(halves[1]).toEqual(halves[0])
    for (const [i, { loss, gradNorm }] of whole.results.entries()) {
      expect(halves[0].results[i].loss).toBeCloseTo(loss, 5)
      expect(halves[0].results[i].gradNorm).toBeCloseTo(gradNorm, 4)
    }
    expect(farthest(halves[0].weights, whole.weights)).toBeLessThan(1e-3)
  })

  it('evaluates a split as the sum over all that counts', async () => {
    const trainer = await Trainer.create(tinyOptions({ batch: 4 }))
    const evaluate = async (batch: number, batches: Batch[]) => {
      const shape = [batch, SEQ]
      const evaluator = await trainer.evaluator(tinyOptions({ batch }).inputs)
      const means = await evaluator.mean(
        batches.map(({ inputIds, shiftLabels }) => ({
          inputIds: { dtype: 'int32' as const, shape, data: inputIds },
          shiftLabels: { dtype: 'int32' as const, shape, data: shiftLabels },
        })),
      )
      evaluator.release()
      return means.loss
    }
    const all = masked(5, 4)
    const parts = [0, 1, 2, 3].map((row) => rows(all, row, row + 1))
    expect(await evaluate(1, parts)).toBeCloseTo(await evaluate(4, [all]), 5)
    trainer.release()
  })

  it('says so where nothing counts', async () => {
    const trainer = await Trainer.create(tinyOptions())
    const { inputIds, shiftLabels } = countingBatch(0)
    await expect(trainer.train({ inputIds, shiftLabels: (shiftLabels as Int32Array).map(() => -100) })).rejects.toThrow(
      'nothing counts in step 1',
    )
    trainer.release()
  })
})

/** Processes of one's own making: each waits until all have brought their arrays. */
function together(size: number): Comm[] {
  let arrays: (Float32Array | Float64Array)[] = []
  let release: (() => void)[] = []
  return Array.from({ length: size }, (_, rank) => ({
    rank,
    size,
    async allReduce(array) {
      arrays.push(array)
      const all = new Promise<void>((resolve) => release.push(resolve))
      if (arrays.length === size) {
        const total = arrays[0].slice()
        for (const other of arrays.slice(1)) for (let i = 0; i < total.length; i++) total[i] += other[i]
        for (const one of arrays) one.set(total)
        for (const go of release) go()
        arrays = []
        release = []
      }
      await all
    },
  }))
}

describe('an objective', () => {
  const gain: TrainerOptions = {
    objective: (scope, { x }) => ({ loss: sum(square(x.mul(scope.param('gain', [2], constantInit(1))))) }),
    inputs: { x: float32(2) },
    learningRate: constantSchedule(0.1),
  }

  it('that answers with a vector is refused before the first step', async () => {
    const vector: TrainerOptions = { ...gain, objective: (scope, { x }) => ({ loss: x.mul(scope.param('gain', [2])) }) }
    await expect(Trainer.create(vector)).rejects.toThrow("the objective's loss must be a scalar, got [2]: sum it first")
    const metric: TrainerOptions = {
      ...gain,
      objective: (scope, inputs) => ({ ...gain.objective(scope, inputs), each: inputs.x }),
    }
    await expect(Trainer.create(metric)).rejects.toThrow("the objective's each must be a scalar")
  })

  it('needs sizes that are known', async () => {
    await expect(Trainer.create({ ...gain, inputs: { x: float32('n') } })).rejects.toThrow(
      "training needs static shapes, input 'x' is [n]",
    )
  })

  it('begins with a part of the weights on purpose, never by accident', async () => {
    const weights = new Map([['gain', tensorData('float32', [2], [5, 6])]])
    const withHead: TrainerOptions = {
      ...gain,
      weights,
      objective: (scope, inputs) => ({
        ...gain.objective(scope, inputs),
        head: sum(scope.param('head.weight', [3], constantInit(7))),
      }),
    }
    await expect(Trainer.create(withHead)).rejects.toThrow(
      "the weights lack parameter head.weight: say missing: 'init'",
    )
    const trainer = await Trainer.create({ ...withHead, missing: 'init' })
    expect(trainer.initialized).toEqual(['head.weight'])
    expect([...((await trainer.weights()).get('gain')?.data ?? [])]).toEqual([5, 6])
    expect([...((await trainer.weights()).get('head.weight')?.data ?? [])]).toEqual([7, 7, 7])
    trainer.release()

    const more = new Map([...weights, ['lm_head.weight', tensorData('float32', [1], [1])]])
    await expect(Trainer.create({ ...gain, weights: more })).rejects.toThrow(
      "the objective has no parameter lm_head.weight: say unused: 'ignore'",
    )
    ;(await Trainer.create({ ...gain, weights: more, unused: 'ignore' })).release()
  })
})
