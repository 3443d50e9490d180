/**
 * Deep Reinforcement Learning from Human Preferences — RLHF
 * Christiano, Leike, Brown, Martic, Legg and Amodei, OpenAI and DeepMind, 2017. arXiv 1706.03741
 *
 * New here:
 * - the reward is learned, from which of two short pieces of behaviour is preferred, while the policy learns from it: what
 *   the task would pay is never seen (§2.2);
 * - a preference is softmax over the sums of the rewards of both pieces, one answer in ten being given at random (§2.2.3,
 *   eq. 1);
 * - several predictors, each on its own sample of the answers, normalised and averaged; the piece of the answers that it
 *   did not see tells how much its weights are to be held down;
 * - asked is about the pairs that the predictors disagree on most (§2.2.4).
 *
 * And what Fine-Tuning Language Models from Human Preferences (Ziegler et al., OpenAI, 2019, arXiv 1909.08593) changes for
 * text: the best of four answers is chosen (§2, eq. 1), the score is brought to mean 0 and variance 1 on the policy's own
 * samples. Its penalty with an adapted price is `adaptedKlCoef` of ppo.ts.
 *
 * | paper           | here                                   |
 * |-----------------|----------------------------------------|
 * | σ¹, σ²          | `first`, `second`: [length, features]  |
 * | r̂(o, a)         | `predictedRewards`                     |
 * | P̂[σ¹ ≻ σ²]      | `preference`                           |
 * | μ(1)            | `preferred`: 1, ½ or 0                 |
 */

import { StepRandom } from '../data/random.ts'
import { fanInUniform } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, type InputSpec, trace } from '../nn/trace.ts'
import type { Batch, Objective, Trainer } from '../optim/trainer.ts'
import { compile, type Program } from '../runtime/compile.ts'
import {
  at,
  crossEntropy,
  leakyRelu,
  log,
  mean,
  scalar,
  sigmoid,
  stack,
  sum,
  type Tensor,
  tensorData,
} from '../tensor/index.ts'

/** How often an answer is given at random: never less, however clear the case (§2.2.3). */
const ERRORS = 0.1
/** What a bootstrap sample leaves out, and each predictor is tried on. */
const HELD_OUT = 1 / Math.E

/** One answer. */
export interface Comparison {
  /** What was seen and done, step by step: [length, features]. */
  readonly first: readonly number[]
  readonly second: readonly number[]
  /** 1 where the first is preferred, 0 where the second is, ½ where neither. */
  readonly preferred: number
}

/** P̂[σ¹ ≻ σ²] of the sums of both pieces' rewards (eq. 1), an answer in ten being a toss. */
export const preference = (first: Tensor, second: Tensor): Tensor =>
  sigmoid(first.sub(second))
    .mul(1 - ERRORS)
    .add(ERRORS / 2)

/** −Σ μ(1) log P̂[σ¹ ≻ σ²] + μ(2) log P̂[σ² ≻ σ¹], the mean over all answers. */
export function preferenceLoss(first: Tensor, second: Tensor, preferred: Tensor): Tensor {
  const p = preference(first, second)
  const other = scalar(1)
  return mean(preferred.mul(log(p)).add(other.sub(preferred).mul(log(other.sub(p))))).neg()
}

/**
 * Of n answers one is chosen as the best: −log of its softmax (Ziegler et al., eq. 1; n = 4 there).
 *
 * @param scores - [batch, n]
 * @param best - int32 [batch]
 */
export const bestOfLoss = (scores: Tensor, best: Tensor): Tensor => crossEntropy(scores, best)

/** What scores are multiplied by, and what is then added, so that these have mean 0 and variance 1 (Ziegler et al., §2.1). */
export function scoreNormalization(scores: readonly number[]): { gain: number; bias: number } {
  const { mean, std } = momentsOf(scores)
  return { gain: 1 / std, bias: -mean / std }
}

/**
 * r̂(o, a): two hidden layers of 64 units (appendix A.1).
 *
 * @param steps - [..., features]: what was seen, and what was done
 * @returns [..., 1]
 */
export function predictedRewards(scope: Scope, steps: Tensor): Tensor {
  let x = steps
  for (const layer of [0, 1]) x = leakyRelu(linear(scope.at(layer), x, 64, { init: fanInUniform }))
  return linear(scope.at(2), x, 1, { init: fanInUniform })
}

