import { describe, expect, it } from 'vitest'
import { type BeamStep, type Candidate, searchBeams } from '../../src/generate/beam.ts'

/** Tokens: 0 ends a sequence, the others are letters. */
const END = 0
const LETTERS = '.abc'

/** A language given by what may follow each text; what is not named is all but impossible. */
function language(follows: Readonly<Record<string, Readonly<Record<string, number>>>>) {
  const logitsAfter = (text: string): number[] =>
    [...LETTERS].map((letter) => Math.log(follows[text]?.[letter] ?? 1e-9))
  let texts = ['']
  const asked: string[][] = []
  const step: BeamStep = async (tokens, order) => {
    texts = tokens.map((id, i) => texts[order[i]] + LETTERS[id])
    asked.push(texts)
    return Float32Array.from(texts.flatMap(logitsAfter))
  }
  return { first: Float32Array.from(logitsAfter('')), step, asked }
}

const text = (ids: readonly number[]): string => ids.map((id) => LETTERS[id]).join('')

const search = async (
  follows: Parameters<typeof language>[0],
  options: Omit<Parameters<typeof searchBeams>[2], 'stopTokenIds'>,
) => {
  const { first, step, asked } = language(follows)
  const found = await searchBeams(first, step, { stopTokenIds: [END], ...options })
  return { found, texts: found.map(({ ids }) => text(ids)), asked }
}

/** The likeliest first letter leads to a worse text than the second: what greedy search misses. */
const GARDEN_PATH = {
  '': { a: 0.6, b: 0.4 },
  a: { a: 0.3, b: 0.3, c: 0.3, '.': 0.1 },
  b: { '.': 0.95, a: 0.05 },
  aa: { '.': 1 },
  ab: { '.': 1 },
  ac: { '.': 1 },
}

