import { describe, expect, it } from 'vitest'
import { bradleyTerry, eloOf, type Game } from '../../src/eval/bradley-terry.ts'

/** Wins of the first over the second, and the other way. */
const games = (first: number, second: number, wins: number, losses: number): Game[] => [
  ...Array.from({ length: wins }, () => ({ first, second, score: 1 })),
  ...Array.from({ length: losses }, () => ({ first, second, score: 0 })),
]

/** What the strengths are to make as likely as they can. */
function logLikelihood(all: readonly Game[], strengths: readonly number[]): number {
  const logOf = (own: number, other: number) => Math.log(own / (own + other))
  const played = all.map(({ first, second, score }) => {
    const [p, q] = [strengths[first], strengths[second]]
    return score * logOf(p, q) + (1 - score) * logOf(q, p)
  })
  const ties = strengths.map((p) => 0.5 * logOf(p, 1) + 0.5 * logOf(1, p))
  return [...played, ...ties].reduce((a, b) => a + b, 0)
}

describe('the strengths of Bradley and Terry', () => {
  it('are where the likelihood is greatest', () => {
    const all = [...games(0, 1, 7, 3), ...games(1, 2, 6, 2), ...games(0, 2, 4, 3), { first: 0, second: 1, score: 0.5 }]
    const strengths = bradleyTerry(all, 3)
    const best = logLikelihood(all, strengths)
    for (const i of [0, 1, 2]) {
      for (const factor of [0.999, 1.001]) {
        const beside = strengths.map((p, j) => (j === i ? p * factor : p))
        expect(logLikelihood(all, beside)).toBeLessThan(best)
      }
    }
    expect(strengths[0]).toBeGreaterThan(strengths[1])
    expect(strengths[1]).toBeGreaterThan(strengths[2])
  })

  it('of two that met often are as their wins', () => {
    const [first, second] = bradleyTerry(games(0, 1, 3000, 1000), 2)
    expect(first / second).toBeCloseTo(3, 1)
    expect(eloOf(first) - eloOf(second)).toBeCloseTo(400 * Math.log10(3), 0)
  })

  it('are finite for who only won, and average for who never played or only tied', () => {
    const [won, lost, idle] = bradleyTerry(games(0, 1, 5, 0), 3)
    expect(won).toBeGreaterThan(1)
    expect(won).toBeLessThan(100)
    expect(won * lost).toBeCloseTo(1)
    expect(idle).toBeCloseTo(1)
    expect(bradleyTerry([{ first: 0, second: 1, score: 0.5 }], 2)).toEqual([expect.closeTo(1), expect.closeTo(1)])
    expect(bradleyTerry([], 0)).toEqual([])
    expect(eloOf(1)).toBe(1000)
  })
})