export interface EnsembleShape {
  readonly members: number
  /** Numbers that a step is described by. */
  readonly features: number
  /** Steps of a piece. */
  readonly length: number
  /** Answers that each member sees in a step of its training. */
  readonly batch: number
}

const member = (scope: Scope, m: number): Scope => scope.at('member', m)

/** Every member on answers of its own, each with a price for its weights' squares. */
export const ensembleObjective =
  ({ members }: EnsembleShape): Objective =>
  (scope, { pieces, preferred, l2 }) => {
    const losses = Array.from({ length: members }, (_, m) => {
      const sums = sum(predictedRewards(member(scope, m), at(pieces, 0, m)), { axis: [-1, -2] }) // [batch, 2]
      return preferenceLoss(at(sums, 1, 0), at(sums, 1, 1), at(preferred, 0, m))
    })
    const prices = losses.map((_, m) => {
      const own = [...scope.parameters.values()].filter(({ name, shape }) => {
        return name.startsWith(`member.${m}.`) && shape.length === 2
      })
      const squares = own.map(({ tensor }) => sum(tensor.mul(tensor)))
      return at(l2, 0, m).mul(squares.reduce((a, b) => a.add(b)))
    })
    const total = [...losses, ...prices].reduce((a, b) => a.add(b))
    const watched = losses.map((loss, m) => [`preferenceLoss${m}`, loss])
    return { loss: total, ...Object.fromEntries(watched) }
  }

export const ensembleInputs = ({ members, batch, length, features }: EnsembleShape): Record<string, InputSpec> => ({
  pieces: float32(members, batch, 2, length, features),
  preferred: float32(members, batch),
  l2: float32(members),
})

/** What an ensemble goes on from beside its weights: plain JSON. */
export interface Answers {
  comparisons: Comparison[]
  /** Of each member: the price of its weights' squares. */
  l2: number[]
}

export const noAnswers = ({ members }: EnsembleShape): Answers => ({ comparisons: [], l2: Array(members).fill(1e-4) })

/** Predictors of a reward, over the weights of a trainer of `ensembleObjective`. */
export class RewardEnsemble {
  private constructor(
    private readonly shape: EnsembleShape,
    private readonly trainer: Trainer,
    /** Which answers a member does not see is a function of it. */
    private readonly seed: number,
    private readonly predict: Program<{ rewards: Tensor }>,
  ) {}

  static async create(shape: EnsembleShape, trainer: Trainer, seed: number): Promise<RewardEnsemble> {
    const traced = trace(
      (scope, { steps }) => {
        const all = Array.from({ length: shape.members }, (_, m) => predictedRewards(member(scope, m), steps))
        return { rewards: stack(all.map((rewards) => at(rewards, 1, 0))) }
      },
      { steps: float32('rows', shape.features) },
    )
    return new RewardEnsemble(shape, trainer, seed, await compile(traced, trainer))
  }

  /** Whether a member learns from an answer, or is tried on it. */
  private learnsFrom = (m: number, answer: number): boolean =>
    new StepRandom(this.seed, answer * this.shape.members + m).uniform() >= HELD_OUT

  /**
   * So many steps of training on the answers, then the prices of weights follow what was held out: up where its loss is
   * more than 1.5 times that of the training, down where it is less than 1.1 times (§2.2.3).
   *
   * @returns both losses, the mean over members
   */
  async learn(
    answers: Answers,
    steps: number,
    random: StepRandom,
  ): Promise<{ trainingLoss: number; heldOutLoss: number }> {
    const { members, batch, length, features } = this.shape
    const { comparisons, l2 } = answers
    const own = Array.from({ length: members }, (_, m) =>
      comparisons.flatMap((_, i) => (this.learnsFrom(m, i) ? [i] : [])),
    )
    const piece = length * features
    const pieces = new Float32Array(members * batch * 2 * piece)
    const preferred = new Float32Array(members * batch)
    for (let step = 0; step < steps; step++) {
      for (let m = 0; m < members; m++) {
        for (let b = 0; b < batch; b++) {
          const { first, second, preferred: which } = comparisons[own[m][random.below(own[m].length)]]
          const row = m * batch + b
          pieces.set(first, 2 * row * piece)
          pieces.set(second, (2 * row + 1) * piece)
          preferred[row] = which
        }
      }
      await this.trainer.train({ pieces, preferred, l2: Float32Array.from(l2) } satisfies Batch)
    }
    const losses = await this.losses(comparisons)
    const [training, heldOut] = [true, false].map((learned) =>
      losses.map((all, m) => meanOf(all.filter((_, i) => this.learnsFrom(m, i) === learned))),
    )
    for (let m = 0; m < members; m++) {
      if (heldOut[m] > 1.5 * training[m]) l2[m] *= 2
      else if (heldOut[m] < 1.1 * training[m]) l2[m] /= 2
    }
    return { trainingLoss: meanOf(training), heldOutLoss: meanOf(heldOut) }
  }

