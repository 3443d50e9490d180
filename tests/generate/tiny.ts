import type { Decodable } from '../../src/generate/decoder.ts'
import type { KvCache } from '../../src/nn/kv-cache.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { compile, type Weights } from '../../src/runtime/compile.ts'
import { sizeOf, type TensorData } from '../../src/tensor/index.ts'
import '../../src/runtime/node.ts'
import { fractions } from '../tensor/check.ts'

/** A causal model's parameters, drawn wide enough for logits to tell tokens apart. */
export function drawnWeights(model: Decodable, seed = 11): Map<string, TensorData> {
  const { parameters } = trace((scope, { inputIds }) => model.forward(scope, { inputIds }), {
    inputIds: int32('batch', 'seq'),
  })
  const draw = fractions(seed)
  return new Map(
    [...parameters.values()].map(({ name, shape }) => {
      const data = Float32Array.from({ length: sizeOf(shape) }, () => draw() - 0.5)
      return [name, { dtype: 'float32', shape, data }]
    }),
  )
}

/**
 * Logits after every token, in one pass over the whole text.
 *
 * @param cache - stands in for the model's own attention
 */
export async function fullLogits(
  model: Decodable,
  weights: Weights,
  ids: readonly number[],
  cache?: KvCache,
): Promise<Float32Array[]> {
  const traced = trace((scope, { inputIds }) => ({ logits: model.forward(scope, { inputIds }, { cache }).logits }), {
    inputIds: int32(1, ids.length),
  })
  const run = await compile(traced, weights)
  const { logits } = await run({ inputIds: { dtype: 'int32', shape: [1, ids.length], data: Int32Array.from(ids) } })
  run.release()
  const data = logits.data as Float32Array
  return ids.map((_, i) => data.subarray(i * model.vocabSize, (i + 1) * model.vocabSize))
}

/** log P of each id after the first `from`, from the logits of a full pass. */
export function logProbsOf(logits: readonly Float32Array[], ids: readonly number[], from: number): number[] {
  return ids.slice(from).map((id, i) => {
    const row = logits[from + i - 1]
    return row[id] - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0))
  })
}
