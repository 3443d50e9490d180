import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { rollout } from '../../src/generate/rollout.ts'
import { Llama } from '../../src/models/llama.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { tensorData } from '../../src/tensor/index.ts'
import {
  actorCritic,
  adaptedKlCoef,
  clippedPolicyLoss,
  clippedValueLoss,
  episodeBatch,
  generalizedAdvantages,
  judgeEpisodes,
  judgement,
  PPO_SETTINGS,
  perTokenRewards,
  ppoBatch,
  ppoInputs,
  ppoObjective,
  whiten,
  withReference,
} from '../../src/train/ppo.ts'

const floats = (...values: number[]) => Float32Array.from(values)
const near = (actual: Iterable<number>, expected: readonly number[], digits = 5): void => {
  const list = [...actual]
  expect(list.length).toBe(expected.length)
  for (const [i, value] of expected.entries()) expect(list[i]).toBeCloseTo(value, digits)
}

describe("the paper's equations", () => {
  it('eq. 7: the ratio is clipped only where leaving the interval would pay', async () => {
    const traced = trace((_, { ratio, advantages }) => ({ loss: clippedPolicyLoss(ratio, advantages, 0.2) }), {
      ratio: float32(6),
      advantages: float32(6),
    })
    const run = await compile(traced)
    const { loss } = await run({
      ratio: tensorData('float32', [6], [1, 1.5, 0.5, 1, 1.5, 0.5]),
      advantages: tensorData('float32', [6], [2, 2, 2, -2, -2, -2]),
    })
    near(loss.data as Float32Array, [-2, -2.4, -1, 2, 3, 1.6])
    run.release()
  })

  it('eq. 9: of the value and the clipped value, the worse counts', async () => {
    const traced = trace(
      (_, { values, oldValues, returns }) => ({ loss: clippedValueLoss(values, oldValues, returns, 0.2) }),
      { values: float32(3), oldValues: float32(3), returns: float32(3) },
    )
    const run = await compile(traced)
    const given = (...values: number[]) => tensorData('float32', [3], values)
    const { loss } = await run({ values: given(0.1, 1, 1), oldValues: given(0, 0, 0), returns: given(1, 1, -1) })
    near(loss.data as Float32Array, [0.5 * 0.9 ** 2, 0.5 * 0.8 ** 2, 0.5 * 2 ** 2])
    run.release()
  })

  it('eq. 11–12: advantages are discounted sums of errors, by the definition', () => {
    const [rewards, values] = [floats(0, 1, 0, 2), floats(0.5, -0.25, 1, 0.75)]
    for (const [discount, lambda] of [
      [1, 0.95],
      [0.9, 1],
      [0.99, 0],
    ]) {
      const delta = [0, 1, 2, 3].map((t) => rewards[t] + discount * (values[t + 1] ?? 0) - values[t])
      const expected = delta.map((_, t) => delta.slice(t).reduce((sum, d, l) => sum + (discount * lambda) ** l * d, 0))
      const { advantages, returns } = generalizedAdvantages(rewards, values, { discount, lambda })
      near(advantages, expected)
      near(
        returns,
        expected.map((a, t) => a + values[t]),
      )
    }
  })

  it('with λ = 1 and no value, the return is what is still to come', () => {
    const { returns } = generalizedAdvantages(floats(1, 2, 3), floats(0, 0, 0), { discount: 1, lambda: 1 })
    near(returns, [6, 5, 3])
  })

  it('every token pays for its distance from the reference; the score comes with the last', () => {
    const judged = {
      logProbs: floats(-1, -2, -3),
      refLogProbs: floats(-1.5, -2, -1),
      values: floats(0, 0, 0),
      score: 4,
    }
    near(perTokenRewards(judged, 0.1), [-0.05, 0, 4.2])
  })

  it('whitened numbers have mean 0 and variance 1 over all parts', () => {
    const parts = whiten([floats(1, 2), floats(3, 4, 10)])
    const all = parts.flatMap((part) => [...part])
    expect(all.reduce((a, b) => a + b)).toBeCloseTo(0, 5)
    expect(all.reduce((a, b) => a + b * b, 0) / 4).toBeCloseTo(1, 5)
    expect(parts.map(({ length }) => length)).toEqual([2, 3])
  })

  it('the price of distance follows the distance that is wanted, by a fifth of the error at most', () => {
    const at = (kl: number) => adaptedKlCoef(0.15, kl, { target: 6, horizon: 10_000, answers: 512 })
    expect(at(6)).toBe(0.15)
    expect(at(6.6)).toBeCloseTo(0.15 * (1 + (0.1 * 512) / 10_000), 10)
    expect(at(60)).toBeCloseTo(0.15 * (1 + (0.2 * 512) / 10_000), 10)
    expect(at(0)).toBeCloseTo(0.15 * (1 - (0.2 * 512) / 10_000), 10)
  })
})

