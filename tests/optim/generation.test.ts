import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import { countingBatch, SEQ, tinyOptions, VOCAB } from './tiny.ts'

const argMax = (logits: Float32Array): number => logits.indexOf(Math.max(...logits))

/** Greedy tokens after `prompt`. */
async function continued(decoder: CachedDecoder, prompt: readonly number[], count: number): Promise<number[]> {
  const ids = [argMax(await decoder.prefill(0, prompt, 0))]
  while (ids.length < count)
    ids.push(argMax(await decoder.decode([ids.at(-1) as number], [prompt.length + ids.length - 1])))
  return ids
}

describe('a model in training', () => {
  it('generates with its current weights at every step, from one compiled decoder', async () => {
    const { model, ...options } = tinyOptions({}, { learningRate: constantSchedule(1e-2) })
    const trainer = await Trainer.create(options)
    const decoder = await CachedDecoder.create(model, trainer)
    const prompt = [0, 1, 2, 3]
    const logits: Float32Array[] = [(await decoder.prefill(0, prompt, 0)).slice()]
    for (let step = 0; step < 80; step++) {
      await trainer.train(countingBatch(0))
      if (step % 20 === 19) logits.push((await decoder.prefill(0, prompt, 0)).slice())
    }
    for (let i = 1; i < logits.length; i++) expect(logits[i]).not.toEqual(logits[i - 1])

    // Row 0 of batch 0 counts up by one.
    expect(await continued(decoder, prompt, SEQ - prompt.length)).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2])

    // The same numbers as a decoder that is compiled for these weights alone.
    const frozen = new Map<string, TensorData>(
      [...(await trainer.weights())].map(([name, value]) => [name, { ...value, data: value.data.slice() }]),
    )
    const fresh = await CachedDecoder.create(model, frozen)
    const [ours, theirs] = [await decoder.prefill(0, prompt, 0), await fresh.prefill(0, prompt, 0)]
    expect(ours).toHaveLength(VOCAB)
    for (const [i, x] of ours.entries()) expect(Math.abs(x - theirs[i])).toBeLessThan(1e-4)
    decoder.release()
    fresh.release()
    trainer.release()
  })
})
