import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { Llama } from '../../src/models/llama.ts'
import { trace } from '../../src/nn/trace.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { loadRewardModel } from '../../src/train/load-reward-model.ts'
import '../../src/runtime/node.ts'
import { grad, meanOf, type SumAndCount, type TensorData, tensorData } from '../../src/tensor/index.ts'
import {
  type Comparison,
  calibration,
  calibrationError,
  comparisonBatch,
  comparisonInputs,
  comparisonLoader,
  normalizedReward,
  pairsOf,
  RewardModel,
  rewardObjective,
  rewardScorer,
} from '../../src/train/reward.ts'
import { temporaryFolder } from '../hub/temporary.ts'
import { PARITY_TOLERANCE, relativeError } from '../parity/parity.ts'

const FIXTURE = fileURLToPath(new URL('fixtures/reward-model', import.meta.url))
const root = temporaryFolder()

const referenceOf = () => {
  const inputs = readTensors(`${FIXTURE}/inputs.safetensors`)
  const lengths = Array.from(inputs.lengths.data, Number)
  const [rows, seq] = inputs.input_ids.shape
  const ids = Array.from(inputs.input_ids.data, Number)
  const sequences = Array.from({ length: rows }, (_, row) => ids.slice(row * seq, row * seq + lengths[row]))
  const { rewards, loss } = readTensors(`${FIXTURE}/outputs.safetensors`)
  return { sequences, seq, rewards, loss, grads: readTensors(`${FIXTURE}/grads.safetensors`) }
}

/** Batches as the graph is fed them. */
const feedsOf = (comparisons: readonly Comparison[], shape: { rows: number; seq: number; answers: number }) => {
  const batch = comparisonBatch(comparisons, shape)
  return Object.fromEntries(
    Object.entries(comparisonInputs(shape)).map(([name, { dtype, shape }]) => [
      name,
      tensorData(dtype, shape as number[], batch[name] as Float32Array),
    ]),
  )
}

describe("transformers' LlamaForSequenceClassification", () => {
  it('gives the same rewards, loss and gradients as the one loaded from its folder', async () => {
    const { sequences, seq, rewards, loss, grads } = referenceOf()
    const loaded = await loadRewardModel(FIXTURE)
    const ours = await loaded.scoreSequences(sequences)
    expect(relativeError(tensorData('float32', [3], ours), rewards)).toBeLessThan(PARITY_TOLERANCE)

    const shape = { rows: 3, seq, answers: 3 }
    const traced = trace((scope, inputs) => {
      const mean = meanOf(rewardObjective(loaded.model)(scope, inputs).loss as SumAndCount)
      const parameters = [...scope.parameters.values()]
      const gradients = grad(
        mean,
        parameters.map(({ tensor }) => tensor),
      )
      return { loss: mean, ...Object.fromEntries(parameters.map(({ name }, i) => [`d ${name}`, gradients[i]])) }
    }, comparisonInputs(shape))
    const run = await compile(traced, loaded.weights)
    const results = (await run(feedsOf([{ sequences, ranks: [0, 1, 2] }], shape))) as Record<string, TensorData>
    expect(Number(results.loss.data[0])).toBeCloseTo(Number(loss.data[0]), 5)
    expect(Object.keys(grads).length).toBeGreaterThan(10)
    for (const [name, expected] of Object.entries(grads)) {
      expect(relativeError(results[`d ${name}`], expected), name).toBeLessThan(PARITY_TOLERANCE)
    }
    run.release()
    loaded.release()
  })

  it('comes back from a folder that was saved, its bias with it', async () => {
    const { sequences } = referenceOf()
    const loaded = await loadRewardModel(FIXTURE)
    const scores = await loaded.scoreSequences(sequences)
    const normal = normalizedReward(loaded.model, loaded.weights, scores)
    await saveModel(`${root}/saved`, normal)
    expect(openCheckpoint(`${root}/saved`).names()).toEqual(expect.arrayContaining(['score.weight']))
    const again = await loadRewardModel(`${root}/saved`)
    const mean = scores.reduce((a, b) => a + b) / scores.length
    const [prompt, rest] = [sequences[0].slice(0, 4), sequences[0].slice(4)]
    expect((await again.score([prompt], [rest]))[0]).toBeCloseTo(scores[0] - mean, 4)
    expect(again.model.toConfig()).toMatchObject({ architectures: ['LlamaForSequenceClassification'], pad_token_id: 0 })
    loaded.release()
    again.release()
  })

  it('is what a folder must hold', async () => {
    await expect(loadRewardModel('jackdaw-base')).rejects.toThrow(
      'jackdaw-base: is no reward model: its config.json must name a …ForSequenceClassification',
    )
  })
})

