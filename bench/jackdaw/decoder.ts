import { CachedDecoder } from '../../src/generate/decoder.ts'
import { openCheckpoint, resolveModelRef } from '../../src/hub/open.ts'
import { type Quantization, quantizers } from '../../src/load/quantize.ts'
import { modelFromConfig } from '../../src/load/registry.ts'
import { mapWeights } from '../../src/load/weights.ts'
import { type CausalLm, traceModel } from '../../src/nn/model.ts'
import type { Weights } from '../../src/runtime/compile.ts'
import type { Tensor } from '../../src/tensor/index.ts'
import '../../src/runtime/node.ts'
import { madeUpWeights } from '../files.ts'
import { SHAPED } from '../model-shapes.ts'

/** A model without its tokenizer, which made-up models lack, and its weights in blocks of 4 bits. */
export async function quantizedModel(
  reference: string,
  quantization: Quantization,
): Promise<{ model: CausalLm; weights: Weights; release: () => void }> {
  const checkpoint = openCheckpoint((await resolveModelRef(reference)).path)
  try {
    const { model, modelClass } = modelFromConfig(checkpoint.config)
    const { outputs, parameters: byName } = traceModel(model)
    const parameters = [...byName.values()]
    const blocks = quantizers(quantization, { outputs: [outputs.logits as Tensor], parameters })
    return { model: model as CausalLm, ...mapWeights(parameters, checkpoint, modelClass, blocks) }
  } finally {
    checkpoint.close()
  }
}

/** What every contestant in decoding does; peers/ has the same numbers. */
export const DECODING = { prompt: 16, newTokens: 128, longPrompt: 512, chats: 8, capacity: 1024 }

export async function openDecoder(reference: string, slots: number): Promise<CachedDecoder> {
  // Without zero points, as llama.cpp's Q4_0 has none.
  const { model, weights, release } = await quantizedModel(reference, 'q4s')
  try {
    return await CachedDecoder.create(model, weights, { slots, capacity: DECODING.capacity })
  } finally {
    release()
  }
}

/** A model of a well-known size in fp32, with made-up weights. */
export const shapedDecoder = (name: 'gpt2-124M', slots: number): Promise<CachedDecoder> =>
  CachedDecoder.create(SHAPED[name], madeUpWeights(SHAPED[name]), { slots, capacity: DECODING.capacity })

/** Made-up ids, the same for every contestant. */
export const promptIds = (length: number, vocabSize: number): number[] =>
  Array.from({ length }, (_, i) => ((i + 1) * 7919) % vocabSize)

/** The most probable token of row `row`. */
export function mostProbable(logits: Float32Array, row: number, vocabSize: number): number {
  const start = row * vocabSize
  let best = start
  for (let i = start + 1; i < start + vocabSize; i++) if (logits[i] > logits[best]) best = i
  return best - start
}
