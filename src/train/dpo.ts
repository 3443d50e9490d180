/**
 * Direct Preference Optimization: Your Language Model is Secretly a Reward Model — DPO
 * Rafailov, Sharma, Mitchell, Ermon, Manning and Finn, Stanford University, 2023. arXiv 2305.18290
 *
 * New over RLHF with a reward model:
 * - the best policy for a reward and a price of distance is known in closed form, so the reward can be written as what
 *   the policy has become: β log π_θ / π_ref, but for what depends on the prompt alone (§4, eq. 4–5);
 * - in the probability of a preference that cancels, and what is left is a loss of the policy itself (eq. 7);
 * - nothing is sampled, and no reward model or value is trained.
 *
 * Departures: `labelSmoothing` takes that share of the pairs for swapped (Mitchell, 2023, "cDPO").
 *
 * | paper                        | here                                              |
 * |------------------------------|---------------------------------------------------|
 * | y_w, y_l                     | `chosen`, `rejected`: rows 2i and 2i + 1          |
 * | log π_θ(y|x), log π_ref(y|x) | `logProbs`, `refLogProbs` of whole answers        |
 * | β                            | `beta`                                            |
 * | r̂_θ(x, y)                   | `rewards`                                         |
 */

import { StepRandom } from '../data/random.ts'
import type { Episode } from '../generate/rollout.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, type InputSpecs, int32, trace } from '../nn/trace.ts'
import type { Batch, Objective } from '../optim/trainer.ts'
import { compile, type LiveWeights, type Weights } from '../runtime/compile.ts'
import { indicator, softplus, type Tensor, tensorData } from '../tensor/index.ts'
import { chosenLogProbs, episodeBatch } from './ppo.ts'

type Ids = readonly number[]

/** Two answers to a prompt, as tokens. */
export interface AnswerPair {
  readonly promptIds: Ids
  readonly chosen: Ids
  readonly rejected: Ids
}

/** A pair with log π_ref of both answers: computed once, since the reference stays as it is. */
export interface JudgedPair extends AnswerPair {
  readonly refChosen: number
  readonly refRejected: number
}

export interface DpoSettings {
  /** β: how much it costs to leave the reference. */
  readonly beta: number
  /** The share of pairs that may be labelled the wrong way round. Default 0. */
  readonly labelSmoothing?: number
}

/** log π(y|x): the sum over an answer's tokens, [rows]. */
export const answerLogProbs = (
  scope: Scope,
  model: CausalLm,
  inputs: Record<'inputIds' | 'shiftLabels', Tensor>,
): Tensor => chosenLogProbs(scope, model, inputs).logProbs.sum({ axis: 1 })

/**
 * −log σ(β log π_θ(y_w|x)/π_ref(y_w|x) − β log π_θ(y_l|x)/π_ref(y_l|x)) (eq. 7), and with label smoothing ε
 * −(1 − ε) log σ(h) − ε log σ(−h).
 *
 * @param logProbs - of the policy, [2 * pairs]: chosen and rejected in turn
 * @param refLogProbs - of the reference, likewise
 * @returns the loss of each pair, and both answers' rewards r̂ = β log π_θ/π_ref, all [pairs]
 */
export function dpoLoss(
  logProbs: Tensor,
  refLogProbs: Tensor,
  { beta, labelSmoothing = 0 }: DpoSettings,
): { losses: Tensor; chosenRewards: Tensor; rejectedRewards: Tensor } {
  const rewards = logProbs.sub(refLogProbs).mul(beta).reshape([-1, 2])
  const of = (side: number) => rewards.slice({ axis: 1, start: side, end: side + 1 }).reshape([-1])
  const [chosenRewards, rejectedRewards] = [of(0), of(1)]
  const h = chosenRewards.sub(rejectedRewards)
  const losses = softplus(h.neg()).mul(1 - labelSmoothing)
  return {
    losses: labelSmoothing === 0 ? losses : losses.add(softplus(h).mul(labelSmoothing)),
    chosenRewards,
    rejectedRewards,
  }
}

