/**
 * MQAN answers four kinds of questions about small sets of facts: who has something, how many, of what colour, and the
 * fact as a query. To it they are one task. One kind has few examples: alone, its model learns them by heart; the model of
 * all four has learned from the others how contexts and questions are read. Half of the people's names are in no vocabulary
 * and can only be copied. Every kind's own model has more steps of its kind than the joint model, and its best evaluation
 * counts.
 *
 *     jackdaw train decanlp/facts --out runs/facts
 */

import { StepRandom } from '../../src/data/random.ts'
import { wordTokenizerJson } from '../../src/data/word-tokenizer.ts'
import { type Question, QuestionAnswerer } from '../../src/generate/question-answerer.ts'
import { Mqan } from '../../src/models/mqan.ts'
import { int32 } from '../../src/nn/trace.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'

const [PAD, END, UNKNOWN] = [0, 1, 2]
const SPECIAL = ['<pad>', '</s>', '<unk>']
const NAMES = (
  'ada ben cleo dan eve finn gus hana ivo jana karl lena milo nora otto pia quin rosa sven tara ' +
  'umar vera wim xena yuri zoe arlo bea cyril dora emil flora goran hilda igor june kurt livia moritz nina'
).split(' ')
/** The others are in no vocabulary. */
const KNOWN_NAMES = NAMES.slice(0, NAMES.length / 2)
const COUNTS = 'two three four five six seven eight nine ten eleven twelve'.split(' ')
const COLOURS = 'red blue green yellow black white brown'.split(' ')
const THINGS = 'coins stones books shells keys rings hats cups maps bells'.split(' ')
const WORDS = 'has . who the how many does have ? what colour are of as a query ( ) ,'.split(' ')
const VOCABULARY = [...SPECIAL, ...WORDS, ...COUNTS, ...COLOURS, ...THINGS, ...KNOWN_NAMES]
const idOf = new Map(VOCABULARY.map((word, id) => [word, id]))

const FACTS = 3
const [CONTEXT, QUESTION, ANSWER] = [5 * FACTS, 8, 9]
const IGNORED = -100

interface Fact {
  readonly name: string
  readonly count: string
  readonly colour: string
  readonly thing: string
}

/** What is asked about a fact, and the answer. */
const KINDS = {
  who: ({ name, colour, thing }: Fact) => [`who has the ${colour} ${thing} ?`, name],
  many: ({ name, count, thing }: Fact) => [`how many ${thing} does ${name} have ?`, count],
  colour: ({ name, colour, thing }: Fact) => [`what colour are the ${thing} of ${name} ?`, colour],
  query: ({ name, colour, thing }: Fact) => [`${name} as a query ?`, `has ( ${name} , ${colour} , ${thing} )`],
} as const
type Kind = keyof typeof KINDS
const ALL = Object.keys(KINDS) as Kind[]

/** Ids of words, those that no vocabulary has by where they first stand. */
interface Example extends Question {
  readonly kind: Kind
  readonly answerIds: readonly number[]
  readonly words: { readonly context: string; readonly question: string; readonly answer: string }
}

function drawExample(random: StepRandom, kind: Kind): Example {
  const names = random.permutation(NAMES.length)
  const things = random.permutation(THINGS.length)
  const pick = (from: readonly string[]) => from[random.below(from.length)]
  const facts = Array.from({ length: FACTS }, (_, i) => ({
    ...{ name: NAMES[names[i]], count: pick(COUNTS), colour: pick(COLOURS), thing: THINGS[things[i]] },
  }))
  const context = facts.map(({ name, count, colour, thing }) => `${name} has ${count} ${colour} ${thing}`).join(' ')
  const [question, answer] = KINDS[kind](facts[random.below(FACTS)])
  const extra = new Map<string, number>()
  const read = (text: string): number[] =>
    text.split(' ').map((word) => {
      const known = idOf.get(word) ?? extra.get(word)
      if (known !== undefined) return known
      const id = VOCABULARY.length + extra.size
      extra.set(word, id)
      return id
    })
  const [contextIds, questionIds] = [read(context), read(question)]
  return { kind, contextIds, questionIds, answerIds: [...read(answer), END], words: { context, question, answer } }
}

/** So many examples of a kind: stream 0 is trained on, stream 1 is held out. */
const examplesOf = (kind: Kind, count: number, seed: number, stream: number): Example[] => {
  const random = new StepRandom(seed, 2 * ALL.indexOf(kind) + stream)
  return Array.from({ length: count }, () => drawExample(random, kind))
}

