/**
 * What GLM learns from (Du et al., 2021, arXiv 2103.10360, §2.1): texts with blanks, and what belongs into them. Blanks
 * are short spans, whole sentences, or the end of the text.
 */

import { type BatchShape, IGNORED_LABEL } from './loader.ts'
import type { Document } from './masked-lm.ts'
import { StepRandom } from './random.ts'

/** Places from `start` up to `end`. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** The tokens with a meaning of their own. */
export interface BlankTokens {
  /** What stands for a blank, by its kind. */
  readonly maskIds: Readonly<Record<BlankKind, number>>
  /** [START] and [END]. */
  readonly startId: number
  readonly endId: number
  readonly padId: number
}

/** [MASK] of a span, [sMASK] of a sentence, [gMASK] of the rest of a text. */
export type BlankKind = 'span' | 'sentence' | 'document'

/** Of the tokens of a text, this share is told at least (§2.1.1). */
const BLANK_SHARE = 0.15
/** λ of the lengths of spans, and the longest (as released). */
const MEAN_LENGTH = 3
const LONGEST_SPAN = 39

/** A length by Poisson's distribution, cut to 1 … 39 by drawing again. */
export function spanLength(random: StepRandom, mean = MEAN_LENGTH): number {
  for (;;) {
    // Knuth: the number of factors until the product falls below e^−λ.
    let length = -1
    for (let product = 1; product > Math.exp(-mean); length++) product *= random.uniform()
    if (length >= 1 && length <= LONGEST_SPAN) return length
  }
}

/**
 * Spans until 15 % of the tokens are in them, in the order of the text (§2.1.1). Between two is a token, at least.
 *
 * @param length - of the text, at least 2
 * @param share - instead of 15 %
 */
export function sampleSpans(length: number, random: StepRandom, share = BLANK_SHARE): Span[] {
  const wanted = Math.max(1, Math.ceil(share * length))
  const lengths: number[] = []
  for (let total = 0; total < wanted; ) {
    const next = Math.min(spanLength(random), length - 1)
    // The last one may be too long for the text, or for what has to stand between.
    if (lengths.length > 0 && total + next + lengths.length > length - 1) break
    lengths.push(next)
    total += next
  }
  const covered = lengths.reduce((a, b) => a + b, 0)
  const free = length - covered - (lengths.length - 1)
  // Which gaps the free tokens fall into: places of the spans among them, drawn without order.
  const places = [...random.permutation(free + lengths.length).subarray(0, lengths.length)].sort((a, b) => a - b)
  let before = 0
  return lengths.map((size, i) => {
    const start = places[i] + before // free tokens, one between each two spans, and the spans before
    before += size
    return { start, end: start + size }
  })
}

/**
 * Whole sentences until 15 % of the tokens are in them (§2.1.2).
 *
 * @param sentences - the length of each
 */
export function sampleSentences(sentences: readonly number[], random: StepRandom): Span[] {
  const starts = sentences.map((_, i) => sentences.slice(0, i).reduce((a, b) => a + b, 0))
  const length = sentences.reduce((a, b) => a + b, 0)
  const chosen: number[] = []
  let covered = 0
  for (const i of random.permutation(sentences.length)) {
    if (chosen.length > 0 && covered >= BLANK_SHARE * length) break
    // Something has to be left to read.
    if (covered + sentences[i] === length && sentences.length > 1) continue
    chosen.push(i)
    covered += sentences[i]
  }
  return chosen.sort((a, b) => a - b).map((i) => ({ start: starts[i], end: starts[i] + sentences[i] }))
}

/** The end of a text: from 50 to 100 % of it (§2.1.2). */
export function sampleSuffix(length: number, random: StepRandom): Span[] {
  const least = Math.max(1, Math.ceil(length / 2))
  return [{ start: length - least - random.below(length - least + 1), end: length }]
}

/** One text with blanks as the model reads it. */
export interface Blanked {
  /** Part A, then Part B. */
  readonly inputIds: number[]
  /** Two a token: where its blank stands in the text with blanks, and where in the blank it stands. */
  readonly positionIds: [number[], number[]]
  /** The token that follows, −100 in Part A. */
  readonly shiftLabels: number[]
  /** The length of Part A. */
  readonly sep: number
}

/**
 * Part A, the text with blanks, and Part B, from [START] what belongs into each (§2.1.1, figure 2).
 *
 * @param spans - in the order of the text
 * @param order - in which Part B tells them. Default: that of the text
 */
export function blankText(
  ids: readonly number[],
  spans: readonly Span[],
  kind: BlankKind,
  tokens: BlankTokens,
  order: Iterable<number> = spans.keys(),
): Blanked {
  const partA: number[] = []
  const blanks: number[] = []
  let read = 0
  for (const { start, end } of spans) {
    partA.push(...ids.slice(read, start))
    blanks.push(partA.length)
    partA.push(tokens.maskIds[kind])
    read = end
  }
  partA.push(...ids.slice(read))

  const inputIds = [...partA]
  const positionIds: [number[], number[]] = [partA.map((_, i) => i), partA.map(() => 0)]
  const shiftLabels = partA.map(() => IGNORED_LABEL)
  for (const i of order) {
    const span = ids.slice(spans[i].start, spans[i].end)
    inputIds.push(tokens.startId, ...span)
    shiftLabels.push(...span, tokens.endId)
    for (let place = 0; place <= span.length; place++) {
      positionIds[0].push(blanks[i])
      positionIds[1].push(place + 1)
    }
  }
  return { inputIds, positionIds, shiftLabels, sep: partA.length }
}

