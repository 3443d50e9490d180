import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { exactMatch } from '../../../src/eval/metrics/exact-match.ts'
import { passAtK } from '../../../src/eval/metrics/pass-at-k.ts'

/** C(n, k), exactly. */
function choose(n: number, k: number): bigint {
  let ways = 1n
  for (let i = 1; i <= k; i++) ways = (ways * BigInt(n - k + i)) / BigInt(i)
  return n < k ? 0n : ways
}

describe('pass@k', () => {
  it('is 1 − C(n − c, k) / C(n, k)', () => {
    expect(passAtK(5, 2, 1)).toBeCloseTo(0.4, 12)
    expect(passAtK(4, 2, 2)).toBeCloseTo(5 / 6, 12)
    expect(passAtK(10, 0, 3)).toBe(0)
    expect(passAtK(10, 8, 3)).toBe(1)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.nat(60), fc.integer({ min: 1, max: 60 }), (n, c, k) => {
        if (c > n || k > n) return
        const digits = 10n ** 15n
        const exact = 1 - Number((choose(n - c, k) * digits) / choose(n, k)) / 1e15
        expect(passAtK(n, c, k)).toBeCloseTo(exact, 10)
      }),
    )
  })

  it('does not overflow at 200 programs', () => {
    expect(passAtK(200, 1, 100)).toBeCloseTo(0.5, 12)
  })

  it('needs k programs', () => {
    expect(() => passAtK(3, 1, 4)).toThrow('pass@4 needs 4 programs or more and 0 to all of them right, got 1 of 3')
    expect(() => passAtK(3, 4, 1)).toThrow('got 4 of 3')
  })
})

describe('exact match', () => {
  it('compares what is left of case, punctuation, digits and patterns', () => {
    expect(exactMatch('Paris', 'Paris')).toBe(true)
    expect(exactMatch('paris', 'Paris')).toBe(false)
    expect(exactMatch('paris', ['Rome', 'Paris'], { ignoreCase: true })).toBe(true)
    expect(exactMatch('Paris!', 'Paris', { ignorePunctuation: true })).toBe(true)
    expect(exactMatch('Paris 2', 'Paris ', { ignoreNumbers: true })).toBe(true)
    expect(exactMatch('the answer is $5', '5', { ignore: [/^.*\$/] })).toBe(true)
    expect(exactMatch('5', '5.0')).toBe(false)
  })
})
