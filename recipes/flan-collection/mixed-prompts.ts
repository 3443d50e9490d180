/**
 * The Flan Collection's mixed prompts (Longpre et al., 2023, arXiv 2301.13688, §3.2) in the small world of
 * flan/unseen-cluster: one base model is tuned on the same questions three times, asked without exemplars, with one, and in
 * halves. Each is then measured in both ways on a property that no instruction was about, in wordings that no template of
 * training has. Options are told in half of the prompts, and tasks are inverted at the paper's rate.
 *
 *     zero-shot   what is the home of the owl ?    OPTIONS: …   → cave
 *     few-shot    what is the home of the fox ?    OPTIONS: …   forest     what is the home of the owl ?    OPTIONS: …   → cave
 *
 *     jackdaw train flan-collection/mixed-prompts --out runs/mixed-prompts
 */

import { mixingRates, type Prompted, unseenSplit } from '../../src/data/instruction/flan.ts'
import {
  drawExemplars,
  drawFromCollections,
  SUBMIXTURES,
  withExemplars,
} from '../../src/data/instruction/flan-collection.ts'
import {
  askedIds,
  drawText,
  FACTS_VOCABULARY,
  factsBatch,
  factsIds,
  factsSet,
  PROPERTY_NAMES,
  type Property,
} from '../../src/data/instruction/made-up-facts.ts'
import { StepRandom } from '../../src/data/random.ts'
import { type RankedQuestion, rankClassification } from '../../src/eval/rank-classification.ts'
import { mean, percent } from '../../src/eval/statistics.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { Llama } from '../../src/models/llama.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import type { TensorData } from '../../src/tensor/index.ts'

/** In accuracy over both ways of asking: what mixed prompts must be ahead of either kind alone, by the mean of the seeds. */
const AHEAD = 0.03
const SLOTS = 32
const TEST_SEED = 20_230_131
/** Exemplars of a few-shot prompt. */
const EXEMPLARS = 1

/** Of the prompts, how many have exemplars. */
const TRAININGS = { 'zero-shot': 0, 'few-shot': 1, mixed: 0.5 } as const

const asked = ({ input, target, options = [] }: Prompted): RankedQuestion => ({
  contextIds: askedIds(input),
  options: options.map((option) => factsIds(option)),
  answer: options.indexOf(target),
})

