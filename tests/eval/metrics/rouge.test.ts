import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { stem } from '../../../src/eval/metrics/porter.ts'
import { ROUGE_TYPES, rouge } from '../../../src/eval/metrics/rouge.ts'

interface Fixture {
  cases: { stemmer: boolean; text: string; references: string[]; scores: Record<string, [number, number, number]> }[]
  stems: [word: string, stem: string][]
}

const { cases, stems } = JSON.parse(readFileSync(new URL('rouge.json', import.meta.url), 'utf8')) as Fixture

it('stems of words are NLTK’s', () => {
  expect(stems.filter(([word, expected]) => stem(word) !== expected).map(([word, e]) => [word, stem(word), e])).toEqual(
    [],
  )
})

it('scores are rouge_score’s, with and without stems, with several references', () => {
  for (const { text, references, stemmer, scores } of cases) {
    const ours = rouge(text, references, { stemmer })
    for (const type of ROUGE_TYPES) {
      const { precision, recall, fmeasure } = ours[type]
      const expected = scores[type]
      for (const [i, value] of [precision, recall, fmeasure].entries()) {
        expect(value, `${type} of ${text}`).toBeCloseTo(expected[i], 12)
      }
    }
  }
})

describe('ROUGE', () => {
  it('by hand: police killed the gunman against police kill the gunman', () => {
    const { rouge1, rouge2, rougeL } = rouge('police killed the gunman', 'police kill the gunman')
    expect(rouge1.fmeasure).toBe(3 / 4)
    expect(rouge2.recall).toBe(1 / 3)
    expect(rougeL.precision).toBe(3 / 4)
    expect(rouge('police killed the gunman', 'police kill the gunman', { stemmer: true }).rouge2.fmeasure).toBe(1)
  })

  it('needs a reference', () => {
    expect(() => rouge('a', [])).toThrow('ROUGE needs a reference or more for every text')
  })
})
