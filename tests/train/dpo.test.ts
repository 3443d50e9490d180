import { describe, expect, it } from 'vitest'
import { StepRandom } from '../../src/data/random.ts'
import { Llama } from '../../src/models/llama.ts'
import { float32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { tensorData } from '../../src/tensor/index.ts'
import {
  type AnswerPair,
  type DpoSettings,
  dpoInputs,
  dpoLoader,
  dpoLoss,
  dpoObjective,
  judgePairs,
} from '../../src/train/dpo.ts'

async function lossesOf(logProbs: number[], refLogProbs: number[], settings: DpoSettings) {
  const rows = logProbs.length
  const traced = trace((_, { logProbs, refLogProbs }) => dpoLoss(logProbs, refLogProbs, settings), {
    logProbs: float32(rows),
    refLogProbs: float32(rows),
  })
  const run = await compile(traced)
  const of = (values: number[]) => tensorData('float32', [rows], values)
  const results = await run({ logProbs: of(logProbs), refLogProbs: of(refLogProbs) })
  run.release()
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, Array.from(data, Number)]))
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

describe('eq. 7', () => {
  it('is −log σ of β times how much more the chosen answer gained on the reference than the rejected one', async () => {
    const { losses, chosenRewards, rejectedRewards } = await lossesOf([-1, -4, -3, -2], [-2, -3, -3, -5], { beta: 0.5 })
    // (−1 + 2) − (−4 + 3) = 2 and (−3 + 3) − (−2 + 5) = −3, times β.
    expect(losses[0]).toBeCloseTo(-Math.log(sigmoid(1)), 5)
    expect(losses[1]).toBeCloseTo(-Math.log(sigmoid(-1.5)), 5)
    expect(chosenRewards[0]).toBeCloseTo(0.5, 6)
    expect(chosenRewards[1]).toBeCloseTo(0, 6)
    expect(rejectedRewards[0]).toBeCloseTo(-0.5, 6)
    expect(rejectedRewards[1]).toBeCloseTo(1.5, 6)
  })

  it('with label smoothing counts some pairs the other way round', async () => {
    const { losses } = await lossesOf([-1, -4], [-2, -3], { beta: 0.5, labelSmoothing: 0.1 })
    expect(losses[0]).toBeCloseTo(-0.9 * Math.log(sigmoid(1)) - 0.1 * Math.log(sigmoid(-1)), 5)
  })
})

const [VOCAB, SEQ, LIKED] = [12, 8, 7]
const model = new Llama({
  vocabSize: VOCAB,
  maxPositions: SEQ,
  dModel: 16,
  nLayers: 1,
  nHeads: 2,
  headDim: 8,
  dInner: 32,
  tieWordEmbeddings: true,
})
const PAIRS = 8

/** Answers of four tokens; the one with more of the liked token is chosen. */
const pairs: AnswerPair[] = Array.from({ length: 40 }, (_, i) => {
  const random = new StepRandom(3, i)
  const draw = () => Array.from({ length: 4 }, () => (random.uniform() < 0.3 ? LIKED : random.below(VOCAB)))
  const likes = (ids: number[]) => ids.filter((id) => id === LIKED).length
  let [a, b] = [draw(), draw()]
  while (likes(a) === likes(b)) [a, b] = [draw(), draw()]
  return { promptIds: [i % VOCAB, 1], chosen: likes(a) > likes(b) ? a : b, rejected: likes(a) > likes(b) ? b : a }
})

describe('a policy', () => {
  it('starts as the reference, where no answer has a reward, and learns what is chosen', async () => {
    const create = (learningRate: number) =>
      Trainer.create({
        objective: dpoObjective(model, { beta: 0.1 }),
        inputs: dpoInputs(PAIRS, SEQ),
        learningRate: constantSchedule(learningRate),
        weightDecay: 0,
        seed: 2,
      })
    const [trainer, reference] = [await create(3e-3), await create(0)]
    const judged = await judgePairs(model, reference, pairs, { seq: SEQ, rows: 6 })
    const { batchAt, stepsPerEpoch } = dpoLoader(judged.slice(0, 32), { pairs: PAIRS, seq: SEQ }, 1)
    expect(stepsPerEpoch).toBe(4)
    const first = await trainer.train(batchAt(0))
    expect(first.loss).toBeCloseTo(Math.LN2, 4)
    expect(first.metrics.chosenReward).toBeCloseTo(0, 4)
    for (let step = 1; step < 80; step++) await trainer.train(batchAt(step))
    // Pairs that it never saw.
    const held = dpoLoader(judged.slice(32), { pairs: PAIRS, seq: SEQ }, 1)
    const { loss, metrics } = await trainer.train(held.batchAt(0))
    expect(metrics.accuracy).toBeGreaterThanOrEqual(0.75)
    expect(metrics.margin).toBeGreaterThan(0.05)
    expect(loss).toBeLessThan(Math.LN2)
    expect(metrics.chosenReward - metrics.rejectedReward).toBeCloseTo(metrics.margin, 4)
    for (const one of [trainer, reference]) one.release()
  }, 60_000)

  it('reads every pair once an epoch, a function of the step', () => {
    const judged = pairs.slice(0, 8).map((pair, i) => ({ ...pair, refChosen: i, refRejected: -i }))
    const loader = dpoLoader(judged, { pairs: 4, seq: SEQ }, 6)
    const seen = [0, 1].flatMap((step) => Array.from(loader.batchAt(step).refLogProbs, Number))
    expect(seen.filter((_, i) => i % 2 === 0).sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(loader.batchAt(2)).not.toEqual(loader.batchAt(0))
    expect(dpoLoader(judged, { pairs: 4, seq: SEQ }, 6).batchAt(5)).toEqual(loader.batchAt(5))
    expect(() => dpoLoader(judged, { pairs: 9, seq: SEQ }, 6)).toThrow('8 pairs do not fill a batch of 9')
  })
})