export default recipe({
  paper: 'flan-collection',
  claim: `tuned on zero-shot and few-shot prompts in halves, a small LLaMA answers more questions of an unseen cluster than tuned on either kind alone, over both ways of asking by ${100 * AHEAD} points at least (three seeds; by rank classification)`,
  settings: {
    data: '',
    /** Of each tuning. */
    steps: 250,
    seed: 1337,
    seeds: 3,
    evalEvery: 125,
    checkpointEvery: 125,
    /** On text alone, before. */
    pretrainSteps: 300,
    /** The property that is held out. */
    cluster: 'home',
    /** Facts of a text. */
    facts: 6,
    seq: 76,
    zeroShotSeq: 40,
    nLayers: 2,
    nHeads: 4,
    dModel: 64,
    dInner: 192,
    batch: 24,
    pretrainLearningRate: 3e-3,
    learningRate: 2e-3,
    warmupSteps: 30,
    /** Questions of the test, in either way. */
    tests: 96,
  },
  async run({ settings, stage, trainer, steps: loopOf, log, say, save, sample, figure, claim }) {
    const { batch, seq } = settings
    const model = new Llama({
      ...{ vocabSize: FACTS_VOCABULARY.size, maxPositions: seq + 16, tieWordEmbeddings: true },
      ...{ dModel: settings.dModel, dInner: settings.dInner, nLayers: settings.nLayers, nHeads: settings.nHeads },
      initializerRange: settings.dModel ** -0.5,
    })
    const sets = PROPERTY_NAMES.map((property) => factsSet(property, 'training'))
    const { train } = unseenSplit(sets, settings.cluster)
    const collections = [{ submixture: SUBMIXTURES.flan2021, sets: train }]
    const rates = mixingRates(train.map(({ size }) => size))
    const fits = (input: string): boolean => askedIds(input).length + 2 <= seq

    const unseen = factsSet(settings.cluster as Property, 'other')
    const order = new StepRandom(TEST_SEED, 0).permutation(unseen.size)
    const tests = Array.from({ length: settings.tests }, (_, i) => {
      const [template, index] = [i % unseen.templates.length, order[i % order.length]]
      const prompted = unseen.prompt(template, index)
      const exemplars = drawExemplars({ set: unseen, template, index }, EXEMPLARS, new StepRandom(TEST_SEED, 1 + i))
      return { 'zero-shot': prompted, 'few-shot': withExemplars(prompted, exemplars) }
    })
    const names = Array.from({ length: settings.seeds }, (_, i) => `seed${i + 1}`)

    const trainers = async (
      { steps, learningRate, seq }: { steps: number; learningRate: number; seq: number },
      weights?: (name: string) => Map<string, TensorData>,
    ): Promise<Record<string, Trainer>> => {
      const all: Record<string, Trainer> = {}
      for (const name of names) {
        all[name] = await trainer({
          objective: nextTokenObjective(model),
          inputs: languageModelInputs(batch, seq),
          learningRate: cosineSchedule(learningRate, { steps, warmupSteps: settings.warmupSteps }),
          weightDecay: 0.01,
          weights: weights?.(name),
        })
      }
      return all
    }
    const saveAll = async (students: Readonly<Record<string, Trainer>>): Promise<void> => {
      const files = { 'tokenizer.json': JSON.stringify(FACTS_VOCABULARY.tokenizerJson) }
      for (const [folder, weights] of Object.entries(students)) await save({ model, weights, folder, files })
    }
    /** Accuracy in both ways. */
    const examine = async (student: Trainer): Promise<[zeroShot: number, fewShot: number]> => {
      const decoder = await CachedDecoder.create(model, student, { slots: SLOTS, capacity: model.maxPositions })
      const accuracy = async (way: keyof (typeof tests)[number]): Promise<number> => {
        const questions = tests.map((test) => asked(test[way]))
        return (await rankClassification(decoder, questions)).accuracy
      }
      const scores: [number, number] = [await accuracy('zero-shot'), await accuracy('few-shot')]
      decoder.release()
      return scores
    }
    const examineAll = async (students: Readonly<Record<string, Trainer>>) => {
      const scores: [number, number][] = []
      for (const student of Object.values(students)) scores.push(await examine(student))
      return scores
    }
    const summed = (scores: readonly (readonly [number, number])[]) => ({
      zeroShot: mean(scores.map(([zeroShot]) => zeroShot)),
      fewShot: mean(scores.map(([, fewShot]) => fewShot)),
    })

    const base = await stage('text', async () => {
      const rate = { steps: settings.pretrainSteps, learningRate: settings.pretrainLearningRate, seq }
      const students = await trainers(rate)
      const state: { scores: [number, number][] } = { scores: [] }
      const evaluate = async () => {
        state.scores = await examineAll(students)
        return summed(state.scores)
      }
      const loop = { steps: rate.steps, evalEvery: 0, trainers: students, state, evaluate }
      for await (const { step } of loopOf({ ...loop, perStep: { texts: names.length * batch } })) {
        for (const [i, student] of Object.values(students).entries()) {
          const random = new StepRandom(settings.seed + i, step)
          const texts = Array.from({ length: batch }, () => ({ input: '', target: drawText(random, settings.facts) }))
          log(await student.train(factsBatch(texts, seq)))
        }
      }
      await saveAll(students)
      return state.scores
    })

    const lines: Record<string, [number, number][]> = {}
    const results: Record<string, readonly [number, number][]> = {}
    for (const [name, fewShot] of Object.entries(TRAININGS)) {
      const { value } = await stage(name, async () => {
        // Without exemplars there is less to read.
        const rows = fewShot === 0 ? settings.zeroShotSeq : seq
        const students = await trainers({ ...settings, seq: rows }, (name) => base.weights(name))
        const state: { curve: [number, number][]; scores: [number, number][] } = { curve: [], scores: [] }
        const evaluate = async () => {
          state.scores = await examineAll(students)
          state.curve.push([students[names[0]].step, mean(state.scores.flat())])
          return summed(state.scores)
        }
        const loop = { steps: settings.steps, trainers: students, state, evaluate }
        for await (const { step } of loopOf({ ...loop, perStep: { examples: names.length * batch } })) {
          for (const [i, student] of Object.values(students).entries()) {
            const random = new StepRandom(settings.seed + i, step)
            const drawn = Array.from({ length: batch }, () =>
              drawFromCollections(collections, rates, random, { fewShot, exemplars: EXEMPLARS, fits }),
            )
            const prompts = drawn.map(({ prompted }) => prompted)
            if (step === 0)
              await sample(
                names[i],
                prompts.slice(0, 4).map(({ input, target }) => ({ input, target })),
              )
            log(await student.train(factsBatch(prompts, rows)))
          }
        }
        await saveAll(students)
        return state
      })
      lines[name] = value.curve
      results[name] = value.scores
      const { zeroShot, fewShot: few } = summed(value.scores)
      say(`tuned ${name}: asked zero-shot ${percent(zeroShot)}, few-shot ${percent(few)}`)
    }

    figure({
      title: 'accuracy on the unseen cluster, zero-shot and few-shot together (mean of the seeds)',
      x: 'steps of tuning',
      lines,
    })
    const both = (name: string): number => mean(results[name].flat())
    const told = Object.entries({ base: base.value, ...results }).map(([name, scores]) => {
      const { zeroShot, fewShot } = summed(scores)
      return { [`${name}, asked zero-shot`]: zeroShot, [`${name}, asked few-shot`]: fewShot }
    })
    claim(Object.assign({}, ...told), both('mixed') - Math.max(both('zero-shot'), both('few-shot')) >= AHEAD)
  },
})
