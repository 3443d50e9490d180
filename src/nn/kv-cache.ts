import {
  addDims,
  arange,
  attention as attend,
  broadcastTo,
  cachedAttention,
  causalMask,
  concat,
  type Dim,
  dimTensor,
  expandDims,
  full,
  hideKeys,
  indicator,
  input,
  matmul,
  pad,
  rotary as rotate,
  sameSegment,
  softmax,
  symbol,
  type Tensor,
} from '../tensor/index.ts'
import { type AttentionOptions, attention, mergeHeads, splitHeads } from './attention.ts'

/** Kernels want head sizes in steps of this; smaller heads are padded with zeros, which change no score. */
const HEAD_STEP = 8
/** The fused kernel turns queries and keys itself where heads come in steps of this. */
const ROTARY_STEP = 16

const paddedHeadDim = (headDim: number): number => Math.ceil(headDim / HEAD_STEP) * HEAD_STEP

type CachedOptions = AttentionOptions & { nKvHeads: number; headDim: number; scale: number }

/** What attention layers are given while a model is traced for generation: each adds its keys and values to it. */
export interface KvCache {
  /** int32 [batch, seq]: where this step's tokens stand. */
  readonly positionIds: Tensor
  /** int32 [1]: the length of the longest sequence, this step included. */
  readonly totalLength: Tensor
  /** The most positions that a sequence may have, where that is known. */
  readonly capacity?: number
  attend(query: Tensor, key: Tensor, value: Tensor, options: CachedOptions): Tensor
}

/** The cache of one attention layer, as leaves and results of the graph. Layers may differ in heads and widths. */
export interface CacheEntry {
  /** [batch, nKvHeads, capacity, headDim] */
  readonly pastKey: Tensor
  readonly pastValue: Tensor
  readonly presentKey: Tensor
  readonly presentValue: Tensor
}

/** New tokens after those whose keys and values are cached. What a present holds is written over its past, in place. */
export class GrowingCache implements KvCache {
  readonly entries: CacheEntry[] = []
  readonly totalLength: Tensor
  readonly positionIds: Tensor

  /**
   * @param seq - new tokens a step; a batch of more than one sequence takes one each, or begins with nothing cached
   * @param pastLengths - int32 [batch]: how many tokens each sequence has in the cache before this step
   * @param capacity - the most tokens that a sequence may have in it
   */
  constructor(
    readonly batch: Dim,
    readonly seq: Dim,
    readonly pastLengths: Tensor = input('pastLengths', [batch], 'int32'),
    readonly capacity?: number,
  ) {
    this.totalLength = input('totalLength', [1], 'int32')
    this.positionIds = expandDims(this.pastLengths, 1).add(expandDims(arange(seq), 0))
  }

  /** The leaves of the entries: what a run must feed beside lengths and tokens. */
  get pasts(): Tensor[] {
    return this.entries.flatMap(({ pastKey, pastValue }) => [pastKey, pastValue])
  }

  attend(query: Tensor, key: Tensor, value: Tensor, options: CachedOptions): Tensor {
    const { nHeads, nKvHeads, headDim, scale, window, bias, rotary } = options
    if (options.attentionMask) throw new Error('attention: a cache has no padding; give every sequence its own length')
    const fused = rotary && !rotary.interleaved && headDim % ROTARY_STEP === 0 && rotary.cos.shape[1] === headDim / 2
    const turn = (x: Tensor, heads: number): Tensor => (fused ? x : turned(x, heads, this.positionIds, options))
    const width = paddedHeadDim(headDim)
    const layer = this.entries.length
    const cacheShape = [this.batch, nKvHeads, symbol('capacity'), width]
    const pastKey = input(`past.${layer}.key`, cacheShape)
    const pastValue = input(`past.${layer}.value`, cacheShape)
    const { output, presentKey, presentValue } = cachedAttention(
      {
        query: padHeads(turn(query, nHeads), nHeads, width),
        key: padHeads(turn(key, nKvHeads), nKvHeads, width),
        value: padHeads(value, nKvHeads, width),
        pastKey,
        pastValue,
        lastPosition: this.pastLengths.add(dimTensor(this.seq)).sub(1),
        totalLength: this.totalLength,
        cos: fused ? rotary.cos : undefined,
        sin: fused ? rotary.sin : undefined,
        bias,
      },
      { nHeads, nKvHeads, scale, window },
    )
    this.entries.push({ pastKey, pastValue, presentKey, presentValue })
    return unpadHeads(output, nHeads, width, headDim)
  }
}

/**
 * A whole prompt with nothing before it, whose keys and values are handed out, to be written into a cache: what a prompt
 * needs in which every position sees every other (a prefix LM: Raffel et al., 2019, arXiv 1910.10683, §3.2.1).
 */
export class PrefixCache implements KvCache {
  /** Of each layer: [1, nKvHeads, seq, headDim], keys turned by their positions. */
  readonly entries: { readonly key: Tensor; readonly value: Tensor }[] = []
  readonly totalLength: Tensor
  readonly positionIds: Tensor

