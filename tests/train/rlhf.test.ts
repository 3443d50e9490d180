import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { StepRandom } from '../../src/data/random.ts'
import type { Episode } from '../../src/generate/rollout.ts'
import { Llama } from '../../src/models/llama.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { savedWeights } from '../../src/optim/model-folder.ts'
import { type RecipeContext, recipe } from '../../src/optim/recipe.ts'
import { runRecipe } from '../../src/optim/run.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { type TensorData, tensorData } from '../../src/tensor/index.ts'
import {
  actorCritic,
  entropyOf,
  episodeBatch,
  minibatches,
  PPO_SETTINGS,
  ppoBatch,
  ppoInputs,
  ppoObjective,
  trainPpo,
  valueWeights,
  whiten,
} from '../../src/train/ppo.ts'
import { RewardModel, rewardScorer } from '../../src/train/reward.ts'
import { temporaryFolder } from '../hub/temporary.ts'

/** RLHF as InstructGPT has it: what PPO on a language model has beside PPO's own paper. */

const root = temporaryFolder()
const VOCAB = 12
const SEQ = 12
const LIKED = 7
const ANSWERS = 16

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

/** First values of a model, and of what is asked beside it. */
async function weightsOf(judge: RewardModel | Llama, seed: number): Promise<Map<string, TensorData>> {
  const isReward = judge instanceof RewardModel
  const trainer = await Trainer.create({
    objective: (scope, inputs) =>
      isReward
        ? { loss: judge.forward(scope, inputs).rewards.sum() }
        : { loss: judge.forward(scope, inputs).logits.sum() },
    inputs: isReward ? { inputIds: int32(1, 4), lastAt: int32(1) } : { inputIds: int32(1, 4) },
    learningRate: constantSchedule(0),
    seed,
  })
  const copies = [...(await trainer.weights())].map(
    ([name, value]) => [name, { ...value, data: value.data.slice() }] as const,
  )
  trainer.release()
  return new Map(copies)
}

const promptsAt = (step: number): number[][] => {
  const random = new StepRandom(1, step)
  return Array.from({ length: ANSWERS }, (_, i) => Array.from({ length: 1 + (i % 4) }, () => random.below(VOCAB)))
}
const liking = ({ ids }: Episode): number => ids.filter((id) => id === LIKED).length / ids.length

/** A text of two tokens in turn: what pre-training beside holds on to. */
const alternating = () => ({
  inputIds: Int32Array.from({ length: 4 * SEQ }, (_, i) => 2 + (i % 2)),
  shiftLabels: Int32Array.from({ length: 4 * SEQ }, (_, i) => 2 + ((i + 1) % 2)),
})

type Scores = (likings: number[], step: number) => number[]

interface Told {
  readonly steps: number
  readonly score?: Scores
  readonly ptxCoef?: number
  readonly klTarget?: number
  /** Stops the run after so many steps. */
  readonly stopAfter?: number
  readonly resume?: boolean
}

