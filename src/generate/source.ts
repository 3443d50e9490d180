import type { DecodeInputs, EncoderDecoderLm, KeysValues } from '../nn/model.ts'
import { float32, type InputSpecs, int32, trace } from '../nn/trace.ts'
import { compile, type LiveWeights, type Program, type Weights } from '../runtime/compile.ts'
import type { CompileOptions } from '../runtime/compiled.ts'
import { mean, type Tensor, type TensorData } from '../tensor/index.ts'

/** A text that an encoder has read: what every decoder layer sees of it, computed once. */
export interface Source {
  readonly ids: readonly number[]
  /** `cross.0.key`, `cross.0.value`, …: [1, ids.length, nHeads * headDim] */
  readonly cross: Readonly<Record<string, TensorData>>
}

/** The encoder of a model, with the keys and values that cross-attention makes of its states. */
export class SourceReader {
  private constructor(
    private readonly program: Program<Record<string, Tensor>>,
    /** What the decoder's graph reads beside its tokens: sources side by side, and where they are text. */
    readonly inputs: InputSpecs,
    /** Tokens of the longest source, where positions set a bound. */
    private readonly maxPositions = Number.POSITIVE_INFINITY,
  ) {}

  static async create(
    model: EncoderDecoderLm,
    weights: Weights | LiveWeights,
    options: CompileOptions,
  ): Promise<SourceReader> {
    const traced = trace(
      (scope, { inputIds }): Record<string, Tensor> => {
        const states = model.encode(scope, { inputIds }) // [1, sourceSeq, dModel]
        const cross = model.crossKeysValues(scope, states)
        const named = cross.flatMap(({ key, value }, i): [string, Tensor][] => [
          [`cross.${i}.key`, key],
          [`cross.${i}.value`, value],
        ])
        return { ...Object.fromEntries(named), embedding: mean(states, { axis: 1 }) }
      },
      { inputIds: int32(1, 'sourceSeq') },
      { name: 'the encoder' },
    )
    const { embedding: _, ...cross } = traced.outputs
    const specs = Object.entries(cross).map(([name, { shape }]) => [
      name,
      float32('sources', 'sourceSeq', shape[2] as number),
    ])
    const inputs = { ...Object.fromEntries(specs), sourceMask: float32('sources', 'sourceSeq') }
    return new SourceReader(await compile(traced, weights, options), inputs, model.maxPositions)
  }

  /** The leaves of `inputs` as a model's decoder takes them. */
  static decodeInputs(
    leaves: Readonly<Record<string, Tensor>>,
  ): Pick<DecodeInputs, 'crossKeysValues' | 'crossAttentionMask'> {
    const crossKeysValues: KeysValues[] = []
    for (let i = 0; leaves[`cross.${i}.key`]; i++) {
      crossKeysValues.push({ key: leaves[`cross.${i}.key`], value: leaves[`cross.${i}.value`] })
    }
    return { crossKeysValues, crossAttentionMask: leaves.sourceMask }
  }

  async read(ids: readonly number[], signal?: AbortSignal): Promise<Source> {
    const { embedding: _, ...cross } = await this.run(ids, signal)
    return { ids, cross }
  }

  /** The mean of the encoder's states over a text: [dModel] */
  async embed(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
    return (await this.run(ids, signal)).embedding.data as Float32Array
  }

  private async run(ids: readonly number[], signal?: AbortSignal): Promise<Record<string, TensorData>> {
    if (ids.length === 0) throw new RangeError('the prompt has no tokens')
    if (ids.length > this.maxPositions) {
      throw new RangeError(`the prompt has ${ids.length} tokens; the model takes ${this.maxPositions}`)
    }
    const inputIds: TensorData = { dtype: 'int32', shape: [1, ids.length], data: Int32Array.from(ids) }
    return this.program({ inputIds }, { signal })
  }

  release(): void {
    this.program.release()
  }
}

/**
 * The sources of a batch of sequences side by side, filled up with zeros, and a mask of what is text. Where all
 * sequences answer one source, it stands there once.
 */
export function packSources(sources: readonly Source[]): Record<string, TensorData> {
  const different = sources.every((source) => source === sources[0]) ? sources.slice(0, 1) : sources
  const longest = Math.max(...different.map(({ ids }) => ids.length))
  const sideBySide = (width: number, rowOf: (source: Source) => Float32Array): Float32Array => {
    if (different.length === 1) return rowOf(different[0])
    const data = new Float32Array(different.length * longest * width)
    for (const [i, source] of different.entries()) data.set(rowOf(source), i * longest * width)
    return data
  }
  const cross = Object.entries(different[0].cross).map(([name, { shape }]): [string, TensorData] => {
    const data = sideBySide(shape[2], (source) => source.cross[name].data as Float32Array)
    return [name, { dtype: 'float32', shape: [different.length, longest, shape[2]], data }]
  })
  const mask = sideBySide(1, ({ ids }) => new Float32Array(ids.length).fill(1))
  return {
    ...Object.fromEntries(cross),
    sourceMask: { dtype: 'float32', shape: [different.length, longest], data: mask },
  }
}
