import { KvCache } from '../nn/kv-cache.ts'
import type { CausalLm } from '../nn/model.ts'
import { Scope } from '../nn/scope.ts'
import type { Binding, Provider } from '../runtime/backend.ts'
import { type Compiled, compileGraph } from '../runtime/compiled.ts'
import { isQuantized } from '../runtime/lower.ts'
import { input, mean, type QuantizedWeight, shapeOf, sizeOf, type Tensor, type TensorData } from '../tensor/index.ts'

export type Weights = ReadonlyMap<string, TensorData | QuantizedWeight>

export interface DecoderOptions {
  /** Sequences that can be in the cache at once. Default 1. */
  slots?: number
  /** Tokens a sequence may have; at most the model's positions, which is the default. */
  capacity?: number
  /**
   * `constants` compiles the weights in, pre-packed: fastest. `inputs` reads them at every step from where they lie, so
   * a model in training generates with its current values. Default `constants`.
   */
  weightsAs?: 'constants' | 'inputs'
  /** With `constants`: copy the weights into the session, so that the caller's arrays can be dropped. Default false. */
  copyWeights?: boolean
  /** Leaves that the model reads beside its tokens: what `setContext` feeds. */
  context?: readonly Tensor[]
  provider?: Provider
}

/** As much of a causal model as decoding needs. */
export type Decodable = Pick<CausalLm, 'vocabSize' | 'maxPositions' | 'forward'>

/** A step shorter than this runs on the calling thread: handing it to another would cost a good part of it. */
const SHORT_STEP_MS = 6

/**
 * Tokens of a prompt that go through the graph at once: few enough for the processor's cache to hold what they compute,
 * and for attention to score few keys that a query may not see; enough to spread the reading of the weights.
 */
const PROMPT_PIECE = 128

/** Shape of one layer's keys, or values, for one sequence: [nKvHeads, capacity, headDim]. */
interface CacheLayer {
  readonly name: string
  readonly heads: number
  readonly headDim: number
  readonly data: Float32Array
}

/**
 * A causal model compiled for decoding: one graph that takes new tokens, keeps their keys and values in a cache of
 * `slots` sequences, and answers with the logits after the last of them. It serves prompts (many tokens of one
 * sequence) and decoding (one token of the first n sequences) alike, in place, without copies.
 */
export class CachedDecoder {
  private readonly bindings = new Map<number, DecodeCall & { logits: Float32Array }>()
  private context: Readonly<Record<string, TensorData>> = {}

  /** How long the latest step took. */
  private decodeMs = Number.POSITIVE_INFINITY

  private constructor(
    private readonly compiled: Compiled,
    private readonly weightFeeds: Readonly<Record<string, TensorData>>,
    private readonly layers: readonly CacheLayer[],
    readonly vocabSize: number,
    readonly dModel: number,
    readonly slots: number,
    readonly capacity: number,
  ) {}

  static async create(model: Decodable, weights: Weights, options: DecoderOptions = {}): Promise<CachedDecoder> {
    const { slots = 1, weightsAs = 'constants', copyWeights, context = [], provider } = options
    const capacity = Math.min(options.capacity ?? model.maxPositions, model.maxPositions)
    const scope = Scope.root()
    const inputIds = input('inputIds', shapeOf(['batch', 'seq']), 'int32')
    const cache = new KvCache(inputIds.shape[0], inputIds.shape[1])
    const logitsAt = input('logitsAt', shapeOf(['batch']), 'int32')
    const { logits, lastHiddenState } = model.forward(scope, { inputIds }, { cache, logitsAt })
    const parameters = [...scope.parameters.values()]
    const weightOf = (name: string): TensorData | QuantizedWeight => {
      const value = weights.get(name)
      if (!value) throw new Error(`the weights lack parameter ${name}`)
      return value
    }
    const pasts = cache.entries.flatMap(({ pastKey, pastValue }) => [pastKey, pastValue])
    const outputs = Object.fromEntries([
      ['logits', logits],
      ['embedding', mean(lastHiddenState, { axis: 1 })],
      ...cache.entries.flatMap(({ presentKey, presentValue }, i) => [
        [`present.${i}.key`, presentKey],
        [`present.${i}.value`, presentValue],
      ]),
    ])
    const leaves = [inputIds, logitsAt, ...cache.inputs, ...pasts, ...context]
    const asInputs = weightsAs === 'inputs'
    const compiled = await compileGraph(
      asInputs
        ? { inputs: [...leaves, ...parameters.map(({ tensor }) => tensor)], outputs }
        : { inputs: leaves, outputs, weights: new Map(parameters.map(({ name, tensor }) => [tensor, weightOf(name)])) },
      { on: provider, copyWeights },
    )
    const weightFeeds = asInputs
      ? Object.fromEntries(parameters.map(({ name }) => [name, plain(name, weightOf(name))]))
      : {}
    const layers = pasts.map((past): CacheLayer => {
      const [, heads, , headDim] = past.shape as [unknown, number, unknown, number]
      const { name } = past.node.attributes as { name: string }
      // Zero pages are given by the system when they are first written, so room for long contexts costs nothing unused.
      return { name, heads, headDim, data: new Float32Array(slots * heads * capacity * headDim) }
    })
    return new CachedDecoder(
      compiled,
      weightFeeds,
      layers,
      model.vocabSize,
      lastHiddenState.shape[2] as number,
      slots,
      capacity,
    )
  }

