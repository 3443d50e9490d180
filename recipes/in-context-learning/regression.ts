/**
 * Learning in context (Brown et al., 2020, arXiv 2005.14165, §2.1) where it can be measured: a small GPT-2 reads
 * x₁, y₁, x₂, y₂, … of a linear function that it has never met, and says each y before it is told (the task is that of
 * Garg et al., 2022, arXiv 2208.01066). The weights stay as they are; what falls with every demonstration is the error.
 * Beside it the best there is: ridge regression on the same demonstrations, which knows how functions are drawn.
 *
 *     jackdaw train in-context-learning/regression --out runs/regression
 */

import { StepRandom } from '../../src/data/random.ts'
import { mean } from '../../src/eval/statistics.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { normal as normalInit } from '../../src/nn/initializers.ts'
import { linear } from '../../src/nn/layers.ts'
import type { Scope } from '../../src/nn/scope.ts'
import { float32, trace } from '../../src/nn/trace.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { slice, squaredError, type Tensor, tensorData } from '../../src/tensor/index.ts'

/** Sequences of the test go through the model so many at a time. */
const TEST_BATCH = 256
/** Draws of the test are apart from those of training. */
const TEST_SEED = 20_250_000
/** How far above ridge regression the error may be after all demonstrations, in units of the variance of y. */
const NEAR = 0.03

interface Sizes {
  readonly dims: number
  readonly demonstrations: number
  /** Standard deviation of what is added to y. */
  readonly noise: number
}

/** Pairs of one function, w ~ N(0, 1/dims): y = w·x + noise. The last pair is the query. */
interface Task {
  /** [pairs][dims] */
  readonly xs: readonly Float64Array[]
  readonly ys: Float64Array
  /** w·x: y without its noise. */
  readonly truths: Float64Array
}

/** A standard normal draw (Box and Muller, 1958). */
const normal = (random: StepRandom): number =>
  Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform())

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i], 0)

function drawTask(random: StepRandom, { dims, demonstrations, noise }: Sizes): Task {
  const vector = (scale: number) => Float64Array.from({ length: dims }, () => scale * normal(random))
  const weights = vector(dims ** -0.5)
  const xs = Array.from({ length: demonstrations + 1 }, () => vector(1))
  const truths = Float64Array.from(xs, (x) => dot(weights, x))
  return { xs, truths, ys: truths.map((truth) => truth + noise * normal(random)) }
}

/** The labels of the first `count` pairs each one place on: every demonstration has another's. */
const shuffled = ({ xs, ys, truths }: Task, count: number): Task => ({
  ...{ xs, truths },
  ys: ys.map((y, i) => (i < count ? ys[(i + 1) % count] : y)),
})

/** What ridge regression on the first `count` pairs says of the next: the mean of the posterior, so nothing is better. */
function ridgeAnswer({ xs, ys }: Task, count: number, { dims, noise }: Sizes): number {
  // (XᵀX + λI) w = Xᵀy with λ = σ² / var(w), by elimination: the matrix is positive definite.
  const rows = Array.from({ length: dims }, (_, i) => {
    const row = new Float64Array(dims + 1)
    row[i] = noise ** 2 * dims
    for (let n = 0; n < count; n++) {
      for (let j = 0; j < dims; j++) row[j] += xs[n][i] * xs[n][j]
      row[dims] += xs[n][i] * ys[n]
    }
    return row
  })
  for (let i = 0; i < dims; i++) {
    for (let k = i + 1; k < dims; k++) {
      const factor = rows[k][i] / rows[i][i]
      for (let j = i; j <= dims; j++) rows[k][j] -= factor * rows[i][j]
    }
  }
  const weights = new Float64Array(dims)
  for (let i = dims - 1; i >= 0; i--)
    weights[i] = (rows[i][dims] - dot(rows[i].subarray(0, dims), weights)) / rows[i][i]
  return dot(weights, xs[count])
}

/** [tasks, 2 · pairs − 1, dims + 1]: x as (x, 0), y as (0, y). The query's y is not told. */
function tokensOf(tasks: readonly Task[], { dims, demonstrations }: Sizes): Float32Array {
  const width = dims + 1
  const tokens = new Float32Array(tasks.length * (2 * demonstrations + 1) * width)
  for (const [t, { xs, ys }] of tasks.entries()) {
    for (const [i, x] of xs.entries()) {
      const at = (t * (2 * demonstrations + 1) + 2 * i) * width
      tokens.set(x, at)
      if (i < demonstrations) tokens[at + width + dims] = ys[i]
    }
  }
  return tokens
}

