import { StepRandom } from '../data/random.ts'
import type { SamplingOptions } from './types.ts'

/** From logits to a token: penalties, truncation, and a draw. */

/** Token ids and how often each came up, kept as a sequence grows. */
export class TokenCounts {
  readonly generated = new Map<number, number>()
  readonly seen: Set<number>

  constructor(promptIds: Iterable<number>) {
    this.seen = new Set(promptIds)
  }

  add(id: number): void {
    this.seen.add(id)
    this.generated.set(id, (this.generated.get(id) ?? 0) + 1)
  }
}

/** Changes logits in place by what the text so far says about them. */
export function applyPenalties(logits: Float32Array, options: SamplingOptions, counts: TokenCounts): void {
  const { repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0, logitBias } = options
  if (repetitionPenalty !== 1) {
    // CTRL (Keskar et al., 2019, arXiv 1909.05858, §4.1), on either side of zero as everyone applies it.
    for (const id of counts.seen)
      logits[id] = logits[id] > 0 ? logits[id] / repetitionPenalty : logits[id] * repetitionPenalty
  }
  if (presencePenalty !== 0 || frequencyPenalty !== 0) {
    for (const [id, count] of counts.generated) logits[id] -= presencePenalty + frequencyPenalty * count
  }
  for (const [id, bias] of Object.entries(logitBias ?? {})) logits[Number(id)] += bias
}

/** The position of the largest number, the first of equals. */
export function argMax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}

/** log Σ exp(values), without overflow. */
export function logSumExp(values: Float32Array): number {
  const largest = values[argMax(values)]
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i] - largest)
  return largest + Math.log(sum)
}

/** The ids of the `count` largest logits, largest first; of equals the lower id first. */
export function largestIds(logits: Float32Array, count: number): number[] {
  const top: number[] = []
  for (let id = 0; id < logits.length; id++) {
    if (top.length === count && !(logits[id] > logits[top[count - 1]])) continue
    let at = top.length
    while (at > 0 && logits[top[at - 1]] < logits[id]) at--
    top.splice(at, 0, id)
    if (top.length > count) top.pop()
  }
  return top
}

/** Draws of one request: number k of seed s is always the same. */
export class Draws {
  private readonly seed: number
  private step = 0

  constructor(seed: number) {
    this.seed = seed
  }

  next(): number {
    return new StepRandom(this.seed, this.step++).uniform()
  }
}

/**
 * Draws a token from softmax(logits / temperature), truncated by top-k (Fan et al., 2018, arXiv 1805.04833), nucleus
 * (Holtzman et al., 2019, arXiv 1904.09751) and min-p (Nguyen et al., 2024, arXiv 2407.01082).
 *
 * @param logits - [vocabSize], after penalties
 */
export function sample(logits: Float32Array, options: SamplingOptions, draws: Draws): number {
  const { temperature = 1, topK = 0, topP = 1, minP = 0 } = options
  if (temperature === 0 || topK === 1) return argMax(logits)
  const largest = logits[argMax(logits)]
  // Tokens that cannot matter in fp32, or that min-p drops, are left out before anything is sorted.
  const floor = largest + temperature * Math.log(Math.max(minP, 1e-9))
  let candidates: number[] = []
  for (let id = 0; id < logits.length; id++) if (logits[id] >= floor) candidates.push(id)
  const truncates = (topK > 0 && topK < candidates.length) || topP < 1
  if (truncates) {
    candidates =
      topK > 0 && topK < 256
        ? largestIds(logits, topK).filter((id) => logits[id] >= floor)
        : candidates.sort((a, b) => logits[b] - logits[a] || a - b)
    if (topK > 0) candidates = candidates.slice(0, topK)
  }
  const weights = candidates.map((id) => Math.exp((logits[id] - largest) / temperature))
  let total = weights.reduce((a, b) => a + b, 0)
  if (topP < 1) {
    let kept = 0
    let mass = 0
    while (kept < weights.length && mass < topP * total) mass += weights[kept++]
    candidates.length = Math.max(kept, 1)
    total = kept === 0 ? weights[0] : mass
  }
  let left = draws.next() * total
  for (let i = 0; i < candidates.length; i++) {
    left -= weights[i]
    if (left < 0) return candidates[i]
  }
  return candidates[candidates.length - 1]
}
