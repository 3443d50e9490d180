import { describe, expect, it } from 'vitest'
import { StepRandom } from '../../src/data/random.ts'
import { GPT1 } from '../../src/models/gpt1.ts'
import { trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import type { Tensor, TensorData } from '../../src/tensor/index.ts'
import {
  addTokens,
  choicesTask,
  classesTask,
  classification,
  type Example,
  entailment,
  fineTuneBatch,
  fineTuneInputs,
  fineTuneLoader,
  fineTuneObjective,
  fineTuneSplit,
  multipleChoice,
  similarity,
  similarityTask,
  type Task,
} from '../../src/train/fine-tune.ts'
import { drawnWeights, fullLogits } from '../generate/tiny.ts'
import { uniform } from '../tensor/check.ts'

const TOKENS = { start: 10, delimiter: 11, extract: 12 }
const NO_DROPOUT = { embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 }
const SIZES = { vocabSize: 13, maxPositions: 10, dModel: 8, nLayers: 1, nHeads: 2, ...NO_DROPOUT }

describe('tasks become sequences as in figure 1', () => {
  it('one text, two texts, both orders, one for each answer', () => {
    expect(classification([1, 2], TOKENS)).toEqual([[10, 1, 2, 12]])
    expect(entailment([1, 2], [3], TOKENS)).toEqual([[10, 1, 2, 11, 3, 12]])
    expect(similarity([1], [2, 3], TOKENS)).toEqual([
      [10, 1, 11, 2, 3, 12],
      [10, 2, 3, 11, 1, 12],
    ])
    expect(multipleChoice([1, 2], [[3], [4, 5], []], TOKENS)).toEqual([
      [10, 1, 2, 11, 3, 12],
      [10, 1, 2, 11, 4, 5, 12],
      [10, 1, 2, 11, 12],
    ])
  })

  it('and lie side by side in a batch, filled up', () => {
    const examples = [{ sequences: similarity([1], [2, 3], TOKENS), label: 1 }]
    const batch = fineTuneBatch(examples, similarityTask(2), { examples: 2, seq: 7 })
    expect([...batch.inputIds]).toEqual([10, 1, 11, 2, 3, 12, 0, 10, 2, 3, 11, 1, 12, 0, ...new Array(14).fill(0)])
    const following = [1, 11, 2, 3, 12, -100, -100, 2, 3, 11, 1, 12, -100, -100]
    expect([...batch.shiftLabels]).toEqual([...following, ...new Array(14).fill(-100)])
    expect([...batch.extractAt]).toEqual([5, 12, 14, 21])
    expect([...batch.labels]).toEqual([1, -100])
  })

  it('say what does not fit', () => {
    const shape = { examples: 1, seq: 3 }
    const example = { sequences: classification([1, 2], TOKENS), label: 0 }
    expect(() => fineTuneBatch([example], classesTask(2), shape)).toThrow('a sequence has 4 tokens, and seq is 3')
    expect(() => fineTuneBatch([example], choicesTask(3), shape)).toThrow('the task has 3 sequences an example, got 1')
    expect(() => fineTuneLoader([], classesTask(2), shape, 1)).toThrow('0 examples do not fill a batch of 1')
  })
})

it('an epoch has every example once, in an order that the seed gives', () => {
  const examples = Array.from({ length: 7 }, (_, i) => ({ sequences: classification([i], TOKENS), label: i }))
  const loader = (seed: number) => fineTuneLoader(examples, classesTask(7), { examples: 2, seq: 4 }, seed)
  expect(loader(1).batchesPerEpoch).toBe(3)
  const epoch = (seed: number, number: number) =>
    [0, 1, 2].flatMap((i) => [...loader(seed).batchAt(3 * number + i).labels])
  expect(new Set(epoch(1, 0)).size).toBe(6)
  expect(epoch(1, 0)).toEqual(epoch(1, 0))
  expect(epoch(1, 0)).not.toEqual(epoch(1, 1))
  expect(epoch(1, 0)).not.toEqual(epoch(2, 0))
})

/** The objective's answers on a batch, and what they are made of. */
async function evaluate(task: Task, examples: readonly Example[], lmCoef: number) {
  const model = new GPT1(SIZES)
  const shape = { examples: 3, seq: 8 }
  const features = task.kind === 'choices' ? 1 : task.count
  const weights = new Map([
    ...drawnWeights(model),
    ['classifier.weight', uniform([features, SIZES.dModel], 5, -1, 1)] as const,
    ['classifier.bias', uniform([features], 6, -1, 1)] as const,
  ])
  const [batch] = [...fineTuneSplit(examples, task, shape)]
  const objective = fineTuneObjective(model, task, { lmCoef })
  const traced = trace(
    (scope, inputs) => {
      const watched = Object.entries(objective(scope, inputs)).map(([name, value]): [string, Tensor] => {
        if (!('sum' in value && 'count' in value)) throw new Error(`${name} has no count`)
        return [name, (value.sum as Tensor).div(value.count as Tensor)]
      })
      const { lastHiddenState, logits } = model.forward(scope, { inputIds: inputs.inputIds })
      return Object.fromEntries([...watched, ['states', lastHiddenState], ['logits', logits]])
    },
    fineTuneInputs(task, shape),
  )
  const run = await compile(traced, weights)
  const { states, logits, ...answers } = await run(batch)
  run.release()
  const numbers = Object.fromEntries(Object.entries(answers).map(([name, value]) => [name, Number(value.data[0])]))
  return { answers: numbers, states: states.data, logits: logits.data, weights, batch, seq: shape.seq }
}

const logSumExp = (scores: readonly number[]): number => Math.log(scores.reduce((sum, x) => sum + Math.exp(x), 0))

const PAIRS: readonly Example[] = [
  { sequences: [[10, 1, 11, 2, 12]], label: 0 },
  { sequences: [[10, 3, 4, 5, 11, 6, 7, 12]], label: 1 },
]
const CASES: readonly [string, Task, readonly Example[]][] = [
  ['classes', classesTask(2), PAIRS],
  [
    'both orders',
    similarityTask(3),
    PAIRS.map(({ label }, i) => ({ sequences: similarity([1, i], [2], TOKENS), label })),
  ],
  [
    'choices',
    choicesTask(3),
    PAIRS.map(({ label }, i) => ({ sequences: multipleChoice([i], [[1], [2, 3], [4]], TOKENS), label: label + 1 })),
  ],
]

describe.each(CASES)('the loss of %s', (_, task, examples) => {
  it('is L₂ + λ L₁ of the paper, worked out in plain loops', async () => {
    const lmCoef = 0.5
    const { answers, states, logits, weights, batch, seq } = await evaluate(task, examples, lmCoef)
    const { dModel, vocabSize } = SIZES
    const data = (name: string) => (weights.get(name) as TensorData).data as Float32Array
    let [taskLoss, lmLoss, right] = [0, 0, 0]
    for (const [i, { label, sequences }] of examples.entries()) {
      const stateOf = sequences.map((_, k) => {
        const at = Number(batch.extractAt.data[i * sequences.length + k])
        return Array.from(states.subarray(at * dModel, (at + 1) * dModel), Number)
      })
      const read = (state: readonly number[], feature: number) =>
        state.reduce((sum, x, j) => sum + x * data('classifier.weight')[feature * dModel + j], 0) +
        data('classifier.bias')[feature]
      const summed = stateOf[0].map((_, j) => stateOf.reduce((sum, state) => sum + state[j], 0))
      const scores =
        task.kind === 'choices'
          ? stateOf.map((state) => read(state, 0))
          : Array.from({ length: task.count }, (_, feature) => read(summed, feature))
      taskLoss += logSumExp(scores) - scores[label]
      right += Number(scores.indexOf(Math.max(...scores)) === label)
      const perSequence = sequences.map((ids, k) => {
        const losses = ids.slice(1).map((id, t) => {
          const at = ((i * sequences.length + k) * seq + t) * vocabSize
          const row = Array.from(logits.subarray(at, at + vocabSize), Number)
          return logSumExp(row) - row[id]
        })
        return losses.reduce((a, b) => a + b) / losses.length
      })
      lmLoss += perSequence.reduce((a, b) => a + b) / perSequence.length
    }
    const count = examples.length
    expect(answers.task).toBeCloseTo(taskLoss / count, 4)
    expect(answers.languageModel).toBeCloseTo(lmLoss / count, 4)
    expect(answers.loss).toBeCloseTo((taskLoss + lmCoef * lmLoss) / count, 4)
    expect(answers.accuracy).toBeCloseTo(right / count, 6)
    const alone = await evaluate(task, examples, 0)
    expect(alone.answers.loss).toBeCloseTo(taskLoss / count, 4)
    expect(Object.keys(alone.answers)).toEqual(['loss', 'accuracy'])
  })
})

it('two texts are as similar in one order as in the other', async () => {
  const task = similarityTask(2)
  const lossOf = async (a: number[], b: number[]) =>
    (await evaluate(task, [{ sequences: similarity(a, b, TOKENS), label: 1 }], 0)).answers.loss
  expect(await lossOf([1, 2], [3])).toBeCloseTo(await lossOf([3], [1, 2]), 6)
})

it('new tokens come after those of a vocabulary, which stay as they were', async () => {
  const table = 'transformer.tokens_embed.weight'
  const [before, after] = [new GPT1({ ...SIZES, vocabSize: 10 }), new GPT1(SIZES)]
  const weights = drawnWeights(before)
  const extended = addTokens(weights, [table], 3, 7)
  expect(extended.get(table)?.shape).toEqual([13, SIZES.dModel])
  const rows = ((extended.get(table) as TensorData).data as Float32Array).subarray(10 * SIZES.dModel)
  const deviation = Math.sqrt(rows.reduce((sum, x) => sum + x * x, 0) / rows.length)
  expect(deviation).toBeGreaterThan(0.01)
  expect(deviation).toBeLessThan(0.03)
  const [old, own] = [await fullLogits(before, weights, [1, 2, 3]), await fullLogits(after, extended, [1, 2, 3])]
  for (const [i, logits] of old.entries()) expect(own[i].subarray(0, 10)).toEqual(logits)
  expect(() => addTokens(weights, ['lm_head.weight'], 1, 1)).toThrow('there is no table lm_head.weight')
})

describe('a small network learns, on examples that it has not seen,', () => {
  const word = (random: StepRandom) => random.below(10)
  /** An example a draw, of words from 0 to 9. */
  const tasks: readonly [string, Task, (random: StepRandom) => Example][] = [
    [
      'which class a text is of',
      classesTask(2),
      (random) => {
        const text = [word(random), word(random)]
        return { sequences: classification(text, TOKENS), label: Number(text[0] < 5) }
      },
    ],
    [
      'whether one text follows from another',
      classesTask(2),
      (random) => {
        const [premise, hypothesis] = [word(random), word(random)]
        return { sequences: entailment([premise], [hypothesis], TOKENS), label: Number(premise > hypothesis) }
      },
    ],
    [
      'what two texts are together',
      similarityTask(2),
      (random) => {
        const [a, b] = [word(random), word(random)]
        return { sequences: similarity([a], [b], TOKENS), label: Number(a + b > 9) }
      },
    ],
    [
      'which answer is right',
      choicesTask(3),
      (random) => {
        const first = random.below(8)
        const answers = [first, first + 1, first + 2]
        const label = random.below(3)
        return {
          sequences: multipleChoice(
            [answers[label]],
            answers.map((id) => [id]),
            TOKENS,
          ),
          label,
        }
      },
    ],
  ]
  it.each(tasks)('%s', async (_, task, draw) => {
    const model = new GPT1({ ...SIZES, dModel: 32, nLayers: 2 })
    const shape = { examples: 32, seq: 5 }
    const trainer = await Trainer.create({
      objective: fineTuneObjective(model, task, { dropout: 0 }),
      inputs: fineTuneInputs(task, shape),
      learningRate: constantSchedule(3e-3, { warmupSteps: 10 }),
      weightDecay: 0.01,
    })
    const random = new StepRandom(3, 1)
    const examples = (count: number) => Array.from({ length: count }, () => draw(random))
    for (let step = 0; step < 400; step++) await trainer.train([{ ...fineTuneBatch(examples(32), task, shape) }])
    const evaluator = await trainer.evaluator()
    const { accuracy } = await evaluator.mean(fineTuneSplit(examples(150), task, shape))
    evaluator.release()
    trainer.release()
    expect(accuracy).toBeGreaterThan(0.9)
  })
})

it('an example that only fills a batch up does not count', async () => {
  const full = await evaluate(classesTask(2), PAIRS, 0.5)
  const twice = await evaluate(classesTask(2), [PAIRS[0]], 0.5)
  const other = await evaluate(classesTask(2), [PAIRS[1]], 0.5)
  expect(full.answers.loss).toBeCloseTo((twice.answers.loss + other.answers.loss) / 2, 5)
})
