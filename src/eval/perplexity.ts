import type { CausalLm } from '../nn/model.ts'
import { int32, trace } from '../nn/trace.ts'
import { compile, type LiveWeights, type Weights } from '../runtime/compile.ts'
import type { CompileOptions } from '../runtime/compiled.ts'
import { crossEntropy, type TensorData } from '../tensor/index.ts'

export interface PerplexityResult {
  /** Mean −log p of a token given those before it in its window, in nats. */
  loss: number
  /** e^loss */
  perplexity: number
  /** Bits for a byte of the text: comparable between tokenizers. */
  bitsPerByte: number
  /** Tokens that were predicted. */
  tokens: number
}

export interface PerplexityOptions extends CompileOptions {
  /** Tokens a window; at most the model's positions, which is the default. */
  seq?: number
  onProgress?: (done: number, total: number) => void
}

/**
 * How well a model predicts a text: windows that touch but do not overlap, every token but the first predicted once,
 * from what its window holds before it.
 *
 * @param ids - the text's tokens
 * @param bytes - the text's length in UTF-8
 */
export async function perplexity(
  model: CausalLm,
  weights: Weights | LiveWeights,
  ids: readonly number[],
  bytes: number,
  { seq = model.maxPositions, onProgress, ...options }: PerplexityOptions = {},
): Promise<PerplexityResult> {
  if (ids.length < 2) throw new RangeError(`perplexity: the text has ${ids.length} tokens; it needs two or more`)
  const window = Math.min(seq, model.maxPositions)
  const traced = trace(
    (scope, { inputIds, nextIds }) => {
      const { logits } = model.forward(scope, { inputIds })
      return { loss: crossEntropy(logits, nextIds, { reduction: 'sum' }) }
    },
    { inputIds: int32(1, 'seq'), nextIds: int32(1, 'seq') },
    { name: 'perplexity' },
  )
  const run = await compile(traced, weights, options)
  try {
    const tokens = ids.length - 1
    let sum = 0
    for (let start = 0; start < tokens; start += window) {
      const length = Math.min(window, tokens - start)
      const row = (from: number): TensorData => ({
        dtype: 'int32',
        shape: [1, length],
        data: Int32Array.from(ids.slice(from, from + length)),
      })
      const { loss } = await run({ inputIds: row(start), nextIds: row(start + 1) })
      sum += Number(loss.data[0])
      onProgress?.(start + length, tokens)
    }
    const mean = sum / tokens
    return { loss: mean, perplexity: Math.exp(mean), bitsPerByte: sum / Math.LN2 / bytes, tokens }
  } finally {
    run.release()
  }
}
