/** Resident memory of a process that has loaded a model in 4 bits, in times its weights: `memory.ts MODEL`. */

import { CachedDecoder, type Weights } from '../../src/generate/decoder.ts'
import { isQuantized } from '../../src/runtime/lower.ts'
import { compete } from '../contestant.ts'
import { DECODING, mostProbable, promptIds, quantizedModel } from './decoder.ts'
import { versions } from './versions.ts'

const bytesOf = (weights: Weights): number =>
  [...weights.values()].reduce(
    (sum, value) =>
      sum + (isQuantized(value) ? value.packed.byteLength + value.scales.byteLength : value.data.byteLength),
    0,
  )

await compete(async () => {
  const { decoder, weightBytes } = await loaded()
  const ids = promptIds(DECODING.prompt, decoder.vocabSize)
  const resident = async () => {
    mostProbable(await decoder.prefill(0, ids, 0), 0, decoder.vocabSize)
    return process.memoryUsage.rss() / weightBytes
  }
  return { rounds: { resident }, versions: versions() }
})

async function loaded(): Promise<{ decoder: CachedDecoder; weightBytes: number }> {
  const { model, weights } = await quantizedModel(process.argv[2], 'q4')
  const decoder = await CachedDecoder.create(model, weights, { capacity: DECODING.capacity, copyWeights: true })
  return { decoder, weightBytes: bytesOf(weights) }
}
