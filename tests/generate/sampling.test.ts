import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  applyPenalties,
  argMax,
  Draws,
  largestIds,
  logSumExp,
  sample,
  TokenCounts,
} from '../../src/generate/sampling.ts'
import { StopText } from '../../src/generate/stop-text.ts'

const logits = fc
  .array(fc.double({ min: -20, max: 20, noNaN: true }), { minLength: 2, maxLength: 40 })
  .map((v) => Float32Array.from(v))

/** Probabilities at temperature 1, in doubles. */
function softmax(values: Float32Array): number[] {
  const largest = Math.max(...values)
  const weights = [...values].map((v) => Math.exp(v - largest))
  const total = weights.reduce((a, b) => a + b, 0)
  return weights.map((w) => w / total)
}

/** Ids that many draws bring up. */
function drawn(values: Float32Array, options: object, count = 300): Set<number> {
  const draws = new Draws(7)
  return new Set(Array.from({ length: count }, () => sample(Float32Array.from(values), options, draws)))
}

describe('sampling', () => {
  it('takes the likeliest token at temperature 0 and with top-k 1', () => {
    fc.assert(
      fc.property(logits, (values) => {
        expect(sample(values, { temperature: 0 }, new Draws(1))).toBe(argMax(values))
        expect(sample(values, { topK: 1 }, new Draws(1))).toBe(argMax(values))
      }),
    )
  })

  it('draws only from the k likeliest', () => {
    fc.assert(
      fc.property(logits, fc.integer({ min: 1, max: 10 }), (values, topK) => {
        const allowed = new Set(largestIds(values, topK))
        for (const id of drawn(values, { topK }, 60)) expect(allowed.has(id)).toBe(true)
      }),
    )
  })

  it('draws only from the smallest set that reaches the nucleus, the crossing token kept', () => {
    fc.assert(
      fc.property(logits, fc.double({ min: 0.05, max: 0.95, noNaN: true }), (values, topP) => {
        const probabilities = softmax(values)
        const order = probabilities.map((_, i) => i).sort((a, b) => values[b] - values[a] || a - b)
        let mass = 0
        const nucleus = new Set<number>()
        for (const id of order) {
          if (mass >= topP + 1e-6) break
          nucleus.add(id)
          mass += probabilities[id]
        }
        for (const id of drawn(values, { topP }, 60)) expect(nucleus.has(id)).toBe(true)
      }),
    )
  })

  it('drops tokens less likely than min-p times the likeliest', () => {
    fc.assert(
      fc.property(logits, fc.double({ min: 0.01, max: 0.9, noNaN: true }), (values, minP) => {
        const probabilities = softmax(values)
        const floor = minP * Math.max(...probabilities)
        for (const id of drawn(values, { minP }, 60)) expect(probabilities[id]).toBeGreaterThan(floor * 0.999)
      }),
    )
  })

  it('draws as often as the probabilities say, at any temperature', () => {
    const values = Float32Array.of(1, 0, -1, 2)
    for (const temperature of [0.5, 1, 2]) {
      const expected = softmax(values.map((v) => v / temperature))
      const draws = new Draws(3)
      const counts = [0, 0, 0, 0]
      for (let i = 0; i < 20_000; i++) counts[sample(values, { temperature }, draws)]++
      // Four standard deviations of a binomial of 20,000 draws are below 0.015.
      for (const [i, count] of counts.entries()) expect(Math.abs(count / 20_000 - expected[i])).toBeLessThan(0.015)
    }
  })

  it('draws the same tokens from the same seed', () => {
    const values = Float32Array.from({ length: 50 }, (_, i) => Math.sin(i))
    const run = (seed: number) => {
      const draws = new Draws(seed)
      return Array.from({ length: 20 }, () => sample(values, {}, draws))
    }
    expect(run(5)).toEqual(run(5))
    expect(run(5)).not.toEqual(run(6))
  })

  it('applies penalties and biases as their formulas say', () => {
    const counts = new TokenCounts([0, 1])
    counts.add(2)
    counts.add(2)
    const values = Float32Array.of(2, -2, 1, 3)
    applyPenalties(
      values,
      { repetitionPenalty: 2, presencePenalty: 0.5, frequencyPenalty: 0.25, logitBias: { 3: -1 } },
      counts,
    )
    expect([...values]).toEqual([1, -4, 0.5 - 0.5 - 0.5, 2])
  })

  it('sums exponentials without overflow', () => {
    expect(logSumExp(Float32Array.of(1000, 1000))).toBeCloseTo(1000 + Math.log(2), 3)
    expect(largestIds(Float32Array.of(1, 3, 3, 2), 3)).toEqual([1, 2, 3])
  })
})

describe('stop strings', () => {
  it('tell the same text however it is cut', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '\n'), maxLength: 40 })
    const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '\n'), minLength: 1, maxLength: 4 }), {
      maxLength: 3,
    })
    fc.assert(
      fc.property(fc.array(letters, { maxLength: 8 }), stops, (pieces, wanted) => {
        const stopText = new StopText(wanted)
        let told = ''
        for (const piece of pieces) told += stopText.push(piece)
        told += stopText.flush()
        const whole = pieces.join('')
        // The piece in which a stop string is completed decides; among several, the earliest start.
        let seen = ''
        let expected = whole
        for (const piece of pieces) {
          seen += piece
          const found = wanted.map((stop) => seen.indexOf(stop)).filter((at) => at >= 0)
          if (found.length > 0) {
            expected = seen.slice(0, Math.min(...found))
            break
          }
        }
        expect(told).toBe(expected)
      }),
      { numRuns: 500 },
    )
  })
})
