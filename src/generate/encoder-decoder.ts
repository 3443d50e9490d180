import type { EncoderDecoderLm, KeysValues, Model } from '../nn/model.ts'
import { Scope } from '../nn/scope.ts'
import { type Compiled, compileGraph } from '../runtime/compiled.ts'
import { input, mean, shapeOf, type Tensor, type TensorData } from '../tensor/index.ts'
import { type BeamOptions, beamSearch } from './beam.ts'
import { CachedDecoder, type Decodable, type DecoderOptions, type Weights } from './decoder.ts'
import { type Ending, generateTokens } from './tokens.ts'
import type { SamplingOptions } from './types.ts'

export const isEncoderDecoder = (model: Model): model is EncoderDecoderLm =>
  'crossKeysValues' in model && 'decoderStartTokenId' in model

/** Answers may have this many tokens, the start token included, unless the caller says otherwise. */
export const DEFAULT_ANSWER_LENGTH = 1024

/**
 * A model that reads a text and answers it, compiled for decoding. The encoder, and the keys and values that
 * cross-attention makes of its states, run once a source; the decoder then runs over its cache as any other.
 */
export class EncoderDecoder {
  private constructor(
    private readonly encoder: Compiled,
    /** Answers the source that was read last, from the start token on. */
    readonly decoder: CachedDecoder,
    readonly startTokenId: number,
  ) {}

  /** @param options.slots - as many as beam search is to have beams */
  static async create(
    model: EncoderDecoderLm,
    weights: Weights,
    options: Omit<DecoderOptions, 'context' | 'weightsAs'> = {},
  ): Promise<EncoderDecoder> {
    const scope = Scope.root()
    const inputIds = input('inputIds', shapeOf([1, 'sourceSeq']), 'int32')
    const states = model.encode(scope, { inputIds }) // [1, sourceSeq, dModel]
    const cross = model.crossKeysValues(scope, states)
    const named = cross.flatMap(({ key, value }, i): [string, Tensor][] => [
      [`cross.${i}.key`, key],
      [`cross.${i}.value`, value],
    ])
    const constants = [...scope.parameters.values()].map(({ name, tensor }) => {
      const value = weights.get(name)
      if (!value) throw new Error(`the weights lack parameter ${name}`)
      return [tensor, value] as const
    })
    const encoder = await compileGraph(
      {
        inputs: [inputIds],
        outputs: { ...Object.fromEntries(named), embedding: mean(states, { axis: 1 }) },
        weights: new Map(constants),
      },
      { on: options.provider, copyWeights: options.copyWeights },
    )
    const context = named.map(([name, { shape }]) => input(name, shape))
    const crossKeysValues = cross.map((_, i): KeysValues => ({ key: context[2 * i], value: context[2 * i + 1] }))
    const answering: Decodable = {
      vocabSize: model.vocabSize,
      maxPositions: options.capacity ?? DEFAULT_ANSWER_LENGTH,
      forward: (scope, inputs, decoding) => model.decode(scope, { ...inputs, crossKeysValues }, decoding),
    }
    const decoder = await CachedDecoder.create(answering, weights, { ...options, context })
    return new EncoderDecoder(encoder, decoder, model.decoderStartTokenId)
  }

  /**
   * Answers token by token: greedily where `temperature` is 0.
   *
   * @param sourceIds - the text to answer; penalties count what the answer says, not this
   */
  async *generate(
    sourceIds: readonly number[],
    options: SamplingOptions & { signal?: AbortSignal } = {},
  ): AsyncGenerator<number, Ending> {
    await this.read(sourceIds, options.signal)
    return yield* generateTokens(this.decoder, [this.startTokenId], options)
  }

  /** @returns token ids of the best answer, without the start token */
  async beamSearch(sourceIds: readonly number[], options: BeamOptions): Promise<readonly number[]> {
    await this.read(sourceIds)
    return beamSearch(this.decoder, [this.startTokenId], options)
  }

  /** Runs the encoder: what is decoded from now on answers this source. */
  async read(sourceIds: readonly number[], signal?: AbortSignal): Promise<void> {
    const { embedding: _, ...cross } = await this.encode(sourceIds, signal)
    this.decoder.setContext(cross)
  }

  /** The mean of the encoder's states over a text: [dModel]. What is being decoded goes on undisturbed. */
  async embed(sourceIds: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    const { embedding } = await this.encode(sourceIds, signal)
    return embedding.data as Float32Array
  }

  private encode(sourceIds: readonly number[], signal?: AbortSignal): Promise<Record<string, TensorData>> {
    if (sourceIds.length === 0) throw new RangeError('the prompt has no tokens')
    const inputIds: TensorData = { dtype: 'int32', shape: [1, sourceIds.length], data: Int32Array.from(sourceIds) }
    return this.encoder.run({ inputIds }, { signal })
  }

  release(): void {
    this.encoder.release()
    this.decoder.release()
  }
}
