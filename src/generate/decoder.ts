import { GrowingCache } from '../nn/kv-cache.ts'
import type { CausalLm, EncoderDecoderLm, Model } from '../nn/model.ts'
import { type InputSpecs, int32, trace } from '../nn/trace.ts'
import type { Binding, Provider } from '../runtime/backend.ts'
import { compile, type LiveWeights, type Program, type Weights } from '../runtime/compile.ts'
import { inputName } from '../runtime/lower.ts'
import { mean, mulDims, type Tensor, type TensorData } from '../tensor/index.ts'
import { type CacheLayer, CacheSlots } from './cache-slots.ts'
import { PrefixPrograms } from './prefix.ts'
import { packSources, type Source, SourceReader } from './source.ts'

export interface DecoderOptions {
  /** Sequences that can be in the cache at once. Default 1. */
  slots?: number
  /** Tokens a sequence may have; at most the model's positions. Default: those, or 131,072 where there are more. */
  capacity?: number
  /**
   * Logits after a token depend on the tokens before it and on nothing else, to the last bit: not on what is in the cache,
   * nor on what is computed beside it. Costs a position of the capacity, and time. A causal model's only. Default false.
   */
  deterministic?: boolean
  /** Copy constant weights into the session, so that the caller's arrays can be dropped. Default false. */
  copyWeights?: boolean
  provider?: Provider
}

/** As much of a causal model as decoding needs. */
export type Decodable = Pick<CausalLm, 'kind' | 'vocabSize' | 'maxPositions' | 'forward' | 'fillsBlanks'>

/** A model that writes. */
export type Writer = CausalLm | EncoderDecoderLm

export const isWriter = (model: Model): model is Writer => model.kind === 'causal' || model.kind === 'encoder-decoder'

/** @throws Error for a model that does not write */
export function writerOf(model: Model): Writer {
  if (isWriter(model)) return model
  throw new Error(`${model.constructor.name} is no model that generates text`)
}

/** What a sequence begins with. */
export interface Prompt {
  /** Default: the token that answers start from, where the model has an encoder. */
  readonly promptIds?: readonly number[]
  /** What the answer is an answer to: for a model that has an encoder. */
  readonly sourceIds?: readonly number[]
  /** In front of the ids: [seq, dModel], in place of tokens' embeddings. */
  readonly promptEmbeds?: Float32Array
  /** Every position of `promptEmbeds`, or of `promptIds` where there are none, sees every other. */
  readonly bidirectional?: boolean
  /**
   * What has been written into blanks of `promptIds` so far, in this order: what is generated goes on in the last of them.
   * For a model that fills blanks, with `bidirectional`.
   */
  readonly blanks?: readonly Blank[]
  /**
   * In front of all: keys and values that no token made (prefix tuning: Li and Liang, 2021, arXiv 2101.00190). The first
   * token then stands at the position after them.
   */
  readonly initialCache?: readonly CacheLayer[]
}

/** A blank that is being filled. */
export interface Blank {
  /** Which of the prompt's positions it stands at. */
  readonly at: number
  /** From the token that begins a blank's filling on. */
  readonly ids: readonly number[]
}

/** Answers may have this many tokens, the start token included, unless the caller says otherwise. */
const DEFAULT_ANSWER_LENGTH = 1024

/** A file may call for any number of positions; more than this are kept where someone asks for them. */
const DEFAULT_CAPACITY = 1 << 17

/** A step shorter than this runs on the calling thread: handing it to another would cost a good part of it. */
const SHORT_STEP_MS = 6

/**
 * Tokens of a prompt that go through the graph at once: few enough for the processor's cache to hold what they compute,
 * and for attention to score few keys that a query may not see; enough to spread the reading of the weights.
 */
export const PROMPT_PIECE = 128

/**
 * Kernels compute two rows of a product at a time and a single one in another way, with another rounding; so does
 * attention with a single query. Where the number of rows is even, every row is computed like every other.
 */
const ROWS = 2

/** Which token fills up does not matter: what comes after a token is not seen by it. */
const FILLER = 0

/** What a model with an encoder says of its answers. */
type AnswerRules = Partial<Pick<EncoderDecoderLm, 'decoderStartTokenId' | 'forcedEndTokenId' | 'barredTokenIds'>>

interface DecodeCall {
  readonly binding: Binding
  readonly inputIds: Int32Array
  /** [batch, 2, seq] of a model that fills blanks; else empty. */
  readonly positionIds: Int32Array
  readonly pastLengths: Int32Array
  readonly totalLength: Int32Array
  /** [rows, vocabSize] */
  readonly logits: Float32Array
  readonly sources: readonly (Source | undefined)[]
}

