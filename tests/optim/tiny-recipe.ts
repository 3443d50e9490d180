import { defineRecipe, meanLoss } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import { countingBatch, SEQ, tinyOptions } from './tiny.ts'

/** A run with everything that has to be carried over a restart: accumulation, dropout, an average, a schedule. */
export default defineRecipe({
  name: 'tiny',
  description: 'learns to count, in a blink',
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
  async prepare(settings) {
    const { accumulate, emaDecay, dropout } = settings
    const { model, objective, inputs } = tinyOptions({ dropout })
    const zero = { dtype: 'float32', shape: [] } as const
    return {
      model,
      trainer: {
        objective: (scope, { factor, ...rest }) => {
          const { loss } = objective(scope, rest)
          return { loss: loss.mul(factor), scaledBy: factor.mul(1) }
        },
        inputs: { ...inputs, factor: zero },
        learningRate: cosineSchedule(settings.learningRate, { steps: settings.steps, warmupSteps: 5 }),
        accumulate,
        emaDecay,
      },
      *batches(step) {
        const factor = Float32Array.of(step >= settings.breakAt ? Number.NaN : 1)
        for (let i = 0; i < accumulate; i++) yield { ...countingBatch(step * accumulate + i), factor }
      },
      tokensPerStep: accumulate * 4 * SEQ,
      async evaluate(trainer) {
        const evaluator = await trainer.evaluator()
        const factor = { ...zero, data: Float32Array.of(1) }
        const scored = { ...evaluator, run: (feeds: object) => evaluator.run({ ...feeds, factor }) }
        const { inputIds, labels } = countingBatch(1_000_000)
        const batch = { inputIds: inputIds as Int32Array, labels: labels as Int32Array }
        const valLoss = await meanLoss(scored, [batch], [4, SEQ])
        evaluator.release()
        return { valLoss }
      },
      files: { 'tokenizer.json': '{}' },
      saveAveraged: emaDecay > 0,
    }
  },
})
