import { type Dim, sameDim, showShape, symbol } from '../dim.ts'
import { MICROSOFT } from '../emitter.ts'
import { apply, applyMany, type Op, scalar, type Tensor } from '../graph.ts'
import { softmax } from './activation.ts'
import { customGradient } from './custom.ts'
import { indicator, minimum, neg } from './elementwise.ts'
import { matmul } from './matmul.ts'
import { max } from './reduce.ts'
import { arange, broadcastTo, cast, concat, expandDims, sumTo } from './shape.ts'

/** Attention: the whole of it for training, and its fused parts: rotary positions, attention over a key-value cache. */

/** With fewer keys than these, gradients are computed the exact way. */
const SHORT = 64

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
  /** With `causal`: int32 [batch, seq], which of several texts in a row a position belongs to. It sees its own alone. */
  readonly segmentIds?: Tensor
  /**
   * A query that sees no key, because all that its place lets it see is padding, answers 0. Otherwise it answers a mean
   * of values, whose logits nobody wants, and which costs nothing. Default false.
   */
  readonly zeroBlind?: boolean
  /**
   * With `causal` and `attentionMask`: scores out of reach are constants, as in models that put a number in their place
   * instead of adding one. A query that sees padding alone, and so attends to what is hidden from it, then learns nothing
   * through them. Default false.
   */
  readonly constantOutOfReach?: boolean
  /** Added to the scores, broadcast to [batch, nHeads, queries, keys]. */
  readonly bias?: Tensor
  readonly rotary?: Rotary
  /** int32 [batch, queries]; counted from 0 where left out. */
  readonly positionIds?: Tensor
}

/**
 * Multi-head attention, softmax(QKᵀ · scale + bias) V (Vaswani et al., 2017, arXiv 1706.03762, §3.2), with grouped
 * queries (Ainslie et al., 2023, arXiv 2305.13245) where nKvHeads < nHeads.
 *
 * @param query - [batch, queries, nHeads * headDim]
 * @param key - [batch, keys, nKvHeads * headDim]
 * @param value - [batch, keys, nKvHeads * headDim]
 * @param drop - what becomes of the probabilities [batch, nHeads, queries, keys] in training: dropout
 * @returns [batch, queries, nHeads * headDim]
 */