/**
 * A model compiled for decoding: one graph that takes new tokens, keeps their keys and values in a cache of `slots`
 * sequences, and answers with the logits after any of them. It serves prompts (many tokens of one sequence) and decoding
 * (one token of the first n sequences) alike, in place, without copies. Of a model with an encoder this is the decoder;
 * every slot has a source, which the encoder reads once.
 */
export class CachedDecoder {
  private readonly bindings = new Map<number, DecodeCall>()
  private readonly sources: (Source | undefined)[]
  /** Of a model that fills blanks, in each slot: from which position on tokens belong to which blank. */
  private readonly blanks: (readonly { readonly from: number; readonly at: number }[])[]
  /** How long the latest step took. */
  private decodeMs = Number.POSITIVE_INFINITY

  private constructor(
    private readonly program: Program<Record<string, Tensor>>,
    private readonly cache: CacheSlots,
    private readonly reader: SourceReader | undefined,
    private readonly prefixes: PrefixPrograms | undefined,
    readonly deterministic: boolean,
    readonly vocabSize: number,
    readonly dModel: number,
    private readonly rules: AnswerRules,
    readonly fillsBlanks: boolean,
  ) {
    this.sources = new Array(cache.slots)
    this.blanks = Array.from({ length: cache.slots }, () => [])
  }

  /** What answers start from, where the model has an encoder. */
  get startTokenId(): number | undefined {
    return this.rules.decoderStartTokenId
  }

  /** Ends an answer that reaches its greatest length. */
  get forcedEndTokenId(): number | undefined {
    return this.rules.forcedEndTokenId
  }

  /** Tokens that no answer has, but for those that end it. */
  get barredTokenIds(): readonly number[] {
    return this.rules.barredTokenIds ?? []
  }

  /** Sequences that can be in the cache at once. */
  get slots(): number {
    return this.cache.slots
  }

  /** Tokens a sequence may have. */
  get capacity(): number {
    // The last position is left to what fills up.
    return this.cache.capacity - (this.deterministic ? 1 : 0)
  }

  /** @param weights - constants, compiled in and packed: fastest; or a trainer, whose current weights every step reads */
  static async create(
    model: Decodable | EncoderDecoderLm,
    weights: Weights | LiveWeights,
    options: DecoderOptions = {},
  ): Promise<CachedDecoder> {
    const { copyWeights, provider, deterministic = false } = options
    const compiling = { on: provider, copyWeights }
    const isCausal = model.kind === 'causal'
    if (deterministic && !isCausal) throw new Error('only a causal model decodes deterministically side by side')
    const slots = deterministic ? roundUp(options.slots ?? 1, ROWS) : (options.slots ?? 1)
    const longest = model.maxPositions ?? options.capacity ?? DEFAULT_ANSWER_LENGTH
    const usual = isCausal ? DEFAULT_CAPACITY : DEFAULT_ANSWER_LENGTH
    const capacity = Math.min(options.capacity ?? usual, longest)
    const reader = isCausal ? undefined : await SourceReader.create(model, weights, compiling)
    // Each source is answered by as many sequences as any other.
    const fillsBlanks = isCausal && model.fillsBlanks === true
    const tokens: InputSpecs = reader
      ? { inputIds: int32('sources', 'answers', 'seq'), ...reader.inputs }
      : { inputIds: int32('batch', 'seq'), ...(fillsBlanks ? { positionIds: int32('batch', 2, 'seq') } : {}) }
    let cache: GrowingCache | undefined
    const traced = trace(
      (scope, { inputIds: ids, logitsAt, ...leaves }): Record<string, Tensor> => {
        const inputIds = ids.reshape([ids.shape.slice(0, -1).reduce(mulDims), ids.shape[ids.rank - 1]])
        cache = new GrowingCache(inputIds.shape[0], inputIds.shape[1], undefined, capacity)
        const decoding = { cache, logitsAt }
        const { logits, lastHiddenState } = isCausal
          ? model.forward(scope, { inputIds, positionIds: leaves.positionIds }, decoding)
          : model.decode(scope, { inputIds, ...SourceReader.decodeInputs(leaves) }, decoding)
        const presents = cache.entries.flatMap(({ presentKey, presentValue }, i): [string, Tensor][] => [
          [`present.${i}.key`, presentKey],
          [`present.${i}.value`, presentValue],
        ])
        const embedding = mean(lastHiddenState, { axis: 1 })
        return { logits, embedding, ...Object.fromEntries(presents) }
      },
      { ...tokens, logitsAt: int32('rows') },
      { name: 'decoding' },
    )
    const { pastLengths, totalLength, pasts } = cache as GrowingCache
    const leaves = [pastLengths, totalLength, ...pasts].map((leaf) => [inputName(leaf), leaf])
    const program = await compile(
      { ...traced, inputs: { ...traced.inputs, ...Object.fromEntries(leaves) } },
      weights,
      compiling,
    )
    const layers = pasts.map((past) => {
      const [, heads, , headDim] = past.shape as [unknown, number, unknown, number]
      return { name: inputName(past), heads, headDim }
    })
    const dModel = traced.outputs.embedding.shape[1] as number
    // These read the weights where they lie, as they are: a second packed copy would cost as much memory as the first.
    const prefixes =
      isCausal && !copyWeights
        ? new PrefixPrograms(model, weights, dModel, { on: provider, prepack: false })
        : undefined
    const cacheSlots = new CacheSlots(layers, slots, capacity)
    const { vocabSize } = model
    const rules = isCausal ? {} : model
    return new CachedDecoder(
      program,
      cacheSlots,
      reader,
      prefixes,
      deterministic,
      vocabSize,
      dModel,
      rules,
      fillsBlanks,
    )
  }

