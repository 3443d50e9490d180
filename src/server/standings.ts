import { bradleyTerry, eloOf, type Game } from '../eval/bradley-terry.ts'
import { mean, sum, wilsonInterval } from '../eval/statistics.ts'
import type { StoredComparison } from './comparisons.ts'
import { PAGE_SAMPLING } from './page-sampling.ts'
import type { AnswerSettings, Duel, Standing, Standings, Tally } from './wire.ts'

/** What is said of a contender beside its model: whatever the page would not have set. */
const TOLD = [
  ['temperature', 'temperature'],
  ['topP', 'top-p'],
  ['topK', 'top-k'],
  ['minP', 'min-p'],
  ['repetitionPenalty', 'repetition penalty'],
  ['maxNewTokens', 'max tokens'],
] as const satisfies readonly (readonly [keyof AnswerSettings, string])[]

const usual: Partial<AnswerSettings> = { topK: 0, minP: 0, ...PAGE_SAMPLING }

/** `jackdaw-chat · temperature 0.2` */
export function contenderName(model: string, settings: AnswerSettings): string {
  const differing = TOLD.filter(([key]) => settings[key] !== undefined && settings[key] !== usual[key])
  return [model, ...differing.map(([key, name]) => `${name} ${settings[key]}`)].join(' · ')
}

/** The better of two answers' places: 1 where it is the first, 0 the second, ½ neither. */
function scoreOf(groups: readonly (readonly number[])[], first: number, second: number): number {
  const rank = (place: number) => groups.findIndex((group) => group.includes(place))
  const behind = rank(second) - rank(first)
  return behind === 0 ? 0.5 : behind > 0 ? 1 : 0
}

/** How many pairs of answers there are of which one is better. */
export function preferencesIn({ vote }: Pick<StoredComparison, 'vote'>): number {
  const sizes = (vote?.groups ?? []).map((group) => group.length)
  const answers = sum(sizes)
  return (answers ** 2 - sum(sizes.map((size) => size ** 2))) / 2
}

/** Pairs of one contender's answers with others', comparison by comparison. */
class Count {
  private wins = 0
  private losses = 0
  private ties = 0
  /** The mean score of each comparison. */
  private readonly means: number[] = []

  add(scores: readonly number[]): void {
    this.wins += scores.filter((score) => score === 1).length
    this.losses += scores.filter((score) => score === 0).length
    this.ties += scores.filter((score) => score === 0.5).length
    this.means.push(mean(scores))
  }

  tally(): Tally {
    const { wins, losses, ties, means } = this
    // Pairs of one ranking are not independent of each other: a comparison counts once.
    const won = sum(means)
    const comparisons = means.length
    return { wins, losses, ties, comparisons, winRate: won / comparisons, interval: wilsonInterval(won, comparisons) }
  }
}

/**
 * Who wins how often. A ranking of N answers counts as all its pairs; pairs of answers by the same contender say nothing
 * about it and are left out.
 */
export function standingsOf(voted: readonly Pick<StoredComparison, 'answers' | 'vote'>[]): Standings {
  const counts = new Map<string, Count>()
  const duels = new Map<string, { contenders: [string, string]; count: Count }>()
  const games: (Omit<Game, 'first' | 'second'> & { first: string; second: string })[] = []
  for (const { answers, vote } of voted) {
    const names = answers.map(({ model, settings }) => contenderName(model, settings))
    const scores = new Map<string, number[]>()
    const between = new Map<string, { contenders: [string, string]; scores: number[] }>()
    for (const [i, first] of names.entries()) {
      for (const [j, second] of names.entries()) {
        if (first === second || i === j || !vote) continue
        const score = scoreOf(vote.groups, i, j)
        scores.set(first, [...(scores.get(first) ?? []), score])
        if (first > second) continue
        const key = JSON.stringify([first, second])
        const duel = between.get(key) ?? { contenders: [first, second], scores: [] }
        duel.scores.push(score)
        between.set(key, duel)
      }
    }
    for (const [name, own] of scores) {
      const count = counts.get(name) ?? new Count()
      count.add(own)
      counts.set(name, count)
    }
    for (const [key, { contenders, scores }] of between) {
      const duel = duels.get(key) ?? { contenders, count: new Count() }
      duel.count.add(scores)
      duels.set(key, duel)
      const [first, second] = contenders
      games.push({ first, second, score: mean(scores) })
    }
  }
  const names = [...counts.keys()]
  const strengths = bradleyTerry(
    games.map(({ first, second, score }) => ({ first: names.indexOf(first), second: names.indexOf(second), score })),
    names.length,
  )
  const standings = names.map(
    (contender, i): Standing => ({
      contender,
      ...(counts.get(contender) as Count).tally(),
      rating: eloOf(strengths[i]),
    }),
  )
  return {
    comparisons: voted.length,
    telling: voted.filter((one) => preferencesIn(one) > 0).length,
    preferences: sum(voted.map(preferencesIn)),
    standings: standings.sort((a, b) => b.rating - a.rating || a.contender.localeCompare(b.contender)),
    duels: [...duels.values()].map(({ contenders, count }): Duel => ({ contenders, ...count.tally() })),
  }
}
