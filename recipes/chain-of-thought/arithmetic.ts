/**
 * Chain of thought (Wei et al., 2022, arXiv 2201.11903) at a size where it has to be taught: a small LLaMA that knows
 * single steps of arithmetic is fine-tuned on the same problems of several steps, answered in five ways (§3.3, figure 5):
 *
 *     standard          A: The answer is 18 .
 *     chain of thought  A: 7 + 5 = 12 , 12 - 3 = 9 , 9 * 2 = 18 . The answer is 18 .
 *     equation only     A: ( ( 7 + 5 ) - 3 ) * 2 = 18 . The answer is 18 .
 *     dots only         A: . . . . . . The answer is 18 .      (as many as the chain of thought has tokens)
 *     reasoning after   A: The answer is 18 , 7 + 5 = 12 , 12 - 3 = 9 , 9 * 2 = 18 .
 *
 *     jackdaw train chain-of-thought/arithmetic --out runs/arithmetic
 */

import { IGNORED_LABEL } from '../../src/data/loader.ts'
import { StepRandom } from '../../src/data/random.ts'
import {
  drawProblem,
  LARGEST_VALUE,
  PROBLEM_NAMES,
  PROBLEM_THINGS,
  PROBLEM_VERBS,
  problemOf,
  resultOf,
  stepsOf,
  type WordProblem,
} from '../../src/data/word-problems.ts'
import { wordVocabulary } from '../../src/data/word-tokenizer.ts'
import { mean, percent } from '../../src/eval/statistics.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { rollout } from '../../src/generate/rollout.ts'
import { Llama } from '../../src/models/llama.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import type { TensorData } from '../../src/tensor/index.ts'

/** Draws of the test are apart from those of training. */
const TEST_SEED = 20_220_000
/** Answers that are written at a time. */
const SLOTS = 32
/** In exact match: what the chain of thought must be ahead of every other way, by the mean of the seeds. */
const AHEAD = 0.2

const NUMBERS = Array.from({ length: LARGEST_VALUE + 1 }, (_, i) => `${i}`)
const WORDS = words(
  `Q: A: has , . How many? doubles them The answer is + - * = ( )`,
  [...PROBLEM_NAMES, ...PROBLEM_THINGS, ...PROBLEM_VERBS['+'], ...PROBLEM_VERBS['-'], ...NUMBERS].join(' '),
)
const VOCABULARY = wordVocabulary(['<pad>', '<end>', '<unk>'], WORDS)
const { idsOf, textOf } = VOCABULARY
const [PAD_ID, END_ID] = idsOf('<pad> <end>')

function words(...texts: string[]): string[] {
  return texts.flatMap((text) => text.split(' '))
}

const asked = ({ question }: WordProblem): string => `Q: ${question} A:`

/** What stands after `A:`. */
const WAYS: Readonly<Record<string, (problem: WordProblem) => string>> = {
  standard: (problem) => `The answer is ${resultOf(problem)} .`,
  'chain-of-thought': (problem) => `${stepsOf(problem)} . The answer is ${resultOf(problem)} .`,
  'equation-only': (problem) => {
    const { start, operations } = problem
    const whole = operations.reduce(
      (left, { sign, by }, i) => (i === 0 ? `${left} ${sign} ${by}` : `( ${left} ) ${sign} ${by}`),
      `${start}`,
    )
    return `${whole} = ${resultOf(problem)} . The answer is ${resultOf(problem)} .`
  },
  'dots-only': (problem) =>
    `${words(stepsOf(problem))
      .map(() => '.')
      .join(' ')} . The answer is ${resultOf(problem)} .`,
  'reasoning-after': (problem) => `The answer is ${resultOf(problem)} , ${stepsOf(problem)} .`,
}

/** The number after the last `The answer is` (§3.1). */
function answerIn(ids: readonly number[]): number {
  const [the, answer, is] = idsOf('The answer is')
  const at = ids.findLastIndex((id, i) => id === the && ids[i + 1] === answer && ids[i + 2] === is)
  return at < 0 ? Number.NaN : Number(textOf(ids.slice(at + 3, at + 4)))
}

