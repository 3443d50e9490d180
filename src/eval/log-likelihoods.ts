import { type CachedDecoder, isSame, PROMPT_PIECE, type Prompt } from '../generate/decoder.ts'
import { argMax, logSumExp } from '../generate/sampling.ts'

/** How likely a model finds a continuation of a context: an answer of multiple choice, the end of a text. */
export interface ScoringRequest {
  /** What comes before: at least one token. Of a model with an encoder, the source. */
  readonly contextIds: readonly number[]
  readonly continuationIds: readonly number[]
}

export interface Score {
  /** log P(continuation | context): the sum over its tokens. */
  readonly logProb: number
  readonly perToken: readonly number[]
  /** Whether each token is the likeliest at its place. */
  readonly isGreedy: boolean
}

export interface ScoringOptions {
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

/** Tokens of short sequences that are computed side by side. */
const BATCH_TOKENS = 512

/** A request as the model reads it. */
interface Reading {
  readonly prompt: Prompt
  /** All that is fed: the last token of a continuation is only predicted. */
  readonly ids: readonly number[]
  /** The first place that predicts a token of the continuation. */
  readonly from: number
  readonly continuationIds: readonly number[]
  /** What is known so far. */
  readonly perToken: number[]
  isGreedy: boolean
}

/**
 * The log-likelihoods of continuations. Sequences that begin alike are computed one after another in one slot, from
 * where they part; short ones with little in common side by side, as many as the decoder has slots. What was in the slots
 * is overwritten.
 */
export async function logLikelihoods(
  decoder: CachedDecoder,
  requests: readonly ScoringRequest[],
  { onProgress, signal }: ScoringOptions = {},
): Promise<Score[]> {
  const readings = requests.map((request, index) => reading(decoder, request, index))
  let done = 0
  const tell = (count: number): void => {
    done += count
    onProgress?.(done, requests.length)
  }
  const strangers: Reading[] = []
  for (const family of families(readings)) {
    if (family.length === 1 && family[0].ids.length <= PROMPT_PIECE) {
      strangers.push(family[0])
      continue
    }
    await readInTurn(decoder, family, signal)
    tell(family.length)
  }
  strangers.sort((a, b) => a.ids.length - b.ids.length || compare(a, b))
  while (strangers.length > 0) {
    const most = Math.max(1, Math.floor(BATCH_TOKENS / strangers[0].ids.length))
    const batch = strangers.splice(0, Math.min(most, decoder.slots))
    await readTogether(decoder, batch, signal)
    tell(batch.length)
  }
  return readings.map(({ perToken, isGreedy }) => ({
    logProb: perToken.reduce((a, b) => a + b, 0),
    perToken,
    isGreedy,
  }))
}

function reading(decoder: CachedDecoder, { contextIds, continuationIds }: ScoringRequest, index: number): Reading {
  if (contextIds.length === 0) {
    throw new RangeError(`request ${index} has no context: give it the token that texts begin with`)
  }
  const prompt = decoder.promptOf(contextIds)
  const before = decoder.restOf(prompt)
  const ids = [...before, ...continuationIds.slice(0, -1)]
  if (ids.length > decoder.capacity) {
    throw new RangeError(`request ${index} has ${ids.length + 1} tokens; the model takes ${decoder.capacity + 1}`)
  }
  return { prompt, ids, from: before.length - 1, continuationIds, perToken: [], isGreedy: true }
}

/** Runs of readings, in order of their ids, of which each has its source, or half of its ids, from the one before. */
function families(readings: readonly Reading[]): Reading[][] {
  const found: Reading[][] = []
  for (const next of readings.toSorted(compare)) {
    const family = found[found.length - 1]
    const last = family?.[family.length - 1]
    if (last && belongTogether(last, next)) family.push(next)
    else found.push([next])
  }
  return found
}

async function readInTurn(decoder: CachedDecoder, family: readonly Reading[], signal?: AbortSignal): Promise<void> {
  let held: readonly number[] = []
  await decoder.open(0, family[0].prompt, signal)
  for (const reading of family) {
    const { ids, from } = reading
    for (let start = Math.min(commonPrefix(held, ids), from); start < ids.length; ) {
      const first = Math.max(start, from)
      const end = Math.min(first + PROMPT_PIECE, ids.length)
      const logits = await decoder.prefill(0, ids.slice(start, end), start, { rows: end - first, signal })
      score(reading, logits, decoder.vocabSize)
      start = end
    }
    held = ids
  }
}

async function readTogether(decoder: CachedDecoder, batch: readonly Reading[], signal?: AbortSignal): Promise<void> {
  for (const [slot, { prompt }] of batch.entries()) await decoder.open(slot, prompt, signal)
  const sequences = batch.map(({ ids }) => ids)
  const logits = await decoder.prefillBatch(
    sequences,
    batch.map(({ from }) => from),
    signal,
  )
  let start = 0
  for (const reading of batch) {
    const end = start + (reading.ids.length - reading.from) * decoder.vocabSize
    score(reading, logits.subarray(start, end), decoder.vocabSize)
    start = end
  }
}

/** Takes the logits of the next places: [rows, vocabSize]. */
function score(reading: Reading, logits: Float32Array, vocabSize: number): void {
  for (let start = 0; start < logits.length; start += vocabSize) {
    const id = reading.continuationIds[reading.perToken.length]
    if (id === undefined) return // an empty continuation
    const row = logits.subarray(start, start + vocabSize)
    reading.perToken.push(row[id] - logSumExp(row))
    reading.isGreedy &&= argMax(row) === id
  }
}

const belongTogether = (a: Reading, b: Reading): boolean =>
  b.prompt.sourceIds
    ? isSame(a.prompt.sourceIds ?? [], b.prompt.sourceIds)
    : 2 * commonPrefix(a.ids, b.ids) >= b.ids.length

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

/** By source, then by ids: what begins alike stands together, in whatever order it was asked for. */
const compare = (a: Reading, b: Reading): number =>
  compareIds(a.prompt.sourceIds ?? [], b.prompt.sourceIds ?? []) || compareIds(a.ids, b.ids)

function compareIds(a: readonly number[], b: readonly number[]): number {
  const at = commonPrefix(a, b)
  return (a[at] ?? -1) - (b[at] ?? -1)
}