describe('episodes as rows', () => {
  const episodes = [
    { promptIds: [5, 6], ids: [7, 8], logProbs: [], ended: true },
    { promptIds: [9], ids: [3], logProbs: [], ended: false },
  ]

  it('have their numbers where each token was chosen', () => {
    const batch = episodeBatch(episodes, 5, { advantages: [floats(1, 2), floats(3)] })
    expect([...batch.inputIds]).toEqual([5, 6, 7, 8, 0, 9, 3, 0, 0, 0])
    expect([...batch.shiftLabels]).toEqual([-100, 7, 8, -100, -100, 3, -100, -100, -100, -100])
    expect([...batch.advantages]).toEqual([0, 1, 2, 0, 0, 3, 0, 0, 0, 0])
  })

  it('that are too long are refused', () => {
    expect(() => episodeBatch(episodes, 3)).toThrow('an episode of 2 + 2 tokens does not fit rows of 3')
  })
})

const VOCAB = 12
const SEQ = 16
const LIKED = 7

const model = new Llama({
  vocabSize: VOCAB,
  maxPositions: SEQ,
  dModel: 32,
  nLayers: 2,
  nHeads: 4,
  nKvHeads: 2,
  headDim: 8,
  dInner: 64,
})
const PROMPTS = Array.from({ length: 8 }, (_, i) => Array.from({ length: 1 + (i % 4) }, (_, t) => (3 * i + t) % VOCAB))
/** Cheap enough for the best policy, ∝ π_ref · exp(score / β), to say nothing but what it likes. */
const settings = { ...PPO_SETTINGS, klCoef: 0.01 }
const ROLLOUT = { temperature: 1, maxNewTokens: 8 }

/** A policy with a value head in training, the reference that it began as, and what both say of episodes. */
async function policy(seed: number) {
  const trainer = await Trainer.create({
    objective: ppoObjective(model, settings),
    inputs: ppoInputs(PROMPTS.length, SEQ),
    learningRate: constantSchedule(3e-3),
    weightDecay: 0,
    seed,
  })
  const initial = new Map(
    [...(await trainer.weights())].map(([name, value]) => [name, { ...value, data: value.data.slice() }]),
  )
  const rows = { inputIds: int32('batch', SEQ), shiftLabels: int32('batch', SEQ) }
  const decoder = await CachedDecoder.create(model, trainer, { slots: PROMPTS.length, capacity: SEQ })
  const judge = await compile(trace(judgement(model), rows), withReference(trainer, initial))
  return { trainer, decoder, judge, initial }
}

/** The share of the answer that is the token it is to like. */
const liking = ({ ids }: { ids: readonly number[] }): number => ids.filter((id) => id === LIKED).length / ids.length

