import { nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import type { Batch } from '../../src/optim/runner.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import { countingBatch, SEQ, tinyOptions } from './tiny.ts'

/** A run with everything that has to be carried over a restart: accumulation, dropout, an average, a schedule. */
export default recipe({
  paper: 'tiny',
  claim: 'learns to count, in a blink',
  settings: {
    data: '',
    steps: 60,
    seed: 3,
    evalEvery: 15,
    checkpointEvery: 7,
    accumulate: 2,
    dropout: 0.1,
    emaDecay: 0.8,
    learningRate: 3e-3,
    /** Multiplies the loss from this step on by what is no number. */
    breakAt: 1e9,
  },
  async run({ settings, trainer, trainLoop, claim }) {
    const { accumulate, emaDecay, dropout, steps } = settings
    const { model, inputs } = tinyOptions({ dropout })
    const zero = { dtype: 'float32', shape: [] } as const
    const { valLoss } = await trainLoop({
      trainer: await trainer({
        objective: (scope, { factor, ...rest }) => {
          const { loss } = nextTokenObjective(model)(scope, rest)
          return { loss: { sum: loss.sum.mul(factor), count: loss.count }, scaledBy: factor.mul(1) }
        },
        inputs: { ...inputs, factor: zero },
        learningRate: cosineSchedule(settings.learningRate, { steps, warmupSteps: 5 }),
        accumulate,
        emaDecay,
      }),
      steps,
      *batches(step): Iterable<Batch> {
        const factor = Float32Array.of(step >= settings.breakAt ? Number.NaN : 1)
        for (let i = 0; i < accumulate; i++) yield { ...countingBatch(step * accumulate + i), factor }
      },
      perStep: { tokens: accumulate * 4 * SEQ },
      async evaluate(trainer) {
        const evaluator = await trainer.evaluator()
        const { inputIds, shiftLabels } = countingBatch(1_000_000)
        const ids = { dtype: 'int32', shape: [4, SEQ] } as const
        const batch = {
          inputIds: { ...ids, data: inputIds },
          shiftLabels: { ...ids, data: shiftLabels },
          factor: { ...zero, data: Float32Array.of(1) },
        }
        const { loss } = await evaluator.mean([batch])
        evaluator.release()
        return { valLoss: loss }
      },
      save: { model, files: { 'tokenizer.json': '{}' }, averaged: emaDecay > 0 },
    })
    claim({ valLoss }, valLoss < 2)
  },
})
