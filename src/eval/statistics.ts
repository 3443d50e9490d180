import { StepRandom } from '../data/random.ts'

/** What a mean over questions is worth: standard errors and intervals. */

/** A score with what it may be off by. */
export interface Estimate {
  readonly value: number
  /** Standard error: the standard deviation of the value, were the questions drawn again. NaN for a single question. */
  readonly stderr: number
}

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

/** NaN of none. */
export const mean = (values: readonly number[]): number => sum(values) / values.length

/** The mean, and its standard error: the sample's standard deviation (n − 1 below) over √n. */
export function meanOf(values: readonly number[]): Estimate {
  const n = values.length
  if (n === 0) return { value: Number.NaN, stderr: Number.NaN }
  const value = mean(values)
  const squares = sum(values.map((x) => (x - value) ** 2))
  return { value, stderr: n === 1 ? Number.NaN : Math.sqrt(squares / (n - 1) / n) }
}

const BOOTSTRAP_SEED = 1337

/** Of the normal distribution: 95 % lie within this many standard deviations. */
export const Z95 = 1.959963984540054

/**
 * Wilson's interval for a share (1927): unlike value ± z · stderr it stays within 0 and 1 and has a width where all
 * answers are right, or none is.
 *
 * @param right - how many of the `n`; may be a fraction where answers are right in part
 */
export function wilsonInterval(right: number, n: number, z = Z95): [low: number, high: number] {
  if (n === 0) return [0, 1]
  const share = right / n
  const middle = (share + z ** 2 / (2 * n)) / (1 + z ** 2 / n)
  const half = (z / (1 + z ** 2 / n)) * Math.sqrt((share * (1 - share)) / n + z ** 2 / (4 * n ** 2))
  return [Math.max(0, middle - half), Math.min(1, middle + half)]
}

/** A share of right answers: Wilson's interval around it. */
export function shareOf(values: readonly number[]): Estimate & { interval: [number, number] } {
  return { ...meanOf(values), interval: wilsonInterval(sum(values), values.length) }
}

/** Resamples: as many as lm-evaluation-harness draws for BLEU. */
export const BOOTSTRAP_SAMPLES = 100

/**
 * A score of many values together, with what it may be off by: the same of values drawn with replacement, again and again
 * (Efron, 1979). The interval is that of the normal distribution.
 */
export function bootstrap<T>(
  values: readonly T[],
  compute: (values: readonly T[]) => number,
  samples = BOOTSTRAP_SAMPLES,
): Estimate & { interval: [number, number] } {
  const value = compute(values)
  if (values.length < 2) return { value, stderr: Number.NaN, interval: [Number.NaN, Number.NaN] }
  const drawn = Array.from({ length: samples }, (_, i) => {
    const random = new StepRandom(BOOTSTRAP_SEED, i)
    return compute(values.map(() => values[random.below(values.length)]))
  })
  const { value: middle } = meanOf(drawn)
  const stderr = Math.sqrt(sum(drawn.map((x) => (x - middle) ** 2)) / (samples - 1))
  return { value, stderr, interval: [value - Z95 * stderr, value + Z95 * stderr] }
}

/** A share as people read it: `97.4 %`. */
export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`