/** Rows of a batch: questions are read, what stands after them is learned. */
function batchOf(texts: readonly { question: string; answer: string }[], seq: number) {
  const inputIds = new Int32Array(texts.length * seq).fill(PAD_ID)
  const shiftLabels = new Int32Array(texts.length * seq).fill(IGNORED_LABEL)
  for (const [row, { question, answer }] of texts.entries()) {
    const asked = question === '' ? [] : idsOf(question)
    const ids = [...asked, ...idsOf(answer), END_ID]
    inputIds.set(ids.slice(0, -1), row * seq)
    for (let t = Math.max(asked.length - 1, 0); t < ids.length - 1; t++) shiftLabels[row * seq + t] = ids[t + 1]
  }
  return { inputIds, shiftLabels }
}

const tokensIn = (problem: WordProblem, answer: string): number => idsOf(`${asked(problem)} ${answer}`).length

export default recipe({
  paper: 'chain-of-thought',
  claim: `fine-tuned on problems of several steps, a small LLaMA solves ${100 * AHEAD} points more of those it has not seen with chains of thought than with any of: no rationale, the equation only, dots only, the reasoning after the answer (three seeds)`,
  settings: {
    data: '',
    /** Of each fine-tuning. */
    steps: 400,
    seed: 1337,
    seeds: 3,
    evalEvery: 100,
    checkpointEvery: 100,
    /** Single steps, before. */
    pretrainSteps: 600,
    operations: 4,
    nLayers: 2,
    nHeads: 4,
    dModel: 64,
    dInner: 192,
    batch: 32,
    pretrainLearningRate: 3e-3,
    learningRate: 1.5e-3,
    warmupSteps: 30,
    /** Problems of the test. */
    tests: 200,
  },
  async run({ settings, stage, trainer, steps: loopOf, log, say, save, sample, figure, claim }) {
    const { batch, operations } = settings
    const random = new StepRandom(TEST_SEED, 0)
    const tests = Array.from({ length: settings.tests }, () => problemOf(random, operations, true))
    const longest = Math.max(...Object.values(WAYS).map((write) => tokensIn(tests[0], write(tests[0]))))
    const model = new Llama({
      ...{ vocabSize: VOCABULARY.size, maxPositions: longest + 1, tieWordEmbeddings: true },
      ...{ dModel: settings.dModel, dInner: settings.dInner, nLayers: settings.nLayers, nHeads: settings.nHeads },
      ...{ endTokenIds: [END_ID], initializerRange: settings.dModel ** -0.5 },
    })
    const names = Array.from({ length: settings.seeds }, (_, i) => `seed${i + 1}`)
    const trainers = async (
      options: { seq: number; steps: number; learningRate: number },
      weights: (name: string) => Map<string, TensorData> | undefined,
    ): Promise<Record<string, Trainer>> => {
      const all: Record<string, Trainer> = {}
      for (const name of names) {
        all[name] = await trainer({
          objective: nextTokenObjective(model),
          inputs: languageModelInputs(batch, options.seq),
          learningRate: cosineSchedule(options.learningRate, { ...options, warmupSteps: settings.warmupSteps }),
          weights: weights(name),
        })
      }
      return all
    }
    /** What students write after the questions, and how many of the answers are right. */
    const examine = async (student: Trainer, problems: readonly WordProblem[]) => {
      const decoder = await CachedDecoder.create(model, student, { slots: SLOTS })
      const prompts = problems.map((problem) => idsOf(asked(problem)))
      const answers = await rollout(decoder, prompts, { temperature: 0, stopTokenIds: [END_ID], maxNewTokens: longest })
      decoder.release()
      const right = answers.filter(({ ids }, i) => answerIn(ids) === resultOf(problems[i]))
      return { exact: right.length / problems.length, written: answers.map(({ ids }) => ids) }
    }
    const saveAll = async (students: Readonly<Record<string, Trainer>>): Promise<void> => {
      const files = { 'tokenizer.json': JSON.stringify(VOCABULARY.tokenizerJson) }
      for (const [folder, weights] of Object.entries(students)) await save({ model, weights, folder, files })
    }

    // What a language model brings along: single steps, as bare facts and as stories.
    const base = await stage('pretraining', async () => {
      const problem = problemOf(random, 1, false)
      const seq = tokensIn(problem, WAYS.standard(problem))
      const students = await trainers(
        { ...settings, seq, steps: settings.pretrainSteps, learningRate: settings.pretrainLearningRate },
        () => undefined,
      )
      const draws = new StepRandom(TEST_SEED, 1)
      const single = tests.map(() => drawProblem(draws, 1))
      const state: { scores: number[] } = { scores: [] }
      const evaluate = async () => {
        state.scores = []
        for (const student of Object.values(students)) state.scores.push((await examine(student, single)).exact)
        return { exactMatch: mean(state.scores) }
      }
      const loop = { steps: settings.pretrainSteps, evalEvery: 0, trainers: students, state, evaluate }
      for await (const { step } of loopOf({ ...loop, perStep: { problems: names.length * batch } })) {
        for (const [i, student] of Object.values(students).entries()) {
          const random = new StepRandom(settings.seed + i, step)
          const texts = Array.from({ length: batch }, (_, row) => {
            const problem = drawProblem(random, 1)
            if (row % 2 === 0) return { question: asked(problem), answer: WAYS.standard(problem) }
            const facts = [problem, drawProblem(random, 1), drawProblem(random, 1)].map(stepsOf)
            return { question: '', answer: `${facts.join(' , ')}` }
          })
          log(await student.train(batchOf(texts, seq)))
        }
      }
      await saveAll(students)
      return state.scores
    })
    say(`single steps: ${percent(mean(base.value))} right`)

    const curves: Record<string, [number, number][]> = {}
    const exact: Record<string, readonly number[]> = {}
    for (const [way, write] of Object.entries(WAYS)) {
      const { value } = await stage(way, async () => {
        const seq = tokensIn(tests[0], write(tests[0]))
        const students = await trainers({ ...settings, seq }, (name) => base.weights(name))
        const state: { curve: [number, number][]; scores: number[] } = { curve: [], scores: [] }
        const evaluate = async () => {
          state.scores = []
          for (const [name, student] of Object.entries(students)) {
            const { exact, written } = await examine(student, tests)
            state.scores.push(exact)
            await sample(
              name,
              written.slice(0, 5).map((ids, i) => ({ question: asked(tests[i]), text: textOf(ids) })),
            )
          }
          state.curve.push([students[names[0]].step, mean(state.scores)])
          return { exactMatch: mean(state.scores) }
        }
        const loop = { steps: settings.steps, trainers: students, state, evaluate }
        for await (const { step } of loopOf({ ...loop, perStep: { problems: names.length * batch } })) {
          for (const [i, student] of Object.values(students).entries()) {
            const random = new StepRandom(settings.seed + i, step)
            const texts = Array.from({ length: batch }, () => {
              const problem = problemOf(random, operations, false)
              return { question: asked(problem), answer: write(problem) }
            })
            log(await student.train(batchOf(texts, seq)))
          }
        }
        await saveAll(students)
        return state
      })
      curves[way] = value.curve
      exact[way] = value.scores
      say(`${way}: ${value.scores.map(percent).join(', ')} right`)
    }

    const { 'chain-of-thought': chains, ...others } = exact
    figure({ title: 'exact match on held-out problems (mean of the seeds)', x: 'steps of fine-tuning', lines: curves })
    const measured = Object.entries(exact).map(([way, scores]) => [way, mean(scores)] as const)
    const holds = Object.values(others).every((scores) => mean(chains) - mean(scores) >= AHEAD)
    claim({ ...Object.fromEntries(measured), leastOfChains: Math.min(...chains) }, holds)
  },
})