  /** A text as this kind of model takes it: as the source of an answer where it has an encoder, else as its beginning. */
  promptOf(ids: readonly number[]): Prompt {
    return this.reader ? { sourceIds: ids } : { promptIds: ids }
  }

  /** The ids of a prompt that `open` leaves to be prefilled, one after another. */
  restOf({ promptIds, promptEmbeds, bidirectional, blanks, ...prompt }: Prompt): readonly number[] {
    if (blanks && !(this.fillsBlanks && bidirectional)) {
      throw new Error('blanks are for a model that fills them, in a prompt that is read in both directions')
    }
    if ((prompt.sourceIds !== undefined) !== (this.reader !== undefined)) {
      throw new Error(
        this.reader ? 'the model answers a text: give sourceIds' : 'the model has no encoder: give promptIds',
      )
    }
    if (bidirectional && !promptEmbeds) return blanks?.flatMap(({ ids }) => ids) ?? []
    return promptIds ?? (this.startTokenId === undefined ? [] : [this.startTokenId])
  }

  /**
   * Puts what comes before a prompt's ids into a slot.
   *
   * @returns how many positions that took, and the logits after the last of them where the model was run on it
   */
  async open(
    slot: number,
    { sourceIds, promptIds, promptEmbeds, bidirectional = false, blanks = [], initialCache }: Prompt,
    signal?: AbortSignal,
  ): Promise<{ length: number; logits?: Float32Array }> {
    this.blanks[slot] = []
    if (sourceIds) this.sources[slot] = await this.reader?.read(sourceIds, signal)
    const length = initialCache ? this.setCache(slot, initialCache) : 0
    const of = promptEmbeds ?? (bidirectional ? promptIds : undefined)
    if (!of) return { length }
    if (initialCache) throw new Error('a prompt of embeddings, or one read in both directions, takes no initialCache')
    if (!this.prefixes) {
      throw new Error(
        this.reader
          ? 'a model with an encoder takes its source in both directions: give sourceIds'
          : 'the decoder no longer has its weights for another kind of prompt: create it without copyWeights',
      )
    }
    const positions = promptEmbeds ? promptEmbeds.length / this.dModel : of.length
    if (positions > this.capacity) {
      throw new RangeError(`the prompt has ${positions} positions; the model takes ${this.capacity}`)
    }
    const { logits, layers } = await this.prefixes.run({ of, bidirectional }, signal)
    let from = positions
    this.blanks[slot] = blanks.map(({ at, ids }) => {
      const blank = { from, at }
      from += ids.length
      return blank
    })
    return { length: this.setCache(slot, layers), logits }
  }

  /**
   * Writes keys and values over the beginning of a slot, as if tokens had made them.
   *
   * @returns how many positions they take
   */
  setCache(slot: number, layers: readonly CacheLayer[]): number {
    return this.cache.write(slot, layers)
  }

  /** A copy of the first `length` positions of a slot. */
  getCache(slot: number, length: number): CacheLayer[] {
    return this.cache.read(slot, length)
  }