export default recipe({
  paper: 'in-context-learning',
  claim: `the error of a small GPT-2 falls with every demonstration at fixed weights, to within ${NEAR} of ridge regression; shuffled labels hurt (three seeds)`,
  settings: {
    data: '',
    steps: 2500,
    seed: 1337,
    seeds: 3,
    evalEvery: 500,
    checkpointEvery: 500,
    dims: 3,
    demonstrations: 10,
    noise: 0.2,
    nLayers: 3,
    nHeads: 4,
    dModel: 64,
    batch: 64,
    learningRate: 2e-3,
    warmupSteps: 100,
    /** Functions of the test. */
    tests: 2048,
  },
  async run({ settings, trainer, steps, log, say, save, figure, claim }) {
    const { dims, demonstrations, dModel, batch } = settings
    const seq = 2 * demonstrations + 1
    // A vocabulary of one: the logit is the answer.
    const model = new GPT2({
      ...{ vocabSize: 1, maxPositions: seq, dModel, nLayers: settings.nLayers, nHeads: settings.nHeads },
      ...{ embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 },
      // 0.02 is for widths of hundreds: at this one attention would start flat, and stay so for long.
      initializerRange: dModel ** -0.5,
    })
    const readIn = (scope: Scope, tokens: Tensor): Tensor =>
      linear(scope, tokens, dModel, { init: normalInit((dims + 1) ** -0.5) })
    /** What is said after each x: [batch, pairs] */
    const answers = (scope: Scope, tokens: Tensor): Tensor => {
      const { logits } = model.forward(scope, { inputsEmbeds: readIn(scope.at('read_in'), tokens) })
      return slice(logits, { axis: 1, step: 2 }).reshape([-1, demonstrations + 1])
    }
    const tasksOf = (seed: number, step: number, count: number): Task[] => {
      const random = new StepRandom(seed, step)
      return Array.from({ length: count }, () => drawTask(random, settings))
    }

    const students = new Map<string, Trainer>()
    for (let i = 0; i < settings.seeds; i++) {
      const student = await trainer({
        objective: (scope, { tokens, ys }) => ({ loss: squaredError(answers(scope, tokens), ys) }),
        inputs: { tokens: float32(batch, seq, dims + 1), ys: float32(batch, demonstrations + 1) },
        learningRate: cosineSchedule(settings.learningRate, settings),
        weightDecay: 0,
        beta2: 0.99,
      })
      students.set(`seed${i + 1}`, student)
    }

    const tests = tasksOf(TEST_SEED, 0, settings.tests)
    /** Squared error against w·x after `count` demonstrations, as a share of the variance of y. */
    const meanError = (tasks: readonly Task[], count: number, answer: (task: Task, i: number) => number): number =>
      tasks.reduce((sum, task, i) => sum + (answer(task, i) - task.truths[count]) ** 2, 0) / tasks.length
    /** Of one student: what it answers after every x of the tasks. */
    const asked = async (student: Trainer) => {
      const tokens = float32('batch', seq, dims + 1)
      const run = await compile(
        trace((scope, inputs) => ({ ys: answers(scope, inputs.tokens) }), { tokens }),
        student,
      )
      const ask = async (tasks: readonly Task[]): Promise<Float32Array> => {
        const all = new Float32Array(tasks.length * (demonstrations + 1))
        for (let start = 0; start < tasks.length; start += TEST_BATCH) {
          const some = tasks.slice(start, start + TEST_BATCH)
          const shape = [some.length, seq, dims + 1]
          const { ys } = await run({ tokens: tensorData('float32', shape, tokensOf(some, settings)) })
          all.set(ys.data as Float32Array, start * (demonstrations + 1))
        }
        return all
      }
      return { ask, release: () => run.release() }
    }
    const errorsOf = (tasks: readonly Task[], said: Float32Array): number[] =>
      Array.from({ length: demonstrations + 1 }, (_, count) =>
        meanError(tasks, count, (_, i) => said[i * (demonstrations + 1) + count]),
      )

    const evaluate = async () => {
      const lasts: number[] = []
      for (const student of students.values()) {
        const { ask, release } = await asked(student)
        const few = tests.slice(0, 2 * TEST_BATCH)
        lasts.push(errorsOf(few, await ask(few))[demonstrations])
        release()
      }
      return { [`errorAfter${demonstrations}`]: mean(lasts) }
    }
    const loop = { steps: settings.steps, trainers: Object.fromEntries(students), evaluate }
    for await (const { step } of steps({ ...loop, perStep: { functions: settings.seeds * batch } })) {
      for (const [i, student] of [...students.values()].entries()) {
        const tasks = tasksOf(settings.seed + i, step, batch)
        const ys = Float32Array.from(tasks.flatMap(({ ys }) => [...ys]))
        log(await student.train({ tokens: tokensOf(tasks, settings), ys }))
      }
    }

    say('testing, with the labels and with shuffled ones')
    const counts = Array.from({ length: demonstrations + 1 }, (_, count) => count)
    const [right, wrong]: number[][][] = [[], []]
    for (const student of students.values()) {
      const { ask, release } = await asked(student)
      right.push(errorsOf(tests, await ask(tests)))
      const errors: number[] = []
      for (const count of counts) {
        const tasks = tests.map((task) => shuffled(task, count))
        errors.push(errorsOf(tasks, await ask(tasks))[count])
      }
      wrong.push(errors)
      release()
    }
    const best = counts.map((count) => meanError(tests, count, (task) => ridgeAnswer(task, count, settings)))
    const over = (of: readonly number[][]) => counts.map((count) => mean(of.map((errors) => errors[count])))
    const [model3, shuffled3] = [over(right), over(wrong)]
    figure({
      title: 'error after K demonstrations, as a share of the variance of y',
      x: 'K',
      lines: {
        'GPT-2': counts.map((count) => [count, model3[count]]),
        'ridge regression': counts.map((count) => [count, best[count]]),
        'GPT-2, labels shuffled': counts.map((count) => [count, shuffled3[count]]),
      },
    })

    const [first] = students.values()
    const weights = await first.weights()
    const projection = Object.fromEntries(
      ['weight', 'bias'].map((name) => [name, Array.from(weights.get(`read_in.${name}`)?.data ?? [])]),
    )
    await save({ model, weights, files: { 'read-in.json': JSON.stringify(projection) } })

    const falls = counts.slice(1).every((count) => model3[count] < model3[count - 1])
    const near = right.every((errors) => errors[demonstrations] - best[demonstrations] <= NEAR)
    const hurts = counts.slice(2).every((count) => right.every((errors, i) => errors[count] < wrong[i][count]))
    const told = [1, dims, demonstrations].map(
      (count): Record<string, number> => ({
        ...{ [`error${count}`]: model3[count], [`ridge${count}`]: best[count], [`shuffled${count}`]: shuffled3[count] },
      }),
    )
    claim(Object.assign({}, ...told), falls && near && hurts)
  },
})
