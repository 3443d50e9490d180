import { expect, it } from 'vitest'
import { GPT2 } from '../../src/models/gpt2.ts'
import { Llama } from '../../src/models/llama.ts'
import { AttentionMaps } from '../../src/nn/kv-cache.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import type { Tensor } from '../../src/tensor/index.ts'
import { drawnWeights, fullLogits } from '../generate/tiny.ts'

const IDS = [3, 14, 1, 5, 9, 2, 6]
const models = {
  'GPT-2': new GPT2({ vocabSize: 20, maxPositions: 16, dModel: 12, nLayers: 2, nHeads: 3 }),
  'grouped queries that turn': new Llama({ vocabSize: 20, dModel: 24, nLayers: 3, nHeads: 4, nKvHeads: 2, dInner: 16 }),
}

it.each(Object.entries(models))(
  'every row of a map is what a position takes of those before it: %s',
  async (_, model) => {
    const weights = drawnWeights(model)
    const traced = trace(
      (scope, { inputIds }): Record<string, Tensor> => {
        const watched = new AttentionMaps(inputIds.shape[1])
        const { logits } = model.forward(scope, { inputIds }, { cache: watched })
        return { logits, ...watched.outputs }
      },
      { inputIds: int32(1, 'seq') },
    )
    const run = await compile(traced, weights)
    const { logits, ...maps } = await run({
      inputIds: { dtype: 'int32', shape: [1, IDS.length], data: Int32Array.from(IDS) },
    })
    run.release()
    const { nLayers, nHeads } = model.config
    expect(Object.keys(maps)).toEqual(Array.from({ length: nLayers }, (_, layer) => `attention.${layer}`))
    for (const { shape, data } of Object.values(maps)) {
      expect(shape).toEqual([1, nHeads, IDS.length, IDS.length])
      for (let row = 0; row < nHeads * IDS.length; row++) {
        const weights = [...(data as Float32Array).subarray(row * IDS.length, (row + 1) * IDS.length)]
        expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 5)
        expect(Math.max(0, ...weights.slice((row % IDS.length) + 1))).toBe(0)
      }
    }
    // Looked at, it computes what it does alone.
    const alone = await fullLogits(model, weights, IDS)
    for (const [i, value] of (logits.data as Float32Array).entries()) {
      expect(value).toBeCloseTo(alone[Math.floor(i / 20)][i % 20], 4)
    }
  },
)