/** A run of a recipe whose policy is rewarded for a token. */
async function run(name: string, { steps, score = (likings) => likings, ptxCoef, klTarget, stopAfter, resume }: Told) {
  const liked: number[] = []
  const stop = new AbortController()
  const reward = new RewardModel(model)
  const told = recipe({
    paper: 'instructgpt',
    claim: 'the token that is liked is said',
    settings: { data: '', steps, seed: 5, evalEvery: 0, checkpointEvery: 0 },
    async run(context: RecipeContext) {
      const { policy } = await trainPpo(context, {
        model,
        weights: await weightsOf(model, 2),
        steps,
        prompts: promptsAt,
        score: (episodes, step) => {
          const likings = episodes.map(liking)
          liked.push(likings.reduce((a, b) => a + b) / likings.length)
          if (step + 1 === stopAfter) stop.abort()
          return score(likings, step)
        },
        seq: SEQ,
        sampling: { temperature: 1, maxNewTokens: 8 },
        minibatch: 8,
        epochs: 2,
        learningRate: constantSchedule(4e-3),
        settings: { ...PPO_SETTINGS, whitenRewards: true, ptxCoef },
        klCoef: 0.05,
        klTarget,
        klHorizon: 1000,
        value: { model: reward, weights: await weightsOf(reward, 3) },
        ptx: ptxCoef ? { batch: 4, seq: SEQ, batchAt: alternating } : undefined,
      })
      await context.save({ model, weights: policy })
    },
  })
  const out = `${root}/${name}`
  const settings = told.settings
  const { finished } = await runRecipe(told, settings, { out, signal: stop.signal, resume })
  const logged = readFileSync(`${out}/metrics.jsonl`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>)
  return { out, finished, liked, logged }
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
const STEPS = 45

describe('PPO on a language model', () => {
  it('raises the reward, and the KL stays what the price of it allows', async () => {
    const { liked, logged } = await run('rewarded', { steps: STEPS })
    expect(mean(liked.slice(0, 3))).toBeLessThan(0.25) // chance is 1/12
    expect(mean(liked.slice(-5))).toBeGreaterThan(0.5)
    const last = logged.slice(-5)
    // Eight tokens of ln 12 nats are 20: what is said without exception cannot be further away.
    for (const { kl } of last) expect(kl).toBeLessThan(22)
    expect(mean(last.map(({ kl }) => kl))).toBeGreaterThan(1)
    expect(mean(last.map(({ entropy }) => entropy))).toBeLessThan(logged[0].entropy)
    for (const name of ['reward', 'kl', 'klCoef', 'length', 'ended', 'clipFraction', 'policyLoss', 'valueLoss']) {
      expect(logged[0][name], name).toEqual(expect.any(Number))
    }
    expect(logged[0].length).toBe(8)
  }, 120_000)

  it('raises nothing where the rewards are those of other answers', async () => {
    const { liked } = await run('shuffled', {
      steps: STEPS,
      score: (likings, step) => {
        const order = new StepRandom(99, step).permutation(likings.length)
        return Array.from(order, (i) => likings[i])
      },
    })
    expect(mean(liked.slice(-5))).toBeLessThan(0.3)
  }, 120_000)

  it('keeps what pre-training taught where it goes on beside', async () => {
    const { logged } = await run('ptx', { steps: 30, ptxCoef: 2 })
    expect(logged[0].ptxLoss).toBeGreaterThan(1.5)
    expect(logged[29].ptxLoss).toBeLessThan(1)
    expect(mean(logged.slice(-5).map(({ reward }) => reward))).toBeGreaterThan(0.2)
  }, 120_000)

  it('goes on after a stop as if there had been none, to the last bit', async () => {
    const told = { steps: 6, klTarget: 12 }
    const whole = await run('whole', told)
    const stopped = await run('halves', { ...told, stopAfter: 3 })
    expect(stopped.finished).toBe(false)
    const resumed = await run('halves', { ...told, resume: true })
    expect(resumed.finished).toBe(true)
    const [a, b] = [savedWeights(whole.out), savedWeights(resumed.out)]
    for (const [name, { data }] of a) expect(b.get(name)?.data, name).toEqual(data)
    const logOf = ({ logged }: typeof whole) => logged.map(({ reward, kl, klCoef }) => ({ reward, kl, klCoef }))
    expect(logOf(resumed)).toEqual(logOf(whole))
    // The price of distance follows the distance: below 12 nats it falls.
    expect(whole.logged[5].klCoef).toBeLessThan(whole.logged[0].klCoef)
  }, 120_000)
})

describe('the pieces', () => {
  it('rewards can be scaled without moving their mean', () => {
    const [a, b] = whiten([Float32Array.of(1, 2), Float32Array.of(6)], { shiftMean: false })
    const deviation = Math.sqrt((4 + 1 + 9) / 2)
    for (const [i, x] of [1, 2, 6].entries()) expect([...a, ...b][i]).toBeCloseTo((x - 3) / deviation + 3, 5)
  })

  it('scaled rewards are what advantages are made of', () => {
    const episodes = [
      { promptIds: [1], ids: [2, 3], logProbs: [], ended: true },
      { promptIds: [1], ids: [4], logProbs: [], ended: true },
    ]
    const zeros = (n: number) => new Float32Array(n)
    const judged = [
      { logProbs: zeros(2), refLogProbs: zeros(2), values: zeros(2), score: 3 },
      { logProbs: zeros(1), refLogProbs: zeros(1), values: zeros(1), score: -1 },
    ]
    const settings = { ...PPO_SETTINGS, lambda: 1, klCoef: 0.1 }
    // Rewards are 0, 3 and −1: mean 2/3, deviation √(13/3).
    const scaled = [0, 3, -1].map((r) => (r - 2 / 3) / Math.sqrt(13 / 3) + 2 / 3)
    const { returns } = ppoBatch(episodes, judged, 4, { ...settings, whitenRewards: true })
    expect(returns[0]).toBeCloseTo(scaled[0] + scaled[1], 5)
    expect(returns[1]).toBeCloseTo(scaled[1], 5)
    expect(returns[4]).toBeCloseTo(scaled[2], 5)
    expect([...ppoBatch(episodes, judged, 4, settings).returns]).toEqual([3, 3, 0, 0, -1, 0, 0, 0])
  })

  it('entropy is −Σ p log p', async () => {
    const run = await compile(trace((_, { logits }) => ({ h: entropyOf(logits) }), { logits: float32(1, 2, 4) }))
    const { h } = await run({ logits: tensorData('float32', [1, 2, 4], [0, 0, 0, 0, Math.log(3), 0, -50, -50]) })
    expect(Number(h.data[0])).toBeCloseTo(Math.log(4), 5)
    expect(Number(h.data[1])).toBeCloseTo(-(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25)), 5)
    run.release()
  })

  it('the objective is PPO’s, less c₂ times the entropy, with γ times the loss of pre-training', async () => {
    const episodes = promptsAt(0)
      .slice(0, 2)
      .map((promptIds) => ({ promptIds, ids: [3, 4, 5], logProbs: [], ended: true }))
    const numbers = () => episodes.map(({ ids }) => Float32Array.from(ids, (id) => id / 4 - 1))
    const batch = episodeBatch(episodes, SEQ, {
      ...{ oldLogProbs: episodes.map(() => new Float32Array(3).fill(-2)), oldValues: numbers() },
      ...{ advantages: numbers(), returns: numbers() },
    })
    const { inputIds, shiftLabels } = alternating()
    const measured = async (settings: object, ptx?: { batch: number; seq: number }) => {
      const trainer = await Trainer.create({
        objective: ppoObjective(model, { ...PPO_SETTINGS, ...settings }),
        inputs: ppoInputs(2, SEQ, ptx),
        learningRate: constantSchedule(0),
        seed: 4,
      })
      const { loss, metrics } = await trainer.train({ ...batch, ptxInputIds: inputIds, ptxShiftLabels: shiftLabels })
      trainer.release()
      return { loss, ...metrics } as Record<string, number>
    }
    const plain = await measured({})
    expect(plain.loss).toBeCloseTo(plain.policyLoss + 0.1 * plain.valueLoss, 5)
    const bonus = await measured({ entropyCoef: 0.5 })
    expect(bonus.loss).toBeCloseTo(plain.loss - 0.5 * plain.entropy, 5)
    const mixed = await measured({ ptxCoef: 3 }, { batch: 4, seq: SEQ })
    expect(mixed.loss).toBeCloseTo(plain.loss + 3 * mixed.ptxLoss, 4)
    expect(mixed.ptxLoss).toBeGreaterThan(1)
  })

  it('a value network begins as the reward model: V of a text is its reward', async () => {
    const reward = new RewardModel(model, 0.75)
    const weights = await weightsOf(reward, 6)
    const text = [1, 5, 3, 2]
    const traced = trace((scope, inputs) => actorCritic(scope, model, inputs, reward.trunk), {
      inputIds: int32(1, 4),
      shiftLabels: int32(1, 4),
    })
    const run = await compile(traced, new Map([...(await weightsOf(model, 2)), ...valueWeights(reward, weights)]))
    const ids = tensorData('int32', [1, 4], text)
    const { values } = await run({ inputIds: ids, shiftLabels: ids })
    const scorer = await rewardScorer(reward, weights)
    const scores = await scorer.scoreSequences(text.map((_, i) => text.slice(0, i + 1)))
    for (const [i, score] of scores.entries()) expect(Number(values.data[i])).toBeCloseTo(score, 4)
    run.release()
    scorer.release()
  })

  it('minibatches have every row once an epoch, its numbers together', () => {
    const batch = { ids: Int32Array.of(0, 0, 1, 1, 2, 2, 3, 3), scores: Float32Array.of(0, 1, 2, 3) }
    const parts = [...minibatches(batch, { count: 4, size: 2, epochs: 2, random: new StepRandom(3, 1) })]
    expect(parts.length).toBe(4)
    for (const { ids, scores } of parts.map((part) => ({
      ids: Array.from(part.ids, Number),
      scores: Array.from(part.scores, Number),
    }))) {
      expect(ids).toEqual([scores[0], scores[0], scores[1], scores[1]])
    }
    for (const epoch of [parts.slice(0, 2), parts.slice(2)]) {
      expect(epoch.flatMap(({ scores }) => Array.from(scores, Number)).sort()).toEqual([0, 1, 2, 3])
    }
  })
})
