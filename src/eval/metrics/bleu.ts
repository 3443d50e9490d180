/**
 * BLEU: a Method for Automatic Evaluation of Machine Translation (Papineni et al., 2002), in the numbers of sacrebleu
 * (Post, 2018, arXiv 1804.08771): its tokenizers, its smoothing (Chen and Cherry, 2014), several references.
 */

import { countNgrams } from './ngrams.ts'

export const BLEU_TOKENIZERS = ['13a', 'intl', 'char', 'none'] as const
export type BleuTokenizer = (typeof BLEU_TOKENIZERS)[number]
export type BleuSmoothing = 'exp' | 'floor' | 'add-k' | 'none'

export interface BleuOptions {
  /** Default `13a`, which is WMT's. */
  tokenizer?: BleuTokenizer
  /** What becomes of orders without a match. Default `exp`: a half, a quarter, … of a match. */
  smoothing?: BleuSmoothing
  /** Of `floor` (default 0.1) and `add-k` (default 1). */
  smoothingValue?: number
  /** Compare in small letters. Default false. */
  lowercase?: boolean
  /** Leave out orders that the text is too short for. Default: true of sentences, false of a corpus. */
  effectiveOrder?: boolean
  /** The longest n-grams. Default 4. */
  maxOrder?: number
}

export interface BleuScore {
  /** 0 to 100. */
  readonly score: number
  /** Of each order, in per cent. */
  readonly precisions: readonly number[]
  readonly brevityPenalty: number
  /** Tokens of the texts, and of the references nearest to them in length. */
  readonly length: number
  readonly referenceLength: number
}

/** Counts that add up over texts: what a corpus' score is made of. */
export interface BleuStatistics {
  readonly length: number
  readonly referenceLength: number
  /** Of each order, the n-grams that are right, and all of them. */
  readonly right: readonly number[]
  readonly all: readonly number[]
}

/** What separates words for Python, and so for sacrebleu: not quite JavaScript’s `\s`. */
const SPACE = String.raw`[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]`
const SPACES = new RegExp(`${SPACE}+`)
const TRAILING_SPACE = new RegExp(`${SPACE}+$`)

/** mteval-v13a: Western punctuation apart, but for that in numbers. */
function tokenize13a(line: string): string {
  const text = line
    .replaceAll('<skipped>', '')
    .replaceAll('-\n', '')
    .replaceAll('\n', ' ')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
  return ` ${text} `
    .replace(/([{-~[-` -&(-+:-@/])/gu, ' $1 ')
    .replace(/([^0-9])([.,])/gu, '$1 $2 ')
    .replace(/([.,])([^0-9])/gu, ' $1 $2')
    .replace(/([0-9])(-)/gu, '$1 $2 ')
}

/** mteval-v14 --international-tokenization: all punctuation and symbols apart, but for punctuation between digits. */
const tokenizeInternational = (line: string): string =>
  line
    .replace(/(\P{N})(\p{P})/gu, '$1 $2 ')
    .replace(/(\p{P})(\P{N})/gu, ' $1 $2')
    .replace(/(\p{S})/gu, ' $1 ')

const TOKENIZERS: Readonly<Record<BleuTokenizer, (line: string) => string>> = {
  '13a': tokenize13a,
  intl: tokenizeInternational,
  char: (line) => [...line].join(' '),
  none: (line) => line,
}

/** The words of a text, as they are compared. */
export function bleuTokens(text: string, { tokenizer = '13a', lowercase = false }: BleuOptions = {}): string[] {
  const line = (lowercase ? text.toLowerCase() : text).replace(TRAILING_SPACE, '')
  return TOKENIZERS[tokenizer](line)
    .split(SPACES)
    .filter((word) => word !== '')
}

/** @throws RangeError where there is no reference */
export function bleuStatistics(text: string, references: readonly string[], options: BleuOptions = {}): BleuStatistics {
  if (references.length === 0) throw new RangeError('BLEU needs a reference or more for every text')
  const { maxOrder = 4 } = options
  const words = bleuTokens(text, options)
  const referenceWords = references.map((reference) => bleuTokens(reference, options))
  // The nearest in length, of equally near ones the shorter.
  const distance = (length: number): number => Math.abs(words.length - length)
  const referenceLength = referenceWords
    .map(({ length }) => length)
    .reduce((best, next) =>
      distance(next) < distance(best) || (distance(next) === distance(best) && next < best) ? next : best,
    )
  const [right, all]: [number[], number[]] = [[], []]
  for (let n = 1; n <= maxOrder; n++) {
    const own = countNgrams(words, n)
    const theirs = referenceWords.map((reference) => countNgrams(reference, n))
    let matches = 0
    for (const [ngram, count] of own) matches += Math.min(count, Math.max(...theirs.map((of) => of.get(ngram) ?? 0)))
    right.push(matches)
    all.push(Math.max(0, words.length - n + 1))
  }
  return { length: words.length, referenceLength, right, all }
}

/** The score of texts whose statistics these are, together. */
export function bleuOf(statistics: readonly BleuStatistics[], options: BleuOptions = {}): BleuScore {
  const { smoothing = 'exp', effectiveOrder = false, maxOrder = 4 } = options
  const value = options.smoothingValue ?? (smoothing === 'floor' ? 0.1 : 1)
  const total = (of: (one: BleuStatistics) => number): number => statistics.reduce((sum, one) => sum + of(one), 0)
  const [length, referenceLength] = [total((one) => one.length), total((one) => one.referenceLength)]
  const short = length < referenceLength
  const brevityPenalty = !short ? 1 : length > 0 ? Math.exp(1 - referenceLength / length) : 0
  const right = Array.from({ length: maxOrder }, (_, i) => total((one) => one.right[i]))
  const precisions = new Array<number>(maxOrder).fill(0)
  const common = { precisions, brevityPenalty, length, referenceLength }
  if (right.every((count) => count === 0)) return { score: 0, ...common }
  let halves = 1
  let orders = maxOrder
  for (let i = 0; i < maxOrder; i++) {
    const added = smoothing === 'add-k' && i > 0 ? value : 0
    const all = total((one) => one.all[i]) + added
    if (all === 0) break
    if (effectiveOrder) orders = i + 1
    const matches = right[i] + added
    if (matches > 0) precisions[i] = (100 * matches) / all
    else if (smoothing === 'exp') precisions[i] = 100 / ((halves *= 2) * all)
    else if (smoothing === 'floor') precisions[i] = (100 * value) / all
  }
  const counted = precisions.slice(0, orders)
  const mean = counted.reduce((sum, precision) => sum + Math.log(precision), 0) / orders
  return { score: counted.includes(0) ? 0 : brevityPenalty * Math.exp(mean), ...common }
}

/**
 * BLEU of a corpus.
 *
 * @param references - of each text, one or more
 */
export function corpusBleu(
  texts: readonly string[],
  references: readonly (readonly string[])[],
  options: BleuOptions = {},
): BleuScore {
  if (texts.length !== references.length) {
    throw new RangeError(`BLEU of ${texts.length} texts needs as many lists of references, got ${references.length}`)
  }
  return bleuOf(
    texts.map((text, i) => bleuStatistics(text, references[i], options)),
    options,
  )
}

/** BLEU of one text. */
export const sentenceBleu = (text: string, references: readonly string[], options: BleuOptions = {}): BleuScore =>
  bleuOf([bleuStatistics(text, references, options)], { effectiveOrder: true, ...options })
