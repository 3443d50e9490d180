import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { StepRandom } from '../../src/data/random.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { tensorData } from '../../src/tensor/index.ts'
import {
  bestOfLoss,
  type EnsembleShape,
  ensembleInputs,
  ensembleObjective,
  mostOf,
  noAnswers,
  preference,
  preferenceLoss,
  RewardEnsemble,
  scoreNormalization,
} from '../../src/train/preferences.ts'

const row = (...values: number[]) => tensorData('float32', [values.length], values)

describe('eq. 1', () => {
  it('a preference is softmax over sums of rewards, and one answer in ten a toss', async () => {
    const traced = trace((_, { first, second }) => ({ p: preference(first, second) }), {
      first: float32(4),
      second: float32(4),
    })
    const run = await compile(traced)
    const { p } = await run({ first: row(1, 0, 100, Math.log(3)), second: row(1, 100, 0, 0) })
    // Even; never below a twentieth; never above the rest; e^log 3 / (e^log 3 + 1) = ¾.
    for (const [i, expected] of [0.5, 0.05, 0.95, 0.9 * 0.75 + 0.05].entries())
      expect(p.data[i]).toBeCloseTo(expected, 5)
    run.release()
  })

  it('the loss is the cross-entropy with the answers; where none is preferred, with one half each', async () => {
    const traced = trace((_, { first, second, preferred }) => ({ loss: preferenceLoss(first, second, preferred) }), {
      first: float32(3),
      second: float32(3),
      preferred: float32(3),
    })
    const run = await compile(traced)
    const loss = async (preferred: number[]): Promise<number> => {
      const outputs = await run({
        first: row(Math.log(3), 0, 0),
        second: row(0, 0, Math.log(3)),
        preferred: row(...preferred),
      })
      return outputs.loss.data[0] as number
    }
    const [likely, unlikely] = [-Math.log(0.725), -Math.log(0.275)]
    expect(await loss([1, 1, 1])).toBeCloseTo((likely - Math.log(0.5) + unlikely) / 3, 5)
    expect(await loss([0, 0, 0])).toBeCloseTo((unlikely - Math.log(0.5) + likely) / 3, 5)
    expect(await loss([0.5, 0.5, 0.5])).toBeCloseTo((likely + unlikely - Math.log(0.5)) / 3, 5)
    run.release()
  })
})

describe('Ziegler’s changes for text', () => {
  it('the best of four: −log of its softmax', async () => {
    const traced = trace((_, { scores, best }) => ({ loss: bestOfLoss(scores, best) }), {
      scores: float32(2, 4),
      best: int32(2),
    })
    const run = await compile(traced)
    const { loss } = await run({
      scores: tensorData('float32', [2, 4], [0, Math.log(2), Math.log(3), Math.log(4), 5, 5, 5, 5]),
      best: tensorData('int32', [2], [2, 0]),
    })
    expect(loss.data[0]).toBeCloseTo((-Math.log(0.3) - Math.log(0.25)) / 2, 5)
    run.release()
  })

  it('scores are brought to mean 0 and variance 1', () => {
    const scores = [3, 5, 11, 1]
    const { gain, bias } = scoreNormalization(scores)
    const normal = scores.map((score) => gain * score + bias)
    expect(normal.reduce((a, b) => a + b)).toBeCloseTo(0, 10)
    expect(normal.reduce((a, b) => a + b * b, 0) / 4).toBeCloseTo(1, 10)
    expect(scoreNormalization([2, 2])).toEqual({ gain: 1, bias: -2 })
  })
})

it('the largest come first', () => {
  expect(mostOf([0.1, 0.4, 0.2, 0.4], 3)).toEqual([1, 3, 2])
})

