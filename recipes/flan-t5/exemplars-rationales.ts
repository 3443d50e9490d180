/**
 * Flan-T5's ablation (Chung et al., 2022, arXiv 2210.11416, §2.1 and §4) at a size where it can be run: a small gated T5 is
 * pre-trained by span corruption on arithmetic and tuned on the same word problems four times: with and without rationales
 * among the targets, with and without exemplars before the questions. Each is then asked held-out problems in four ways:
 *
 *     answer      Tom has 7 apples , finds 5 , eats 3 . How many ?   Give the answer alone.   → 9
 *     reasoning   Tom has 7 apples , finds 5 , eats 3 . How many ?   Reason step by step.
 *                 → 7 + 5 = 12 , 12 - 3 = 9 . So the answer is 9 .
 *
 * and the same behind an exemplar that is answered so.
 *
 *     jackdaw train flan-t5/exemplars-rationales --out runs/exemplars-rationales
 *
 * The optimiser is AdamW, not Adafactor; rows are padded, not packed.
 */

import { type Example, type Prompted, templatedSet } from '../../src/data/instruction/flan.ts'
import {
  ANSWER_TEMPLATES,
  collectionRates,
  drawExemplars,
  drawFromCollections,
  RATIONALE_TEMPLATES,
  withExemplars,
} from '../../src/data/instruction/flan-collection.ts'
import { IGNORED_LABEL } from '../../src/data/loader.ts'
import { StepRandom } from '../../src/data/random.ts'
import { corruptedLengths, corruptSpans, randomSpans } from '../../src/data/span-corruption.ts'
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
import { T5 } from '../../src/models/t5.ts'
import { int32 } from '../../src/nn/trace.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { crossEntropySum, type TensorData } from '../../src/tensor/index.ts'

/** In exact match over the four ways of asking: what tuning on both must be ahead of either alone and of neither. */
const AHEAD = 0.05
const TEST_SEED = 20_221_020
const SLOTS = 32
const SENTINELS = 8
/** Equations of a text of pre-training. */
const EQUATIONS = 8

/** Of single tokens: what is taken out of an equation follows from the rest. */
const SPANS = { meanSpanLength: 1 } as const

/** Words, signs and line ends, which are words, too. */
const wordsOf = (text: string): string => (text.match(/\w+|\n|[^\w\s]/g) ?? []).join(' ').replaceAll('\n', '<n>')

const VOCABULARY = wordVocabulary(
  ['<pad>', '</s>', '<unk>'],
  [
    ...new Set(
      [
        ...['<n>', 'has doubles them How many ? , . + - * =', ...PROBLEM_NAMES, ...PROBLEM_THINGS],
        ...[...PROBLEM_VERBS['+'], ...PROBLEM_VERBS['-']],
        ...Array.from({ length: LARGEST_VALUE + 1 }, (_, value) => `${value}`),
        ...[...ANSWER_TEMPLATES, ...RATIONALE_TEMPLATES].flatMap(({ input, target }) =>
          [input, target].map((text) => wordsOf(text.replaceAll(/\{\w+\}/g, ' '))),
        ),
      ]
        .flatMap((text) => text.split(' '))
        .filter((word) => word !== ''),
    ),
    ...Array.from({ length: SENTINELS }, (_, i) => `<extra_id_${SENTINELS - 1 - i}>`),
  ],
)
const { textOf } = VOCABULARY
const idsOf = (text: string): number[] => VOCABULARY.idsOf(wordsOf(text))
const [PAD_ID, END_ID] = VOCABULARY.idsOf('<pad> </s>')

const exampleOf = (problem: WordProblem): Example => ({
  fields: { question: problem.question, rationale: `${stepsOf(problem)} .`, answer: `${resultOf(problem)}` },
})

