import {
  arange,
  cachedAttention,
  type Dim,
  dimTensor,
  expandDims,
  input,
  pad,
  rotary as rotate,
  symbol,
  type Tensor,
} from '../tensor/index.ts'
import type { AttentionOptions } from './attention.ts'
import { mergeHeads, splitHeads } from './attention.ts'

/** Kernels want head sizes in steps of this; smaller heads are padded with zeros, which change no score. */
const HEAD_STEP = 8
/** The fused kernel turns queries and keys itself where heads come in steps of this. */
const ROTARY_STEP = 16

const paddedHeadDim = (headDim: number): number => Math.ceil(headDim / HEAD_STEP) * HEAD_STEP

/** The cache of one attention layer, as leaves and results of the graph. */
export interface CacheEntry {
  /** [batch, nKvHeads, capacity, headDim] */
  readonly pastKey: Tensor
  readonly pastValue: Tensor
  readonly presentKey: Tensor
  readonly presentValue: Tensor
}

/**
 * Keys and values of the tokens already seen, while a model is traced for generation: each attention layer that is
 * given the cache adds an entry. What a present holds is written over its past, in place.
 */
export class KvCache {
  readonly entries: CacheEntry[] = []
  /** int32 [batch]: how many tokens each sequence has in the cache before this step. */
  readonly pastLengths: Tensor
  /** int32 [1]: the length of the longest sequence, this step included. */
  readonly totalLength: Tensor
  /** int32 [batch, seq]: where this step's tokens stand. */
  readonly positionIds: Tensor
  private readonly lastPosition: Tensor

  /**
   * @param seq - new tokens a step; a batch of more than one sequence takes one each
   */
  constructor(
    readonly batch: Dim,
    readonly seq: Dim,
  ) {
    this.pastLengths = input('pastLengths', [batch], 'int32')
    this.totalLength = input('totalLength', [1], 'int32')
    this.positionIds = expandDims(this.pastLengths, 1).add(expandDims(arange(seq), 0))
    this.lastPosition = this.pastLengths.add(dimTensor(seq)).sub(1)
  }

  /** The leaves that a run must feed, apart from those of the entries. */
  get inputs(): Tensor[] {
    return [this.pastLengths, this.totalLength]
  }

  attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    options: AttentionOptions & { nKvHeads: number; headDim: number; scale: number },
  ): Tensor {
    const { nHeads, nKvHeads, headDim, scale, window, bias, rotary } = options
    if (options.attentionMask) throw new Error('attention: a cache has no padding; give every sequence its own length')
    const fused = rotary && !rotary.interleaved && headDim % ROTARY_STEP === 0 && rotary.cos.shape[1] === headDim / 2
    const turn = (x: Tensor, heads: number): Tensor =>
      rotary && !fused
        ? mergeHeads(rotate(splitHeads(x, heads), this.positionIds, rotary.cos, rotary.sin, rotary.interleaved))
        : x
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
        lastPosition: this.lastPosition,
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
