/** Resident memory of a process that has loaded a model in 4 bits, in times its weights: `memory.ts MODEL`. */

import { CachedDecoder } from '../../src/generate/decoder.ts'
import { loadModel } from '../../src/load/load.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import type { Weights } from '../../src/runtime/compile.ts'
import { isQuantized } from '../../src/runtime/lower.ts'
import { giveBackMemory } from '../../src/runtime/memory.ts'
import '../../src/runtime/node.ts'
import { compete } from '../contestant.ts'
import { DECODING, mostProbable, promptIds } from './decoder.ts'
import { versions } from './versions.ts'

const bytesOf = (weights: Weights): number =>
  [...weights.values()]
    .flatMap((value) => (isQuantized(value) ? [value.packed, value.scales, value.zeroPoints] : [value.data]))
    .reduce((sum, part) => sum + (part?.byteLength ?? 0), 0)

await compete(async () => {
  const { decoder, tokenizer, weightBytes } = await loaded()
  const ids = promptIds(DECODING.prompt, decoder.vocabSize)
  const resident = async () => {
    tokenizer?.decode([mostProbable(await decoder.prefill(0, ids, 0), 0, decoder.vocabSize)])
    return process.memoryUsage.rss() / weightBytes
  }
  return { rounds: { resident }, versions: versions() }
})

/** As `jackdaw serve` loads a model, without its second of waiting before it gives back what loading left. */
async function loaded() {
  const { model, weights, tokenizer, releaseFiles } = await loadModel(process.argv[2], { quantize: 'q4', mapped: true })
  const weightBytes = bytesOf(weights)
  const options = { capacity: DECODING.capacity, copyWeights: true }
  const decoder = await CachedDecoder.create(model as CausalLm, weights, options).finally(releaseFiles)
  await giveBackMemory()
  return { decoder, tokenizer, weightBytes }
}
