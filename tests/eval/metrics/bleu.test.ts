import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import {
  BLEU_TOKENIZERS,
  type BleuOptions,
  bleuTokens,
  corpusBleu,
  sentenceBleu,
} from '../../../src/eval/metrics/bleu.ts'

interface Fixture {
  pairs: [text: string, references: string[]][]
  tokens: Record<string, string[][]>
  cases: (BleuOptions & {
    sentences: number[]
    corpus: { score: number; precisions: number[]; brevityPenalty: number; length: number; referenceLength: number }
  })[]
}

const { pairs, tokens, cases } = JSON.parse(readFileSync(new URL('sacrebleu.json', import.meta.url), 'utf8')) as Fixture

describe('sacrebleu’s', () => {
  it.each(BLEU_TOKENIZERS)('words by its tokenizer %s', (tokenizer) => {
    for (const [i, [text]] of pairs.entries()) {
      expect(bleuTokens(text, { tokenizer }), text).toEqual(tokens[tokenizer][i])
    }
  })

  it('scores of sentences, by every tokenizer and smoothing, with several references', () => {
    for (const { sentences, corpus: _, ...options } of cases) {
      for (const [i, [text, references]] of pairs.entries()) {
        const { score } = sentenceBleu(text, references, options)
        expect(score, `${JSON.stringify(options)} ${text}`).toBeCloseTo(sentences[i], 9)
      }
    }
  })

  it('scores of a corpus, with precisions, brevity penalty and lengths', () => {
    const texts = pairs.map(([text]) => text)
    const references = pairs.map(([, list]) => [...list, ...list.slice(0, 1)].slice(0, 2))
    for (const { sentences: _, corpus, ...options } of cases) {
      const { precisions, ...rest } = corpusBleu(texts, references, options)
      const { precisions: expected, ...others } = corpus
      for (const [i, value] of precisions.entries()) expect(value).toBeCloseTo(expected[i], 9)
      for (const [name, value] of Object.entries(rest)) {
        expect(value, `${name} ${JSON.stringify(options)}`).toBeCloseTo(others[name as keyof typeof others], 9)
      }
    }
  })
})

describe('BLEU', () => {
  it('by hand: the the the against the cat and the the dog', () => {
    // 1-grams 2 of 3, 2-grams 1 of 2, 3-grams 0 of 1, smoothed to 1/2; no 4-gram. As long as the nearer reference.
    const { score, precisions } = sentenceBleu('the the the', ['the cat', 'the the dog'])
    for (const [i, p] of [200 / 3, 50, 50, 0].entries()) expect(precisions[i]).toBeCloseTo(p, 9)
    expect(score).toBeCloseTo(100 * Math.cbrt(2 / 3 / 4), 9)
  })

  it('needs a reference for every text', () => {
    expect(() => sentenceBleu('a', [])).toThrow('BLEU needs a reference or more for every text')
    expect(() => corpusBleu(['a', 'b'], [['a']])).toThrow('BLEU of 2 texts needs as many lists of references, got 1')
  })
})