describe('an ensemble', () => {
  const shape: EnsembleShape = { members: 3, features: 2, length: 5, batch: 16 }
  /** What is preferred, and the ensemble never told: x² − y. */
  const worth = (x: number, y: number): number => x * x - y

  const pieceOf = (random: StepRandom): number[] => Array.from({ length: 10 }, () => 2 * random.uniform() - 1)
  const worthOf = (piece: readonly number[]): number =>
    [0, 1, 2, 3, 4].reduce((total, t) => total + worth(piece[2 * t], piece[2 * t + 1]), 0)
  const asked = (count: number, random: StepRandom, answer: (first: number[], second: number[]) => number) =>
    Array.from({ length: count }, () => {
      const [first, second] = [pieceOf(random), pieceOf(random)]
      return { first, second, preferred: answer(first, second) }
    })
  const truthful = (first: number[], second: number[]): number => (worthOf(first) > worthOf(second) ? 1 : 0)

  async function taught(answer: (first: number[], second: number[]) => number) {
    const trainer = await Trainer.create({
      objective: ensembleObjective(shape),
      inputs: ensembleInputs(shape),
      learningRate: constantSchedule(3e-3),
      ...{ beta2: 0.999, weightDecay: 0, seed: 1 },
    })
    const ensemble = await RewardEnsemble.create(shape, trainer, 1)
    const answers = noAnswers(shape)
    answers.comparisons = asked(300, new StepRandom(1, 1), answer)
    const losses = await ensemble.learn(answers, 250, new StepRandom(1, 2))
    return { trainer, ensemble, answers, losses }
  }

  /** Pearson's, of learned rewards with what they are worth. */
  async function correlation({ ensemble, answers }: Awaited<ReturnType<typeof taught>>): Promise<number> {
    const random = new StepRandom(2, 1)
    const steps = Float32Array.from({ length: 400 }, () => 2 * random.uniform() - 1)
    const rewards = await ensemble.rewards(answers, steps)
    const truth = Array.from({ length: 200 }, (_, i) => worth(steps[2 * i], steps[2 * i + 1]))
    const centred = (values: ArrayLike<number>): number[] => {
      const all = Array.from(values)
      const middle = all.reduce((a, b) => a + b) / all.length
      return all.map((value) => value - middle)
    }
    const product = (a: number[], b: number[]): number => a.reduce((total, x, i) => total + x * b[i], 0)
    const [a, b] = [centred(rewards), centred(truth)]
    return product(a, b) / Math.sqrt(product(a, a) * product(b, b))
  }

  it('learns from comparisons of pieces what a step is worth; from tossed answers it learns nothing', async () => {
    const known = await taught(truthful)
    expect(await correlation(known)).toBeGreaterThan(0.9)
    expect(known.losses.heldOutLoss).toBeLessThan(0.5)
    // Over what it was asked about, rewards have mean 0 and variance 1.
    const { ensemble, answers } = known
    const all = Float32Array.from(answers.comparisons.flatMap(({ first, second }) => [...first, ...second]))
    const rewards = await ensemble.rewards(answers, all)
    const mean = rewards.reduce((a, b) => a + b) / rewards.length
    expect(mean).toBeCloseTo(0, 3)
    expect(rewards.reduce((a, b) => a + b * b, 0) / rewards.length).toBeCloseTo(1, 3)
    // Members agree more about what is clear than about what is close.
    const clear = { first: Array(5).fill([1, -1]).flat(), second: Array(5).fill([0, 1]).flat() }
    const probabilities = await ensemble.probabilities([clear])
    for (const [p] of probabilities) expect(p).toBeGreaterThan(0.9)
    const [variance] = await ensemble.disagreement([clear])
    const middle = probabilities.reduce((total, [p]) => total + p, 0) / 3
    expect(variance).toBeCloseTo(probabilities.reduce((total, [p]) => total + (p - middle) ** 2, 0) / 3, 6)

    const coin = new StepRandom(9, 9)
    const tossed = await taught(() => coin.below(2))
    expect(Math.abs(await correlation(tossed))).toBeLessThan(0.85)
    expect(tossed.losses.heldOutLoss).toBeGreaterThan(0.65)
    for (const { trainer, ensemble } of [known, tossed]) {
      ensemble.release()
      trainer.release()
    }
  }, 60_000)
})
