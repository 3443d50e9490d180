import {
  causalMask,
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
  // Queries that share keys are stacked, so that one product serves them all: [batch, nKvHeads, group * queries, headDim].
  const q = turn(splitHeads(query, nHeads), queries).reshape([batch, nKvHeads, -1, headDim])
  const k = turn(splitHeads(key, nKvHeads), keys)
  const v = splitHeads(value, nKvHeads)
  const bias = scoreBias(queries, keys, options)
  const ungroup = (x: Tensor): Tensor => (group === 1 ? x : x.reshape([batch, nHeads, queries, -1]))
  const regroup = (x: Tensor): Tensor => (group === 1 ? x : x.reshape([batch, nKvHeads, -1, x.shape[3]]))

  const scores = ungroup(matmul(q, k, { transposeB: true, alpha: scale }))
  const probs = softmax(bias ? scores.add(bias) : scores) // [batch, nHeads, queries, keys]
  if (options.dropout && options.dropout.rate > 0 && options.dropout.scope.training) {
    const { scope, rate } = options.dropout
    return mergeHeads(ungroup(matmul(regroup(scope.dropout(probs, rate)), v)))
  }
  const grouped = regroup(probs)
  const output = matmul(grouped, v)
  const attended = customGradient(output, bias ? [q, k, v, bias] : [q, k, v], (dOutput) => {
    // Row sums of dP ∘ P equal those of dO ∘ O, which are headDim / keys times as much work.
    const rowSums = dOutput.mul(output).sum({ axis: -1, keepDims: true })
    const dScores = grouped.mul(matmul(dOutput, v, { transposeB: true }).sub(rowSums))
    return [
      matmul(dScores, k, { alpha: scale }),
      matmul(dScores, q, { transposeA: true, alpha: scale }),
      matmul(grouped, dOutput, { transposeA: true }),
      bias && sumTo(ungroup(dScores), bias.shape),
    ]
  })
  return mergeHeads(ungroup(attended))
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

/** Everything that is added to the scores: masks and bias in one. */
function scoreBias(
  queries: Dim,
  keys: Dim,
  { causal, window, attentionMask, bias }: AttentionOptions,
): Tensor | undefined {
  const parts: Tensor[] = []
  if (causal) {
    if (!sameDim(queries, keys)) {
      throw new RangeError(`attention: causal attention needs as many queries as keys, got ${queries} and ${keys}`)
    }
    parts.push(hidden(indicator(causalMask(queries, window))))
  }
  if (attentionMask) parts.push(hidden(expandDims(expandDims(attentionMask.cast('float32'), 1), 1)))
  if (bias) parts.push(bias)
  return parts.length === 0 ? undefined : parts.reduce((a, b) => a.add(b))
}

const hidden = (visible: Tensor): Tensor => scalar(1).sub(visible).mul(MASKED)