describe('beam search', () => {
  it('finds a likelier text than the greedy one', async () => {
    const greedy = await search(GARDEN_PATH, { nBeams: 1, maxNewTokens: 5 })
    const beams = await search(GARDEN_PATH, { nBeams: 2, maxNewTokens: 5 })
    expect(greedy.texts[0][0]).toBe('a')
    expect(beams.texts[0]).toBe('b.')
    expect(beams.found[0].score).toBeCloseTo(Math.log(0.4 * 0.95) / 2, 5)
  })

  it('hands each step the sequences it goes on with, as children of those before', async () => {
    const { asked } = await search(GARDEN_PATH, { nBeams: 2, maxNewTokens: 5 })
    expect(asked[0]).toEqual(['a', 'b'])
    for (const texts of asked) expect(new Set(texts).size).toBe(texts.length)
  })

  it('tells every step, from which all texts that were followed can be drawn', async () => {
    const steps: string[][] = []
    let before = ['']
    await search(GARDEN_PATH, {
      nBeams: 2,
      maxNewTokens: 5,
      onStep: (going, ended) => {
        const textOf = ({ from, id }: Candidate) => before[from] + LETTERS[id]
        steps.push([...going, ...ended].map(textOf))
        before = going.map(textOf)
      },
    })
    expect(steps[0]).toEqual(['a', 'b'])
    expect(steps[1]).toContain('b.')
  })

  it('prefers long texts with a high length penalty, short ones with a low one', async () => {
    const follows = {
      '': { a: 0.5, '.': 0.5 },
      a: { a: 1 },
      aa: { a: 0.8, '.': 0.2 },
      aaa: { '.': 1 },
    }
    const best = async (lengthPenalty: number) =>
      (await search(follows, { nBeams: 2, maxNewTokens: 6, lengthPenalty })).texts[0]
    expect(await best(2)).toBe('aaa.')
    expect(await best(-1)).toBe('.')
  })

  it('with early stopping ends as soon as it has found as many texts as it has beams', async () => {
    const follows = {
      '': { '.': 0.2, a: 0.8 },
      a: { '.': 0.3, a: 0.7 },
      aa: { a: 1 },
      aaa: { a: 1 },
      aaaa: { '.': 1 },
    }
    const early = await search(follows, { nBeams: 2, maxNewTokens: 8, lengthPenalty: 2, earlyStopping: true })
    const late = await search(follows, { nBeams: 2, maxNewTokens: 8, lengthPenalty: 2, earlyStopping: 'never' })
    expect(early.texts).toEqual(['a.', '.'])
    expect(late.texts[0]).toBe('aaaa.')
  })

  it('has as many beams to go on with when the best of each wants to end', async () => {
    const follows = {
      '': { a: 0.5, b: 0.4, c: 0.1 },
      a: { '.': 0.9, a: 0.1 },
      b: { '.': 0.9, b: 0.1 },
    }
    const { asked } = await search(follows, { nBeams: 2, maxNewTokens: 9, lengthPenalty: 2, earlyStopping: 'never' })
    expect(asked.slice(0, 2)).toEqual([
      ['a', 'b'],
      ['aa', 'bb'],
    ])
  })

  it('counts what is unfinished at the end as finished', async () => {
    const { texts } = await search({ '': { a: 1 }, a: { b: 1 } }, { nBeams: 2, maxNewTokens: 2 })
    expect(texts[0]).toBe('ab')
  })

  it('ends by any of several tokens', async () => {
    const { first, step } = language({ '': { a: 1 }, a: { b: 0.9, c: 0.1 }, ab: { a: 1 } })
    const [best] = await searchBeams(first, step, { nBeams: 2, stopTokenIds: [END, 2, 3], maxNewTokens: 9 })
    expect(text(best.ids)).toBe('ab')
  })

  it('answers with nothing where no new token is asked for, and refuses less than one beam', async () => {
    expect((await search(GARDEN_PATH, { nBeams: 2, maxNewTokens: 0 })).texts).toEqual([])
    await expect(search(GARDEN_PATH, { nBeams: 0 })).rejects.toThrow('beam search needs 1 beam or more, got 0')
  })

  it('divides by ((5 + length) / 6)^α where it is asked to', async () => {
    const follows = { '': { a: 0.9, '.': 0.1 }, a: { '.': 1 } }
    const { found } = await search(follows, { nBeams: 2, maxNewTokens: 5, lengthPenalty: 0.6, lengthNorm: 'gnmt' })
    const scores = Object.fromEntries(found.map(({ ids, score }) => [text(ids), score]))
    expect(scores['a.']).toBeCloseTo(Math.log(0.9) / (7 / 6) ** 0.6, 5)
    expect(scores['.']).toBeCloseTo(Math.log(0.1), 5)
  })

  it('ends every sequence at the greatest length with the token that is forced, for nothing', async () => {
    const follows = { '': { a: 0.6, b: 0.4 }, a: { b: 0.9 }, b: { a: 1 } }
    const { found, texts } = await search(follows, { nBeams: 2, maxNewTokens: 2, forcedEndTokenId: 3 })
    expect(texts).toEqual(['ac', 'bc'])
    expect(found[0].score).toBeCloseTo(Math.log(0.6) / 2, 5)
  })

  it('never says what is barred, and leaves the other scores as they are', async () => {
    const follows = { '': { a: 0.7, b: 0.2, c: 0.1 }, b: { a: 0.5, '.': 0.5 } }
    const { found, texts } = await search(follows, { nBeams: 2, maxNewTokens: 5, barredTokenIds: [1] })
    expect(texts[0]).toBe('b.')
    expect(found[0].score).toBeCloseTo(Math.log(0.2 * 0.5) / 2, 5)
    for (const found of texts) expect(found).not.toContain('a')
  })

  it('ends with a token that is barred where that token ends a text', async () => {
    const { texts } = await search({ '': { a: 0.6, '.': 0.4 } }, { nBeams: 2, maxNewTokens: 3, barredTokenIds: [END] })
    expect(texts).toContain('.')
  })
})
