import { describe, expect, it } from 'vitest'
import { constantSchedule, cosineSchedule, inverseSqrtSchedule, linearSchedule } from '../../src/optim/schedule.ts'

describe('schedules', () => {
  it("cosine with warm-up is nanoGPT's get_lr", () => {
    const [peak, minimum, warmup, decay] = [1e-3, 1e-4, 100, 2000]
    const ours = cosineSchedule(peak, { steps: decay, warmupSteps: warmup, minimum })
    const theirs = (it: number): number => {
      if (it < warmup) return (peak * (it + 1)) / (warmup + 1)
      if (it > decay) return minimum
      const ratio = (it - warmup) / (decay - warmup)
      return minimum + 0.5 * (1 + Math.cos(Math.PI * ratio)) * (peak - minimum)
    }
    for (let step = 0; step <= 2100; step++) expect(ours(step)).toBeCloseTo(theirs(step), 15)
  })

  it('linear falls evenly from the peak to its minimum and stays there', () => {
    const schedule = linearSchedule(1, { steps: 10, warmupSteps: 2, minimum: 0.2 })
    expect([0, 1].map(schedule)).toEqual([1 / 3, 2 / 3])
    for (let step = 2; step <= 10; step++) expect(schedule(step)).toBeCloseTo(1 - (0.8 * (step - 2)) / 8, 12)
    expect(schedule(99)).toBeCloseTo(0.2, 12)
  })

  it("inverse square root is the Transformer's, counted from 1", () => {
    const [dModel, warmupSteps] = [512, 4000]
    const schedule = inverseSqrtSchedule(dModel ** -0.5 * warmupSteps ** -0.5, { warmupSteps })
    for (const step of [1, 2, 1000, 3999, 4000, 4001, 100_000]) {
      expect(schedule(step - 1)).toBeCloseTo(dModel ** -0.5 * Math.min(step ** -0.5, step * warmupSteps ** -1.5), 15)
    }
  })

  it('constant stays at its peak after the warm-up', () => {
    expect([0, 1, 2, 3, 500].map(constantSchedule(4, { warmupSteps: 3 }))).toEqual([1, 2, 3, 4, 4])
    expect([0, 7].map(constantSchedule(4))).toEqual([4, 4])
  })

  it('a run no longer than its warm-up ends at the minimum', () => {
    const schedule = cosineSchedule(1, { steps: 3, warmupSteps: 3, minimum: 0.1 })
    expect(schedule(2)).toBe(0.75)
    expect(schedule(4)).toBeCloseTo(0.1, 12)
  })
})
