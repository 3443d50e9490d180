import { expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { integers } from '../tensor/check.ts'

// Work is divided even on a machine with one core.
process.env.JACKDAW_THREADS = '2'

const [BATCH, SEQ, VOCAB] = [4, 256, 65]
/** Words that come: so few that threads meet at one row of the table all the time. */
const WORDS = 3

/** Parameters after a few steps of a model whose every layer is wide enough for several threads. */
async function trained(): Promise<Float32Array[]> {
  const model = new GPT2({ vocabSize: VOCAB, maxPositions: SEQ, dModel: 384, nLayers: 1, nHeads: 6 })
  const trainer = await Trainer.create({
    objective: nextTokenObjective(model),
    inputs: languageModelInputs(BATCH, SEQ),
    learningRate: constantSchedule(1e-3),
  })
  for (let step = 0; step < 6; step++) {
    const [inputIds, shiftLabels] = [0, 1].map((i) => integers([BATCH, SEQ], 2 * step + i, 0, WORDS - 1).data)
    await trainer.train({ inputIds: inputIds as Int32Array, shiftLabels: shiftLabels as Int32Array })
  }
  const weights = [...(await trainer.weights()).values()].map(({ data }) => Float32Array.from(data as Float32Array))
  trainer.release()
  return weights
}

it('training twice gives the same weights bit for bit, where words come many times and threads share the work', async () => {
  const [first, second] = [await trained(), await trained()]
  expect(first.length).toBeGreaterThan(10)
  first.forEach((weights, i) => {
    expect(Buffer.compare(Buffer.from(weights.buffer), Buffer.from(second[i].buffer)), `weight ${i}`).toBe(0)
  })
})
