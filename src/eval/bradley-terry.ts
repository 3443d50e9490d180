/**
 * Rank analysis of incomplete block designs: I. The method of paired comparisons
 * Ralph A. Bradley, Milton E. Terry, 1952 (Biometrika 39)
 *
 * What each of several contenders is worth, from comparisons of two at a time: the first beats the second with
 * probability pᵢ / (pᵢ + pⱼ). The likeliest strengths by Hunter's iteration (2004, Annals of Statistics 32, eq. 3).
 *
 * Departure: every contender also has one tie with a contender of strength 1. Whoever only won would be infinitely
 * strong otherwise, and two groups that never met would have no common scale.
 */

/** What came out between two contenders, by their numbers. A tie is half a win for each. */
export interface Game {
  readonly first: number
  readonly second: number
  /** Of the first: 1 won, 0 lost, and anything between. */
  readonly score: number
}

const MOST_STEPS = 10_000
const CLOSE_ENOUGH = 1e-10

/** @returns the strengths p of contenders 0 to count − 1; 1 is average */
export function bradleyTerry(games: readonly Game[], count: number): number[] {
  // With the tie that everyone has: half a win, of one game.
  const wins = new Array<number>(count).fill(0.5)
  const met = Array.from({ length: count }, () => new Map<number, number>())
  for (const { first, second, score } of games) {
    wins[first] += score
    wins[second] += 1 - score
    met[first].set(second, (met[first].get(second) ?? 0) + 1)
    met[second].set(first, (met[second].get(first) ?? 0) + 1)
  }
  let strengths = new Array<number>(count).fill(1)
  for (let step = 0; step < MOST_STEPS; step++) {
    const next = strengths.map((own, i) => {
      let expected = 1 / (own + 1)
      for (const [other, n] of met[i]) expected += n / (own + strengths[other])
      return wins[i] / expected
    })
    const moved = Math.max(...next.map((value, i) => Math.abs(Math.log(value / strengths[i]))), 0)
    strengths = next
    if (moved < CLOSE_ENOUGH) break
  }
  return strengths
}

/** On Elo's scale: ten times the odds are 400 points. */
export const eloOf = (strength: number): number => 1000 + 400 * Math.log10(strength)