it('a folder with whatever config.json is loaded, or refused in a sentence', async () => {
  const folder = `${root}/damaged`
  cpSync(FIXTURE, folder, { recursive: true })
  const config = JSON.parse(readFileSync(`${FIXTURE}/config.json`, 'utf8'))
  const damaged = fc.record(
    {
      architectures: fc.oneof(
        fc.constantFrom('BertForSequenceClassification', ['ForSequenceClassification']),
        fc.jsonValue(),
      ),
      reward_bias: fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.jsonValue()),
      hidden_size: fc.oneof(fc.constantFrom(8, 0, -1, 1e9), fc.jsonValue()),
      vocab_size: fc.oneof(fc.integer(), fc.jsonValue()),
    },
    { requiredKeys: [] },
  )
  const load = async (change: object) => {
    writeFileSync(`${folder}/config.json`, JSON.stringify({ ...config, ...change }))
    try {
      const { model, release } = await loadRewardModel(folder)
      release()
      return Number.isFinite(model.bias)
    } catch (error) {
      return error instanceof Error && !(error instanceof TypeError) && /^[^\n]+$/.test(error.message)
    }
  }
  expect(await load({ reward_bias: 2 })).toBe(true)
  await fc.assert(
    fc.asyncProperty(damaged, async (change) => void expect(await load(change)).toBe(true)),
    { numRuns: 40 },
  )
})

const trunk = new Llama({
  vocabSize: 12,
  maxPositions: 16,
  dModel: 16,
  nLayers: 1,
  nHeads: 2,
  headDim: 8,
  dInner: 32,
  tieWordEmbeddings: false,
})

describe('eq. 1', () => {
  it('has every pair of a prompt but ties', () => {
    expect(pairsOf({ ranks: [0, 1, 2] })).toEqual([
      [0, 1],
      [0, 2],
      [1, 2],
    ])
    expect(pairsOf({ ranks: [1, 0, 1] })).toEqual([
      [1, 0],
      [1, 2],
    ])
    expect(pairsOf({ ranks: [0, 0] })).toEqual([])
    expect(pairsOf({ ranks: [0, 1, 2, 3, 4, 5, 6, 7, 8] }).length).toBe((9 * 8) / 2)
  })

  it('counts every prompt once, however many pairs it has: the same by hand', async () => {
    const model = new RewardModel(trunk)
    const comparisons: Comparison[] = [
      {
        sequences: [
          [1, 2, 3],
          [1, 2],
          [1, 2, 4, 5],
        ],
        ranks: [1, 0, 1],
      },
      {
        sequences: [
          [7, 8],
          [7, 9, 10],
        ],
        ranks: [0, 1],
      },
    ]
    const shape = { rows: 7, seq: 6, answers: 3 }
    const trainer = await Trainer.create({
      objective: rewardObjective(model),
      inputs: comparisonInputs(shape),
      learningRate: constantSchedule(1e-2),
      seed: 3,
    })
    // Of a head that nobody asks there are no weights.
    expect([...trainer.layout.offsets.keys()].filter((name) => /head|score/.test(name))).toEqual(['score.weight'])
    const scorer = await rewardScorer(model, trainer, { rows: 2 })
    const [a, b] = [
      await scorer.scoreSequences(comparisons[0].sequences),
      await scorer.scoreSequences(comparisons[1].sequences),
    ]
    const nll = (margin: number) => Math.log(1 + Math.exp(-margin))
    const expected = ((nll(a[1] - a[0]) + nll(a[1] - a[2])) / 2 + nll(b[0] - b[1])) / 2
    const margin = ((a[1] - a[0] + a[1] - a[2]) / 2 + (b[0] - b[1])) / 2
    const { loss, metrics } = await trainer.train(comparisonBatch(comparisons, shape))
    expect(loss).toBeCloseTo(expected, 5)
    expect(metrics.margin).toBeCloseTo(margin, 5)
    for (let i = 0; i < 30; i++) await trainer.train(comparisonBatch(comparisons, shape))
    expect((await trainer.train(comparisonBatch(comparisons, shape))).metrics.accuracy).toBe(1)
    // The scorer reads the weights in training.
    const after = await scorer.scoreSequences(comparisons[1].sequences)
    expect(after[0]).toBeGreaterThan(after[1])
    scorer.release()
    trainer.release()
  })

  it('takes whole prompts only', () => {
    const two: Comparison = { sequences: [[1], [2]], ranks: [0, 1] }
    expect(() => comparisonBatch([two, two], { rows: 3, seq: 4, answers: 2 })).toThrow(
      'a prompt of 2 answers does not fit where 1 do',
    )
    expect(() => comparisonBatch([two], { rows: 2, seq: 0, answers: 2 })).toThrow(RangeError)
  })
})

