import type { CachedDecoder } from './decoder.ts'
import { Engine } from './engine.ts'
import type { SamplingOptions } from './types.ts'

/** A prompt and what a policy said to it. */
export interface Episode {
  readonly promptIds: readonly number[]
  /** The new tokens, the one that ended them included. */
  readonly ids: number[]
  /** log π(token) of each, at temperature 1. */
  readonly logProbs: number[]
  /** Whether a stop token ended it, not its length. */
  readonly ended: boolean
}

export interface RolloutOptions
  extends Pick<SamplingOptions, 'temperature' | 'topK' | 'topP' | 'maxNewTokens' | 'stopTokenIds'> {
  /** The same seed gives the same episodes; each prompt draws from a stream of its own, of this seed alone. */
  seed?: number
  signal?: AbortSignal
}

/** Prompts whose streams of draws are apart from those of other seeds. */
const STREAMS = 2 ** 16

/**
 * Lets a policy answer prompts of any lengths, as many at a time as its decoder has slots. A decoder over a trainer's
 * weights answers with them as they are now; they must not change meanwhile.
 */
export async function rollout(
  decoder: CachedDecoder,
  prompts: readonly (readonly number[])[],
  { seed = 1337, ...options }: RolloutOptions = {},
): Promise<Episode[]> {
  // A new engine: what an earlier one left in the cache may be other weights' work.
  const engine = new Engine(decoder)
  const answer = async (promptIds: readonly number[], index: number): Promise<Episode> => {
    const [ids, logProbs]: [number[], number[]] = [[], []]
    const request = { ...options, ...decoder.promptOf(promptIds), seed: seed * STREAMS + index, topLogProbs: 0 }
    for await (const event of engine.generate(request)) {
      if (event.type === 'end') return { promptIds, ids, logProbs, ended: event.reason === 'stop' }
      ids.push(event.id)
      logProbs.push(event.logProb as number)
    }
    throw new Error('internal: the answer has no end')
  }
  return Promise.all(prompts.map(answer))
}
