/**
 * Span corruption, what T5 is pre-trained on (Raffel et al., 2019, arXiv 1910.10683, §3.1.4 and §3.3.4): some runs of
 * tokens are taken out, a sentinel stands for each, and the target says what was taken out.
 *
 *     Thank you for inviting me to your party last week .
 *     →  Thank you <X> me to your party <Y> week .     and     <X> for inviting <Y> last <Z>
 */

import type { StepRandom } from './random.ts'
import { roundHalfToEven } from './round.ts'

export interface SpanOptions {
  /** Which share of the tokens is taken out. Default 0.15. */
  readonly noiseDensity?: number
  /** How long a run is on average. Default 3. */
  readonly meanSpanLength?: number
}

/** Tokens from `start` (included) to `end` (excluded). */
export interface Span {
  readonly start: number
  readonly end: number
}

const DEFAULTS = { noiseDensity: 0.15, meanSpanLength: 3 } as const

/** How many tokens of a text are taken out, in how many runs. The text decides, not chance. */
function noiseIn(length: number, options: SpanOptions): { tokens: number; spans: number } {
  const { noiseDensity, meanSpanLength } = { ...DEFAULTS, ...options }
  if (!(noiseDensity > 0 && noiseDensity < 1 && meanSpanLength >= 1)) {
    throw new RangeError(
      `span corruption: noiseDensity must lie between 0 and 1 and meanSpanLength be at least 1, got ${noiseDensity} and ${meanSpanLength}`,
    )
  }
  if (!Number.isInteger(length) || length < 2) {
    throw new RangeError(`span corruption: a text needs two tokens or more, got ${length}`)
  }
  const tokens = Math.min(Math.max(roundHalfToEven(length * noiseDensity), 1), length - 1)
  // Every run has a token before it that stays.
  const spans = Math.max(roundHalfToEven(Math.min(tokens, length - tokens) / meanSpanLength), 1)
  return { tokens, spans }
}

/**
 * Which runs are taken out of a text of `length` tokens: all ways to divide the tokens into so many runs and gaps are
 * equally likely. A text begins with what stays and ends with what is taken out, as in the reference implementation.
 */
export function randomSpans(length: number, random: StepRandom, options: SpanOptions = {}): Span[] {
  const { tokens, spans } = noiseIn(length, options)
  const noise = randomParts(tokens, spans, random)
  const kept = randomParts(length - tokens, spans, random)
  let end = 0
  return noise.map((size, i) => {
    const start = end + kept[i]
    end = start + size
    return { start, end }
  })
}

/** A number as a sum of so many, each at least 1. */
function randomParts(total: number, parts: number, random: StepRandom): number[] {
  const cuts = Array.from(random.permutation(total - 1).subarray(0, parts - 1), (cut) => cut + 1).sort((a, b) => a - b)
  return [...cuts, total].map((cut, i) => cut - (cuts[i - 1] ?? 0))
}

export interface CorruptionTokens {
  /** Of the first run; those of the next are one less each: `<extra_id_0>` is 32,099, `<extra_id_1>` 32,098. */
  readonly firstSentinelId: number
  /** How many sentinels there are. T5 has 100. Default 100. */
  readonly sentinels?: number
  /** Ends inputs and targets. T5's is 1. */
  readonly endTokenId: number
}

export interface CorruptedText {
  readonly inputIds: number[]
  /** One more sentinel follows the last run, as in the paper's figure 2; then the end. */
  readonly labels: number[]
}

/**
 * Takes runs out of a text.
 *
 * @param spans - in order, and apart from one another
 * @throws RangeError where they are not, or where there are not sentinels enough
 */
export function corruptSpans(
  ids: readonly number[],
  spans: readonly Span[],
  { firstSentinelId, sentinels = 100, endTokenId }: CorruptionTokens,
): CorruptedText {
  if (spans.length + 1 > sentinels) {
    throw new RangeError(
      `span corruption: ${spans.length} runs need one sentinel more than that, there are ${sentinels}`,
    )
  }
  const [inputIds, labels]: number[][] = [[], []]
  let end = 0
  for (const [i, span] of spans.entries()) {
    const isApart = span.start > end || (i === 0 && span.start === 0)
    if (!isApart || span.end <= span.start || span.end > ids.length) {
      throw new RangeError(
        `span corruption: run ${i} is ${span.start} to ${span.end}, after one that ends at ${end}, of ${ids.length} tokens`,
      )
    }
    inputIds.push(...ids.slice(end, span.start), firstSentinelId - i)
    labels.push(firstSentinelId - i, ...ids.slice(span.start, span.end))
    end = span.end
  }
  inputIds.push(...ids.slice(end), endTokenId)
  labels.push(firstSentinelId - spans.length, endTokenId)
  return { inputIds, labels }
}

/** How long the two sides of a text of `length` tokens become, their ends counted. */
export function corruptedLengths(length: number, options: SpanOptions = {}): { inputs: number; targets: number } {
  const { tokens, spans } = noiseIn(length, options)
  return { inputs: length - tokens + spans + 1, targets: tokens + spans + 2 }
}

/**
 * How long a text must be for its inputs to fill `inputs` tokens and no more: pre-training cuts its texts so. T5's 512
 * are made of 568.
 */
export function textLengthFor(inputs: number, options: SpanOptions = {}): number {
  if (!(inputs >= 3)) throw new RangeError(`span corruption: inputs have three tokens or more, got ${inputs}`)
  let length = 2
  while (corruptedLengths(length + 1, options).inputs <= inputs) length++
  return length
}
