/**
 * Batches for language modelling. Three ways through a token stream: random windows (training on one text), sequential
 * windows (scoring a whole split), packed documents (training on many texts).
 *
 * `shiftLabels[b, t]` is the token that follows `inputIds[b, t]`: the shift is made here, as in nanoGPT, so a window of `seq`
 * positions gives `seq` predictions. −100 marks a position that has no label. (`labels`, which models take too, are not
 * shifted yet.)
 */

import { StepRandom } from './random.ts'
import type { TokenDataset } from './token-dataset.ts'

/** The label that the loss leaves out. */
export const IGNORED_LABEL = -100

/** Both arrays are [batch, seq] in row-major order. A loader fills the same two arrays again at its next batch. */
export interface LanguageModelBatch {
  readonly inputIds: Int32Array
  readonly shiftLabels: Int32Array
}

export interface BatchShape {
  /** windows a batch */
  readonly batch: number
  /** positions a window */
  readonly seq: number
}

/** All that a loader has to remember: with it, a run goes on bit for bit where it stopped. */
export interface LoaderState {
  readonly seed: number
  readonly step: number
}

/** Batches without end for training; batch `step` is a pure function of the seed and `step`. */
export abstract class TrainingLoader {
  readonly shape: BatchShape
  readonly seed: number
  /** The number of the batch that `next` gives. */
  step = 0
  readonly #buffers: LanguageModelBatch

  constructor(shape: BatchShape, seed: number) {
    requireShape(shape)
    requireCount('seed', seed)
    this.shape = shape
    this.seed = seed
    this.#buffers = newBatch(shape)
  }

  /** Batch number `step`, counted from 0; does not move the loader. */
  batchAt(step: number): LanguageModelBatch {
    requireCount('step', step)
    this.fill(step, this.#buffers)
    return this.#buffers
  }

  next(): LanguageModelBatch {
    return this.batchAt(this.step++)
  }

  get state(): LoaderState {
    return { seed: this.seed, step: this.step }
  }

  /** @throws RangeError where the state was saved by a loader with another seed. */
  restore(state: LoaderState): void {
    requireCount('step', state.step)
    if (state.seed !== this.seed) {
      throw new RangeError(`loader: the saved state has seed ${state.seed}, this run has seed ${this.seed}`)
    }
    this.step = state.step
  }

  protected abstract fill(step: number, into: LanguageModelBatch): void
}

/** Windows at uniformly random offsets, drawn independently: how nanoGPT trains. */
export class RandomWindows extends TrainingLoader {
  readonly #data: TokenDataset

  /** @throws RangeError where the data is shorter than one window and its last label. */
  constructor(data: TokenDataset, shape: BatchShape, seed: number) {
    super(shape, seed)
    requireLength(data, shape.seq)
    this.#data = data
  }

