/**
 * BERT in small: an encoder of half a million parameters first learns to tell hidden words of sentences about films (masked
 * LM, without their labels), then, from a thousand labels, which sentences are positive (the Stanford Sentiment Treebank
 * in two classes). The baseline is the same network on the same labels from its first values. Both try two learning rates
 * and keep the rate, and of every run the evaluation, that is best on the development set.
 *
 *     jackdaw train bert/sst --set data=FOLDER --out runs/bert-sst      # FOLDER: sst5-{train,dev,test}_fine_sent.csv
 */

import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseCsv } from '../../src/data/csv.ts'
import { type MaskingTokens, PretrainingLoader } from '../../src/data/masked-lm.ts'
import { StepRandom } from '../../src/data/random.ts'
import { mean } from '../../src/eval/statistics.ts'
import { Bert, type BertConfig, maskedLmHead } from '../../src/models/bert.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { linearSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { crossEntropySum, type Tensor, type TensorData, takeRows } from '../../src/tensor/index.ts'
import { tokenizerFromWordPieces } from '../../src/text/load.ts'

const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const [PAD, UNKNOWN, CLS, SEP, MASK] = SPECIAL.keys()
const IGNORED = -100

interface Sentence {
  readonly text: string
  /** 1 is positive, 0 negative; neutral ones have none. */
  readonly label?: number
}

function readSentences(folder: string, part: string): Sentence[] {
  const path = join(folder, `sst5-${part}_fine_sent.csv`)
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    throw new Error(`--set data=FOLDER: the folder of sst5-train_fine_sent.csv and its like; there is no ${path}`)
  }
  return parseCsv(readFileSync(path, 'utf8'), path).map(({ label, sentence }) => ({
    text: sentence,
    label: label === '2' ? undefined : Number(label > '2'),
  }))
}