/** `inputIds` and `shiftLabels` are [batch, seq], `positionIds` [batch, 2, seq], `sep` [batch]. */
export type BlankBatch = {
  readonly inputIds: Int32Array
  readonly positionIds: Int32Array
  readonly shiftLabels: Int32Array
  readonly sep: Int32Array
}

export type BlankShares = Readonly<Record<BlankKind, number>>

/** Of texts, how many have blanks of each kind (as the released 10B was trained). */
export const BLANK_SHARES: BlankShares = { span: 0.5, sentence: 0.3, document: 0.2 }

/**
 * Stretches of documents with blanks, without end. Batch `step` is a function of the seed and the step; the same arrays
 * are filled again.
 */
export class BlankLoader {
  readonly #documents: readonly Document[]
  readonly #batch: BlankBatch

  /**
   * @param documents - sentences of ids
   * @param length - of a text before it has blanks; blanks that would make it longer than a sequence are left out
   */
  constructor(
    documents: readonly Document[],
    readonly shape: BatchShape,
    readonly length: number,
    readonly tokens: BlankTokens,
    readonly seed: number,
    readonly shares: BlankShares = BLANK_SHARES,
    /** Of the tokens of a text, how many are in spans at least. */
    readonly spanShare = BLANK_SHARE,
  ) {
    this.#documents = documents
      .map((sentences) => sentences.filter((ids) => ids.length > 0))
      .filter((sentences) => sentences.reduce((sum, ids) => sum + ids.length, 0) >= 2)
    if (this.#documents.length === 0) throw new RangeError('blanks need documents of at least two tokens')
    // A text that is one blank has a token of Part A, a [START], and itself.
    if (length < 2 || length + 2 > shape.seq) {
      throw new RangeError(`texts of ${length} tokens with blanks do not fit sequences of ${shape.seq}`)
    }
    this.#batch = emptyBatch(shape, tokens)
  }

  batchAt(step: number): BlankBatch {
    const random = new StepRandom(this.seed, step)
    for (let row = 0; row < this.shape.batch; row++)
      fillRow(this.#batch, row, this.shape, this.#draw(random), this.tokens)
    return this.#batch
  }

  #draw(random: StepRandom): Blanked {
    const sentences = stretchOf(this.#documents, this.length, random)
    const ids = sentences.flat()
    const turn = random.uniform() * (this.shares.span + this.shares.sentence + this.shares.document)
    const kind =
      turn < this.shares.span ? 'span' : turn < this.shares.span + this.shares.sentence ? 'sentence' : 'document'
    const drawn =
      kind === 'span'
        ? sampleSpans(ids.length, random, this.spanShare)
        : kind === 'sentence'
          ? sampleSentences(
              sentences.map((sentence) => sentence.length),
              random,
            )
          : sampleSuffix(ids.length, random)
    // Each blank takes two tokens more than what belongs into it.
    const fits = drawn.slice(0, Math.max(1, Math.floor((this.shape.seq - ids.length) / 2)))
    return blankText(ids, fits, kind, this.tokens, random.permutation(fits.length))
  }
}

/** A text of up to `length` tokens from anywhere in a document, as sentences, of which the outer ones may be cut. */
export function stretchOf(documents: readonly Document[], length: number, random: StepRandom): number[][] {
  const document = documents[random.below(documents.length)]
  const total = document.reduce((sum, ids) => sum + ids.length, 0)
  let skip = total <= length ? 0 : random.below(total - length + 1)
  const result: number[][] = []
  let room = length
  for (const sentence of document) {
    const part = sentence.slice(skip, skip + room)
    skip = Math.max(0, skip - sentence.length)
    if (part.length > 0) result.push(part)
    room -= part.length
    if (room === 0) break
  }
  return result
}

export const emptyBatch = ({ batch, seq }: BatchShape, { padId }: BlankTokens): BlankBatch => ({
  inputIds: new Int32Array(batch * seq).fill(padId),
  positionIds: new Int32Array(2 * batch * seq),
  shiftLabels: new Int32Array(batch * seq).fill(IGNORED_LABEL),
  sep: new Int32Array(batch),
})

/** Writes one text into a row; what is after it is padding, which nothing before it sees. */
export function fillRow(
  into: BlankBatch,
  row: number,
  { seq }: BatchShape,
  { inputIds, positionIds, shiftLabels, sep }: Blanked,
  { padId }: BlankTokens,
): void {
  const write = (array: Int32Array, at: number, values: readonly number[], rest: number): void => {
    array.fill(rest, at * seq, (at + 1) * seq).set(values, at * seq)
  }
  write(into.inputIds, row, inputIds, padId)
  write(into.positionIds, 2 * row, positionIds[0], 0)
  write(into.positionIds, 2 * row + 1, positionIds[1], 0)
  write(into.shiftLabels, row, shiftLabels, IGNORED_LABEL)
  into.sep[row] = sep
}
