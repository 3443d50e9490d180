import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  editDistance,
  editSimilarity,
  emergenceScore,
  emergesAt,
  expectedExactMatch,
  expectedTokenErrors,
  type Family,
  randomBaseline,
  scaleCurve,
  scalingChart,
  sharpness,
  trainingFlops,
} from '../../src/eval/scaling.ts'

const curve = (...scores: number[]) => scores.map((score, i) => ({ flops: 10 ** (i + 1), score }))

const family: Family = {
  name: 'tiny',
  members: [
    { name: 'large', parameters: 400, tokens: 50, scores: { 'exact match': 0.75, 'log-likelihood': -0.5 } },
    { name: 'small', parameters: 100, tokens: 50, scores: { 'exact match': 0, 'log-likelihood': -4 } },
    { name: 'middle', parameters: 200, tokens: 50, scores: { 'exact match': 0 } },
  ],
}

describe('training FLOPs', () => {
  it('are 6ND: GPT-3’s 175B on 300B tokens took 3.15e23', () => {
    expect(trainingFlops(175e9, 300e9)).toBeCloseTo(3.15e23, -20)
  })

  it('order a family, of whichever order it was given in; who lacks the metric is left out', () => {
    expect(scaleCurve(family, 'exact match')).toEqual([
      { flops: 30_000, score: 0 },
      { flops: 60_000, score: 0 },
      { flops: 120_000, score: 0.75 },
    ])
    expect(scaleCurve(family, 'log-likelihood').map(({ score }) => score)).toEqual([-4, -0.5])
    expect(scaleCurve(family, 'nothing')).toEqual([])
  })
})

describe('an ability', () => {
  it('emerges where scores leave the random baseline for good', () => {
    expect(emergesAt(curve(0.24, 0.26, 0.25, 0.6, 0.8), { baseline: 0.25, margin: 0.02 })).toBe(1e4)
    // Within the margin is not above; one lucky small model does not count.
    expect(emergesAt(curve(0.5, 0.26, 0.6), { baseline: 0.25, margin: 0.02 })).toBe(1e3)
  })

  it('does not emerge where all models have it, or the largest lacks it', () => {
    expect(emergesAt(curve(0.4, 0.5, 0.6), { baseline: 0.25 })).toBeUndefined()
    expect(emergesAt(curve(0.2, 0.9, 0.25), { baseline: 0.25 })).toBeUndefined()
    expect(emergesAt(curve(0.2, 0.9, Number.NaN), { baseline: 0.25 })).toBeUndefined()
  })

  it('is guessed as often as there are choices', () => {
    expect(randomBaseline([2, 4, 4])).toBeCloseTo(1 / 3, 12)
    expect(randomBaseline([Number.POSITIVE_INFINITY])).toBe(0)
    expect(() => randomBaseline([])).toThrow('needs questions')
  })
})

describe('how sharp a curve is', () => {
  it('is the share of its range that one step takes', () => {
    expect(sharpness(curve(0, 0, 0, 1))).toBe(1)
    expect(sharpness(curve(0, 1, 2, 3, 4))).toBeCloseTo(1 / 4, 12)
    expect(sharpness(curve(-4, -3, -0.5))).toBeCloseTo(2.5 / 3.5, 12)
    expect(sharpness(curve(1, 1))).toBeNaN()
    expect(() => sharpness(curve(1))).toThrow('two models or more, got 1')
  })

  it('as the emergence score: range over the root of the median squared step', () => {
    expect(emergenceScore(curve(0, 1, 2, 3))).toBeCloseTo(3, 12)
    // Steps 0.1, 0.2, 0.7: median 0.2, range 1.
    expect(emergenceScore(curve(0, 0.1, 0.3, 1))).toBeCloseTo(5, 12)
    expect(emergenceScore(curve(3, 2, 1, 0))).toBeCloseTo(-3, 12)
    // Of two steps, 0.1 and 0.3, the squares' median lies between: √0.05.
    expect(emergenceScore(curve(0, 0.1, 0.4))).toBeCloseTo(0.4 / Math.sqrt(0.05), 12)
    expect(emergenceScore(curve(0, 0, 0, 0.5))).toBe(Number.POSITIVE_INFINITY)
  })

  it('comes of the metric: tokens that get better evenly are an answer that is suddenly right', () => {
    const accuracies = [0.1, 0.3, 0.5, 0.7, 0.9]
    const exact = curve(...accuracies.map((p) => expectedExactMatch(p, 10)))
    const errors = curve(...accuracies.map((p) => -expectedTokenErrors(p, 10)))
    expect(expectedExactMatch(0.5, 3)).toBe(0.125)
    expect(expectedTokenErrors(0.5, 3)).toBe(1.5)
    expect(sharpness(errors)).toBeCloseTo(1 / 4, 12)
    expect(sharpness(exact)).toBeGreaterThan(0.9)
    expect(emergenceScore(exact)).toBeGreaterThan(4 * emergenceScore(errors))
  })
})

describe('edit distance', () => {
  it('is Levenshtein’s', () => {
    expect(editDistance('kitten', 'sitting')).toBe(3)
    expect(editDistance('', 'abc')).toBe(3)
    expect(editDistance([1, 2, 3], [2, 3, 4])).toBe(2)
    expect(editSimilarity('1234', '1284')).toBe(0.75)
    expect(editSimilarity('', '')).toBe(1)
    expect(editSimilarity('ab', '')).toBe(0)
  })

  it('is a metric', () => {
    const text = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 7 })
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a))
        expect(editDistance(a, b) === 0).toBe(a.join() === b.join())
        expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c))
      }),
    )
  })
})

describe('the chart', () => {
  it('has a panel a metric, a line a family, the baseline, and FLOPs by powers of ten', () => {
    const other = { ...family, name: 'a < b' }
    const svg = scalingChart([family, other], { baselines: { 'exact match': 0.25 }, title: 'Digits' })
    expect(svg.match(/<g transform/g)).toHaveLength(2)
    expect(svg.match(/<polyline/g)).toHaveLength(4)
    expect(svg.match(/class="chance"/g)).toHaveLength(1)
    expect(svg).toContain('random: 0.25')
    expect(svg).toContain('10⁵')
    expect(svg).toContain('tiny, large: 0.75 at 1.2e+5 FLOPs')
    expect(svg).toContain('a &lt; b')
    expect(svg).not.toContain('a < b')
    expect(svg).not.toContain('NaN')
  })

  it('of one model is a point', () => {
    const svg = scalingChart([{ name: 'one', members: [family.members[0]] }], { metrics: ['exact match'] })
    expect(svg).not.toContain('NaN')
    expect(svg.match(/<g transform/g)).toHaveLength(1)
  })

  it('needs scores', () => {
    expect(() => scalingChart([])).toThrow('needs a family with scores')
    expect(() => scalingChart([family], { metrics: ['speed'] })).toThrow("no model of the families has a score 'speed'")
  })
})
