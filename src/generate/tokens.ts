import type { CachedDecoder } from './decoder.ts'
import { applyPenalties, Draws, sample, TokenCounts } from './sampling.ts'
import type { SamplingOptions } from './types.ts'

/** One sequence of tokens on a decoder of its own, without text: what the command line and evaluations stand on. */

export const DEFAULT_MAX_NEW_TOKENS = 256

/** @returns logits after the prompt, whose keys and values then are in the first slot */
export async function prefill(
  decoder: CachedDecoder,
  promptIds: readonly number[],
  signal?: AbortSignal,
): Promise<Float32Array> {
  if (promptIds.length === 0) throw new RangeError('the prompt has no tokens')
  if (promptIds.length > decoder.capacity) {
    throw new RangeError(`the prompt has ${promptIds.length} tokens; the model takes ${decoder.capacity}`)
  }
  return decoder.prefill(0, promptIds, 0, signal)
}

/** A stop token came up, or there was no room for more. */
export type Ending = 'stop' | 'length'

/**
 * Continues a prompt token by token, until a stop token (which is the last one told), `maxNewTokens`, or the end of the
 * context. Stop strings are not looked for.
 *
 * @returns how it ended
 */
export async function* generateTokens(
  decoder: CachedDecoder,
  promptIds: readonly number[],
  options: SamplingOptions & { signal?: AbortSignal } = {},
): AsyncGenerator<number, Ending> {
  const {
    maxNewTokens = DEFAULT_MAX_NEW_TOKENS,
    stopTokenIds = [],
    seed = Math.floor(Math.random() * 2 ** 32),
    signal,
  } = options
  const counts = new TokenCounts(promptIds)
  const draws = new Draws(seed)
  let logits = await prefill(decoder, promptIds, signal)
  // The last new token needs no place in the cache.
  const last = Math.min(promptIds.length + maxNewTokens, decoder.capacity + 1)
  for (let length = promptIds.length; length < last; ) {
    applyPenalties(logits, options, counts)
    const id = sample(logits, options, draws)
    counts.add(id)
    yield id
    if (stopTokenIds.includes(id)) return 'stop'
    signal?.throwIfAborted()
    if (++length < last) logits = await decoder.decode([id], [length - 1])
  }
  return 'length'
}
