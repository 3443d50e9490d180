/**
 * What BERT learns from (Devlin et al., 2018, arXiv 1810.04805, §3.1 and appendix A): texts in which some tokens are
 * hidden, and pairs of segments of which half follow one another.
 */

import { type BatchShape, IGNORED_LABEL } from './loader.ts'
import { StepRandom } from './random.ts'

/** The tokens with a meaning of their own. */
export interface MaskingTokens {
  readonly clsTokenId: number
  readonly sepTokenId: number
  readonly maskTokenId: number
  readonly padTokenId: number
  /** Tokens that stand in for others are drawn from 0 … vocabSize − 1, these and `specialIds` left out. */
  readonly vocabSize: number
  readonly specialIds?: ReadonlySet<number>
}

export interface MaskingOptions {
  /** How many of the tokens are to be told. Default 0.15. */
  readonly rate?: number
  /** Of these, how many read [MASK], and how many another token; the rest stay as they are. Defaults 0.8, 0.1. */
  readonly maskShare?: number
  readonly randomShare?: number
}

const SHARES = { rate: 0.15, maskShare: 0.8, randomShare: 0.1 } as const

/**
 * Hides tokens of one sequence, in place (§3.1, task 1): a share of them, at least one, is drawn; of these most read
 * [MASK], a few another token, and a few stay.
 *
 * @param ids - the tokens; special ones are never drawn
 * @param labels - of the same length: becomes the token where it is to be told, −100 elsewhere
 */
export function maskTokens(
  ids: Int32Array,
  labels: Int32Array,
  tokens: MaskingTokens,
  random: StepRandom,
  options: MaskingOptions = {},
): void {
  const { rate, maskShare, randomShare } = { ...SHARES, ...options }
  const special = specialOf(tokens)
  labels.fill(IGNORED_LABEL)
  const places = [...ids.keys()].filter((i) => !special.has(ids[i]))
  if (places.length === 0) return
  const count = Math.max(1, Math.round(rate * places.length))
  for (const drawn of random.permutation(places.length).subarray(0, count)) {
    const place = places[drawn]
    labels[place] = ids[place]
    const turn = random.uniform()
    if (turn < maskShare) ids[place] = tokens.maskTokenId
    else if (turn < maskShare + randomShare) ids[place] = ordinary(tokens, special, random)
  }
}

const specialOf = ({ specialIds, ...tokens }: MaskingTokens): ReadonlySet<number> =>
  new Set([...(specialIds ?? []), tokens.clsTokenId, tokens.sepTokenId, tokens.maskTokenId, tokens.padTokenId])

function ordinary({ vocabSize }: MaskingTokens, special: ReadonlySet<number>, random: StepRandom): number {
  for (;;) {
    const id = random.below(vocabSize)
    if (!special.has(id)) return id
  }
}

/** Sentences one after the other, each as ids. */
export type Document = readonly (readonly number[])[]

/** All arrays are [batch, seq] but the last, [batch]. A loader fills the same arrays again at its next batch. */
export type PretrainingBatch = {
  readonly inputIds: Int32Array
  readonly attentionMask: Int32Array
  readonly tokenTypeIds: Int32Array
  readonly labels: Int32Array
  /** 0 where segment B follows segment A, 1 where it comes from another document. */
  readonly nextSentenceLabel: Int32Array
}

export interface PretrainingOptions extends MaskingOptions {
  /** Whether there are two segments, half of them of two documents; else one. Default true. */
  readonly pairs?: boolean
  /** How many sequences are shorter than they could be, by a length that is drawn. Default 0.1. */
  readonly shortShare?: number
}

/**
 * [CLS] A [SEP] B [SEP], without end: A and B are stretches of sentences, B those after A or of another document (§3.1,
 * task 2; appendix A.2). Batch `step` is a function of the seed and the step.
 */
export class PretrainingLoader {
  private readonly documents: readonly Document[]
  private readonly batch: PretrainingBatch

  /** @throws RangeError where there is nothing to draw from */
  constructor(
    documents: readonly Document[],
    readonly shape: BatchShape,
    readonly tokens: MaskingTokens,
    readonly seed: number,
    private readonly options: PretrainingOptions = {},
  ) {
    this.documents = documents
      .map((sentences) => sentences.filter((ids) => ids.length > 0))
      .filter((sentences) => sentences.length > 0)
    const needed = options.pairs === false ? 1 : 2
    if (this.documents.length < needed) {
      throw new RangeError(`pre-training needs at least ${needed} documents with text, got ${this.documents.length}`)
    }
    if (shape.seq < 5) throw new RangeError(`pre-training needs sequences of at least 5 tokens, got ${shape.seq}`)
    const size = shape.batch * shape.seq
    const zeros = () => new Int32Array(size)
    this.batch = {
      inputIds: zeros(),
      attentionMask: zeros(),
      tokenTypeIds: zeros(),
      labels: zeros(),
      nextSentenceLabel: new Int32Array(shape.batch),
    }
  }

  batchAt(step: number): PretrainingBatch {
    const { batch, seq } = this.shape
    const random = new StepRandom(this.seed, step)
    const { inputIds, attentionMask, tokenTypeIds, labels, nextSentenceLabel } = this.batch
    for (let row = 0; row < batch; row++) {
      const part = (array: Int32Array) => array.subarray(row * seq, (row + 1) * seq)
      const { a, b, follows } = this.segments(random)
      const { clsTokenId, sepTokenId, padTokenId } = this.tokens
      const ids = [clsTokenId, ...a, sepTokenId, ...(b ? [...b, sepTokenId] : [])]
      part(inputIds).fill(padTokenId).set(ids)
      part(attentionMask).fill(0).fill(1, 0, ids.length)
      part(tokenTypeIds)
        .fill(0)
        .fill(1, b ? a.length + 2 : ids.length, ids.length)
      maskTokens(part(inputIds), part(labels), this.tokens, random, this.options)
      nextSentenceLabel[row] = follows ? 0 : 1
    }
    return this.batch
  }

  /** One or two segments that fit the sequence together. */
  private segments(random: StepRandom): { a: number[]; b?: number[]; follows: boolean } {
    const { pairs = true, shortShare = 0.1 } = this.options
    const room = this.shape.seq - (pairs ? 3 : 2)
    const target = random.uniform() < shortShare ? 2 + random.below(room - 1) : room
    const at = random.below(this.documents.length)
    const document = this.documents[at]
    const start = random.below(document.length)
    if (!pairs) return { a: stretch(document, start, target).ids.slice(0, target), follows: true }
    const { ids: a, next } = stretch(document, start, 1 + random.below(target - 1))
    const follows = next < document.length && random.uniform() < 0.5
    const other = (at + 1 + random.below(this.documents.length - 1)) % this.documents.length
    const from = follows ? document : this.documents[other]
    const { ids: b } = stretch(from, follows ? next : random.below(from.length), Math.max(1, target - a.length))
    // The longer one gives way, at either end, so that no side of a segment is always whole.
    while (a.length + b.length > room) {
      const longer = a.length > b.length ? a : b
      if (random.uniform() < 0.5) longer.shift()
      else longer.pop()
    }
    return { a, b, follows }
  }
}

/** Whole sentences from one on, until there are as many tokens as wanted; `next` is the sentence after them. */
function stretch(document: Document, start: number, wanted: number): { ids: number[]; next: number } {
  const ids: number[] = []
  let next = start
  while (next < document.length && ids.length < wanted) ids.push(...document[next++])
  return { ids, next }
}