describe('a loader of comparisons', () => {
  const comparisons = Array.from({ length: 7 }, (_, i): Comparison => {
    const count = 2 + (i % 3)
    return {
      sequences: Array.from({ length: count }, (_, k) => [i + 1, k + 1]),
      ranks: Array.from({ length: count }, (_, k) => k),
    }
  })
  const shape = { rows: 4, seq: 2, answers: 4 }
  const promptsOf = (batch: ReturnType<typeof comparisonBatch>) =>
    Array.from(batch.inputIds as Int32Array).filter((id, i) => i % 2 === 0 && id > 0)

  it('reads every answer once an epoch, in batches that are a function of the step', () => {
    const all = [
      ...comparisons,
      {
        sequences: [
          [9, 1],
          [9, 2],
        ],
        ranks: [0, 0],
      },
    ]
    const loader = comparisonLoader(all, shape, 5)
    const epoch = Array.from({ length: loader.stepsPerEpoch }, (_, step) => promptsOf(loader.batchAt(step))).flat()
    expect(epoch.sort()).toEqual(comparisons.flatMap(({ sequences }) => sequences.map(([prompt]) => prompt)).sort())
    const late = comparisonLoader(all, shape, 5).batchAt(23)
    expect(late).toEqual(loader.batchAt(23))
  })

  it('has nothing to read where all answers are tied', () => {
    expect(() => comparisonLoader([{ sequences: [[1], [2]], ranks: [0, 0] }], shape, 1)).toThrow(
      'nothing to learn from',
    )
  })
})

describe('what a reward is worth', () => {
  it('is set by demonstrations, or by answers of the policy', () => {
    const weights = new Map([['score.weight', tensorData('float32', [1, 2], [0.5, -1])]])
    const model = new RewardModel(trunk, 1)
    expect(normalizedReward(model, weights, [3, 5]).model.bias).toBe(-3)
    expect(normalizedReward(model, weights, [3, 5]).weights.get('score.weight')?.data).toEqual(Float32Array.of(0.5, -1))
    // The mean is 4 and the deviation 2: r' = (r − 4) / 2, and the bias was 1.
    const unit = normalizedReward(model, weights, [2, 6], { unit: true })
    expect(unit.model.bias).toBe(-1.5)
    expect(unit.weights.get('score.weight')?.data).toEqual(Float32Array.of(0.25, -0.5))
  })

  it('is calibrated where pairs are right as often as their distance says', () => {
    const logit = (p: number) => Math.log(p / (1 - p))
    const right = [logit(0.75), logit(0.75), logit(0.75), -logit(0.75)]
    const rows = calibration(right, 5)
    expect(rows[2]).toMatchObject({ pairs: 4, accuracy: 0.75 })
    expect(rows[2].confidence).toBeCloseTo(0.75, 10)
    expect(calibrationError(rows)).toBeCloseTo(0, 10)
    expect(calibrationError(calibration([-logit(0.9), logit(0.9)]))).toBeCloseTo(0.4, 10)
    expect(calibration([0, 0])[0]).toMatchObject({ pairs: 2, accuracy: 0.5, confidence: 0.5 })
  })
})
