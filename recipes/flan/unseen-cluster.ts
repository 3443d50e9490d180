/**
 * FLAN's experiment (Wei et al., 2021, arXiv 2109.01652) in a world small enough to be learned by heart: a small LLaMA
 * reads text about 32 things and their eight properties, and is then tuned on instructions about seven of them, ten templates
 * each, mixed in proportion to their examples. Measured is a property of which it was never asked anything, in wordings that
 * no template of training has, by rank classification over four options:
 *
 *     text         the colour of the fox is red . as for the owl , its home is cave . …
 *     tuned on     what is the home of the owl ?    OPTIONS: - river - cave - tower - forest      → cave
 *     unseen       which colour has the fox ?       OPTIONS: - blue - red - white - green         → red
 *
 * The base model knows the answer as well: asked to go on with its own text (`the colour of the fox is`) it says so.
 *
 *     jackdaw train flan/unseen-cluster --out runs/unseen-cluster
 */

import { drawExample, mixingRates, type Prompted, unseenSplit } from '../../src/data/instruction/flan.ts'
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

/** In accuracy on the unseen cluster: what tuning must add, by the mean of the seeds. */
const AHEAD = 0.2
const SLOTS = 32
const TEST_SEED = 20_210_000

const asked = ({ input, target, options = [] }: Prompted): RankedQuestion => ({
  contextIds: askedIds(input),
  options: options.map((option) => factsIds(option)),
  answer: options.indexOf(target),
})

export default recipe({
  paper: 'flan',
  claim: `tuned on instructions about seven properties, a small LLaMA answers at least ${100 * AHEAD} points more questions about one that it was never asked about, in unseen wordings (three seeds; by rank classification)`,
  settings: {
    data: '',
    /** Of instruction tuning. */
    steps: 300,
    seed: 1337,
    seeds: 3,
    evalEvery: 50,
    checkpointEvery: 150,
    /** On text alone, before. */
    pretrainSteps: 500,
    /** The property that is held out. */
    cluster: 'home',
    /** Facts of a text. */
    facts: 4,
    nLayers: 2,
    nHeads: 4,
    dModel: 64,
    dInner: 192,
    batch: 32,
    pretrainLearningRate: 3e-3,
    learningRate: 1e-3,
    warmupSteps: 30,
    /** Questions of the test. */
    tests: 192,
  },
  async run({ settings, stage, trainer, steps: loopOf, log, say, save, sample, figure, claim }) {
    const { batch } = settings
    const model = new Llama({
      ...{ vocabSize: FACTS_VOCABULARY.size, maxPositions: 64, tieWordEmbeddings: true },
      ...{ dModel: settings.dModel, dInner: settings.dInner, nLayers: settings.nLayers, nHeads: settings.nHeads },
      initializerRange: settings.dModel ** -0.5,
    })
    const sets = PROPERTY_NAMES.map((property) => factsSet(property, 'training'))
    const { train } = unseenSplit(sets, settings.cluster)
    const rates = mixingRates(train.map(({ size }) => size))
    const unseen = factsSet(settings.cluster as Property, 'other')
    const order = new StepRandom(TEST_SEED, 0).permutation(unseen.size)
    const tests = Array.from({ length: settings.tests }, (_, i) =>
      unseen.prompt(i % unseen.templates.length, order[i % order.length]),
    )
    const names = Array.from({ length: settings.seeds }, (_, i) => `seed${i + 1}`)

    const trainers = async (
      { seq, steps, learningRate }: { seq: number; steps: number; learningRate: number },
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
    const examine = async (student: Trainer, questions: readonly RankedQuestion[]) => {
      const decoder = await CachedDecoder.create(model, student, { slots: SLOTS, capacity: model.maxPositions })
      const found = await rankClassification(decoder, questions)
      decoder.release()
      return found
    }
    const questions = tests.map(asked)
    /** The same facts as the text itself would tell them. */
    const continuations = Array.from({ length: unseen.size }, (_, i) => i)
      .filter((i) => i % 4 === 0)
      .map((i): RankedQuestion => {
        const { options = [], target, input } = unseen.prompt(0, i)
        const thing = /the (\w+) \?/.exec(input)?.[1]
        return {
          contextIds: factsIds(`the ${settings.cluster} of the ${thing} is`),
          options: options.map((option) => factsIds(option)),
          answer: options.indexOf(target),
        }
      })

    const base = await stage('text', async () => {
      const seq = 48
      const rate = { seq, steps: settings.pretrainSteps, learningRate: settings.pretrainLearningRate }
      const students = await trainers(rate)
      const state: { asked: number[]; continued: number[] } = { asked: [], continued: [] }
      const evaluate = async () => {
        state.asked = []
        state.continued = []
        for (const student of Object.values(students)) {
          state.asked.push((await examine(student, questions)).accuracy)
          state.continued.push((await examine(student, continuations)).accuracy)
        }
        return { asked: mean(state.asked), continued: mean(state.continued) }
      }
      const loop = { steps: rate.steps, evalEvery: 200, trainers: students, state, evaluate }
      for await (const { step } of loopOf({ ...loop, perStep: { texts: names.length * batch } })) {
        for (const [i, student] of Object.values(students).entries()) {
          const random = new StepRandom(settings.seed + i, step)
          const texts = Array.from({ length: batch }, () => ({ input: '', target: drawText(random, settings.facts) }))
          log(await student.train(factsBatch(texts, seq)))
        }
      }
      await saveAll(students)
      return state
    })
    say(
      `text alone: asked ${percent(mean(base.value.asked))}, going on with text ${percent(mean(base.value.continued))}`,
    )

    const tuned = await stage('instructions', async () => {
      const seq = 40
      const students = await trainers({ ...settings, seq }, (name) => base.weights(name))
      const state: { curve: [number, number][]; scores: number[] } = { curve: [], scores: [] }
      const evaluate = async () => {
        state.scores = []
        for (const [name, student] of Object.entries(students)) {
          const { accuracy, chosen } = await examine(student, questions)
          state.scores.push(accuracy)
          await sample(
            name,
            tests
              .slice(0, 5)
              .map(({ input, target, options }, i) => ({ input, target, chosen: options?.[chosen[i]] ?? '' })),
          )
        }
        state.curve.push([students[names[0]].step, mean(state.scores)])
        return { unseen: mean(state.scores) }
      }
      const loop = { steps: settings.steps, trainers: students, state, evaluate }
      for await (const { step } of loopOf({ ...loop, perStep: { examples: names.length * batch } })) {
        for (const [i, student] of Object.values(students).entries()) {
          const random = new StepRandom(settings.seed + i, step)
          const drawn = Array.from({ length: batch }, () => drawExample(train, rates, random).prompted)
          log(await student.train(factsBatch(drawn, seq)))
        }
      }
      await saveAll(students)
      return state
    })

    const { scores, curve } = tuned.value
    say(`tuned: ${scores.map(percent).join(', ')} of the unseen cluster right`)
    figure({
      title: 'accuracy on the unseen cluster (mean of the seeds)',
      x: 'steps of instruction tuning',
      lines: { tuned: curve, chance: curve.map(([step]): [number, number] => [step, 1 / 4]) },
    })
    claim(
      {
        ...{ tuned: mean(scores), base: mean(base.value.asked), baseContinuing: mean(base.value.continued) },
        ...{ leastTuned: Math.min(...scores), mostBase: Math.max(...base.value.asked), chance: 1 / 4 },
      },
      mean(scores) - mean(base.value.asked) >= AHEAD,
    )
  },
})
