/**
 * Emergent abilities (Wei et al., 2022, arXiv 2206.07682) and whether they are in the metric (Schaeffer et al., 2023,
 * arXiv 2304.15004): a family of small LLaMAs, alike but for their width, learns to add numbers of five digits from the
 * same examples. Over training FLOPs, how often all digits of the sum are right stays at nothing and then rises; the
 * likelihood of its digits and the similarity of what is written rise from the start.
 *
 *     jackdaw train emergent-abilities/addition --out runs/addition
 */

import { IGNORED_LABEL } from '../../src/data/loader.ts'
import { StepRandom } from '../../src/data/random.ts'
import { wordVocabulary } from '../../src/data/word-tokenizer.ts'
import {
  editSimilarity,
  emergesAt,
  type Family,
  type FamilyMember,
  randomBaseline,
  scaleCurve,
  sharpness,
} from '../../src/eval/scaling.ts'
import { mean } from '../../src/eval/statistics.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { rollout } from '../../src/generate/rollout.ts'
import { Llama } from '../../src/models/llama.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { tensorData } from '../../src/tensor/index.ts'

/** Sums are apart: one pair of numbers in so many is never trained on. */
const HELD_OUT_EVERY = 10
/** Draws of the test are apart from those of training. */
const TEST_SEED = 20_230_000
const SLOTS = 32
/** Exact match up to here counts as none. */
const UNNOTICED = 0.05
/** And from here on the ability is there. */
const PRESENT = 0.5

const SYMBOLS = [...'0123456789+=']
const VOCABULARY = wordVocabulary(['<unk>'], SYMBOLS)
/** Of texts without spaces, a token a symbol. */
const idsOf = (text: string): number[] => VOCABULARY.idsOf([...text].join(' '))
const textOf = (ids: readonly number[]): string => VOCABULARY.textOf(ids).replaceAll(' ', '')

interface Sum {
  /** `12345+98765=` */
  readonly question: string
  /** `111110`: with its leading zero, where there is one. */
  readonly answer: string
}

function drawSum(random: StepRandom, digits: number, heldOut: boolean): Sum {
  for (;;) {
    const [a, b] = [random.below(10 ** digits), random.below(10 ** digits)]
    const hash = Math.imul(a * 10 ** digits + b, 0x9e3779b1) >>> 8
    if ((hash % HELD_OUT_EVERY === 0) !== heldOut) continue
    const written = (value: number, length: number) => `${value}`.padStart(length, '0')
    return { question: `${written(a, digits)}+${written(b, digits)}=`, answer: written(a + b, digits + 1) }
  }
}

/** Of the sums, only the answers are learned. */
function batchOf(sums: readonly Sum[], seq: number) {
  const inputIds = new Int32Array(sums.length * seq)
  const shiftLabels = new Int32Array(sums.length * seq).fill(IGNORED_LABEL)
  for (const [row, { question, answer }] of sums.entries()) {
    const ids = idsOf(question + answer)
    inputIds.set(ids.slice(0, -1), row * seq)
    shiftLabels.set(ids.slice(question.length), (row + 1) * seq - answer.length)
  }
  return { inputIds, shiftLabels }
}

/** What a student scores on sums that it has not seen. */
type Scores = {
  readonly exactMatch: number
  /** 1 − edit distance / length of the longer one. */
  readonly similarity: number
  /** Of the digits of the right sum, in nats each. */
  readonly logLikelihood: number
}

const METRICS = ['exactMatch', 'similarity', 'logLikelihood'] as const

