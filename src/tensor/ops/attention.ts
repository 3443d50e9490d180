import { type Dim, sameDim, showShape, symbol } from '../dim.ts'
import { MICROSOFT } from '../emitter.ts'
import { apply, applyMany, type Op, type Tensor } from '../graph.ts'
import { neg } from './elementwise.ts'
import { arange, cast } from './shape.ts'

/** Attention's fused parts: rotary positions, and attention over a key-value cache. */

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
