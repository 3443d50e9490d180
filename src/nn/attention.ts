import {
  causalMask,
  concat,
  customGradient,
  type Dim,
  expandDims,
  indicator,
  matmul,
  rotary as rotate,
  sameDim,
  scalar,
  showShape,
  softmax,
  sumTo,
  type Tensor,
} from '../tensor/index.ts'
import type { KvCache } from './kv-cache.ts'
import { defaultPositionIds } from './positions.ts'
import type { Scope } from './scope.ts'

/** Added to the scores of keys that must not be seen: enough to vanish in a softmax, and still finite. */
const MASKED = -1e9

export interface Rotary {
  /** [positions, rotaryDim / 2] */
  readonly cos: Tensor
  readonly sin: Tensor
  /** Pairs are neighbours instead of halves. */
  readonly interleaved?: boolean
}

export interface AttentionOptions {
  readonly nHeads: number
  /** Heads of keys and values; each serves nHeads / nKvHeads queries. Default nHeads. */
  readonly nKvHeads?: number
  /** Factor on the scores. Default 1 / √headDim. */
  readonly scale?: number
  /** Each position sees only itself and those before it. Default false. */
  readonly causal?: boolean
  /** With `causal`: the number of positions seen, oneself included; 0 is no limit. */
  readonly window?: number
  /** [batch, keys], 1 where a key is a token and 0 where it is padding. */
  readonly attentionMask?: Tensor
  /** Added to the scores, broadcast to [batch, nHeads, queries, keys]. */
  readonly bias?: Tensor
  readonly rotary?: Rotary
  /** int32 [batch, queries]; counted from 0 where left out. */
  readonly positionIds?: Tensor
  /** Attend over everything cached, and add this step's keys and values to it. Causal, inference only. */
  readonly cache?: KvCache
  readonly dropout?: { readonly scope: Scope; readonly rate: number }
}

/**
 * Multi-head attention, softmax(QKᵀ · scale + bias) V (Vaswani et al., 2017, arXiv 1706.03762, §3.2), with grouped
 * queries (Ainslie et al., 2023, arXiv 2305.13245) where nKvHeads < nHeads.
 *
 * @param query - [batch, queries, nHeads * headDim]
 * @param key - [batch, keys, nKvHeads * headDim]
 * @param value - [batch, keys, nKvHeads * headDim]
 * @returns [batch, queries, nHeads * headDim]
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const { nHeads, nKvHeads = nHeads, rotary, cache } = options
  const headDim = headDimOf(query, key, value, nHeads, nKvHeads)
  const scale = options.scale ?? 1 / Math.sqrt(headDim)
  if (cache) return cache.attend(query, key, value, { ...options, nKvHeads, headDim, scale })

  const [batch, queries] = query.shape
  const keys = key.shape[1]
  const turn = (x: Tensor, length: Dim): Tensor => {
    if (!rotary) return x
    const positionIds = options.positionIds ?? defaultPositionIds(batch, length)
    return rotate(x, positionIds, rotary.cos, rotary.sin, rotary.interleaved)
  }
  const group = nHeads / nKvHeads
  const q = turn(splitHeads(query, nHeads), queries)
  const k = turn(splitHeads(key, nKvHeads), keys)
  const v = splitHeads(value, nKvHeads)
  // Queries that share keys are stacked, so that one product serves them all: [batch, nKvHeads, group * queries, …].
  const stack = (x: Tensor): Tensor => (group === 1 ? x : x.reshape([batch, nKvHeads, -1, x.shape[3]]))
  const unstack = (x: Tensor): Tensor => (group === 1 ? x : x.reshape([batch, nHeads, -1, x.shape[3]]))
  /** [batch, nHeads, queries of the block, keys that it sees] */
  const probabilities = (block: Block): Tensor => {
    const scores = matmul(stack(queriesOf(q, block)), keysOf(k, block), { transposeB: true, alpha: scale })
    const bias = scoreBias(block, options)
    return softmax(bias ? unstack(scores).add(bias) : unstack(scores))
  }
  const { dropout, bias } = options
  if (dropout && dropout.rate > 0 && dropout.scope.training) {
    const probs = dropout.scope.dropout(probabilities({ start: 0, end: queries, seen: keys }), dropout.rate)
    return mergeHeads(unstack(matmul(stack(probs), v)))
  }

  const parts = causalBlocks(queries, keys, options).map((block) => {
    const probs = stack(probabilities(block))
    return { block, probs, output: unstack(matmul(probs, keysOf(v, block))) }
  })
  const output = joinPositions(parts.map((part) => part.output))
  const attended = customGradient(output, bias ? [q, k, v, bias] : [q, k, v], (dOutput) => {
    const gradients = parts.map(({ block, probs, output }) => {
      const dRows = queriesOf(dOutput, block)
      // Row sums of dP ∘ P equal those of dO ∘ O, which are headDim / keys times as much work.
      const rowSums = stack(dRows.mul(output).sum({ axis: -1, keepDims: true }))
      const dO = stack(dRows)
      const dScores = probs.mul(matmul(dO, keysOf(v, block), { transposeB: true }).sub(rowSums))
      return {
        dScores,
        dq: unstack(matmul(dScores, keysOf(k, block), { alpha: scale })),
        dk: matmul(dScores, stack(queriesOf(q, block)), { transposeA: true, alpha: scale }),
        dv: matmul(probs, dO, { transposeA: true }),
      }
    })
    return [
      joinPositions(gradients.map(({ dq }) => dq)),
      sumOfBeginnings(gradients.map(({ dk }) => dk)),
      sumOfBeginnings(gradients.map(({ dv }) => dv)),
      bias && sumTo(unstack(gradients[0].dScores), bias.shape),
    ]
  })
  return mergeHeads(attended)
}