  protected override fill(step: number, into: LanguageModelBatch): void {
    const { batch, seq } = this.shape
    const random = new StepRandom(this.seed, step)
    for (let row = 0; row < batch; row++) {
      const start = random.below(this.#data.length - seq)
      copyWindow(this.#data.tokens, start, seq, row * seq, into)
    }
  }
}

/**
 * Documents, each ended by `endOfText`, laid end to end in an order shuffled anew for every epoch and cut into windows
 * that touch but do not overlap, which are shuffled too: neighbouring windows of a long document should not share a
 * batch. Within an epoch every token is an input exactly once, save the last few that fill no window. Attention is not
 * cut between documents (GPT-2 and GPT-3 do not cut it either). Batches run on across epochs.
 */
export class PackedDocuments extends TrainingLoader {
  readonly windowsPerEpoch: number
  readonly #tokens: ArrayLike<number>
  /** Where document d begins; one more entry for the end. */
  readonly #starts: Float64Array
  readonly #epochs = new Map<number, Epoch>()

  /** @throws RangeError where the data is shorter than one window and its last label. */
  constructor(data: TokenDataset, endOfText: number, shape: BatchShape, seed: number) {
    super(shape, seed)
    requireLength(data, shape.seq)
    this.#tokens = data.tokens
    this.#starts = documentStarts(data.tokens, endOfText)
    this.windowsPerEpoch = Math.floor((data.length - 1) / shape.seq)
  }

  protected override fill(step: number, into: LanguageModelBatch): void {
    const { batch, seq } = this.shape
    for (let row = 0; row < batch; row++) {
      const window = step * batch + row
      const epoch = this.#epoch(Math.floor(window / this.windowsPerEpoch))
      this.#copyPacked(epoch, epoch.windows[window % this.windowsPerEpoch] * seq, row * seq, into)
    }
  }

  #epoch(number: number): Epoch {
    const known = this.#epochs.get(number)
    if (known) return known
    const documents = this.#starts.length - 1
    const random = new StepRandom(this.seed, number)
    const order = random.permutation(documents)
    const ends = new Float64Array(documents)
    let end = 0
    for (let i = 0; i < documents; i++) {
      end += this.#starts[order[i] + 1] - this.#starts[order[i]]
      ends[i] = end
    }
    const epoch = { order, ends, windows: random.permutation(this.windowsPerEpoch) }
    // A batch touches more than two epochs only where the data is smaller than the batch.
    if (this.#epochs.size >= 2) this.#epochs.clear()
    this.#epochs.set(number, epoch)
    return epoch
  }

  /** Copies seq + 1 tokens of the epoch's packed stream, beginning at `start`. */
  #copyPacked(epoch: Epoch, start: number, at: number, into: LanguageModelBatch): void {
    const { seq } = this.shape
    let place = firstAbove(epoch.ends, start)
    let position = start
    while (position <= start + seq) {
      const document = epoch.order[place]
      const source = this.#starts[document + 1] - epoch.ends[place]
      const stop = Math.min(epoch.ends[place], start + seq + 1)
      for (; position < stop; position++) {
        const token = this.#tokens[source + position]
        const t = position - start
        if (t < seq) into.inputIds[at + t] = token
        if (t > 0) into.shiftLabels[at + t - 1] = token
      }
      place++
    }
  }
}

interface Epoch {
  /** The documents in this epoch's order. */
  readonly order: Uint32Array
  /** Where each of them ends in the packed stream. */
  readonly ends: Float64Array
  /** The windows in this epoch's order. */
  readonly windows: Uint32Array
}

/**
 * Windows that touch but do not overlap, in order, each once: every token of the split but the first is a label exactly
 * once. The last window and the last batch are filled up with token 0 under labels of −100. Iterating starts afresh.
 */
export class SequentialWindows implements Iterable<LanguageModelBatch> {
  readonly shape: BatchShape
  /** How many labels there are in all: the divisor for a mean loss. */
  readonly labelCount: number
  readonly batchCount: number
  readonly #data: TokenDataset

  /** @throws RangeError where the data has fewer than two tokens. */
  constructor(data: TokenDataset, shape: BatchShape) {
    requireShape(shape)
    requireLength(data, 1)
    this.shape = shape
    this.#data = data
    this.labelCount = data.length - 1
    this.batchCount = Math.ceil(this.labelCount / (shape.batch * shape.seq))
  }

  *[Symbol.iterator](): Iterator<LanguageModelBatch> {
    const { batch, seq } = this.shape
    const buffers = newBatch(this.shape)
    for (let step = 0; step < this.batchCount; step++) {
      buffers.inputIds.fill(0)
      buffers.shiftLabels.fill(IGNORED_LABEL)
      const first = step * batch * seq
      const count = Math.min(batch * seq, this.labelCount - first)
      copyWindow(this.#data.tokens, first, count, 0, buffers)
      yield buffers
    }
  }
}

function newBatch({ batch, seq }: BatchShape): LanguageModelBatch {
  return { inputIds: new Int32Array(batch * seq), shiftLabels: new Int32Array(batch * seq) }
}

function copyWindow(
  tokens: ArrayLike<number>,
  start: number,
  length: number,
  at: number,
  into: LanguageModelBatch,
): void {
  for (let t = 0; t < length; t++) {
    into.inputIds[at + t] = tokens[start + t]
    into.shiftLabels[at + t] = tokens[start + t + 1]
  }
}

function documentStarts(tokens: ArrayLike<number>, endOfText: number): Float64Array {
  const starts = [0]
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] === endOfText || i === tokens.length - 1) starts.push(i + 1)
  }
  return Float64Array.from(starts)
}

/** The first index whose value is greater than `value`, in a rising array. */
function firstAbove(rising: Float64Array, value: number): number {
  let low = 0
  let high = rising.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (rising[middle] > value) high = middle
    else low = middle + 1
  }
  return low
}

function requireShape({ batch, seq }: BatchShape): void {
  if (!Number.isInteger(batch) || batch < 1 || !Number.isInteger(seq) || seq < 1) {
    throw new RangeError(`loader: batch and seq must be integers of at least 1, got batch ${batch}, seq ${seq}`)
  }
}

function requireCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`loader: ${name} must be an integer of at least 0, got ${value}`)
  }
}

function requireLength(data: TokenDataset, seq: number): void {
  if (data.length < seq + 1) {
    throw new RangeError(
      `loader: windows of ${seq} need at least ${seq + 1} tokens, the data has ${data.length}; use a smaller seq or more text`,
    )
  }
}
