import type { CausalLm } from '../nn/model.ts'
import { Scope } from '../nn/scope.ts'
import { type CompileOptions, compileGraph } from '../runtime/compiled.ts'
import { crossEntropy, input, type QuantizedWeight, symbol, type TensorData } from '../tensor/index.ts'

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
  weights: ReadonlyMap<string, TensorData | QuantizedWeight>,
  ids: readonly number[],
  bytes: number,
  { seq = model.maxPositions, onProgress, ...options }: PerplexityOptions = {},
): Promise<PerplexityResult> {
  if (ids.length < 2) throw new RangeError(`perplexity: the text has ${ids.length} tokens; it needs two or more`)
  const window = Math.min(seq, model.maxPositions)
  const scope = Scope.root()
  const inputIds = input('inputIds', [1, symbol('seq')], 'int32')
  const labels = input('labels', [1, symbol('seq')], 'int32')
  const { logits } = model.forward(scope, { inputIds })
  const loss = crossEntropy(logits, labels, { reduction: 'sum' })
  const values = new Map(
    [...scope.parameters.values()].map(({ name, tensor }) => {
      const value = weights.get(name)
      if (!value) throw new Error(`the weights lack parameter ${name}`)
      return [tensor, value] as const
    }),
  )
  const compiled = await compileGraph({ inputs: [inputIds, labels], outputs: { loss }, weights: values }, options)
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
      const results = await compiled.run({ inputIds: row(start), labels: row(start + 1) })
      sum += Number(results.loss.data[0])
      onProgress?.(start + length, tokens)
    }
    const mean = sum / tokens
    return { loss: mean, perplexity: Math.exp(mean), bitsPerByte: sum / Math.LN2 / bytes, tokens }
  } finally {
    compiled.release()
  }
}