  /**
   * The reward that a policy learns from: each member's, brought to mean 0 and variance 1 over all that answers were given
   * about, averaged, and that again.
   *
   * @param steps - [rows, features]
   * @returns [rows]
   */
  async rewards({ comparisons }: Answers, steps: Float32Array): Promise<Float32Array> {
    const known = await this.members(
      Float32Array.from(comparisons.flatMap(({ first, second }) => [...first, ...second])),
    )
    const moments = known.map((rewards) => momentsOf(rewards))
    const averaged = (all: readonly Float32Array[]): Float32Array =>
      all[0].map((_, row) => meanOf(all.map((rewards, m) => (rewards[row] - moments[m].mean) / moments[m].std)))
    const { mean, std } = momentsOf(averaged(known))
    return averaged(await this.members(steps)).map((reward) => (reward - mean) / std)
  }

  /** How far the members are apart about each pair: the variance of P̂[σ¹ ≻ σ²] over them (§2.2.4). */
  async disagreement(pairs: readonly Omit<Comparison, 'preferred'>[]): Promise<number[]> {
    const all = await this.probabilities(pairs)
    return pairs.map((_, i) => varianceOf(all.map((probabilities) => probabilities[i])))
  }

  /** P̂[σ¹ ≻ σ²] of each pair, by member. */
  async probabilities(pairs: readonly Omit<Comparison, 'preferred'>[]): Promise<number[][]> {
    const { length } = this.shape
    const all = await this.members(Float32Array.from(pairs.flatMap(({ first, second }) => [...first, ...second])))
    const sumAt = (rewards: Float32Array, piece: number): number => {
      let total = 0
      for (let t = piece * length; t < (piece + 1) * length; t++) total += rewards[t]
      return total
    }
    return all.map((rewards) =>
      pairs.map((_, i) => {
        const clear = 1 / (1 + Math.exp(sumAt(rewards, 2 * i + 1) - sumAt(rewards, 2 * i)))
        return (1 - ERRORS) * clear + ERRORS / 2
      }),
    )
  }

  release(): void {
    this.predict.release()
  }

  private async losses(comparisons: readonly Comparison[]): Promise<number[][]> {
    return (await this.probabilities(comparisons)).map((all) =>
      all.map((p, i) => {
        const { preferred } = comparisons[i]
        return -(preferred * Math.log(p) + (1 - preferred) * Math.log(1 - p))
      }),
    )
  }

  /** r̂ of each step, by member. */
  private async members(steps: Float32Array): Promise<Float32Array[]> {
    const { features, members } = this.shape
    const rows = steps.length / features
    const { rewards } = await this.predict({ steps: tensorData('float32', [rows, features], steps) })
    return Array.from({ length: members }, (_, m) => (rewards.data as Float32Array).subarray(m * rows, (m + 1) * rows))
  }
}

/** Of all indices the `count` with the largest values, the largest first. */
export const mostOf = (values: readonly number[], count: number): number[] =>
  values
    .map((value, i) => ({ value, i }))
    .sort((a, b) => b.value - a.value)
    .slice(0, count)
    .map(({ i }) => i)

const meanOf = (values: ArrayLike<number>): number => {
  let total = 0
  for (let i = 0; i < values.length; i++) total += values[i]
  return total / values.length
}

function varianceOf(values: ArrayLike<number>): number {
  const mean = meanOf(values)
  return meanOf(Float64Array.from(values, (value) => (value - mean) ** 2))
}

/** What brings numbers to mean 0 and variance 1; where all are the same there is nothing to scale. */
const momentsOf = (values: ArrayLike<number>): { mean: number; std: number } => ({
  mean: meanOf(values),
  std: Math.sqrt(varianceOf(values)) || 1,
})