/** Whether targets have rationales, and inputs exemplars; half of them, where they do. */
const TUNINGS = {
  answers: { rationales: false, exemplars: false },
  'answers, exemplars': { rationales: false, exemplars: true },
  rationales: { rationales: true, exemplars: false },
  'rationales, exemplars': { rationales: true, exemplars: true },
} as const
const BOTH = 'rationales, exemplars'
/** How the test asks: in which template, behind how many exemplars. */
const WAYS = {
  answer: { rationales: false, exemplars: 0 },
  reasoning: { rationales: true, exemplars: 0 },
  'answer, exemplar': { rationales: false, exemplars: 1 },
  'reasoning, exemplar': { rationales: true, exemplars: 1 },
} as const
/** “Give the answer alone.”, “Reason step by step.” */
const [ASK_ANSWER, ASK_REASONING] = [2, 2]

interface Shape {
  readonly source: number
  readonly target: number
}

const tokensOf = ({ input, target }: Pick<Prompted, 'input' | 'target'>) => ({
  inputIds: [...idsOf(input), END_ID],
  labels: [...idsOf(target), END_ID],
})

/** Rows of a batch, padded. */
function batchOf(rows: readonly { inputIds: readonly number[]; labels: readonly number[] }[], shape: Shape) {
  const inputIds = new Int32Array(rows.length * shape.source).fill(PAD_ID)
  const attentionMask = new Int32Array(rows.length * shape.source)
  const labels = new Int32Array(rows.length * shape.target).fill(IGNORED_LABEL)
  for (const [i, row] of rows.entries()) {
    inputIds.set(row.inputIds, i * shape.source)
    attentionMask.fill(1, i * shape.source, i * shape.source + row.inputIds.length)
    labels.set(row.labels, i * shape.target)
  }
  return { inputIds, attentionMask, labels }
}

/** A text without labels: equations, one after another. */
function corrupted(random: StepRandom) {
  const text = Array.from({ length: EQUATIONS }, () => stepsOf(drawProblem(random, 1))).join(' , ')
  const ids = idsOf(text)
  const tokens = { firstSentinelId: VOCABULARY.size - 1, sentinels: SENTINELS, endTokenId: END_ID }
  return corruptSpans(ids, randomSpans(ids.length, random, SPANS), tokens)
}

/** The last number that is said. */
const answerIn = (text: string): number => Number(text.match(/\d+/g)?.at(-1) ?? Number.NaN)

const { inputs: source, targets: target } = corruptedLengths(6 * EQUATIONS - 1, SPANS)
const PRETRAINING: Shape = { source, target }

