import { attention as attend, headDimOf, type AttentionOptions as OpOptions, type Tensor } from '../tensor/index.ts'
import type { KvCache } from './kv-cache.ts'
import type { Scope } from './scope.ts'

export { mergeHeads, type Rotary, splitHeads } from '../tensor/index.ts'

export interface AttentionOptions extends OpOptions {
  /** Attend over everything cached, and add this step's keys and values to it. Causal, inference only. */
  readonly cache?: KvCache
  readonly dropout?: { readonly scope: Scope; readonly rate: number }
}

/**
 * Multi-head attention as a model calls it: over a cache where there is one, with dropout in training. See `attention`
 * of `tensor/`.
 *
 * @param query - [batch, queries, nHeads * headDim]
 * @param key - [batch, keys, nKvHeads * headDim]
 * @param value - [batch, keys, nKvHeads * headDim]
 * @returns [batch, queries, nHeads * headDim]
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const { cache, dropout, ...rest } = options
  if (cache) {
    const { nHeads, nKvHeads = nHeads } = rest
    const headDim = headDimOf(query, key, value, nHeads, nKvHeads)
    return cache.attend(query, key, value, {
      ...rest,
      dropout,
      nKvHeads,
      headDim,
      scale: rest.scale ?? 1 / Math.sqrt(headDim),
    })
  }
  const drops = dropout && dropout.rate > 0 && dropout.scope.training
  return attend(query, key, value, rest, drops ? (probs) => dropout.scope.dropout(probs, dropout.rate) : undefined)
}
