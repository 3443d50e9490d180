import { describe, expect, it } from 'vitest'
import type { Episode } from '../../src/generate/rollout.ts'
import { Llama } from '../../src/models/llama.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { runRecipe } from '../../src/optim/run.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { tensorData } from '../../src/tensor/index.ts'
import {
  GRPO_SETTINGS,
  groupAdvantages,
  grpoBatch,
  grpoInputs,
  grpoObjective,
  klEstimate,
  likelihoods,
  trainGrpo,
} from '../../src/train/grpo.ts'
import { judgeTokens, withReference } from '../../src/train/ppo.ts'
import { temporaryFolder } from '../hub/temporary.ts'

const root = temporaryFolder()

describe("the paper's equations", () => {
  it('§4.1.2: what an answer is worth is its place in its group', () => {
    const [a, b, c, d, e, f] = groupAdvantages([1, 2, 3, 5, 5, 5], 3)
    for (const [actual, expected] of [
      [a, -1],
      [b, 0],
      [c, 1],
    ]) {
      expect(actual).toBeCloseTo(expected, 10)
    }
    expect([d, e, f]).toEqual([0, 0, 0])
    expect(groupAdvantages([0, 1], 2)[1]).toBeCloseTo(Math.SQRT1_2, 10)
  })

  it('eq. 4: the estimate of the KL is right on the average and never negative', async () => {
    const [p, q] = [
      [0.5, 0.3, 0.2],
      [0.2, 0.2, 0.6],
    ]
    const run = await compile(trace((_, { p, q }) => ({ kl: klEstimate(p, q) }), { p: float32(3), q: float32(3) }))
    const logs = (values: number[]) => tensorData('float32', [3], values.map(Math.log))
    const { kl } = await run({ p: logs(p), q: logs(q) })
    const estimates = Array.from(kl.data, Number)
    run.release()
    expect(Math.min(...estimates)).toBeGreaterThan(0)
    expect(estimates[0]).toBeCloseTo(0.4 - Math.log(0.4) - 1, 5)
    const average = estimates.reduce((sum, estimate, i) => sum + p[i] * estimate, 0)
    expect(average).toBeCloseTo(
      p.reduce((sum, pi, i) => sum + pi * Math.log(pi / q[i]), 0),
      5,
    )
  })
})

const [VOCAB, SEQ, LIKED, GROUP] = [12, 12, 7, 4]
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

describe('eq. 3', () => {
  it('is the mean over answers of the mean over their tokens: by hand from the log-probabilities', async () => {
    const trainer = await Trainer.create({
      objective: grpoObjective(model, { clipRange: 0.2, klCoef: 0.5 }),
      inputs: grpoInputs(2, SEQ),
      learningRate: constantSchedule(0),
      seed: 8,
    })
    const episodes: Episode[] = [
      { promptIds: [1, 2], ids: [3, 4, 5], logProbs: [], ended: true },
      { promptIds: [1, 2], ids: [6], logProbs: [], ended: true },
    ]
    const rows = { inputIds: int32('batch', SEQ), shiftLabels: int32('batch', SEQ) }
    const initial = new Map([...(await trainer.weights())])
    const judge = await compile(trace(likelihoods(model), rows), withReference(trainer, initial))
    const judged = await judgeTokens(judge, episodes, { seq: SEQ, rows: 1 })
    // An old policy and a reference that are elsewhere.
    const moved = judged.map(({ logProbs, refLogProbs }) => ({
      logProbs: logProbs.map((x, t) => x + (t === 0 ? -0.5 : 0.1)),
      refLogProbs: refLogProbs.map((x) => x + 0.3),
    }))
    const { loss, metrics } = await trainer.train(grpoBatch(episodes, moved, [2, 1], { seq: SEQ, group: 2 }))
    const advantage = Math.SQRT1_2
    const kl = Math.exp(0.3) - 0.3 - 1
    // Ratios: e^0.5, above 1.2, for the first token of each; e^−0.1 for the others.
    const first = (1.2 * advantage + 2 * Math.exp(-0.1) * advantage) / 3
    const second = -Math.exp(0.5) * advantage
    expect(loss).toBeCloseTo(-(first + second) / 2 + 0.5 * kl, 4)
    expect(metrics.tokenKl).toBeCloseTo(kl, 4)
    expect(metrics.clipFraction).toBeCloseTo((1 / 3 + 1) / 2, 5)
    judge.release()
    trainer.release()
  })
})

describe('a policy', () => {
  it('learns what is rewarded, without a value', async () => {
    const liked: number[] = []
    let parameters: string[] = []
    const told = recipe({
      paper: 'grpo',
      claim: 'the token that is liked is said',
      settings: { data: '', steps: 25, seed: 5, evalEvery: 0, checkpointEvery: 0 },
      async run(context) {
        const first = await Trainer.create({
          objective: (scope, { inputIds }) => ({ loss: model.forward(scope, { inputIds }).logits.sum() }),
          inputs: { inputIds: int32(1, 2) },
          learningRate: constantSchedule(0),
        })
        const weights = new Map([...(await first.weights())].map(([name, t]) => [name, { ...t, data: t.data.slice() }]))
        first.release()
        const { policy } = await trainGrpo(context, {
          model,
          weights,
          steps: 25,
          group: GROUP,
          prompts: (step) => [[step % VOCAB], [(step + 5) % VOCAB, 2], [3], [(2 * step) % VOCAB, 4, 1]],
          score: (episodes) => {
            const scores = episodes.map(({ ids }) => ids.filter((id) => id === LIKED).length / ids.length)
            liked.push(scores.reduce((a, b) => a + b) / scores.length)
            return scores
          },
          seq: SEQ,
          sampling: { maxNewTokens: 8 },
          minibatch: 8,
          epochs: 2,
          learningRate: constantSchedule(8e-3),
          settings: { ...GRPO_SETTINGS, klCoef: 0.01 },
        })
        parameters = [...policy.layout.offsets.keys()]
      },
    })
    await runRecipe(told, told.settings, { out: `${root}/grpo` })
    const mean = (values: number[]) => values.reduce((a, b) => a + b) / values.length
    expect(mean(liked.slice(0, 3))).toBeLessThan(0.25)
    expect(mean(liked.slice(-5))).toBeGreaterThan(0.5)
    expect(parameters.filter((name) => name.includes('value'))).toEqual([])
  }, 120_000)
})
