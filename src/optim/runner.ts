import type { DeviceTensor } from '../runtime/backend.ts'
import type { Comm } from '../runtime/comm.ts'
import type { RandomFeeds } from '../runtime/random-feeds.ts'
import type { Tensor, TensorData, TypedArray } from '../tensor/index.ts'
import type { FlatLayout, FlatName, TrainingState } from './flat-parameters.ts'

/** Numbers of one micro-batch, by input. */
export type Batch = Readonly<Record<string, TypedArray>>

/** A traced objective and its gradients. */
export interface TracedStep {
  /** What a micro-batch holds. */
  readonly inputs: readonly Tensor[]
  readonly parameters: readonly Tensor[]
  readonly random: RandomFeeds
  /** `loss`, what else the objective answers with, and their counts. */
  readonly scalars: Readonly<Record<string, Tensor>>
  readonly layout: FlatLayout
  /** In the order of `layout.trained`. */
  readonly gradients: readonly Tensor[]
  /** New values of buffers. */
  readonly updates: ReadonlyMap<string, Tensor>
}

/** AdamW (Loshchilov and Hutter, 2017, arXiv 1711.05101) and the average of what it makes. */
export interface OptimizerSettings {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  /** Decay of the exponential moving average; 0 for none. */
  readonly emaDecay: number
}

export interface UpdateOptions {
  /** Counts from 1. */
  step: number
  learningRate: number
  /** What the summed gradients are multiplied by: clipping, averaging. */
  gradScale: number
}

/**
 * Where a model's training runs. On a CPU the graph reads and writes flat arrays in place and the optimiser is a
 * WebAssembly pass over them; on a GPU everything stays there and the optimiser is a graph too.
 */
export interface StepRunner {
  /**
   * Forward and backward on one micro-batch. Its gradients replace those before, or are added to them.
   *
   * @param random - the random leaves are filled already
   */
  backward(batch: Batch, options: { add: boolean }): Promise<Record<string, number>>
  /** Adds the gradients of all processes up. */
  allReduce(comm: Comm): Promise<void>
  /** Σ g² over all gradients. */
  gradientSquares(): number
  update(options: UpdateOptions): Promise<void>
  /** What graphs read as parameters and buffers now, by name: on a device, tensors that stay there. */
  values(name: 'parameters' | 'ema'): Record<string, TensorData | DeviceTensor>
  /** Brings flat arrays of the state, and the fixed tensors, up to date. */
  download(names: readonly FlatName[]): Promise<void>
  /** Takes over what was written into the state. */
  upload(): void
  release(): void
}

/** An runner is made for a state whose first values are set. */
export interface RunnerOptions {
  readonly step: TracedStep
  readonly state: TrainingState
  readonly optimizer: OptimizerSettings
  /** Micro-batches to a step. */
  readonly accumulate: number
  /** See `TrainerOptions`. */
  readonly memoryPattern: boolean
}

/** Entries as an object, every name with `prefix` before it. */
export const prefixed = <Value>(prefix: string, entries: Iterable<readonly [string, Value]>): Record<string, Value> =>
  Object.fromEntries(Array.from(entries, ([name, value]) => [prefix + name, value]))