  /** @param bidirectional - every position sees every other; else itself and those before */
  constructor(
    seq: Dim,
    readonly bidirectional: boolean,
  ) {
    this.totalLength = dimTensor(seq).reshape([1])
    this.positionIds = expandDims(arange(seq), 0)
  }

  attend(query: Tensor, key: Tensor, value: Tensor, options: CachedOptions): Tensor {
    const { nHeads, nKvHeads, headDim } = options
    const width = paddedHeadDim(headDim)
    const turnedKey = turned(key, nKvHeads, this.positionIds, options)
    this.entries.push({
      key: splitHeads(padHeads(turnedKey, nKvHeads, width), nKvHeads),
      value: splitHeads(padHeads(value, nKvHeads, width), nKvHeads),
    })
    return attention(turned(query, nHeads, this.positionIds, options), turnedKey, value, {
      ...options,
      rotary: undefined,
      cache: undefined,
      causal: !this.bidirectional,
    })
  }
}

/**
 * Many texts that begin alike in one sequence: a tree of tokens, each of which sees those on its way to the root and, before
 * them, what is cached, which all have in common.
 */
export class TreeCache implements KvCache {
  /** Of each layer: [1, past or seq, nKvHeads * headDim], keys turned by their positions. */
  readonly entries: {
    readonly pastKey: Tensor
    readonly pastValue: Tensor
    readonly key: Tensor
    readonly value: Tensor
  }[] = []
  readonly positionIds: Tensor
  /** Added to the scores: 0 where a token sees another, and where not enough to vanish: [1, 1, seq, past + seq]. */
  readonly bias: Tensor
  readonly totalLength: Tensor
  private readonly past = symbol('past')

  constructor(seq: Dim) {
    this.positionIds = input('positionIds', [1, seq], 'int32')
    this.bias = input('bias', [1, 1, seq, addDims(this.past, seq)])
    this.totalLength = dimTensor(addDims(this.past, seq)).reshape([1])
  }

  /** @throws Error where tokens see others by how far apart they stand in the sequence, which is no distance here */
  attend(query: Tensor, key: Tensor, value: Tensor, options: CachedOptions): Tensor {
    const { nHeads, nKvHeads, headDim, window = 0 } = options
    if (options.attentionMask || options.bias || window > 0) {
      throw new TreeRefused('a tree of texts takes no attention mask, bias or window')
    }
    const layer = this.entries.length
    const pastKey = input(`past.${layer}.key`, [1, this.past, nKvHeads * headDim])
    const pastValue = input(`past.${layer}.value`, [1, this.past, nKvHeads * headDim])
    const turnedKey = turned(key, nKvHeads, this.positionIds, options)
    this.entries.push({ pastKey, pastValue, key: turnedKey, value })
    const turnedQuery = turned(query, nHeads, this.positionIds, options)
    // Queries that share keys are stacked, so that one product serves them all: [1, nKvHeads, group * seq, headDim].
    const group = nHeads / nKvHeads
    const q = splitHeads(turnedQuery, nHeads).reshape([1, nKvHeads, -1, headDim])
    const [k, v] = [concat([pastKey, turnedKey], 1), concat([pastValue, value], 1)].map((x) => splitHeads(x, nKvHeads))
    const bias = group === 1 ? this.bias : concat(new Array<Tensor>(group).fill(this.bias), 2)
    const probabilities = softmax(matmul(q, k, { transposeB: true, alpha: options.scale }).add(bias))
    return mergeHeads(matmul(probabilities, v).reshape([1, nHeads, -1, headDim]))
  }
}

/** The model’s attention is of a kind that a `TreeCache` has not. */
export class TreeRefused extends Error {}

/** Keys and values of one layer that no token made: each [batch, length, nKvHeads * headDim], keys as attention reads them. */
export interface LearnedLayer {
  readonly key: Tensor
  readonly value: Tensor
}

/**
 * A whole text behind keys and values that are learned (prefix tuning: Li and Liang, 2021, arXiv 2101.00190): the first
 * token stands at the position after them. Gradients go to what is learned.
 */
export class LearnedCache implements KvCache {
  readonly totalLength: Tensor
  readonly positionIds: Tensor
  readonly capacity?: number
  /** bool [seq, length + seq]: a row for each query. */
  private readonly seen: (window: number) => Tensor
  private layer = 0

  constructor(
    private readonly layers: readonly LearnedLayer[],
    private readonly of: { batch: Dim; seq: Dim; length: number },
  ) {
    const { batch, seq, length } = of
    const total = addDims(seq, length)
    this.totalLength = dimTensor(total).reshape([1])
    this.capacity = typeof total === 'number' ? total : undefined
    const places = arange(seq).add(length)
    this.positionIds = broadcastTo(expandDims(places, 0), [batch, seq])
    this.seen = (window) => {
      const [rows, columns] = [expandDims(places, 1), expandDims(arange(total), 0)]
      const past = columns.lessOrEqual(rows)
      return window === 0 ? past : past.and(columns.greater(rows.sub(window)))
    }
  }

