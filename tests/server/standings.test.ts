import { describe, expect, it } from 'vitest'
import { wilsonInterval } from '../../src/eval/statistics.ts'
import { contenderName, standingsOf } from '../../src/server/standings.ts'

const settings = { temperature: 0.7, topP: 0.9, repetitionPenalty: 1.05, maxNewTokens: 1024, seed: 1, continues: false }

function voted(models: readonly string[], groups: number[][], temperatures: readonly number[] = []) {
  const answers = models.map((model, place) => ({
    model,
    settings: { ...settings, seed: place, temperature: temperatures[place] ?? 0.7 },
    content: '',
    finishReason: 'stop' as const,
    usage: null,
  }))
  return { answers, vote: { groups, allBad: false, comment: '', voter: '' } }
}

describe('the standings', () => {
  it('count wins, losses and ties of two, whichever place they had', () => {
    const votes = [
      voted(['a', 'b'], [[0], [1]]),
      voted(['b', 'a'], [[1], [0]]),
      voted(['a', 'b'], [[1], [0]]),
      voted(['b', 'a'], [[0, 1]]),
    ]
    const { standings, duels, ...counts } = standingsOf(votes)
    expect(counts).toEqual({ comparisons: 4, telling: 3, preferences: 3 })
    const won = { wins: 2, losses: 1, ties: 1, comparisons: 4, winRate: 2.5 / 4, interval: wilsonInterval(2.5, 4) }
    expect(standings[0]).toMatchObject({ contender: 'a', ...won })
    expect(standings[1]).toMatchObject({ contender: 'b', wins: 1, losses: 2, ties: 1, winRate: 1.5 / 4 })
    expect(standings[0].rating + standings[1].rating).toBeCloseTo(2000)
    expect(duels).toEqual([{ contenders: ['a', 'b'], ...won }])
  })

  it('take a ranking for one comparison, however many pairs it has, and leave out who is compared with itself', () => {
    // The pairs of a with b: three won of four.
    const { standings, duels } = standingsOf([voted(['a', 'b', 'a', 'b'], [[0], [1], [2, 3]])])
    expect(duels).toEqual([
      {
        contenders: ['a', 'b'],
        ...{ wins: 2, losses: 1, ties: 1, comparisons: 1, winRate: 2.5 / 4, interval: wilsonInterval(2.5 / 4, 1) },
      },
    ])
    expect(standings.map(({ comparisons }) => comparisons)).toEqual([1, 1])
    // Of six pairs one is a tie.
    expect(standingsOf([voted(['a', 'b', 'a', 'b'], [[0], [1], [2, 3]])]).preferences).toBe(5)
    expect(standingsOf([voted(['a', 'a', 'a'], [[0], [1], [2]])])).toMatchObject({ comparisons: 1, standings: [] })
  })

  it('tell a model with other settings from itself, and seeds not', () => {
    const { standings } = standingsOf([voted(['a', 'a'], [[0], [1]], [0, 0.7])])
    expect(standings.map(({ contender, wins }) => [contender, wins])).toEqual([
      ['a · temperature 0', 1],
      ['a', 0],
    ])
    expect(contenderName('a', { ...settings, topK: 0, minP: 0.1 })).toBe('a · min-p 0.1')
  })
})