/** vocab.txt: the special tokens, and the words that are there often enough. */
function vocabularyOf(texts: readonly string[], least: number): string {
  const counts = new Map<string, number>()
  for (const text of texts) {
    const plain = text
      .toLowerCase()
      .normalize('NFD')
      .replace(/\p{Mn}/gu, '')
    for (const word of plain.match(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) ?? [])
      counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  const often = [...counts].filter(([, count]) => count >= least).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
  return `${[...SPECIAL, ...often.map(([word]) => word)].join('\n')}\n`
}

export default recipe({
  paper: 'bert',
  claim:
    'masked-LM pre-training on sentences without labels helps: with a thousand labels of SST-2, more test sentences are right than from scratch, in each of three seeds',
  settings: {
    data: '',
    /** Of pre-training. */
    steps: 1500,
    seed: 1337,
    seeds: 3,
    evalEvery: 500,
    checkpointEvery: 500,
    dModel: 96,
    nLayers: 2,
    nHeads: 4,
    dropout: 0.1,
    seq: 40,
    batch: 64,
    /** Words that are rarer read as unknown. */
    leastCount: 3,
    learningRate: 2e-3,
    warmupSteps: 100,
    labels: 1000,
    /** Of fine-tuning. */
    tuningSteps: 160,
    tuningBatch: 32,
    highLearningRate: 1e-3,
    lowLearningRate: 3e-4,
  },
  async run({ settings, stage, steps, trainer, save, say, log, claim }) {
    const { seq, batch } = settings
    const [train, development, test] = ['train', 'dev', 'test'].map((part) => readSentences(settings.data, part))
    const vocabulary = vocabularyOf(
      train.map(({ text }) => text),
      settings.leastCount,
    )
    const tokenizer = tokenizerFromWordPieces(vocabulary)
    const tokens: MaskingTokens = {
      ...{ clsTokenId: CLS, sepTokenId: SEP, maskTokenId: MASK, padTokenId: PAD, vocabSize: tokenizer.vocabSize },
      specialIds: new Set([UNKNOWN]),
    }
    const idsOf = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false })
    const sizes: Partial<BertConfig> = {
      ...{ vocabSize: tokenizer.vocabSize, maxPositions: seq, padTokenId: PAD },
      ...{ dModel: settings.dModel, nLayers: settings.nLayers, nHeads: settings.nHeads },
      ...{ hiddenDropout: settings.dropout, attentionDropout: settings.dropout },
    }
    const languageModel = new Bert({ ...sizes, head: 'masked-lm' })
    const classifier = new Bert({ ...sizes, head: 'classification', nLabels: 2 })
    say(`${train.length} sentences, ${tokenizer.vocabSize} words`)

    /** Words are told at their own places only: a tenth of the work of a score for every place. */
    const told = Math.ceil(0.16 * seq) * batch
    const pretrain = (seed: number) =>
      stage(`pre-training-${seed}`, async () => {
        const loader = new PretrainingLoader(
          train.map(({ text }) => [idsOf(text)]),
          { batch, seq },
          tokens,
          seed,
          { pairs: false, shortShare: 0 },
        )
        const learner = await trainer({
          objective: (scope, { inputIds, attentionMask, places, labels }) => {
            const states = languageModel.encode(scope, { inputIds, attentionMask })
            const logits = maskedLmHead(scope, scope.at('bert'), takeRows(states, places), languageModel.config)
            return { loss: crossEntropySum(logits, labels) }
          },
          inputs: {
            inputIds: int32(batch, seq),
            attentionMask: int32(batch, seq),
            places: int32(told),
            labels: int32(told),
          },
          learningRate: linearSchedule(settings.learningRate, {
            steps: settings.steps,
            warmupSteps: settings.warmupSteps,
          }),
          ...{ beta2: 0.98, weightDecay: 0.01 },
        })
        for await (const { step } of steps({
          steps: settings.steps,
          trainers: { learner },
          perStep: { sentences: batch },
        })) {
          const { inputIds, attentionMask, labels: all } = loader.batchAt(step)
          const wanted = [...all.keys()].filter((i) => all[i] !== IGNORED).slice(0, told)
          const places = Int32Array.from({ length: told }, (_, k) => wanted[k] ?? 0)
          const labels = Int32Array.from({ length: told }, (_, k) => (k < wanted.length ? all[wanted[k]] : IGNORED))
          log(await learner.train({ inputIds, attentionMask, places, labels }))
        }
        await save({ model: languageModel, weights: learner, files: { 'vocab.txt': vocabulary } })
        return null
      })

    const encode = (sentences: readonly Sentence[]) =>
      sentences
        .filter(({ label }) => label !== undefined)
        .map(({ text, label }) => ({ ids: [CLS, ...idsOf(text).slice(0, seq - 2), SEP], label: label as number }))
    const [choosing, judging] = [encode(development), encode(test)]

    /** The share of sentences whose class is told. */
    async function accuracy(trained: Trainer, examples: readonly { ids: number[]; label: number }[]): Promise<number> {
      const said = await compile(
        trace(
          (scope, { inputIds, attentionMask }) => ({
            logits: classifier.forward(scope, { inputIds, attentionMask }).logits as Tensor,
          }),
          {
            inputIds: int32('batch', seq),
            attentionMask: int32('batch', seq),
          },
        ),
        trained,
      )
      let right = 0
      for (let from = 0; from < examples.length; from += 128) {
        const some = examples.slice(from, from + 128)
        const { logits } = await said(
          padded(
            some.map(({ ids }) => ids),
            seq,
          ),
        )
        some.forEach(({ label }, i) => {
          if (Number(logits.data[2 * i + 1] > logits.data[2 * i]) === label) right++
        })
      }
      said.release()
      return right / examples.length
    }

    const tune = (name: string, seed: number, rate: number, weights?: ReadonlyMap<string, TensorData>) =>
      stage(`${name}-${seed}-${`${rate}`.replace('.', '_')}`, async () => {
        const order = new StepRandom(seed, 0).permutation(train.length)
        const labelled = encode(Array.from(order, (i) => train[i])).slice(0, settings.labels)
        const size = settings.tuningBatch
        const tuned = await trainer({
          objective: (scope, { inputIds, attentionMask, labels }) => ({
            loss: crossEntropySum(classifier.forward(scope, { inputIds, attentionMask }).logits as Tensor, labels),
          }),
          inputs: { inputIds: int32(size, seq), attentionMask: int32(size, seq), labels: int32(size) },
          learningRate: linearSchedule(rate, { steps: settings.tuningSteps, warmupSteps: 10 }),
          ...{ beta2: 0.98, weightDecay: 0.01, seed },
          ...(weights ? { weights, missing: 'init' as const, unused: 'ignore' as const } : {}),
        })
        const state = { best: { development: 0, test: 0 } }
        const evaluate = async () => {
          const scores = { development: await accuracy(tuned, choosing), test: await accuracy(tuned, judging) }
          if (scores.development > state.best.development) state.best = scores
          return scores
        }
        const loop = { steps: settings.tuningSteps, trainers: { tuned }, state, evaluate, evalEvery: 20 }
        for await (const { random } of steps(loop)) {
          const some = Array.from({ length: size }, () => labelled[random.below(labelled.length)])
          const { inputIds, attentionMask } = padded(
            some.map(({ ids }) => ids),
            seq,
          )
          const labels = Int32Array.from(some, ({ label }) => label)
          log(
            await tuned.train({
              inputIds: inputIds.data as Int32Array,
              attentionMask: attentionMask.data as Int32Array,
              labels,
            }),
          )
        }
        if (weights && seed === settings.seed)
          await save({ model: classifier, weights: tuned, files: { 'vocab.txt': vocabulary } })
        return state.best
      })

    const measured: Record<string, number> = {}
    const gains: number[] = []
    for (let i = 0; i < settings.seeds; i++) {
      const seed = settings.seed + i
      const pretrained = await pretrain(seed)
      const bestOf = async (name: string, weights?: ReadonlyMap<string, TensorData>) => {
        const runs: { development: number; test: number }[] = []
        for (const rate of [settings.highLearningRate, settings.lowLearningRate]) {
          runs.push((await tune(name, seed, rate, weights)).value)
        }
        return runs.reduce((a, b) => (b.development > a.development ? b : a)).test
      }
      const [scratch, tuned] = [await bestOf('scratch'), await bestOf('tuned', pretrained.weights())]
      say(`seed ${seed}: from scratch ${scratch.toFixed(3)}, pre-trained ${tuned.toFixed(3)}`)
      Object.assign(measured, { [`scratch${seed}`]: scratch, [`pretrained${seed}`]: tuned })
      gains.push(tuned - scratch)
      if (i === 0)
        await save({ model: languageModel, weights: pretrained.weights(), files: { 'vocab.txt': vocabulary } })
    }
    measured.gain = mean(gains)
    claim(
      measured,
      gains.every((gain) => gain > 0),
    )
  },
})

/** Ids side by side, filled up, and where they are text. */
function padded(texts: readonly (readonly number[])[], seq: number): Record<'inputIds' | 'attentionMask', TensorData> {
  const [ids, mask] = [0, 0].map(() => new Int32Array(texts.length * seq))
  for (const [row, text] of texts.entries()) {
    ids.set(text, row * seq)
    mask.fill(1, row * seq, row * seq + text.length)
  }
  const shape = [texts.length, seq]
  return { inputIds: { dtype: 'int32', shape, data: ids }, attentionMask: { dtype: 'int32', shape, data: mask } }
}
