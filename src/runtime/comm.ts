/** Several processes that train one model together. */
export interface Comm {
  /** This process's number, from 0. */
  readonly rank: number
  /** How many there are. */
  readonly size: number
  /** Replaces every element by its sum over all processes, in place, to the same bits in each. */
  allReduce(array: Float32Array | Float64Array): Promise<void>
}

/** One process: there is nothing to add. */
export const ALONE: Comm = { rank: 0, size: 1, allReduce: async () => {} }
