import { deferredConstant, type Tensor } from '../tensor/index.ts'

/** The tables that encode where tokens stand. */

export interface RotaryConfig {
  /** Features that turn, at most headDim. */
  readonly rotaryDim: number
  readonly theta: number
  /** Positions that the tables have: as many as will be asked for, at most the model's. */
  readonly rows: number
  readonly scaling?: RopeScaling
}

/** How the angles are stretched for contexts longer than those trained on, in the checkpoint's words. */
export type RopeScaling =
  | { readonly type: 'linear'; readonly factor: number }
  | { readonly type: 'dynamic'; readonly factor: number; readonly originalMaxPositions: number }
  | {
      readonly type: 'llama3'
      readonly factor: number
      readonly lowFreqFactor: number
      readonly highFreqFactor: number
      readonly originalMaxPositions: number
    }
  | {
      readonly type: 'yarn'
      readonly factor: number
      readonly originalMaxPositions: number
      readonly betaFast: number
      readonly betaSlow: number
      readonly attentionFactor?: number
      /** Whether the range of pairs between the two betas is rounded to whole ones. Default true. */
      readonly truncate?: boolean
    }

/** The turn per position of every feature pair, in radians. */
export function rotaryFrequencies({ rotaryDim, theta, rows, scaling }: RotaryConfig): Float64Array {
  const turns = (theta: number) =>
    Float64Array.from({ length: rotaryDim / 2 }, (_, i) => theta ** (-(2 * i) / rotaryDim))
  const base = turns(theta)
  switch (scaling?.type) {
    case 'linear':
      return base.map((frequency) => frequency / scaling.factor)
    case 'dynamic': {
      // The base grows with a sequence that is longer than those trained on; up to there, nothing changes.
      const { factor, originalMaxPositions } = scaling
      const stretched = (factor * Math.max(rows, originalMaxPositions)) / originalMaxPositions - (factor - 1)
      return stretched === 1 ? base : turns(theta * stretched ** (rotaryDim / (rotaryDim - 2)))
    }
    case 'llama3': {
      const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling
      return base.map((frequency) => {
        const turns = (originalMaxPositions * frequency) / (2 * Math.PI)
        if (turns < lowFreqFactor) return frequency / factor
        if (turns > highFreqFactor) return frequency
        const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
        return ((1 - smooth) * frequency) / factor + smooth * frequency
      })
    }
    case 'yarn': {
      const { factor, originalMaxPositions, betaFast, betaSlow, truncate = true } = scaling
      const pairOfTurns = (turns: number) =>
        (rotaryDim * Math.log(originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
      const [first, last] = [pairOfTurns(betaFast), pairOfTurns(betaSlow)]
      const low = Math.max(truncate ? Math.floor(first) : first, 0)
      const high = Math.min(truncate ? Math.ceil(last) : last, rotaryDim - 1)
      const width = high === low ? 0.001 : high - low
      return base.map((frequency, i) => {
        const interpolated = Math.min(Math.max((i - low) / width, 0), 1)
        return (frequency / factor) * interpolated + frequency * (1 - interpolated)
      })
    }
    default:
      return base
  }
}

/** YaRN also sharpens attention (Peng et al., 2023, arXiv 2309.00071, §3.4) by scaling both tables. */
const tableScale = (scaling?: RopeScaling): number =>
  scaling?.type === 'yarn' ? (scaling.attentionFactor ?? 0.1 * Math.log(Math.max(scaling.factor, 1)) + 1) : 1

/** Cosines and sines by position, each [rows, rotaryDim / 2]. Numbers are worked out when a graph is compiled. */
export function rotaryTables(config: RotaryConfig): { cos: Tensor; sin: Tensor } {
  const { rows, rotaryDim, scaling } = config
  const columns = Math.floor(rotaryDim / 2)
  const table = (fn: (angle: number) => number): Tensor =>
    deferredConstant([rows, columns], () => {
      const frequencies = rotaryFrequencies(config).map(Math.fround)
      const scale = tableScale(scaling)
      const values = new Float32Array(rows * columns)
      for (let position = 0, at = 0; position < rows; position++) {
        for (const frequency of frequencies) values[at++] = scale * fn(Math.fround(position * frequency))
      }
      return values
    })
  return { cos: table(Math.cos), sin: table(Math.sin) }
}

/**
 * sin(pos / 10000^(2i / d)) and cos of the same (Vaswani et al., 2017, arXiv 1706.03762, §3.5).
 *
 * @param interleaved - each sine beside its cosine, as in the paper; else all sines before all cosines
 * @returns [rows, features]
 */
export const sinusoidTable = (rows: number, features: number, { interleaved }: { interleaved: boolean }): Tensor =>
  deferredConstant([rows, features], () => {
    const values = new Float32Array(rows * features)
    const sines = Math.ceil(features / 2)
    for (let position = 0, at = 0; position < rows; position++) {
      for (let k = 0; k < features; k++) {
        const isSine = interleaved ? k % 2 === 0 : k < sines
        const i = interleaved ? Math.floor(k / 2) : isSine ? k : k - sines
        const angle = position / 10000 ** ((2 * i) / features)
        values[at++] = isSine ? Math.sin(angle) : Math.cos(angle)
      }
    }
    return values
  })
