import { describe, expect, it } from 'vitest'
import { meanOf, wilsonInterval } from '../../src/eval/statistics.ts'

describe('a mean', () => {
  it('has the standard error of the sample: of 1, 0, 1, 1 √(0.25 / 4)', () => {
    expect(meanOf([1, 0, 1, 1])).toEqual({ value: 0.75, stderr: 0.25 })
    expect(meanOf([2])).toEqual({ value: 2, stderr: Number.NaN })
    expect(meanOf([])).toEqual({ value: Number.NaN, stderr: Number.NaN })
  })
})

describe('Wilson’s interval', () => {
  it('is that of the textbook, and stays within 0 and 1', () => {
    // 8 of 10 at 95 %: 0.490 to 0.943.
    const [low, high] = wilsonInterval(8, 10)
    expect(low).toBeCloseTo(0.4901625, 6)
    expect(high).toBeCloseTo(0.9433178, 6)
    const [none, some] = wilsonInterval(0, 20)
    expect(none).toBe(0)
    expect(some).toBeCloseTo(0.1611252, 6)
    expect(wilsonInterval(20, 20)[1]).toBe(1)
    expect(wilsonInterval(0, 0)).toEqual([0, 1])
  })
})
