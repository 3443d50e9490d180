/**
 * ROUGE: A Package for Automatic Evaluation of Summaries (Lin, 2004), in the numbers of Google's rouge_score: n-grams,
 * the longest common subsequence of texts, and that of their sentences together (§3.2).
 */

import { countNgrams, countShared } from './ngrams.ts'
import { stem } from './porter.ts'

export interface RougeScore {
  readonly precision: number
  readonly recall: number
  readonly fmeasure: number
}

export const ROUGE_TYPES = ['rouge1', 'rouge2', 'rougeL', 'rougeLsum'] as const
export type RougeType = (typeof ROUGE_TYPES)[number]
export type RougeScores = Readonly<Record<RougeType, RougeScore>>

export interface RougeOptions {
  /** Compare words of more than 3 letters by their stems. Default false. */
  stemmer?: boolean
}

/**
 * How much a text shares with a reference; with several, of each type with the one that it shares most with. Sentences,
 * for rougeLsum, are lines.
 */
export function rouge(text: string, references: string | readonly string[], options: RougeOptions = {}): RougeScores {
  const all = [references].flat().map((reference) => rougeOfOne(text, reference, options))
  if (all.length === 0) throw new RangeError('ROUGE needs a reference or more for every text')
  const best = (type: RougeType): RougeScore =>
    all.map((scores) => scores[type]).reduce((a, b) => (b.fmeasure > a.fmeasure ? b : a))
  return Object.fromEntries(ROUGE_TYPES.map((type) => [type, best(type)])) as RougeScores
}

function rougeOfOne(text: string, reference: string, options: RougeOptions): RougeScores {
  const [own, theirs] = [text, reference].map((of) => rougeTokens(of, options))
  const ngrams = (n: number): RougeScore => {
    const [a, b] = [countNgrams(own, n), countNgrams(theirs, n)]
    return scoreOf(countShared(a, b), Math.max(0, own.length - n + 1), Math.max(0, theirs.length - n + 1))
  }
  const sentences = (of: string): string[][] =>
    of
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => rougeTokens(line, options))
  return {
    rouge1: ngrams(1),
    rouge2: ngrams(2),
    rougeL: scoreOf(commonPlaces(theirs, own).length, own.length, theirs.length),
    rougeLsum: summaryScore(sentences(text), sentences(reference)),
  }
}

/** Letters a to z and digits in small letters; everything else separates. */
export function rougeTokens(text: string, { stemmer = false }: RougeOptions = {}): string[] {
  const words = text.toLowerCase().match(/[a-z0-9]+/g) ?? []
  return stemmer ? words.map((word) => (word.length > 3 ? stem(word) : word)) : words
}

function scoreOf(shared: number, own: number, theirs: number): RougeScore {
  const [precision, recall] = [shared / Math.max(own, 1), shared / Math.max(theirs, 1)]
  const both = precision + recall
  return { precision, recall, fmeasure: both > 0 ? (2 * precision * recall) / both : 0 }
}

/** The places in the reference of a longest common subsequence. */
function commonPlaces(reference: readonly string[], text: readonly string[]): number[] {
  const width = text.length + 1
  const lengths = new Uint32Array((reference.length + 1) * width)
  for (let i = 1; i <= reference.length; i++) {
    for (let j = 1; j < width; j++) {
      lengths[i * width + j] =
        reference[i - 1] === text[j - 1]
          ? lengths[(i - 1) * width + j - 1] + 1
          : Math.max(lengths[(i - 1) * width + j], lengths[i * width + j - 1])
    }
  }
  const places: number[] = []
  for (let i = reference.length, j = text.length; i > 0 && j > 0; ) {
    if (reference[i - 1] === text[j - 1]) {
      places.push(--i)
      j--
    } else if (lengths[i * width + j - 1] > lengths[(i - 1) * width + j]) j--
    else i--
  }
  return places.reverse()
}

/** Of each sentence of the reference the words that some sentence of the text has in order; no word counts twice. */
function summaryScore(text: readonly string[][], reference: readonly string[][]): RougeScore {
  const [own, theirs] = [text, reference].map((sentences) => countNgrams(sentences.flat(), 1))
  let hits = 0
  for (const sentence of reference) {
    const places = new Set(text.flatMap((other) => commonPlaces(sentence, other)))
    for (const place of [...places].sort((a, b) => a - b)) {
      const word = sentence[place]
      const [left, wanted] = [own.get(word) ?? 0, theirs.get(word) ?? 0]
      if (left === 0 || wanted === 0) continue
      hits++
      own.set(word, left - 1)
      theirs.set(word, wanted - 1)
    }
  }
  return scoreOf(hits, text.flat().length, reference.flat().length)
}