export default recipe({
  paper: 'emergent-abilities',
  claim:
    'five-digit addition over a family of six sizes: exact match is absent in the smaller ones, up to 5 %, and present in the larger, at least half; among those where it is absent, edit similarity and the likelihood of a digit rise with every size already (mean of three seeds)',
  settings: {
    data: '',
    /** Of every size. */
    steps: 600,
    seed: 1337,
    seeds: 3,
    evalEvery: 0,
    checkpointEvery: 300,
    /** Of each number; the sum has one more. */
    digits: 5,
    /** dModel of each member, the least first. */
    widths: '4,8,16,24,32,48',
    nLayers: 2,
    /** Of one head. */
    headDim: 4,
    batch: 64,
    learningRate: 5e-3,
    warmupSteps: 50,
    /** Sums of the test. */
    tests: 500,
  },
  async run({ settings, stage, trainer, steps, log, say, save, sample, figure, claim }) {
    const { batch, digits } = settings
    /** Two numbers, the signs, and the sum but for its last digit. */
    const seq = 3 * digits + 2
    const drawSums = (random: StepRandom, count: number, heldOut: boolean): Sum[] =>
      Array.from({ length: count }, () => drawSum(random, digits, heldOut))
    const widths = settings.widths.split(',').map(Number)
    const { headDim } = settings
    if (widths.length < 2 || !widths.every((width) => width > 0 && width % headDim === 0)) {
      throw new Error(`--set widths=8,16,24: two or more multiples of ${headDim}; got '${settings.widths}'`)
    }
    const tests = drawSums(new StepRandom(TEST_SEED, 0), settings.tests, true)
    const names = Array.from({ length: settings.seeds }, (_, i) => `seed${i + 1}`)
    const examine = async (model: Llama, student: Trainer): Promise<{ scores: Scores; written: string[] }> => {
      const evaluator = await student.evaluator(languageModelInputs(tests.length, seq))
      const { inputIds, shiftLabels } = batchOf(tests, seq)
      const shape = [tests.length, seq]
      const { loss } = await evaluator.mean([
        { inputIds: tensorData('int32', shape, inputIds), shiftLabels: tensorData('int32', shape, shiftLabels) },
      ])
      evaluator.release()
      const decoder = await CachedDecoder.create(model, student, { slots: SLOTS })
      const prompts = tests.map(({ question }) => idsOf(question))
      const said = await rollout(decoder, prompts, { temperature: 0, maxNewTokens: digits + 1 })
      decoder.release()
      const written = said.map(({ ids }) => textOf(ids))
      const over = (score: (text: string, answer: string) => number) =>
        mean(written.map((text, i) => score(text, tests[i].answer)))
      const exactMatch = over((text, answer) => Number(text === answer))
      return { scores: { exactMatch, similarity: over(editSimilarity), logLikelihood: -loss }, written }
    }

    const members: FamilyMember[] = []
    for (const width of widths) {
      const { value } = await stage(`width${width}`, async () => {
        const model = new Llama({
          ...{ vocabSize: VOCABULARY.size, maxPositions: seq + 1, tieWordEmbeddings: true, endTokenIds: [] },
          ...{ dModel: width, dInner: 3 * width, nLayers: settings.nLayers },
          ...{ nHeads: width / headDim },
          initializerRange: width ** -0.5,
        })
        const students: Record<string, Trainer> = {}
        for (const name of names) {
          students[name] = await trainer({
            objective: nextTokenObjective(model),
            inputs: languageModelInputs(batch, seq),
            learningRate: cosineSchedule(settings.learningRate, settings),
            weightDecay: 0.01,
          })
        }
        const state: { scores: Scores[] } = { scores: [] }
        const evaluate = async () => {
          state.scores = []
          for (const [name, student] of Object.entries(students)) {
            const { scores, written } = await examine(model, student)
            state.scores.push(scores)
            await sample(
              name,
              written.slice(0, 8).map((text, i) => tests[i].question + text),
            )
          }
          return meanScores(state.scores)
        }
        const loop = {
          steps: settings.steps,
          trainers: students,
          state,
          evaluate,
          perStep: { sums: names.length * batch },
        }
        for await (const { step } of steps(loop)) {
          for (const [i, student] of Object.values(students).entries()) {
            log(await student.train(batchOf(drawSums(new StepRandom(settings.seed + i, step), batch, false), seq)))
          }
        }
        const [first] = Object.values(students)
        await save({ model, weights: first, files: { 'tokenizer.json': JSON.stringify(VOCABULARY.tokenizerJson) } })
        // Those of the embeddings do not compute.
        const parameters = first.layout.parameterCount - model.vocabSize * width
        return { parameters, scores: state.scores }
      })
      members.push({
        name: `width ${width}`,
        parameters: value.parameters,
        tokens: settings.steps * batch * seq,
        scores: meanScores(value.scores),
      })
      say(`width ${width}: ${METRICS.map((name) => `${name} ${members.at(-1)?.scores[name].toFixed(3)}`).join(', ')}`)
    }

    const family: Family = { name: 'LLaMA', members }
    const guessing = new StepRandom(TEST_SEED, 1)
    const guess = (): string => `${guessing.below(10 ** (digits + 1))}`.padStart(digits + 1, '0')
    const chance: Scores = {
      exactMatch: randomBaseline(tests.map(() => 10 ** (digits + 1))),
      similarity: mean(tests.map(({ answer }) => editSimilarity(guess(), answer))),
      logLikelihood: -Math.log(10),
    }
    const curves = Object.fromEntries(METRICS.map((metric) => [metric, scaleCurve(family, metric)]))
    const pointsOf = (metric: string) => curves[metric].map(({ flops, score }): [number, number] => [flops, score])
    const level = (value: number) => curves.exactMatch.map(({ flops }): [number, number] => [flops, value])
    figure({
      title: 'exact match and edit similarity (mean of the seeds)',
      x: 'training FLOPs (6ND)',
      logX: true,
      lines: {
        'exact match': pointsOf('exactMatch'),
        'edit similarity': pointsOf('similarity'),
        'exact match by chance': level(chance.exactMatch),
        'similarity by chance': level(chance.similarity),
      },
    })
    figure({
      title: 'log-likelihood of a digit, in nats (mean of the seeds)',
      x: 'training FLOPs (6ND)',
      logX: true,
      lines: { 'log-likelihood': pointsOf('logLikelihood'), 'by chance': level(chance.logLikelihood) },
    })
    const sharp = Object.fromEntries(METRICS.map((metric) => [metric, sharpness(curves[metric])]))
    const emerges = emergesAt(curves.exactMatch, { baseline: chance.exactMatch, margin: UNNOTICED })
    /** Sizes before the ability emerges. */
    const unable = curves.exactMatch.filter(({ flops }) => emerges !== undefined && flops < emerges).length
    const rises = (metric: string) =>
      curves[metric].slice(0, unable).every(({ score }, i, before) => i === 0 || score > before[i - 1].score)
    const best = members.at(-1)?.scores ?? {}
    claim(
      {
        ...{ sharpnessOfExactMatch: sharp.exactMatch, sharpnessOfSimilarity: sharp.similarity },
        ...{ sharpnessOfLogLikelihood: sharp.logLikelihood, emergesAtFlops: emerges ?? Number.NaN },
        ...{ leastExactMatch: members[0].scores.exactMatch, bestExactMatch: best.exactMatch },
        ...{ leastSimilarity: members[0].scores.similarity, bestSimilarity: best.similarity },
      },
      unable >= 2 && best.exactMatch >= PRESENT && rises('similarity') && rises('logLikelihood'),
    )
  },
})

const meanScores = (of: readonly Scores[]): Record<keyof Scores, number> => ({
  exactMatch: mean(of.map(({ exactMatch }) => exactMatch)),
  similarity: mean(of.map(({ similarity }) => similarity)),
  logLikelihood: mean(of.map(({ logLikelihood }) => logLikelihood)),
})