/** Eq. 7 over pairs. Answers also with the share whose chosen answer has the higher reward, and with the rewards. */
export const dpoObjective =
  (model: CausalLm, settings: DpoSettings): Objective =>
  (scope, { inputIds, shiftLabels, refLogProbs }) => {
    const logProbs = answerLogProbs(scope, model, { inputIds, shiftLabels })
    const { losses, chosenRewards, rejectedRewards } = dpoLoss(logProbs, refLogProbs, settings)
    const margin = chosenRewards.sub(rejectedRewards)
    return {
      loss: losses.mean(),
      accuracy: indicator(margin.greater(0)).mean(),
      margin: margin.mean(),
      chosenReward: chosenRewards.mean(),
      rejectedReward: rejectedRewards.mean(),
    }
  }

/** The inputs of `dpoObjective`. */
export const dpoInputs = (pairs: number, seq: number): InputSpecs => ({
  inputIds: int32(2 * pairs, seq),
  shiftLabels: int32(2 * pairs, seq),
  refLogProbs: float32(2 * pairs),
})

/** Both answers of every pair as episodes, in turn. */
const answersOf = (pairs: readonly AnswerPair[]) =>
  pairs.flatMap(({ promptIds, chosen, rejected }) => [chosen, rejected].map((ids) => ({ promptIds, ids: [...ids] })))

/** @throws RangeError where a prompt and an answer are longer than `seq` */
export const dpoBatch = (pairs: readonly JudgedPair[], seq: number): Batch => ({
  ...episodeBatch(answersOf(pairs), seq),
  refLogProbs: Float32Array.from(pairs.flatMap(({ refChosen, refRejected }) => [refChosen, refRejected])),
})

/**
 * log π(y|x) of answers to their prompts, without learning anything.
 *
 * @param options.rows - answers that are read at a time. Default 16
 */
export async function logProbsOf(
  model: CausalLm,
  weights: Weights | LiveWeights,
  answers: readonly Pick<Episode, 'promptIds' | 'ids'>[],
  { seq, rows = 16 }: { seq: number; rows?: number },
): Promise<number[]> {
  const traced = trace(
    (scope, { inputIds, shiftLabels }) => ({ logProbs: answerLogProbs(scope, model, { inputIds, shiftLabels }) }),
    { inputIds: int32('batch', seq), shiftLabels: int32('batch', seq) },
    { name: 'log π(y|x)' },
  )
  const run = await compile(traced, weights)
  try {
    const judged: number[] = []
    for (let start = 0; start < answers.length; start += rows) {
      const some = answers.slice(start, start + rows)
      const { inputIds, shiftLabels } = episodeBatch(some, seq)
      const shape = [some.length, seq]
      const { logProbs } = await run({
        inputIds: tensorData('int32', shape, inputIds),
        shiftLabels: tensorData('int32', shape, shiftLabels),
      })
      judged.push(...Array.from(logProbs.data, Number))
    }
    return judged
  } finally {
    run.release()
  }
}

/** What the reference says of all pairs, before anything is learned. */
export async function judgePairs(
  model: CausalLm,
  reference: Weights | LiveWeights,
  pairs: readonly AnswerPair[],
  options: { seq: number; rows?: number },
): Promise<JudgedPair[]> {
  const judged = await logProbsOf(model, reference, answersOf(pairs), options)
  return pairs.map((pair, i) => ({ ...pair, refChosen: judged[2 * i], refRejected: judged[2 * i + 1] }))
}

/** Epochs of pairs, each in an order of its own: batch `step` is a pure function of the seed and `step`. */
export function dpoLoader(
  pairs: readonly JudgedPair[],
  { pairs: count, seq }: { pairs: number; seq: number },
  seed: number,
): { readonly stepsPerEpoch: number; batchAt(step: number): Batch } {
  const stepsPerEpoch = Math.floor(pairs.length / count)
  if (stepsPerEpoch === 0) throw new RangeError(`${pairs.length} pairs do not fill a batch of ${count}`)
  return {
    stepsPerEpoch,
    batchAt(step) {
      const order = new StepRandom(seed, Math.floor(step / stepsPerEpoch)).permutation(pairs.length)
      const first = (step % stepsPerEpoch) * count
      return dpoBatch(
        Array.from(order.subarray(first, first + count), (i) => pairs[i]),
        seq,
      )
    },
  }
}
