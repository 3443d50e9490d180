/**
 * T5's two ideas (Raffel et al., 2019, arXiv 1910.10683) in a small world: every task is text to text under a prefix
 * (§2.4), and pre-training by span corruption on text without labels (§3.1.4) is what makes few labels enough. The text
 * counts: up or down, in digits, in words, or in both. The tasks ask for a number in the other notation, or for the one
 * after or before it; only a few numbers have labels.
 *
 *     4 8 , forty nine , 5 0 , …
 *     words: 4 8           → forty eight
 *     digits: forty nine   → 4 9
 *     after: 4 9           → 5 0
 *     before: fifty        → forty nine
 *
 *     jackdaw train t5/numbers --out runs/numbers
 *
 * The optimiser is AdamW, not Adafactor.
 */

import { IGNORED_LABEL } from '../../src/data/loader.ts'
import { numberWords } from '../../src/data/notations.ts'
import { StepRandom } from '../../src/data/random.ts'
import { corruptedLengths, corruptSpans, randomSpans } from '../../src/data/span-corruption.ts'
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

/** Numbers from 0 to this, less one. */
const NUMBERS = 100
/** In one text. */
const COUNTED = 14
const SENTINELS = 8
const SLOTS = 32
/** Draws of the labels and of the test are apart from those of training. */
const SPLIT_SEED = 20_190_000
/** In exact match: what pre-training must add, by the mean of the seeds. */
const AHEAD = 0.1

type Notation = (value: number) => string

const inDigits: Notation = (value) => [...`${value}`].join(' ')
const WORDS = new Set(Array.from({ length: NUMBERS }, (_, value) => numberWords(value).split(' ')).flat())
const TASKS = ['words', 'digits', 'after', 'before'] as const

const VOCABULARY = wordVocabulary(
  ['<pad>', '</s>', '<unk>'],
  [
    ...[',', ...TASKS.map((task) => `${task}:`), ...'0123456789', ...WORDS],
    // As in T5's vocabulary, the last is the first to be used.
    ...Array.from({ length: SENTINELS }, (_, i) => `<extra_id_${SENTINELS - 1 - i}>`),
  ],
)
const { idsOf, textOf } = VOCABULARY
const [PAD_ID, END_ID] = idsOf('<pad> </s>')

interface Example {
  readonly source: string
  readonly target: string
}

/** What a task asks of a number; numbers have neighbours. */
function exampleOf(task: (typeof TASKS)[number], value: number): Example {
  const [from, to] = {
    words: [inDigits, numberWords],
    digits: [numberWords, inDigits],
    after: [inDigits, inDigits],
    before: [numberWords, numberWords],
  }[task]
  const by = { words: 0, digits: 0, after: 1, before: -1 }[task]
  return { source: `${task}: ${from(value)}`, target: to(value + by) }
}

/** A text without labels: somebody counts. */
function drawText(random: StepRandom): string {
  const start = random.below(NUMBERS - COUNTED)
  const notation = [inDigits, numberWords, undefined][random.below(3)]
  const values = Array.from({ length: COUNTED }, (_, i) => start + i)
  if (random.below(2) === 0) values.reverse()
  return values.map((value) => (notation ?? [inDigits, numberWords][random.below(2)])(value)).join(' , ')
}

/** Rows of a batch, padded to the lengths of the longest. */
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

interface Shape {
  readonly source: number
  readonly target: number
}

/** Of so many numbers, two tokens each, and the commas between. */
const { inputs: source, targets: target } = corruptedLengths(3 * COUNTED - 1)
const PRETRAINING: Shape = { source, target }
/** A prefix, a number, the end. */
const TUNING: Shape = { source: 4, target: 3 }

const tokensOf = ({ source, target }: Example) => ({
  inputIds: [...idsOf(source), END_ID],
  labels: [...idsOf(target), END_ID],
})

function corrupted(random: StepRandom) {
  const ids = idsOf(drawText(random))
  const tokens = { firstSentinelId: VOCABULARY.size - 1, sentinels: SENTINELS, endTokenId: END_ID }
  return corruptSpans(ids, randomSpans(ids.length, random), tokens)
}

