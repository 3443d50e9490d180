import type { CausalLm, Model } from '../nn/model.ts'
import { type BeamOptions, beamSearch } from './beam.ts'
import { CachedDecoder, type DecoderOptions, type Weights } from './decoder.ts'
import { EncoderDecoder, isEncoderDecoder } from './encoder-decoder.ts'
import { type Ending, generateTokens } from './tokens.ts'
import type { SamplingOptions } from './types.ts'

export const isCausal = (model: Model): model is CausalLm => 'vocabSize' in model && 'maxPositions' in model

/** Token ids in, token ids out: a model of either kind, one prompt at a time. */
export interface Generator {
  /** What the new tokens are appended to: the prompt, or the token that answers start from. */
  prefixOf(promptIds: readonly number[]): readonly number[]
  /** New tokens as they come, the one that ends included. Greedy where `temperature` is 0. */
  generate(
    promptIds: readonly number[],
    options?: SamplingOptions & { signal?: AbortSignal },
  ): AsyncGenerator<number, Ending>
  /** @returns new tokens of the best sequence */
  beamSearch(promptIds: readonly number[], options: BeamOptions): Promise<readonly number[]>
  release(): void
}

/**
 * Compiles a model for generation.
 *
 * @param options.slots - as many as beam search is to have beams
 * @param options.capacity - tokens of the longest output, prefix included
 * @throws Error for a model that generates no text
 */
export async function openGenerator(
  model: Model,
  weights: Weights,
  options: Omit<DecoderOptions, 'context' | 'weightsAs'> = {},
): Promise<Generator> {
  if (isEncoderDecoder(model)) {
    const decoder = await EncoderDecoder.create(model, weights, options)
    return {
      prefixOf: () => [model.decoderStartTokenId],
      generate: (promptIds, sampling) => decoder.generate(promptIds, sampling),
      beamSearch: (promptIds, beams) => decoder.beamSearch(promptIds, beams),
      release: () => decoder.release(),
    }
  }
  if (!isCausal(model)) throw new Error(`${model.constructor.name} is no model that generates text`)
  const decoder = await CachedDecoder.create(model, weights, options)
  return {
    prefixOf: (promptIds) => promptIds,
    generate: (promptIds, sampling) => generateTokens(decoder, promptIds, sampling),
    beamSearch: (promptIds, beams) => beamSearch(decoder, promptIds, beams),
    release: () => decoder.release(),
  }
}
