import { nextTokenObjective } from '../../src/optim/language-model.ts'
import { defineRecipe } from '../../src/optim/recipe.ts'
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
    const { model, inputs } = tinyOptions({ dropout })
    const zero = { dtype: 'float32', shape: [] } as const
    return {
      model,
      trainer: {
        objective: (scope, { factor, ...rest }) => {
          const { loss } = nextTokenObjective(model)(scope, rest)
          return { loss: { sum: loss.sum.mul(factor), count: loss.count }, scaledBy: factor.mul(1) }
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
        const { inputIds, labels } = countingBatch(1_000_000)
        const ids = { dtype: 'int32', shape: [4, SEQ] } as const
        const batch = {
          inputIds: { ...ids, data: inputIds },
          labels: { ...ids, data: labels },
          factor: { ...zero, data: Float32Array.of(1) },
        }
        const { loss } = await evaluator.mean([batch])
        evaluator.release()
        return { valLoss: loss }
      },
      files: { 'tokenizer.json': '{}' },
      saveAveraged: emaDecay > 0,
    }
  },
})