describe('one step on a language model', () => {
  it('samples from the weights in training with the log-probabilities of the trained graph, and updates within the clip', async () => {
    const { trainer, decoder, judge, initial } = await policy(1)
    // Away from the first values: what is sampled from must be the weights as they are now.
    const warmUp = await rollout(decoder, PROMPTS, { ...ROLLOUT, seed: 1 })
    const first = await judgeEpisodes(judge, warmUp, warmUp.map(liking), SEQ)
    for (let i = 0; i < 3; i++) await trainer.train(ppoBatch(warmUp, first, SEQ, settings))

    const episodes = await rollout(decoder, PROMPTS, { ...ROLLOUT, seed: 2 })
    const judged = await judgeEpisodes(judge, episodes, episodes.map(liking), SEQ)
    for (const [i, { logProbs, ids }] of episodes.entries()) {
      near(judged[i].logProbs, logProbs, 4)
      expect(judged[i].logProbs.length).toBe(ids.length)
    }
    // The reference is the policy as it was, and the policy has moved away from it.
    const old = await compile(
      trace((scope, inputs) => actorCritic(scope, model, inputs), {
        inputIds: int32(PROMPTS.length, SEQ),
        shiftLabels: int32(PROMPTS.length, SEQ),
      }),
      initial,
    )
    const rows = Object.entries(episodeBatch(episodes, SEQ))
    const before = await old(
      Object.fromEntries(rows.map(([name, data]) => [name, tensorData('int32', [PROMPTS.length, SEQ], data)])),
    )
    const start = PROMPTS[0].length - 1
    near(judged[0].refLogProbs, [...(before.logProbs.data as Float32Array).slice(start, start + 8)], 5)
    expect(Math.abs(judged[0].refLogProbs[0] - judged[0].logProbs[0])).toBeGreaterThan(1e-3)

    const batch = ppoBatch(episodes, judged, SEQ, settings)
    const update = await trainer.train(batch)
    // At the first update nothing has moved: the ratio is 1, and whitened advantages sum to 0.
    expect(update.metrics.policyLoss).toBeCloseTo(0, 4)
    expect(update.metrics.approxKl).toBeCloseTo(0, 5)
    expect(update.metrics.clipFraction).toBe(0)
    for (let i = 0; i < 10; i++) await trainer.train(batch)
    const later = await trainer.train(batch)
    expect(later.metrics.policyLoss).toBeLessThan(-0.05)
    expect(later.metrics.clipFraction).toBeGreaterThan(0)
    for (const one of [old, judge, decoder, trainer]) one.release()
  })

  it('is the same twice', async () => {
    const run = async () => {
      const { trainer, decoder, judge } = await policy(5)
      const episodes = await rollout(decoder, PROMPTS, { ...ROLLOUT, seed: 9 })
      const judged = await judgeEpisodes(judge, episodes, episodes.map(liking), SEQ)
      const { loss, gradNorm } = await trainer.train(ppoBatch(episodes, judged, SEQ, settings))
      for (const one of [judge, decoder, trainer]) one.release()
      return { ids: episodes.map(({ ids }) => ids), loss, gradNorm }
    }
    expect(await run()).toEqual(await run())
  })
})

describe('a policy', () => {
  /** Mean score of the last five rounds, and how far the policy went, in nats an answer. */
  async function improve(score: (likings: readonly number[], round: number) => number[]) {
    const { trainer, decoder, judge } = await policy(4)
    const liked: number[] = []
    let kl = 0
    for (let round = 0; round < 50; round++) {
      const episodes = await rollout(decoder, PROMPTS, { ...ROLLOUT, seed: 100 * round })
      const likings = episodes.map(liking)
      liked.push(likings.reduce((a, b) => a + b) / likings.length)
      const judged = await judgeEpisodes(judge, episodes, score(likings, round), SEQ)
      kl =
        judged.reduce(
          (sum, { logProbs, refLogProbs }) => sum + logProbs.reduce((s, p, t) => s + p - refLogProbs[t], 0),
          0,
        ) / judged.length
      for (let epoch = 0; epoch < 4; epoch++) await trainer.train(ppoBatch(episodes, judged, SEQ, settings))
    }
    for (const one of [judge, decoder, trainer]) one.release()
    const mean = (part: number[]): number => part.reduce((a, b) => a + b) / part.length
    return { before: mean(liked.slice(0, 3)), after: mean(liked.slice(-5)), kl }
  }

  it('learns what is rewarded', async () => {
    const { before, after, kl } = await improve((likings) => [...likings])
    expect(before).toBeLessThan(0.3) // chance is 1/12
    expect(after).toBeGreaterThan(0.7)
    expect(kl).toBeLessThan(30) // 8 tokens of ln 12 nats are 20
  })

  it('and does not where the scores of others are handed to it', async () => {
    const { after } = await improve((likings, round) =>
      likings.map((_, i) => likings[(i + 1 + (round % 7)) % likings.length]),
    )
    expect(after).toBeLessThan(0.5)
  })
})