export default recipe({
  paper: 't5',
  claim: `four text-to-text tasks in one small T5, from 20 labels each: pre-training by span corruption adds at least ${100 * AHEAD} points of exact match to the same network from scratch, which is given as many steps as both together (three seeds)`,
  settings: {
    data: '',
    /** Of fine-tuning. */
    steps: 300,
    seed: 1337,
    seeds: 3,
    evalEvery: 100,
    checkpointEvery: 300,
    pretrainSteps: 1500,
    /** Numbers of each task that have a label. */
    labelled: 20,
    nLayers: 2,
    nHeads: 4,
    dModel: 64,
    dInner: 192,
    dropout: 0,
    batch: 32,
    pretrainLearningRate: 3e-3,
    learningRate: 1e-3,
    warmupSteps: 30,
    /** Numbers of each task in the test. */
    tests: 40,
  },
  async run({ settings, stage, trainer, steps: loopOf, log, say, save, sample, figure, claim }) {
    const { batch } = settings
    const model = new T5({
      ...{ vocabSize: VOCABULARY.size, padTokenId: PAD_ID, endTokenIds: [END_ID], dropout: settings.dropout },
      ...{ dModel: settings.dModel, dInner: settings.dInner, nLayers: settings.nLayers },
      ...{ nHeads: settings.nHeads, headDim: settings.dModel / settings.nHeads, relativeMaxDistance: 32 },
    })
    // Numbers with neighbours, in an order that is the same for every seed: first those of the test.
    const order = new StepRandom(SPLIT_SEED, 0).permutation(NUMBERS - 2)
    const numbers = Array.from(order, (value) => value + 1)
    const examples = (from: number, to: number): Record<string, Example[]> =>
      Object.fromEntries(TASKS.map((task) => [task, numbers.slice(from, to).map((value) => exampleOf(task, value))]))
    const tests = examples(0, settings.tests)
    const labelled = Object.values(examples(settings.tests, settings.tests + settings.labelled)).flat()

    const names = Array.from({ length: settings.seeds }, (_, i) => `seed${i + 1}`)
    const trainers = async (
      shape: Shape,
      { steps, learningRate }: { steps: number; learningRate: number },
      weights?: (name: string) => Map<string, TensorData>,
    ): Promise<Record<string, Trainer>> => {
      const all: Record<string, Trainer> = {}
      for (const name of names) {
        all[name] = await trainer({
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
          weights: weights?.(name),
        })
      }
      return all
    }
    const saveAll = async (students: Readonly<Record<string, Trainer>>): Promise<void> => {
      const files = { 'tokenizer.json': JSON.stringify(VOCABULARY.tokenizerJson) }
      for (const [folder, weights] of Object.entries(students)) await save({ model, weights, folder, files })
    }

    const base = await stage('span-corruption', async () => {
      const rate = { steps: settings.pretrainSteps, learningRate: settings.pretrainLearningRate }
      const students = await trainers(PRETRAINING, rate)
      const perStep = { texts: names.length * batch }
      for await (const { step } of loopOf({ steps: rate.steps, trainers: students, perStep })) {
        for (const [i, student] of Object.values(students).entries()) {
          const random = new StepRandom(settings.seed + i, step)
          log(
            await student.train(
              batchOf(
                Array.from({ length: batch }, () => corrupted(random)),
                PRETRAINING,
              ),
            ),
          )
        }
      }
      await saveAll(students)
      return undefined
    })

    /** How many answers are right, by task. */
    const examine = async (student: Trainer) => {
      const decoder = await CachedDecoder.create(model, student, { slots: SLOTS, capacity: 2 * TUNING.target })
      const all = Object.values(tests).flat()
      const said = await rollout(
        decoder,
        all.map((example) => tokensOf(example).inputIds),
        { temperature: 0, stopTokenIds: [END_ID], maxNewTokens: TUNING.target },
      )
      decoder.release()
      const texts = said.map(({ ids }) => textOf(ids.filter((id) => id !== END_ID)))
      const right = texts.map((text, i) => Number(text === all[i].target))
      const perTask = TASKS.map((_, i) => mean(right.slice(i * settings.tests, (i + 1) * settings.tests)))
      return { perTask, texts: texts.map((text, i) => ({ ...all[i], text })) }
    }
    const tune = (name: string, steps: number, weights?: (name: string) => Map<string, TensorData>) =>
      stage(name, async () => {
        const students = await trainers(TUNING, { steps, learningRate: settings.learningRate }, weights)
        /** Of every evaluation the step, and of every seed the share of right answers by task. */
        const state: { history: { step: number; seeds: number[][] }[] } = { history: [] }
        const evaluate = async () => {
          const seeds: number[][] = []
          for (const [name, student] of Object.entries(students)) {
            const { perTask, texts } = await examine(student)
            seeds.push(perTask)
            await sample(
              name,
              texts.filter((_, i) => i % 12 === 0),
            )
          }
          state.history.push({ step: students[names[0]].step, seeds })
          return { exactMatch: mean(seeds.flat()) }
        }
        // As often in all as the shorter training.
        const evalEvery = Math.round((settings.evalEvery * steps) / settings.steps)
        const perStep = { examples: names.length * batch }
        const loop = { steps, evalEvery, trainers: students, state, evaluate, perStep }
        for await (const { step } of loopOf(loop)) {
          for (const [i, student] of Object.values(students).entries()) {
            const random = new StepRandom(settings.seed + i, step)
            const rows = Array.from({ length: batch }, () => tokensOf(labelled[random.below(labelled.length)]))
            log(await student.train(batchOf(rows, TUNING)))
          }
        }
        await saveAll(students)
        return state
      })
    const tuned = await tune('fine-tuned', settings.steps, (name) => base.weights(name))
    const scratch = await tune('from-scratch', settings.pretrainSteps + settings.steps)

    // From scratch, the best evaluation of all counts: what stopping in time would give.
    const last = tuned.value.history[tuned.value.history.length - 1]
    const best = scratch.value.history.reduce((a, b) => (mean(b.seeds.flat()) > mean(a.seeds.flat()) ? b : a))
    const byTask = (seeds: readonly (readonly number[])[]) =>
      TASKS.map((_, i) => mean(seeds.map((scores) => scores[i])))
    const [withIt, without] = [byTask(last.seeds), byTask(best.seeds)]
    for (const [i, task] of TASKS.entries()) say(`${task}: ${percent(withIt[i])}, from scratch ${percent(without[i])}`)
    const line = (history: readonly { step: number; seeds: readonly (readonly number[])[] }[]) =>
      history.map(({ step, seeds }): [number, number] => [step, mean(seeds.flat())])
    figure({
      title: 'exact match over four tasks (mean of the seeds)',
      x: 'steps on labelled examples',
      lines: { 'pre-trained': line(tuned.value.history), 'from scratch': line(scratch.value.history) },
    })
    claim(
      {
        ...{ preTrained: mean(withIt), fromScratch: mean(without) },
        ...Object.fromEntries(
          TASKS.flatMap((task, i) => [
            [task, withIt[i]],
            [`${task}FromScratch`, without[i]],
          ]),
        ),
        leastOfSeeds: Math.min(...last.seeds.map(mean)),
        mostFromScratch: Math.max(...best.seeds.map(mean)),
      },
      mean(withIt) - mean(without) >= AHEAD,
    )
  },
})
