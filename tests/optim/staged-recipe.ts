import { recipe } from '../../src/optim/recipe.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { countingBatch, tinyOptions } from './tiny.ts'

/** Two stages; the second has two trainers, one of which takes two of its steps in one of the loop, and a coefficient. */
export default recipe({
  paper: 'staged',
  claim: 'two models learn from one that learned before them',
  curve: ['coefficient'],
  settings: {
    data: '',
    steps: 40,
    seed: 5,
    evalEvery: 10,
    checkpointEvery: 6,
  },
  async run({ settings, stage, trainer, trainLoop, steps, log, sample, picture, save, claim }) {
    const options = tinyOptions({ dropout: 0.1 }, { learningRate: constantSchedule(3e-3) })
    const { model } = options

    const teacher = await stage('teacher', async () => {
      const perStep = { tokens: 64 }
      const batches = countingBatch
      await trainLoop({ trainer: await trainer(options), steps: settings.steps, batches, perStep, save: { model } })
      return { taught: settings.steps }
    })
    log({ taught: teacher.value.taught })

    const students = await stage('students', async () => {
      const weights = teacher.weights()
      const [policy, value] = [await trainer({ ...options, weights }), await trainer({ ...options, beta1: 0.8 })]
      const evaluate = async () => ({ policyStep: policy.step, valueStep: value.step })
      const trainers = { policy, value }
      for await (const { step, state, random } of steps({
        ...{ steps: settings.steps, trainers, evaluate },
        state: { coefficient: 1, drawn: 0 },
      })) {
        state.drawn = random.below(1000)
        for (let epoch = 0; epoch < 2; epoch++) log(await policy.train(countingBatch(state.drawn + epoch)))
        const { loss } = await value.train(countingBatch(step))
        state.coefficient *= loss > 2 ? 1.01 : 0.99
        log({ coefficient: state.coefficient, drawn: state.drawn })
        if (step % 10 === 9) await sample('draws', [{ drawn: state.drawn }, 'a text'])
      }
      const pixels = Float32Array.from({ length: 2 * 3 * 4 * 5 }, (_, i) => Math.sin(i))
      await picture('noise', { dtype: 'float32', shape: [2, 3, 4, 5], data: pixels })
      await save({ model, weights: policy, folder: 'policy' })
      await save({ model, weights: value, folder: 'value' })
      return undefined
    })

    await save({ model, weights: students.weights('policy') })
    claim({ taught: teacher.value.taught }, true)
  },
})