export default recipe({
  paper: 'flan-t5',
  claim: `a small T5 that is tuned with rationales and exemplars answers held-out problems better than one tuned with either alone or neither, over four ways of asking by ${100 * AHEAD} points at least, and with rationales it reasons where without them it does not (three seeds)`,
  settings: {
    data: '',
    /** Of each tuning. */
    steps: 500,
    seed: 1337,
    seeds: 3,
    evalEvery: 250,
    checkpointEvery: 250,
    /** Of span corruption, before. */
    pretrainSteps: 600,
    operations: 2,
    /** Problems that are trained on. */
    problems: 4000,
    nLayers: 2,
    nHeads: 4,
    dModel: 64,
    dInner: 192,
    batch: 16,
    pretrainLearningRate: 3e-3,
    learningRate: 3e-3,
    warmupSteps: 30,
    /** Problems of the test. */
    tests: 96,
  },
  async run({ settings, stage, trainer, steps: loopOf, log, say, save, sample, figure, claim }) {
    const { batch, operations } = settings
    const model = new T5({
      ...{ vocabSize: VOCABULARY.size, padTokenId: PAD_ID, endTokenIds: [END_ID], dropout: 0 },
      ...{ gated: true, activation: 'gelu_new', tieWordEmbeddings: false, relativeMaxDistance: 64 },
      ...{ dModel: settings.dModel, dInner: settings.dInner, nLayers: settings.nLayers },
      ...{ nHeads: settings.nHeads, headDim: settings.dModel / settings.nHeads },
    })
    const problems = (count: number, isTest: boolean): Example[] => {
      const random = new StepRandom(TEST_SEED, Number(isTest))
      return Array.from({ length: count }, () => exampleOf(problemOf(random, operations, isTest)))
    }
    const [taught, held] = [problems(settings.problems, false), problems(settings.tests, true)]
    const setsOf = (examples: readonly Example[]) => ({
      answers: templatedSet('answers', ['arithmetic'], examples, ANSWER_TEMPLATES),
      rationales: templatedSet('rationales', ['arithmetic'], examples, RATIONALE_TEMPLATES),
    })
    const [training, testing] = [setsOf(taught), setsOf(held)]
    const half = { weight: 0.5, cap: settings.problems }

    /** The test's prompts in a way of asking. */
    const promptsOf = ({ rationales, exemplars }: (typeof WAYS)[keyof typeof WAYS]): Prompted[] =>
      held.map((_, index) => {
        const set = rationales ? testing.rationales : testing.answers
        const template = rationales ? ASK_REASONING : ASK_ANSWER
        const prompted = set.prompt(template, index)
        const drawn = drawExemplars({ set, template, index }, exemplars, new StepRandom(TEST_SEED, 2 + index))
        return withExemplars(prompted, drawn)
      })
    const tests = Object.fromEntries(Object.entries(WAYS).map(([way, how]) => [way, promptsOf(how)]))
    const longest = (of: readonly Prompted[]) => ({
      source: Math.max(...of.map((prompted) => tokensOf(prompted).inputIds.length)),
      target: Math.max(...of.map((prompted) => tokensOf(prompted).labels.length)),
    })
    const all = [training.answers, training.rationales].flatMap((set) =>
      [...set.templates.keys()].filter((i) => !set.templates[i].inverted).map((i) => set.prompt(i, 0)),
    )
    const plain = longest([...all, ...tests.answer, ...tests.reasoning])
    const shapes = {
      plain,
      // An exemplar is a question, its answer, and two separators.
      exemplars: { ...plain, source: 2 * plain.source + plain.target + 4 },
    }
    const names = Array.from({ length: settings.seeds }, (_, i) => `seed${i + 1}`)

    /** A head of its own starts at N(0, 1) in the reference, for widths of hundreds that are trained for long: here at 1/√dModel. */
    const firstHead = (seed: number): Map<string, TensorData> => {
      const random = new StepRandom(settings.seed + seed, 0)
      const shape = [VOCABULARY.size, settings.dModel]
      const data = Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal() * settings.dModel ** -0.5)
      return new Map([['lm_head.weight', { dtype: 'float32', shape, data }]])
    }
    const trainers = async (
      shape: Shape,
      { steps, learningRate }: { steps: number; learningRate: number },
      weights?: (name: string) => Map<string, TensorData>,
    ): Promise<Record<string, Trainer>> => {
      const students: Record<string, Trainer> = {}
      for (const name of names) {
        students[name] = await trainer({
          objective: (scope, { inputIds, attentionMask, labels }) => ({
            loss: crossEntropySum(model.forward(scope, { inputIds, attentionMask, labels }).logits, labels),
          }),
          inputs: {
            inputIds: int32(batch, shape.source),
            attentionMask: int32(batch, shape.source),
            labels: int32(batch, shape.target),
          },
          learningRate: cosineSchedule(learningRate, { steps, warmupSteps: settings.warmupSteps }),
          weightDecay: 0.01,
          weights: weights?.(name) ?? firstHead(names.indexOf(name)),
          missing: 'init',
        })
      }
      return students
    }
    const saveAll = async (students: Readonly<Record<string, Trainer>>): Promise<void> => {
      const files = { 'tokenizer.json': JSON.stringify(VOCABULARY.tokenizerJson) }
      for (const [folder, weights] of Object.entries(students)) await save({ model, weights, folder, files })
    }
    /** Of every way of asking, the share of right answers, and what is written. */
    const examine = async (student: Trainer) => {
      const decoder = await CachedDecoder.create(model, student, { slots: SLOTS, capacity: plain.target + 2 })
      const scores: number[] = []
      const written: { input: string; text: string }[] = []
      for (const prompts of Object.values(tests)) {
        const sources = prompts.map((prompted) => tokensOf(prompted).inputIds)
        const options = { temperature: 0, stopTokenIds: [END_ID], maxNewTokens: plain.target }
        const texts = (await rollout(decoder, sources, options)).map(({ ids }) =>
          textOf(ids.filter((id) => id !== END_ID)),
        )
        scores.push(mean(texts.map((text, i) => Number(answerIn(text) === answerIn(prompts[i].target)))))
        written.push(...texts.slice(0, 2).map((text, i) => ({ input: prompts[i].input, text })))
      }
      decoder.release()
      return { scores, written }
    }

    const base = await stage('span-corruption', async () => {
      const rate = { steps: settings.pretrainSteps, learningRate: settings.pretrainLearningRate }
      const students = await trainers(PRETRAINING, rate)
      const perStep = { texts: names.length * batch }
      for await (const { step } of loopOf({ steps: rate.steps, trainers: students, perStep })) {
        for (const [i, student] of Object.values(students).entries()) {
          const random = new StepRandom(settings.seed + i, step)
          const rows = Array.from({ length: batch }, () => corrupted(random))
          log(await student.train(batchOf(rows, PRETRAINING)))
        }
      }
      await saveAll(students)
      return undefined
    })

    const results: Record<string, readonly (readonly number[])[]> = {}
    const lines: Record<string, [number, number][]> = {}
    for (const [name, { rationales, exemplars }] of Object.entries(TUNINGS)) {
      const collections = [
        { submixture: half, sets: [training.answers] },
        ...(rationales ? [{ submixture: half, sets: [training.rationales] }] : []),
      ]
      const rates = collectionRates(collections)
      const shares = { fewShot: exemplars ? 0.5 : 0, exemplars: 1, inversion: 0 }
      const shape = exemplars ? shapes.exemplars : shapes.plain
      const { value } = await stage(name.replace(', ', '-'), async () => {
        const students = await trainers(shape, settings, (name) => base.weights(name))
        /** Of every seed and way of asking. */
        const state: { scores: number[][]; curve: [number, number][] } = { scores: [], curve: [] }
        const evaluate = async () => {
          state.scores = []
          for (const [name, student] of Object.entries(students)) {
            const { scores, written } = await examine(student)
            state.scores.push(scores)
            await sample(name, written)
          }
          state.curve.push([students[names[0]].step, mean(state.scores.flat())])
          return { exactMatch: mean(state.scores.flat()) }
        }
        const loop = { steps: settings.steps, trainers: students, state, evaluate }
        for await (const { step } of loopOf({ ...loop, perStep: { problems: names.length * batch } })) {
          for (const [i, student] of Object.values(students).entries()) {
            const random = new StepRandom(settings.seed + i, step)
            const rows = Array.from({ length: batch }, () =>
              tokensOf(drawFromCollections(collections, rates, random, shares).prompted),
            )
            log(await student.train(batchOf(rows, shape)))
          }
        }
        await saveAll(students)
        return state
      })
      results[name] = value.scores
      lines[name] = value.curve
      say(`${name}: ${byWay(value.scores).map(percent).join(', ')} (${Object.keys(WAYS).join('; ')})`)
    }

    figure({ title: 'exact match over four ways of asking (mean of the seeds)', x: 'steps of tuning', lines })
    const over = (name: string): number => mean(results[name].flat())
    const reasoning = (name: string): number => byWay(results[name])[Object.keys(WAYS).indexOf('reasoning')]
    const others = Object.keys(TUNINGS).filter((name) => name !== BOTH)
    const table = Object.entries(results).flatMap(([name, scores]) =>
      byWay(scores).map((score, i) => [`${name}: ${Object.keys(WAYS)[i]}`, score] as const),
    )
    const isAhead = others.every((name) => over(BOTH) - over(name) >= AHEAD)
    claim(Object.fromEntries(table), isAhead && reasoning(BOTH) - reasoning('answers, exemplars') >= AHEAD)
  },
})

/** The mean of the seeds, by way of asking. */
const byWay = (scores: readonly (readonly number[])[]): number[] =>
  Object.keys(WAYS).map((_, way) => mean(scores.map((own) => own[way])))
