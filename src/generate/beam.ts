import type { CachedDecoder, Prompt } from './decoder.ts'
import { largestIds, logSumExp } from './sampling.ts'

/** Beam search, as transformers does it: the same tokens, in fp32 as there. */

export interface BeamOptions {
  /** Sequences followed at a time. */
  nBeams: number
  /** A finished sequence scores log P / length^penalty, the prompt not counted. Default 1. */
  lengthPenalty?: number
  /**
   * What the penalty is a power of: the length, or as in the Transformer's paper (5 + length) / 6 (Wu et al., 2016, arXiv
   * 1609.08144, eq. 14). Default `length`.
   */
  lengthNorm?: LengthNorm
  /**
   * When to stop. `true`: as soon as nBeams sequences have finished. `false`: when the best unfinished one scores less
   * than the worst finished one even now. `never`: when it would at its best possible length. Default false.
   */
  earlyStopping?: boolean | 'never'
  /** Default 256. */
  maxNewTokens?: number
  /** Tokens that finish a sequence. */
  stopTokenIds?: readonly number[]
  /** Told of every step: how the sequences go on, and which end, best first. */
  onStep?: (going: readonly Candidate[], ended: readonly Candidate[]) => void
  /** The last token of a sequence that reaches maxNewTokens, whatever the model says. */
  forcedEndTokenId?: number
  /** Tokens that no sequence has, but for those that finish one. */
  barredTokenIds?: readonly number[]
}

export type LengthNorm = 'length' | 'gnmt'

export interface Hypothesis {
  /** New tokens, the one that finished it included. */
  readonly ids: readonly number[]
  /** log P / length^penalty */
  readonly score: number
}

/**
 * Appends a token to each sequence and answers with the logits that follow: [tokens.length, vocabSize].
 *
 * @param order - which of the sequences before this step each one continues
 */
export type BeamStep = (tokens: readonly number[], order: readonly number[]) => Promise<Float32Array>

/** A token that continues a sequence. */
export interface Candidate {
  /** The place among those that went on at the step before of the sequence that it continues. */
  readonly from: number
  readonly id: number
  /** log P */
  readonly score: number
}

/**
 * The search itself.
 *
 * @param first - logits after the prompt: [vocabSize]
 * @returns at most nBeams sequences, the best one first
 */
export async function searchBeams(first: Float32Array, step: BeamStep, options: BeamOptions): Promise<Hypothesis[]> {
  const { nBeams, lengthPenalty = 1, earlyStopping = false, maxNewTokens = 256, stopTokenIds = [] } = options
  const { lengthNorm = 'length', forcedEndTokenId, barredTokenIds = [] } = options
  if (!Number.isInteger(nBeams) || nBeams < 1) throw new RangeError(`beam search needs 1 beam or more, got ${nBeams}`)
  const vocabSize = first.length
  const stops = new Set(stopTokenIds)
  // Every beam may want to finish in each of these ways, and nBeams must still be left to go on.
  const nCandidates = Math.max(2, 1 + stops.size) * nBeams
  const barred = new Set(barredTokenIds.filter((id) => !stops.has(id)))
  const base = (length: number): number => (lengthNorm === 'gnmt' ? (5 + length) / 6 : length)
  const penalized = (score: number, length: number): number =>
    Math.fround(score / Math.fround(base(length) ** lengthPenalty))

  let beams: { ids: readonly number[]; score: number }[] = [{ ids: [], score: 0 }]
  let finished: Hypothesis[] = []
  let logits = first
  for (let length = 1; length <= maxNewTokens; length++) {
    const candidates =
      length === maxNewTokens && forcedEndTokenId !== undefined
        ? beams.map(({ score }, from): Candidate => ({ from, id: forcedEndTokenId, score }))
        : bestContinuations(logits, vocabSize, beams, nCandidates, barred)
    const ends = ({ id }: Candidate): boolean => length === maxNewTokens || stops.has(id)
    // Those beyond the nBeams best are there only to go on.
    const ended = candidates.slice(0, nBeams).filter(ends)
    const hypotheses = ended.map(({ from, id, score }) => ({
      ids: [...beams[from].ids, id],
      score: penalized(score, length),
    }))
    finished = [...finished, ...hypotheses].sort((a, b) => b.score - a.score).slice(0, nBeams)
    const going = candidates.filter((candidate) => !ends(candidate)).slice(0, nBeams)
    options.onStep?.(going, ended)
    if (going.length === 0) break
    if (finished.length === nBeams) {
      const bestLength = earlyStopping === 'never' && lengthPenalty > 0 ? maxNewTokens : length
      const improvable = penalized(going[0].score, bestLength) > finished[nBeams - 1].score
      if (earlyStopping === true || !improvable) break
    }
    beams = going.map(({ from, id, score }) => ({ ids: [...beams[from].ids, id], score }))
    logits = await step(
      going.map(({ id }) => id),
      going.map(({ from }) => from),
    )
  }
  return finished
}

/** The likeliest continuations over all sequences, best first; of equals, the earlier sequence and lower id first. */
function bestContinuations(
  logits: Float32Array,
  vocabSize: number,
  beams: readonly { score: number }[],
  count: number,
  barred: ReadonlySet<number>,
): Candidate[] {
  return beams
    .flatMap(({ score }, from) => {
      const row = logits.subarray(from * vocabSize, (from + 1) * vocabSize)
      const normalizer = logSumExp(row)
      const total = (id: number): number => Math.fround(Math.fround(row[id] - normalizer) + score)
      const best = largestIds(row, count + barred.size).filter((id) => !barred.has(id))
      return best.slice(0, count).map((id): Candidate => ({ from, id, score: total(id) }))
    })
    .sort((a, b) => b.score - a.score)
    .slice(0, count)
}

/**
 * Continues a prompt by beam search over a cache that has a slot for every beam.
 *
 * @returns new token ids of the best sequence; no more than fit the cache
 */
export async function beamSearch(
  decoder: CachedDecoder,
  prompt: Prompt,
  options: BeamOptions,
): Promise<readonly number[]> {
  const { nBeams, maxNewTokens = 256 } = options
  if (decoder.slots < nBeams) {
    throw new RangeError(`${nBeams} beams need as many slots in the cache, which has ${decoder.slots}`)
  }
  let { length, logits } = await decoder.open(0, prompt)
  const rest = decoder.restOf(prompt)
  if (rest.length > 0) logits = await decoder.prefill(0, rest, length)
  if (!logits) throw new RangeError('the prompt has no tokens')
  length += rest.length
  const step: BeamStep = (tokens, order) => {
    decoder.reorderSlots(order, length)
    const pastLengths = tokens.map(() => length)
    length++
    return decoder.decode(tokens, pastLengths)
  }
  // The last new token needs no place in the cache.
  const room = decoder.capacity - length + 1
  const { forcedEndTokenId, barredTokenIds } = decoder
  const [best] = await searchBeams(logits, step, {
    ...{ forcedEndTokenId, barredTokenIds },
    ...options,
    maxNewTokens: Math.min(maxNewTokens, room),
  })
  return best?.ids ?? []
}