  attend(query: Tensor, key: Tensor, value: Tensor, options: CachedOptions): Tensor {
    const { nHeads, nKvHeads, window = 0, attentionMask, bias } = options
    const { batch, seq, length } = this.of
    const learned = this.layers[this.layer++]
    const behind = (own: Tensor, first: Tensor | undefined): Tensor => (first ? concat([first, own], 1) : own)
    const mask = hideKeys(this.seen(window)).reshape([1, 1, seq, addDims(seq, length)])
    return attention(
      turned(query, nHeads, this.positionIds, options),
      behind(turned(key, nKvHeads, this.positionIds, options), learned?.key),
      behind(value, learned?.value),
      {
        ...options,
        rotary: undefined,
        cache: undefined,
        causal: false,
        window: 0,
        attentionMask:
          attentionMask && length > 0
            ? concat([full([batch, length], 1, attentionMask.dtype), attentionMask], 1)
            : attentionMask,
        bias: bias ? bias.add(mask) : mask,
      },
    )
  }
}

/**
 * A whole text with nothing before it, of which each layer's attention is kept, to be looked at: the same model, asked
 * for other outputs.
 *
 * ```ts
 * const traced = trace((scope, { inputIds }) => {
 *   const watched = new AttentionMaps(inputIds.shape[1])
 *   const { logits } = model.forward(scope, { inputIds }, { cache: watched })
 *   return { logits, ...watched.outputs }
 * }, { inputIds: int32(1, 'seq') })
 * ```
 */
export class AttentionMaps implements KvCache {
  /** Of each layer: [1, nHeads, seq, seq], each row what a position takes of itself and of those before. */
  readonly layers: Tensor[] = []
  readonly totalLength: Tensor
  readonly positionIds: Tensor

  constructor(seq: Dim) {
    this.totalLength = dimTensor(seq).reshape([1])
    this.positionIds = expandDims(arange(seq), 0)
  }

  /** `attention.0`, `attention.1`, … */
  get outputs(): Record<string, Tensor> {
    return Object.fromEntries(this.layers.map((map, layer) => [`attention.${layer}`, map]))
  }

  attend(query: Tensor, key: Tensor, value: Tensor, options: CachedOptions): Tensor {
    const { cache: _, dropout: __, ...rest } = options
    return attend(query, key, value, { ...rest, causal: true, positionIds: this.positionIds }, (probabilities) => {
      this.layers.push(probabilities)
      return probabilities
    })
  }
}

/**
 * Several texts in one row, each by itself: a token sees those of its own text, and positions begin anew with every text.
 * A row's logits and gradients are those of its texts alone. For training: nothing is kept.
 */
export class PackedTexts implements KvCache {
  readonly totalLength: Tensor
  readonly positionIds: Tensor
  readonly capacity?: number

  /** @param segmentIds - int32 [batch, seq], which text a token belongs to: those of a text stand together */
  constructor(private readonly segmentIds: Tensor) {
    const [, seq] = segmentIds.shape
    this.totalLength = dimTensor(seq).reshape([1])
    this.capacity = typeof seq === 'number' ? seq : undefined
    // A token stands where as many of its text are before it.
    const seen = causalMask(seq).and(sameSegment(segmentIds, 0, seq)) // [batch, seq, seq]
    this.positionIds = indicator(seen).sum({ axis: 2 }).sub(1).cast('int32')
  }

  attend(query: Tensor, key: Tensor, value: Tensor, options: CachedOptions): Tensor {
    const { segmentIds, positionIds } = this
    return attention(query, key, value, { ...options, cache: undefined, causal: true, segmentIds, positionIds })
  }
}

/** Queries or keys of every head, turned by where they stand: [batch, seq, heads * headDim]. */
const turned = (x: Tensor, heads: number, positionIds: Tensor, { rotary }: CachedOptions): Tensor =>
  rotary ? mergeHeads(rotate(splitHeads(x, heads), positionIds, rotary.cos, rotary.sin, rotary.interleaved)) : x

/** Widens every head with zeros: [batch, seq, heads * headDim] → [batch, seq, heads * width]. */
function padHeads(x: Tensor, heads: number, width: number): Tensor {
  const [batch, seq, features] = x.shape
  const headDim = (features as number) / heads
  if (headDim === width) return x
  const wide = pad(x.reshape([batch, seq, heads, headDim]), [
    [0, 0],
    [0, 0],
    [0, 0],
    [0, width - headDim],
  ])
  return wide.reshape([batch, seq, heads * width])
}

function unpadHeads(x: Tensor, heads: number, width: number, headDim: number): Tensor {
  if (headDim === width) return x
  const [batch, seq] = x.shape
  return x
    .reshape([batch, seq, heads, width])
    .slice({ axis: 3, start: 0, end: headDim })
    .reshape([batch, seq, heads * headDim])
}