/** Queries that are attended at once: those from `start` to `end`, which see the first `seen` keys. */
interface Block {
  readonly start: number
  readonly end: Dim
  readonly seen: Dim
}

/** Queries to a block. Smaller blocks compute less of what the mask hides, and copy more. */
const BLOCK_QUERIES = 64
const MOST_BLOCKS = 8

/** Where each query sees only what is before it, half of all scores are for nothing. Blocks leave most of them out. */
function causalBlocks(queries: Dim, keys: Dim, { causal, window, bias }: AttentionOptions): Block[] {
  const whole = [{ start: 0, end: queries, seen: keys }]
  if (!causal || window || bias || typeof queries !== 'number' || queries !== keys) return whole
  const count = Math.min(Math.floor(queries / BLOCK_QUERIES), MOST_BLOCKS)
  if (count < 2) return whole
  const bound = (i: number): number => Math.round((i * queries) / count)
  return Array.from({ length: count }, (_, i) => ({ start: bound(i), end: bound(i + 1), seen: bound(i + 1) }))
}

/** Positions from `start` to `end` of [batch, heads, positions, …]. */
const positionsOf = (x: Tensor, start: number, end: Dim): Tensor => x.slice({ axis: 2, start, end })

const queriesOf = (x: Tensor, { start, end }: Block): Tensor => positionsOf(x, start, end)
const keysOf = (x: Tensor, { seen }: Block): Tensor => positionsOf(x, 0, seen)

const joinPositions = (parts: readonly Tensor[]): Tensor => (parts.length === 1 ? parts[0] : concat(parts, 2))

/** The sum of tensors that begin at position 0, each at least as long as the one before. */
function sumOfBeginnings(parts: readonly Tensor[]): Tensor {
  const tails: Tensor[] = []
  let sum = parts[parts.length - 1]
  for (const part of parts.slice(0, -1).reverse()) {
    const length = part.shape[2]
    tails.unshift(sum.slice({ axis: 2, start: length }))
    sum = positionsOf(sum, 0, length).add(part)
  }
  return joinPositions([sum, ...tails])
}

function headDimOf(query: Tensor, key: Tensor, value: Tensor, nHeads: number, nKvHeads: number): number {
  const width = query.shape[query.rank - 1]
  const headDim = typeof width === 'number' ? width / nHeads : Number.NaN
  const keyWidth = nKvHeads * headDim
  const fits =
    query.rank === 3 &&
    Number.isInteger(headDim) &&
    nHeads % nKvHeads === 0 &&
    sameDim(key.shape[2], keyWidth) &&
    sameDim(value.shape[2], keyWidth)
  if (!fits) {
    throw new RangeError(
      `attention: ${nHeads} heads over ${nKvHeads} key-value heads need query [batch, seq, ${nHeads} * headDim] and key and value [batch, seq, ${nKvHeads} * headDim], got ${[query, key, value].map((x) => showShape(x.shape)).join(', ')}`,
    )
  }
  return headDim
}

/** [batch, seq, nHeads * headDim] → [batch, nHeads, seq, headDim] */
export const splitHeads = (x: Tensor, nHeads: number): Tensor =>
  x.reshape([x.shape[0], x.shape[1], nHeads, (x.shape[2] as number) / nHeads]).transpose([0, 2, 1, 3])

/** [batch, nHeads, seq, headDim] → [batch, seq, nHeads * headDim] */
export function mergeHeads(x: Tensor): Tensor {
  const [batch, nHeads, seq, headDim] = x.shape
  return x.transpose([0, 2, 1, 3]).reshape([batch, seq, (nHeads as number) * (headDim as number)])
}

/** Everything that is added to a block's scores: masks and bias in one. */
function scoreBias(
  { start, end, seen }: Block,
  { causal, window, attentionMask, bias }: AttentionOptions,
): Tensor | undefined {
  const parts: Tensor[] = []
  if (causal) {
    if (!sameDim(end, seen)) {
      throw new RangeError(`attention: causal attention needs as many queries as keys, got ${end} and ${seen}`)
    }
    parts.push(hidden(indicator(causalMask(end, window).slice({ axis: 0, start }))))
  }
  if (attentionMask) {
    const mask = attentionMask.slice({ axis: 1, start: 0, end: seen }).cast('float32')
    parts.push(hidden(expandDims(expandDims(mask, 1), 1)))
  }
  if (bias) parts.push(bias)
  return parts.length === 0 ? undefined : parts.reduce((a, b) => a.add(b))
}

const hidden = (visible: Tensor): Tensor => scalar(1).sub(visible).mul(MASKED)