  /** What the model reads beside its tokens, by the names of the leaves: kept for all runs until it is set again. */
  setContext(context: Readonly<Record<string, TensorData>>): void {
    this.releaseBindings()
    this.context = context
  }

  /**
   * Runs new tokens of one sequence, after `past` tokens that are in its slot already.
   *
   * @returns logits after the last token: [vocabSize], overwritten by the next call
   */
  async prefill(slot: number, ids: readonly number[], past: number, signal?: AbortSignal): Promise<Float32Array> {
    const total = past + ids.length
    if (ids.length === 0 || total > this.capacity) {
      throw new RangeError(`prefill: ${past} + ${ids.length} tokens do not fit a cache of ${this.capacity}`)
    }
    const whole = Math.floor((ids.length - 1) / PROMPT_PIECE) * PROMPT_PIECE
    if (whole > 0) await this.runPieces(slot, ids.slice(0, whole), past, PROMPT_PIECE, signal)
    return this.runPieces(slot, ids.slice(whole), past + whole, ids.length - whole, signal)
  }

  /** Runs tokens of one sequence `piece` at a time, which divides their number. */
  private async runPieces(
    slot: number,
    ids: readonly number[],
    past: number,
    piece: number,
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const call = this.bind(slot, 1, piece)
    try {
      call.logitsAt[0] = piece - 1
      for (let start = 0; start < ids.length; start += piece) {
        call.inputIds.set(ids.slice(start, start + piece))
        call.pastLengths[0] = past + start
        call.totalLength[0] = past + start + piece
        await call.binding.run({ signal })
      }
      return call.logits
    } finally {
      call.binding.release()
    }
  }

  /**
   * One new token for each of the first `ids.length` slots.
   *
   * @param pastLengths - tokens in each slot before this one
   * @returns logits [ids.length, vocabSize], overwritten by the next call
   */
  async decode(ids: readonly number[], pastLengths: readonly number[]): Promise<Float32Array> {
    const batch = ids.length
    let call = this.bindings.get(batch)
    if (!call) {
      call = this.bind(0, batch, 1)
      this.bindings.set(batch, call)
    }
    call.inputIds.set(ids)
    call.pastLengths.set(pastLengths)
    call.totalLength[0] = Math.max(...pastLengths) + 1
    if (call.totalLength[0] > this.capacity)
      throw new RangeError(`decode: the cache of ${this.capacity} tokens is full`)
    const started = performance.now()
    const short = this.decodeMs < SHORT_STEP_MS && call.binding.canBlock
    if (short) call.binding.runSync()
    else await call.binding.run()
    this.decodeMs = performance.now() - started
    // Whoever reads answers, or asks for one, has a turn between two steps on this thread.
    if (short) await new Promise((resolve) => setImmediate(resolve))
    return call.logits
  }