export function attention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions,
  drop?: (probabilities: Tensor) => Tensor,
): Tensor {
  const { nHeads, nKvHeads = nHeads, rotary: turning, bias } = options
  const headDim = headDimOf(query, key, value, nHeads, nKvHeads)
  const scale = options.scale ?? 1 / Math.sqrt(headDim)
  const [batch, queries] = query.shape
  const keys = key.shape[1]
  const turn = (x: Tensor, length: Dim): Tensor => {
    if (!turning) return x
    const positionIds = options.positionIds ?? defaultPositionIds(batch, length)
    return rotary(x, positionIds, turning.cos, turning.sin, turning.interleaved)
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
  const seeing = (block: Block, x: Tensor): Tensor => {
    const sees = options.zeroBlind ? seesAny(block, options) : undefined
    return sees ? x.mul(sees) : x
  }
  const withinReach = ({ start, end }: Block, dScores: Tensor): Tensor => {
    if (!options.constantOutOfReach || !options.causal || !options.attentionMask) return dScores
    const reach = cast(causalMask(end, options.window).slice({ axis: 0, start }), 'float32')
    return stack(unstack(dScores).mul(reach))
  }
  if (drop) {
    const whole = { start: 0, end: queries, seen: keys }
    return mergeHeads(seeing(whole, unstack(matmul(stack(drop(probabilities(whole))), v))))
  }

  const parts = causalBlocks(queries, keys, options).map((block) => {
    const probs = stack(probabilities(block))
    return { block, probs, output: seeing(block, unstack(matmul(probs, keysOf(v, block)))) }
  })
  // Row sums of dP ∘ P equal those of dO ∘ O, which are headDim / keys times as much work, but for rounding: where a query
  // sees one key only, nothing is to be left of the difference. So short sequences take the exact ones.
  const isShort = typeof keys === 'number' && keys < SHORT
  const output = joinPositions(parts.map((part) => part.output))
  const attended = customGradient(output, bias ? [q, k, v, bias] : [q, k, v], (dOutput) => {
    const gradients = parts.map(({ block, probs, output }) => {
      const dRows = seeing(block, queriesOf(dOutput, block))
      const dO = stack(dRows)
      const dProbs = matmul(dO, keysOf(v, block), { transposeB: true })
      const rowSums = isShort
        ? dProbs.mul(probs).sum({ axis: -1, keepDims: true })
        : stack(dRows.mul(output).sum({ axis: -1, keepDims: true }))
      const dScores = withinReach(block, probs.mul(dProbs.sub(rowSums)))
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

/** The width of a head. @throws RangeError where the shapes do not fit the heads */
export function headDimOf(query: Tensor, key: Tensor, value: Tensor, nHeads: number, nKvHeads: number): number {
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
  { causal, window, attentionMask, segmentIds, bias }: AttentionOptions,
): Tensor | undefined {
  const parts: Tensor[] = []
  if (segmentIds && !causal) throw new RangeError('attention: several texts in a row need causal attention')
  if (causal) {
    if (!sameDim(end, seen)) {
      throw new RangeError(`attention: causal attention needs as many queries as keys, got ${end} and ${seen}`)
    }
    const past = causalMask(end, window).slice({ axis: 0, start })
    parts.push(hideKeys(segmentIds ? expandDims(past.and(sameSegment(segmentIds, start, end)), 1) : past))
  }
  if (attentionMask) parts.push(hidePadding(attentionMask.slice({ axis: 1, start: 0, end: seen })))
  if (bias) parts.push(bias)
  return parts.length === 0 ? undefined : parts.reduce((a, b) => a.add(b))
}

/** Whether two positions are of one text: bool [batch, queries from `start` to `end`, keys up to `end`]. */
export function sameSegment(segmentIds: Tensor, start: number, end: Dim): Tensor {
  const queries = segmentIds.slice({ axis: 1, start, end })
  const keys = segmentIds.slice({ axis: 1, start: 0, end })
  return expandDims(queries, 2).equal(expandDims(keys, 1))
}

/** 1 for queries that see a key, 0 for those that see none: [batch, 1, queries or 1, 1]. Undefined where all see one. */
function seesAny({ start, end, seen }: Block, { causal, window, attentionMask }: AttentionOptions): Tensor | undefined {
  if (!attentionMask) return undefined
  const tokens = attentionMask.slice({ axis: 1, start: 0, end: seen }).cast('float32')
  if (!causal) return expandDims(expandDims(max(tokens, { axis: 1, keepDims: true }), 1), 3)
  const visible = indicator(causalMask(end, window).slice({ axis: 0, start }))
  const counts = matmul(tokens, visible, { transposeB: true }) // [batch, queries]
  return expandDims(expandDims(minimum(counts, 1), 1), 3)
}

/** What hides keys when it is added to their scores: 0 where `visible` is 1 or true, and enough to vanish where not. */
export const hideKeys = (visible: Tensor): Tensor => scalar(1).sub(cast(visible, 'float32')).mul(MASKED)

/** The same of a mask of padding, for every head and query: [batch, keys] → [batch, 1, 1, keys]. */
export const hidePadding = (attentionMask: Tensor): Tensor => expandDims(expandDims(hideKeys(attentionMask), 1), 1)

/** 0, 1, …, seq − 1 for every sequence: int32 [batch, seq]. */
export const defaultPositionIds = (batch: Dim, seq: Dim): Tensor =>
  broadcastTo(expandDims(arange(seq), 0), [batch, seq])

interface RotaryAttributes {
  readonly interleaved: boolean
}

const rotaryOp: Op<RotaryAttributes> = {
  name: 'rotary',
  infer: ([x, positionIds, cos, sin]) => {
    const headDim = x.shape[3]
    const half = cos.shape[1]
    const fits = x.rank === 4 && typeof headDim === 'number' && typeof half === 'number' && half * 2 <= headDim
    if (
      !fits ||
      positionIds.rank !== 2 ||
      !sameDim(positionIds.shape[0], x.shape[0]) ||
      !sameDim(positionIds.shape[1], x.shape[2]) ||
      `${cos.shape}` !== `${sin.shape}`
    ) {
      throw new RangeError(
        `rotary: needs x [batch, nHeads, seq, headDim], positions [batch, seq] and tables [positions, rotaryDim / 2], got ${[x, positionIds, cos, sin].map((t) => showShape(t.shape)).join(', ')}`,
      )
    }
    return [{ shape: x.shape, dtype: 'float32' }]
  },
  lower: (e, [x, positionIds, cos, sin], { inputs, attributes: { interleaved } }) => {
    const [, nHeads, , headDim] = inputs[0].shape
    const rotaryDim = 2 * (inputs[2].shape[1] as number)
    const partial: Record<string, number> =
      rotaryDim === headDim ? {} : { num_heads: nHeads as number, rotary_embedding_dim: rotaryDim }
    const wide = e.one('Cast', [positionIds], { to: 7 })
    return [e.one('RotaryEmbedding', [x, wide, cos, sin], { interleaved: +interleaved, ...partial }, MICROSOFT)]
  },
  // A rotation's transpose is the rotation back.
  grad: ({ inputs: [, positionIds, cos, sin], attributes }, [dy]) => [
    dy && apply(rotaryOp, [dy, positionIds, cos, neg(sin)], attributes),
  ],
}

/**
 * Rotary position embedding (Su et al., 2021, arXiv 2104.09864, eq. 34): each pair of features turns by an angle that
 * grows with the position. Features past the tables' width stay as they are.
 *
 * @param x - [batch, nHeads, seq, headDim]
 * @param positionIds - int32 [batch, seq]
 * @param cos - [positions, rotaryDim / 2]
 * @param interleaved - pairs are neighbours (2i, 2i + 1) instead of halves (i, i + rotaryDim / 2)
 */
export const rotary = (x: Tensor, positionIds: Tensor, cos: Tensor, sin: Tensor, interleaved = false): Tensor =>
  apply(rotaryOp, [x, positionIds, cos, sin], { interleaved })

interface CachedAttentionAttributes {
  readonly nHeads: number
  readonly nKvHeads: number
  readonly scale: number
  /** Each query sees only the last `window` keys, itself included; 0 sees all. */
  readonly window: number
  readonly inputs: readonly string[]
}

const INPUT_ORDER = [
  'query',
  'key',
  'value',
  'pastKey',
  'pastValue',
  'lastPosition',
  'totalLength',
  'cos',
  'sin',
  'positionIds',
  'bias',
]

const cachedAttentionOp: Op<CachedAttentionAttributes> = {
  name: 'cachedAttention',
  infer: ([query, , , pastKey, pastValue]) => [
    { shape: query.shape, dtype: 'float32' },
    { shape: pastKey.shape, dtype: 'float32' },
    { shape: pastValue.shape, dtype: 'float32' },
  ],
  lower: (e, names, { attributes: { nHeads, nKvHeads, scale, window, inputs } }) => {
    const given = new Map(inputs.map((name, i) => [name, names[i]]))
    const ordered = INPUT_ORDER.map((name) => given.get(name) ?? '')
    while (ordered[ordered.length - 1] === '') ordered.pop()
    const attributes = {
      num_heads: nHeads,
      kv_num_heads: nKvHeads,
      scale: { float: scale },
      do_rotary: given.has('cos') ? 1 : 0,
      // ONNX Runtime counts the keys before the query's own, or −1 for all.
      local_window_size: window === 0 ? -1 : window,
    }
    return e.many('GroupQueryAttention', ordered, attributes, { domain: MICROSOFT, outputs: 3 })
  },
  grad: () => {
    throw new Error('cachedAttention: no gradient flows through a cache; call attention without one to train')
  },
}

export interface CachedAttentionInputs {
  /** [batch, seq, nHeads * headDim] */
  query: Tensor
  /** [batch, seq, nKvHeads * headDim] */
  key: Tensor
  value: Tensor
  /** [batch, nKvHeads, capacity, headDim]; the present is written over the past. */
  pastKey: Tensor
  pastValue: Tensor
  /** int32 [batch]: the position of each sequence's newest token. */
  lastPosition: Tensor
  /** int32 [1]: the length of the longest sequence, this step included. */
  totalLength: Tensor
  /** [positions, headDim / 2]: rotary tables, where query and key are to be turned here. */
  cos?: Tensor
  sin?: Tensor
  /** [batch or 1, nHeads or 1, seq, total] added to the scores. */
  bias?: Tensor
}

/**
 * Causal attention of new tokens over everything cached. Inference only. `headDim` must be a multiple of 8 (of 16 with
 * rotary tables); a batch of several sequences takes one token each.
 *
 * @returns [batch, seq, nHeads * headDim] and the caches with the new keys and values in place
 */
export function cachedAttention(
  tensors: CachedAttentionInputs,
  { nHeads, nKvHeads, scale, window = 0 }: { nHeads: number; nKvHeads: number; scale: number; window?: number },
): { output: Tensor; presentKey: Tensor; presentValue: Tensor } {
  const given = INPUT_ORDER.flatMap((name) => {
    const tensor = tensors[name as keyof CachedAttentionInputs]
    return tensor ? [[name, tensor] as const] : []
  })
  const [output, presentKey, presentValue] = applyMany(
    cachedAttentionOp,
    given.map(([, tensor]) => tensor),
    { nHeads, nKvHeads, scale, window, inputs: given.map(([name]) => name) },
  )
  return { output, presentKey, presentValue }
}

const countOp: Op<{ name: string }> = {
  name: 'count',
  infer: (_inputs, { name }) => [{ shape: [symbol(name)], dtype: 'int32' }],
  lower: (e, [limit], { attributes: { name } }) => {
    const int = (value: number) => e.constant({ dtype: 'int32', shape: [], data: Int32Array.of(value) })
    const numbers = e.one('Range', [int(0), e.one('Reshape', [limit, e.ints([])]), int(1)])
    e.define(name, e.one('Shape', [numbers], {}))
    return [numbers]
  },
}

/**
 * 0, 1, …, limit − 1, where the limit is a tensor: the result's length is a new dimension called `name`.
 *
 * @param limit - int32, one element
 */
export const countTo = (limit: Tensor, name: string): Tensor => apply(countOp, [cast(limit, 'int32')], { name })

/**
 * Which positions each position may see: itself and those before, at most `window` in all (0: no limit).
 *
 * @returns bool [length, length], a row for each query
 */
export function causalMask(length: Dim, window = 0): Tensor {
  const rows = arange(length).reshape([length, 1])
  const columns = arange(length).reshape([1, length])
  const past = columns.lessOrEqual(rows)
  return window === 0 ? past : past.and(columns.greater(rows.sub(window)))
}
