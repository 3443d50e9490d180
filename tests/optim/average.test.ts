import { expect, it } from 'vitest'
import { averageWeights } from '../../src/optim/average.ts'
import { transformerSchedule } from '../../src/optim/schedule.ts'
import { type TensorData, tensorData } from '../../src/tensor/index.ts'

const checkpoint = (a: number[], b: number[]): Map<string, TensorData> =>
  new Map([
    ['a', tensorData('float32', [2], a)],
    ['b', tensorData('float32', [1, 1], b)],
  ])

it('averages checkpoints parameter by parameter, and leaves them as they are', () => {
  const all = [checkpoint([1, 2], [3]), checkpoint([4, 5], [6]), checkpoint([1, -1], [0])]
  const mean = averageWeights(all)
  expect([...(mean.get('a')?.data ?? [])]).toEqual([2, 2])
  expect(mean.get('b')).toMatchObject({ shape: [1, 1] })
  expect([...(mean.get('b')?.data ?? [])]).toEqual([3])
  expect([...(all[0].get('a')?.data ?? [])]).toEqual([1, 2])
})

it('says where checkpoints are not of one model', () => {
  expect(() => averageWeights([])).toThrow('there are no checkpoints')
  const other = new Map([['a', tensorData('float32', [2], [1, 2])]])
  expect(() => averageWeights([checkpoint([1, 2], [3]), other])).toThrow('the checkpoints differ')
  expect(() => averageWeights([other, new Map([['c', tensorData('float32', [2], [1, 2])]])])).toThrow('differ in c')
})

it('the Transformer’s learning rate is equation 3 of its paper', () => {
  const [dModel, warmupSteps] = [512, 4000]
  const schedule = transformerSchedule(dModel)
  for (const step of [1, 100, 3999, 4000, 4001, 100_000]) {
    const expected = dModel ** -0.5 * Math.min(step ** -0.5, step * warmupSteps ** -1.5)
    expect(schedule(step - 1) / expected).toBeCloseTo(1, 10)
  }
  expect(transformerSchedule(64, { warmupSteps: 100, factor: 2 })(99)).toBeCloseTo(2 * 64 ** -0.5 * 0.1, 10)
})