  /**
   * Runs new tokens of one sequence, after `past` tokens that are in its slot already.
   *
   * @param options.rows - how many of the last tokens to give the logits after
   * @returns [rows, vocabSize]
   */
  async prefill(
    slot: number,
    ids: readonly number[],
    past: number,
    { rows = 1, signal }: { rows?: number; signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    const total = past + ids.length
    if (ids.length < rows || total > this.capacity) {
      throw new RangeError(`prefill: ${past} + ${ids.length} tokens do not fit a cache of ${this.capacity}`)
    }
    const whole = Math.floor((ids.length - rows) / PROMPT_PIECE) * PROMPT_PIECE
    if (whole > 0) await this.runPieces(slot, ids.slice(0, whole), past, PROMPT_PIECE, [PROMPT_PIECE - 1], signal)
    const rest = ids.slice(whole)
    const rowsAt = Array.from({ length: rows }, (_, i) => rest.length - rows + i)
    // A prompt that is there but for its last token comes out as the one that was computed whole. Only where it ends with
    // the cache there is no room to fill up.
    const fills = this.reader ? 0 : Math.min(roundUp(rest.length, ROWS) - rest.length, this.cache.capacity - total)
    const filled = [...rest, ...new Array<number>(fills).fill(FILLER)]
    return this.runPieces(slot, filled, past + whole, filled.length, rowsAt, signal)
  }

  /**
   * Runs tokens of one sequence `piece` at a time, which divides their number.
   *
   * @param rowsAt - the positions in a piece to give the logits after
   */
  private async runPieces(
    slot: number,
    ids: readonly number[],
    past: number,
    piece: number,
    rowsAt: readonly number[],
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const call = this.bind(slot, 1, piece, Int32Array.from(rowsAt))
    try {
      for (let start = 0; start < ids.length; start += piece) {
        call.inputIds.set(ids.slice(start, start + piece))
        this.place(call, 0, slot, past + start, piece)
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
   * Runs whole sequences side by side, in as many slots from the first on, with nothing before them.
   *
   * @param from - of each sequence: the first position to give the logits after
   * @returns logits after those and all later positions, of one sequence after another: [rows, vocabSize]
   */
  async prefillBatch(
    sequences: readonly (readonly number[])[],
    from: readonly number[],
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const seq = Math.max(...sequences.map((ids) => ids.length))
    const rows = sequences.flatMap((ids, i) =>
      Array.from({ length: ids.length - from[i] }, (_, j) => i * seq + from[i] + j),
    )
    const call = this.bind(0, sequences.length, seq, Int32Array.from(rows))
    try {
      // What fills a sequence up comes after its tokens, so that they do not see it.
      for (const [i, ids] of sequences.entries()) {
        call.inputIds.set(ids, i * seq)
        this.place(call, i, i, 0, seq)
      }
      call.totalLength[0] = seq
      await call.binding.run({ signal })
      return call.logits
    } finally {
      call.binding.release()
    }
  }

  /**
   * One new token for each of the first `ids.length` slots. Where the decoder is deterministic that number is to be even.
   *
   * @param pastLengths - tokens in each slot before this one
   * @returns logits [ids.length, vocabSize], overwritten by the next call
   */
  async decode(ids: readonly number[], pastLengths: readonly number[]): Promise<Float32Array> {
    const batch = ids.length
    if (this.deterministic && batch % ROWS !== 0) throw new RangeError(`decode: ${batch} is not a multiple of ${ROWS}`)
    let call = this.bindings.get(batch)
    if (call?.sources.some((source, slot) => source !== this.sources[slot])) {
      call.binding.release()
      call = undefined
    }
    if (!call) {
      call = this.bind(0, batch, 1, Int32Array.from(ids.keys()))
      this.bindings.set(batch, call)
    }
    call.inputIds.set(ids)
    call.pastLengths.set(pastLengths)
    for (const [slot, past] of pastLengths.entries()) this.place(call, slot, slot, past, 1)
    call.totalLength[0] = Math.max(...pastLengths) + 1
    if (call.totalLength[0] > this.cache.capacity)
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

  /** The mean of the last hidden states over a text, the encoder's where there is one: [dModel]. No slot is touched. */
  async embed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    if (this.reader) return this.reader.embed(ids, signal)
    if (ids.length === 0 || ids.length > this.capacity) {
      throw new RangeError(`embed: needs 1 to ${this.capacity} tokens, got ${ids.length}`)
    }
    const embedding = new Float32Array(this.dModel)
    const results = { embedding: { dtype: 'float32', shape: [1, this.dModel], data: embedding } } as const
    const call = this.call(1, ids.length, Int32Array.of(0), this.cache.alike(ids.length).inputs(), {}, results)
    const { binding, inputIds, totalLength } = call
    try {
      inputIds.set(ids)
      for (let i = 0; i < call.positionIds.length / 2; i++) call.positionIds[i] = i
      totalLength[0] = ids.length
      await binding.run({ signal })
      return embedding
    } finally {
      binding.release()
    }
  }

  /** Copies the first `length` tokens' keys and values, and the source, from one slot to another. */
  copySlot(from: number, to: number, length: number): void {
    if (from === to) return
    this.sources[to] = this.sources[from]
    this.blanks[to] = this.blanks[from]
    this.cache.copy(from, to, length)
  }

  /** Exchanges two slots, of which the first `length` tokens matter. */
  swapSlots(a: number, b: number, length: number): void {
    if (a === b) return
    ;[this.sources[a], this.sources[b]] = [this.sources[b], this.sources[a]]
    ;[this.blanks[a], this.blanks[b]] = [this.blanks[b], this.blanks[a]]
    this.cache.swap(a, b, length)
  }

  /** Puts sequences in a new order: slot i continues what slot `order[i]` held. */
  reorderSlots(order: readonly number[], length: number): void {
    if (order.every((from, to) => from === to)) return
    for (const [to, source] of order.map((from) => this.sources[from]).entries()) this.sources[to] = source
    for (const [to, blanks] of order.map((from) => this.blanks[from]).entries()) this.blanks[to] = blanks
    this.cache.reorder(order, length)
  }

  /** Where the tokens of one row stand, `count` of them after the first `past` of a slot: for a model that fills blanks. */
  private place({ positionIds }: DecodeCall, row: number, slot: number, past: number, count: number): void {
    if (positionIds.length === 0) return
    for (let i = 0; i < count; i++) {
      const position = past + i
      const blank = this.blanks[slot].findLast(({ from }) => from <= position)
      positionIds[2 * row * count + i] = blank ? blank.at : position
      positionIds[(2 * row + 1) * count + i] = blank ? position - blank.from + 1 : 0
    }
  }

  /** A call on `batch` sequences from `firstSlot` on. */
  private bind(firstSlot: number, batch: number, seq: number, logitsAt: Int32Array): DecodeCall {
    const rows = logitsAt.length
    const logits = new Float32Array(rows * this.vocabSize)
    const sources = this.reader ? this.sources.slice(firstSlot, firstSlot + batch) : []
    if (sources.includes(undefined)) throw new Error('the model answers a text: give its slots a source first')
    const packed = this.reader ? packSources(sources as Source[]) : {}
    const results = { logits: { dtype: 'float32', shape: [rows, this.vocabSize], data: logits } } as const
    return { ...this.call(batch, seq, logitsAt, this.cache.inputs(firstSlot, batch), packed, results), logits, sources }
  }

  private call(
    batch: number,
    seq: number,
    logitsAt: Int32Array,
    pasts: Readonly<Record<string, TensorData>>,
    sources: Readonly<Record<string, TensorData>>,
    results: Readonly<Record<string, TensorData>>,
  ): Omit<DecodeCall, 'logits' | 'sources'> {
    const inputIds = new Int32Array(batch * seq)
    const pastLengths = new Int32Array(batch)
    const totalLength = new Int32Array(1)
    const positionIds = new Int32Array(this.fillsBlanks ? 2 * batch * seq : 0)
    const int32 = (shape: number[], data: Int32Array): TensorData => ({ dtype: 'int32', shape, data })
    const nSources = sources.sourceMask?.shape[0]
    const binding = this.program.bind(
      {
        inputIds: int32(nSources ? [nSources, batch / nSources, seq] : [batch, seq], inputIds),
        ...(this.fillsBlanks ? { positionIds: int32([batch, 2, seq], positionIds) } : {}),
        logitsAt: int32([logitsAt.length], logitsAt),
        pastLengths: int32([batch], pastLengths),
        totalLength: int32([1], totalLength),
        ...pasts,
        ...sources,
      },
      {
        ...results,
        ...Object.fromEntries(Object.entries(pasts).map(([name, past]) => [name.replace('past', 'present'), past])),
      },
    )
    return { binding, inputIds, positionIds, pastLengths, totalLength }
  }

  /** The decoding graph as an ONNX model. */
  toOnnx(): Uint8Array {
    return this.program.toOnnx()
  }

  release(): void {
    for (const { binding } of this.bindings.values()) binding.release()
    this.bindings.clear()
    this.program.release()
    this.reader?.release()
    void this.prefixes?.release()
  }
}

const roundUp = (count: number, multiple: number): number => Math.ceil(count / multiple) * multiple

export const isSame = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((id, i) => id === b[i])