export default recipe({
  paper: 'decanlp',
  claim:
    'four kinds of questions about facts: one model answers the kind that has few examples better than its own model does, at three seeds, and the others no worse than 5 points',
  settings: {
    data: '',
    /** Of the joint model; a kind's own model has its share of them `ownSteps` times over. */
    steps: 800,
    seed: 1337,
    seeds: 3,
    evalEvery: 100,
    checkpointEvery: 400,
    ownSteps: 1.5,
    batch: 32,
    dModel: 48,
    dInner: 64,
    nLayers: 1,
    dropout: 0.1,
    learningRate: 3e-3,
    /** Examples of the kinds that have many, and of the one that has few. */
    examples: 3000,
    scarce: 150,
    heldOut: 150,
  },
  async run({ settings, stage, trainer, steps, log, save, sample, say, claim }) {
    const { batch } = settings
    const model = new Mqan({
      ...{
        vocabSize: VOCABULARY.length,
        extraWords: 2 * FACTS,
        maxAnswer: ANSWER,
        nHeads: 2,
        nLayers: settings.nLayers,
      },
      ...{ dModel: settings.dModel, dInner: settings.dInner, dropout: settings.dropout },
      ...{ padTokenId: PAD, unknownTokenId: UNKNOWN, endTokenIds: [END] },
    })
    const scarceKind: Kind = 'who'

    /** The share of each kind's held-out questions that is answered exactly. */
    async function exact(trained: Trainer, kinds: readonly Kind[], heldOut: Record<Kind, Example[]>) {
      const answerer = await QuestionAnswerer.create(model, trained)
      const scores: Record<string, number> = {}
      for (const kind of kinds) {
        const answers = await answerer.answer(heldOut[kind])
        const right = answers.filter(
          ({ words, ended }, i) =>
            ended && `${[...words.map(({ id }) => id), END]}` === `${heldOut[kind][i].answerIds}`,
        )
        scores[kind] = right.length / answers.length
      }
      answerer.release()
      return scores
    }

    /** A model of some kinds, each as often; what it answers at its best. */
    async function learn(kinds: readonly Kind[], nSteps: number, seed: number, saves: boolean) {
      const train = Object.fromEntries(
        kinds.map((kind) => {
          const count = kind === scarceKind ? settings.scarce : settings.examples
          return [kind, examplesOf(kind, count, seed, 0)]
        }),
      )
      const heldOut = Object.fromEntries(ALL.map((kind) => [kind, examplesOf(kind, settings.heldOut, 7, 1)]))
      const learner = await trainer({
        objective: (scope, inputs) => {
          const { contextIds, questionIds, labels } = inputs
          const encoded = model.encode(scope, { contextIds, questionIds })
          const before = model.answersBefore(labels)
          return { loss: model.loss(model.decode(scope, encoded, before), { contextIds, questionIds, labels }) }
        },
        inputs: {
          contextIds: int32(batch, CONTEXT),
          questionIds: int32(batch, QUESTION),
          labels: int32(batch, ANSWER),
        },
        learningRate: cosineSchedule(settings.learningRate, { steps: nSteps, warmupSteps: 20, minimum: 1e-4 }),
        ...{ beta2: 0.98, weightDecay: 0.01 },
      })
      const state = { best: {} as Record<string, number> }
      const evaluate = async () => {
        const scores = await exact(learner, kinds, heldOut as Record<Kind, Example[]>)
        for (const [kind, share] of Object.entries(scores)) state.best[kind] = Math.max(state.best[kind] ?? 0, share)
        return scores
      }
      const loop = { steps: nSteps, trainers: { learner }, state, perStep: { questions: batch }, evaluate }
      for await (const { random } of steps(loop)) {
        const contextIds = new Int32Array(batch * CONTEXT).fill(PAD)
        const questionIds = new Int32Array(batch * QUESTION).fill(PAD)
        const labels = new Int32Array(batch * ANSWER).fill(IGNORED)
        for (let row = 0; row < batch; row++) {
          const examples = train[kinds[random.below(kinds.length)]]
          const example = examples[random.below(examples.length)]
          contextIds.set(example.contextIds, row * CONTEXT)
          questionIds.set(example.questionIds, row * QUESTION)
          labels.set(example.answerIds, row * ANSWER)
        }
        log(await learner.train({ contextIds, questionIds, labels }))
      }
      if (saves) {
        await save({ model, weights: learner })
        const shown = ALL.flatMap((kind) => (heldOut[kind] as Example[]).slice(0, 3))
        const answerer = await QuestionAnswerer.create(model, learner)
        const answers = await answerer.answer(shown)
        answerer.release()
        const wordOf = ({ contextIds, words }: Example, id: number): string =>
          VOCABULARY[id] ?? words.context.split(' ')[contextIds.indexOf(id)] ?? '<other>'
        const told = shown.map((example, i) => ({
          ...example.words,
          answered: answers[i].words.map(({ id }) => wordOf(example, id)).join(' '),
          copied: answers[i].words.map(({ gamma }) => Number((1 - gamma).toFixed(2))),
        }))
        await sample('answers', told)
      }
      return state.best
    }

    const measured: Record<string, number> = {}
    let holds = true
    for (let i = 0; i < settings.seeds; i++) {
      const seed = settings.seed + i
      const joint = await stage(`joint-${seed}`, () => learn(ALL, settings.steps, seed, i === 0))
      for (const kind of ALL) {
        const nSteps = Math.round((settings.ownSteps * settings.steps) / ALL.length)
        const own = await stage(`${kind}-${seed}`, () => learn([kind], nSteps, seed, false))
        measured[`${kind}Joint${seed}`] = joint.value[kind]
        measured[`${kind}Own${seed}`] = own.value[kind]
        const gain = joint.value[kind] - own.value[kind]
        holds &&= kind === scarceKind ? gain > 0 : gain >= -0.05
        say(`seed ${seed}, ${kind}: one model ${joint.value[kind].toFixed(3)}, its own ${own.value[kind].toFixed(3)}`)
      }
      if (i > 0) continue
      const files = {
        'tokenizer.json': JSON.stringify(
          wordTokenizerJson(VOCABULARY.slice(SPECIAL.length), { specialTokens: SPECIAL, unknown: SPECIAL[UNKNOWN] }),
        ),
      }
      await save({ model, weights: joint.weights(), files })
    }
    claim(measured, holds)
  },
})