  /** The mean of the last hidden states over one sequence, in a cache of its own: [dModel]. */
  async embed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    if (ids.length === 0 || ids.length > this.capacity) {
      throw new RangeError(`embed: needs 1 to ${this.capacity} tokens, got ${ids.length}`)
    }
    const caches = this.layers.map(({ heads, headDim }): TensorData => {
      const shape = [1, heads, ids.length, headDim]
      return { dtype: 'float32', shape, data: new Float32Array(sizeOf(shape)) }
    })
    const embedding = new Float32Array(this.dModel)
    const { binding, inputIds, totalLength } = this.call(1, ids.length, caches, {
      embedding: { dtype: 'float32', shape: [1, this.dModel], data: embedding },
    })
    try {
      inputIds.set(ids)
      totalLength[0] = ids.length
      await binding.run({ signal })
      return embedding
    } finally {
      binding.release()
    }
  }

  /** Copies the first `length` tokens' keys and values from one slot to another. */
  copySlot(from: number, to: number, length: number): void {
    if (from === to) return
    for (const { heads, headDim, data } of this.layers) {
      const head = this.capacity * headDim
      for (let h = 0; h < heads; h++) {
        const source = (from * heads + h) * head
        data.copyWithin((to * heads + h) * head, source, source + length * headDim)
      }
    }
  }

  /** Exchanges two slots, of which the first `length` tokens matter. */
  swapSlots(a: number, b: number, length: number): void {
    if (a === b) return
    for (const { heads, headDim, data } of this.layers) {
      const head = this.capacity * headDim
      for (let h = 0; h < heads; h++) {
        const [startA, startB] = [(a * heads + h) * head, (b * heads + h) * head]
        const held = data.slice(startA, startA + length * headDim)
        data.copyWithin(startA, startB, startB + length * headDim)
        data.set(held, startB)
      }
    }
  }

  /** Puts sequences in a new order: slot i continues what slot `order[i]` held. */
  reorderSlots(order: readonly number[], length: number): void {
    if (order.every((from, to) => from === to)) return
    for (const { heads, headDim, data } of this.layers) {
      const head = this.capacity * headDim
      for (let h = 0; h < heads; h++) {
        const rows = order.map((from) => {
          const start = (from * heads + h) * head
          return data.slice(start, start + length * headDim)
        })
        for (const [to, row] of rows.entries()) data.set(row, (to * heads + h) * head)
      }
    }
  }

  /** A call on `batch` sequences from `firstSlot` on. */
  private bind(firstSlot: number, batch: number, seq: number): DecodeCall & { logits: Float32Array } {
    const logits = new Float32Array(batch * this.vocabSize)
    const caches = this.layers.map(({ heads, headDim, data }): TensorData => {
      const shape = [batch, heads, this.capacity, headDim]
      const start = firstSlot * heads * this.capacity * headDim
      return { dtype: 'float32', shape, data: data.subarray(start, start + sizeOf(shape)) }
    })
    const output: TensorData = { dtype: 'float32', shape: [batch, this.vocabSize], data: logits }
    return { ...this.call(batch, seq, caches, { logits: output }), logits }
  }

  private call(
    batch: number,
    seq: number,
    caches: readonly TensorData[],
    results: Record<string, TensorData>,
  ): DecodeCall {
    const inputIds = new Int32Array(batch * seq)
    const pastLengths = new Int32Array(batch)
    const totalLength = new Int32Array(1)
    const logitsAt = new Int32Array(batch)
    const int32 = (shape: number[], data: Int32Array): TensorData => ({ dtype: 'int32', shape, data })
    const binding = this.compiled.bind(
      {
        inputIds: int32([batch, seq], inputIds),
        logitsAt: int32([batch], logitsAt),
        pastLengths: int32([batch], pastLengths),
        totalLength: int32([1], totalLength),
        ...Object.fromEntries(this.layers.map(({ name }, i) => [name, caches[i]])),
        ...this.context,
        ...this.weightFeeds,
      },
      {
        ...results,
        ...Object.fromEntries(this.layers.map(({ name }, i) => [name.replace('past', 'present'), caches[i]])),
      },
    )
    return { binding, inputIds, pastLengths, totalLength, logitsAt }
  }

  /** The decoding graph as an ONNX model. */
  toOnnx(): Uint8Array {
    return this.compiled.toOnnx()
  }

  release(): void {
    this.releaseBindings()
    this.compiled.release()
  }

  private releaseBindings(): void {
    for (const { binding } of this.bindings.values()) binding.release()
    this.bindings.clear()
  }
}

interface DecodeCall {
  readonly binding: Binding
  readonly inputIds: Int32Array
  readonly pastLengths: Int32Array
  readonly totalLength: Int32Array
  readonly logitsAt: Int32Array
}

function plain(name: string, value: TensorData | QuantizedWeight): TensorData {
  if (isQuantized(value)) throw new Error(`parameter ${name} is quantised: weights that are inputs must be fp32`)
  return value
}
