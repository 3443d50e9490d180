import { PrefixCache } from '../nn/kv-cache.ts'
import type { CausalLm } from '../nn/model.ts'
import { float32, int32, trace } from '../nn/trace.ts'
import { compile, type LiveWeights, type Program, type Weights } from '../runtime/compile.ts'
import type { CompileOptions } from '../runtime/compiled.ts'
import { dimTensor, type Tensor, type TensorData } from '../tensor/index.ts'
import type { CacheLayer } from './cache-slots.ts'

/** A prompt that goes through the model at once: ids, or embeddings [seq, dModel]. */
export interface Prefix {
  readonly of: readonly number[] | Float32Array
  /** Every position sees every other. */
  readonly bidirectional: boolean
}

/**
 * The graphs of prompts that the decoding graph does not take: embeddings, and prefixes that are read in both
 * directions. Each is compiled when it is first needed.
 */
export class PrefixPrograms {
  private readonly programs = new Map<string, Promise<Program<Record<string, Tensor>>>>()

  constructor(
    private readonly model: Pick<CausalLm, 'forward'>,
    private readonly weights: Weights | LiveWeights,
    private readonly dModel: number,
    private readonly options: CompileOptions,
  ) {}

  /** @returns logits after the last position, [vocabSize], and what every layer is to keep */
  async run(prefix: Prefix, signal?: AbortSignal): Promise<{ logits: Float32Array; layers: CacheLayer[] }> {
    const { of, bidirectional } = prefix
    const isIds = !(of instanceof Float32Array)
    const name = isIds ? 'inputIds' : 'inputsEmbeds'
    const length = isIds ? of.length : of.length / this.dModel
    if (!Number.isInteger(length) || length === 0) {
      throw new RangeError(`a prompt of embeddings is [seq, ${this.dModel}], got ${of.length} numbers`)
    }
    const key = `${name} ${bidirectional}`
    const program = this.programs.get(key) ?? this.compile(name, bidirectional)
    this.programs.set(key, program)
    const fed: TensorData = isIds
      ? { dtype: 'int32', shape: [1, length], data: Int32Array.from(of) }
      : { dtype: 'float32', shape: [1, length, this.dModel], data: of }
    const results: Record<string, TensorData> = await (await program)({ [name]: fed }, { signal })
    const layers: CacheLayer[] = []
    for (let i = 0; results[`key.${i}`]; i++) layers.push({ key: results[`key.${i}`], value: results[`value.${i}`] })
    return { logits: results.logits.data as Float32Array, layers }
  }

  private compile(name: 'inputIds' | 'inputsEmbeds', bidirectional: boolean): Promise<Program<Record<string, Tensor>>> {
    const spec = name === 'inputIds' ? int32(1, 'seq') : float32(1, 'seq', this.dModel)
    const traced = trace(
      (scope, inputs): Record<string, Tensor> => {
        const seq = inputs[name].shape[1]
        const cache = new PrefixCache(seq, bidirectional)
        const logitsAt = dimTensor(seq).sub(1).reshape([1])
        const { logits } = this.model.forward(scope, inputs, { cache, logitsAt })
        const kept = cache.entries.flatMap(({ key, value }, i): [string, Tensor][] => [
          [`key.${i}`, key],
          [`value.${i}`, value],
        ])
        return { logits, ...Object.fromEntries(kept) }
      },
      { [name]: spec },
      { name: 'the prompt' },
    )
    return compile(traced, this.weights, this.options)
  }

  async release(): Promise<void> {
    for (const program of this.programs.values()) (await program).release()
  }
}
