/**
 * Proximal Policy Optimization Algorithms — PPO
 * Schulman, Wolski, Dhariwal, Radford and Klimov, OpenAI, 2017. arXiv 1707.06347
 *
 * New over policy gradients with a trust region:
 * - the ratio of new to old probability is clipped, so that several epochs over one batch of episodes cannot move the
 *   policy far from where it was sampled (§3, eq. 7);
 * - one loss for policy and value, and an entropy to watch (§5, eq. 9);
 * - generalised advantages, truncated where an episode ends (§5, eq. 11–12).
 *
 * On a language model, as InstructGPT has it (Ouyang et al., 2022, arXiv 2203.02155, §3.5): an episode is an answer, an
 * action a token; the reward model's score comes with the last token, and every token pays for the distance from a
 * frozen reference.
 *
 * Departures: the value's error is clipped and halved, advantages are normalised over the batch, as in the paper's code.
 *
 * | paper           | here                                        |
 * |-----------------|---------------------------------------------|
 * | π_θ, π_θold     | `logProbs`, `oldLogProbs`                   |
 * | r_t(θ), ε       | `ratio`, `clipRange`                        |
 * | Â_t, V^targ     | `advantages`, `returns`                     |
 * | c₁              | `valueCoef`                                 |
 * | β (InstructGPT) | `klCoef`                                    |
 */

import type { Episode } from '../generate/rollout.ts'
import { zeros } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, type InputSpec, int32 } from '../nn/trace.ts'
import type { Batch, Objective } from '../optim/trainer.ts'
import type { LiveWeights, Program, Weights } from '../runtime/compile.ts'
import {
  abs,
  clamp,
  crossEntropy,
  exp,
  indicator,
  maximum,
  minimum,
  type SumAndCount,
  sum,
  type Tensor,
  type TensorData,
  tensorData,
} from '../tensor/index.ts'

export interface PpoSettings {
  /** ε of eq. 7. */
  readonly clipRange: number
  /** How far a value may move from the one that the episodes were judged with. */
  readonly valueClipRange: number
  /** c₁ of eq. 9. */
  readonly valueCoef: number
  /** γ: 1 for language, whose episodes are short. */
  readonly discount: number
  /** λ of eq. 11. */
  readonly lambda: number
}

/** Of InstructGPT's PPO (appendix C.4) and the code that it grew from. */
export const PPO_SETTINGS: PpoSettings = {
  clipRange: 0.2,
  valueClipRange: 0.2,
  valueCoef: 0.1,
  discount: 1,
  lambda: 0.95,
}

/** r_t Â_t, clipped where it would profit from leaving [1 − ε, 1 + ε] (eq. 7), negated to be minimised. */
export function clippedPolicyLoss(ratio: Tensor, advantages: Tensor, clipRange: number): Tensor {
  const clipped = clamp(ratio, 1 - clipRange, 1 + clipRange)
  return minimum(ratio.mul(advantages), clipped.mul(advantages)).neg()
}

/** ½ (V − V^targ)², the worse of V and V clipped to the neighbourhood of what it was (eq. 9). */
export function clippedValueLoss(values: Tensor, oldValues: Tensor, returns: Tensor, clipRange: number): Tensor {
  const clipped = oldValues.add(clamp(values.sub(oldValues), -clipRange, clipRange))
  const [error, clippedError] = [values.sub(returns), clipped.sub(returns)]
  return maximum(error.mul(error), clippedError.mul(clippedError)).mul(0.5)
}

/** V(s_t) of every position, from the policy's own states: [batch, seq, dModel] → [batch, seq]. Zero at first. */
export function valueHead(scope: Scope, hiddenStates: Tensor): Tensor {
  const [batch, seq] = hiddenStates.shape
  return linear(scope.at('value_head'), hiddenStates, 1, { init: zeros }).reshape([batch, seq])
}

/**
 * What a policy with a value head says of episodes: log π(token) of the token that follows each position, where it is
 * the answer's, and the position's value.
 *
 * @param inputIds - int32 [batch, seq]
 * @param shiftLabels - int32 [batch, seq]: the token that follows, −100 where it is not of the answer
 * @returns both [batch, seq]; log-probabilities are 0 where nothing was chosen
 */
export function actorCritic(
  scope: Scope,
  model: CausalLm,
  { inputIds, shiftLabels }: Record<string, Tensor>,
): { logProbs: Tensor; values: Tensor } {
  const { logits, lastHiddenState } = model.forward(scope, { inputIds })
  const logProbs = crossEntropy(logits, shiftLabels, { reduction: 'none' }).neg()
  return { logProbs, values: valueHead(scope, lastHiddenState) }
}

/** The loss of eq. 9 over every token of the answers, and what to watch beside it. */
export const ppoObjective =
  (model: CausalLm, { clipRange, valueClipRange, valueCoef }: PpoSettings): Objective =>
  (scope, inputs) => {
    const { shiftLabels, oldLogProbs, advantages, oldValues, returns } = inputs
    const { logProbs, values } = actorCritic(scope, model, inputs)
    const chosen = indicator(shiftLabels.equal(-100).not())
    const count = sum(chosen)
    const overTokens = (perToken: Tensor): SumAndCount => ({ sum: sum(perToken.mul(chosen)), count })

    const logRatio = logProbs.sub(oldLogProbs)
    const ratio = exp(logRatio)
    const policyLoss = clippedPolicyLoss(ratio, advantages, clipRange)
    const valueLoss = clippedValueLoss(values, oldValues, returns, valueClipRange)
    return {
      loss: overTokens(policyLoss.add(valueLoss.mul(valueCoef))),
      policyLoss: overTokens(policyLoss),
      valueLoss: overTokens(valueLoss),
      /** ½ E[(log r)²], which is not negative (Schulman, 2020). */
      approxKl: overTokens(logRatio.mul(logRatio).mul(0.5)),
      clipFraction: overTokens(indicator(abs(ratio.sub(1)).greater(clipRange))),
    }
  }

/** The inputs of `ppoObjective`. */
export const ppoInputs = (batch: number, seq: number): Record<string, InputSpec> => ({
  inputIds: int32(batch, seq),
  shiftLabels: int32(batch, seq),
  ...Object.fromEntries(PER_TOKEN.map((name) => [name, float32(batch, seq)])),
})

const PER_TOKEN = ['oldLogProbs', 'oldValues', 'advantages', 'returns'] as const

/**
 * What policy, value and a frozen reference say of episodes, in one pass: trace it, and compile it `withReference`.
 *
 * @returns each [batch, seq]
 */
export const judgement =
  (model: CausalLm) =>
  (scope: Scope, inputs: Record<string, Tensor>): Record<'logProbs' | 'values' | 'refLogProbs', Tensor> => ({
    ...actorCritic(scope, model, inputs),
    refLogProbs: actorCritic(scope.at(REFERENCE).frozen(), model, inputs).logProbs,
  })

const REFERENCE = 'reference'

/** A policy in training, and the weights that it is held to, which stay as they are. */
export function withReference(policy: LiveWeights, reference: Weights): LiveWeights {
  const fixed = Object.fromEntries([...reference].map(([name, value]) => [`${REFERENCE}.${name}`, value as TensorData]))
  return { liveWeights: () => ({ ...fixed, ...policy.liveWeights() }) }
}

/** What is known of each token of an answer, in the order they were chosen. */
export interface Judgement {
  /** Under the policy that chose them. */
  readonly logProbs: Float32Array
  readonly refLogProbs: Float32Array
  /** Before each token was chosen. */
  readonly values: Float32Array
  /** Of the whole answer. */
  readonly score: number
}

/** r_t = −β (log π − log π_ref), and the score with the last token (InstructGPT, eq. 2). */
export function perTokenRewards({ logProbs, refLogProbs, score }: Judgement, klCoef: number): Float32Array {
  const last = logProbs.length - 1
  return logProbs.map((logProb, t) => -klCoef * (logProb - refLogProbs[t]) + (t === last ? score : 0))
}

/**
 * Â_t = Σ (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} − V_t, the value after the end being 0 (eq. 11–12), and what the
 * value should have been: Â_t + V_t.
 *
 * @param values - of each step; one more where the episode goes on after the last, what comes next being worth that
 */
export function generalizedAdvantages(
  rewards: Float32Array,
  values: Float32Array,
  { discount, lambda }: Pick<PpoSettings, 'discount' | 'lambda'>,
): { advantages: Float32Array; returns: Float32Array } {
  const advantages = new Float32Array(rewards.length)
  for (let t = rewards.length - 1, next = 0; t >= 0; t--) {
    const delta = rewards[t] + discount * (values[t + 1] ?? 0) - values[t]
    next = delta + discount * lambda * next
    advantages[t] = next
  }
  return { advantages, returns: advantages.map((advantage, t) => advantage + values[t]) }
}

/** Shifts and scales all numbers to mean 0 and variance 1. */
export function whiten(parts: readonly Float32Array[]): Float32Array[] {
  const all = parts.flatMap((part) => [...part])
  const mean = all.reduce((a, b) => a + b, 0) / all.length
  const variance = all.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(all.length - 1, 1)
  return parts.map((part) => part.map((x) => (x - mean) / Math.sqrt(variance + 1e-8)))
}

/**
 * β follows the KL that is wanted (Ziegler et al., 2019, arXiv 1909.08593, eq. 2): up where an answer's KL is above it,
 * down where it is below, by at most a fifth of the error over `horizon` answers.
 *
 * @param kl - of an answer, summed over its tokens, in nats
 */
export function adaptedKlCoef(
  klCoef: number,
  kl: number,
  { target, horizon, answers }: { target: number; horizon: number; answers: number },
): number {
  const error = Math.min(Math.max(kl / target - 1, -0.2), 0.2)
  return klCoef * (1 + (error * answers) / horizon)
}

/**
 * Episodes as rows of equal length: prompt, answer, and padding at the end, which a causal model does not look at.
 *
 * @param perToken - numbers for each token of each answer, by the name of the input; they stand where it was chosen
 * @throws RangeError where an episode is longer than `seq`
 */
export function episodeBatch(
  episodes: readonly Episode[],
  seq: number,
  perToken: Readonly<Record<string, readonly Float32Array[]>> = {},
): Batch {
  const size = episodes.length * seq
  const inputIds = new Int32Array(size)
  const shiftLabels = new Int32Array(size).fill(-100)
  const numbers = Object.fromEntries(Object.keys(perToken).map((name) => [name, new Float32Array(size)]))
  episodes.forEach(({ promptIds, ids }, row) => {
    if (promptIds.length + ids.length > seq) {
      throw new RangeError(`an episode of ${promptIds.length} + ${ids.length} tokens does not fit rows of ${seq}`)
    }
    const start = row * seq
    const first = start + promptIds.length - 1
    inputIds.set([...promptIds, ...ids], start)
    shiftLabels.set(ids, first)
    for (const [name, rows] of Object.entries(perToken)) numbers[name].set(rows[row], first)
  })
  return { inputIds, shiftLabels, ...numbers }
}

/** The numbers of each answer's tokens, out of rows [batch, seq]. */
const perAnswer = (episodes: readonly Episode[], { shape: [, seq], data }: TensorData): Float32Array[] =>
  episodes.map(({ promptIds, ids }, row) => {
    const first = row * seq + promptIds.length - 1
    return (data as Float32Array).slice(first, first + ids.length)
  })

/**
 * Has episodes judged before they are learned from.
 *
 * @param judge - `judgement`, compiled on the policy's weights as they were sampled from
 * @param scores - of each answer, from a reward model or a rule
 */
export async function judgeEpisodes(
  judge: Program<Record<keyof ReturnType<ReturnType<typeof judgement>>, Tensor>>,
  episodes: readonly Episode[],
  scores: readonly number[],
  seq: number,
): Promise<Judgement[]> {
  const shape = [episodes.length, seq]
  const rows = Object.entries(episodeBatch(episodes, seq))
  const judged = await judge(Object.fromEntries(rows.map(([name, data]) => [name, tensorData('int32', shape, data)])))
  const [logProbs, values, refLogProbs] = [judged.logProbs, judged.values, judged.refLogProbs].map((all) =>
    perAnswer(episodes, all),
  )
  return episodes.map((_, i) => ({
    logProbs: logProbs[i],
    values: values[i],
    refLogProbs: refLogProbs[i],
    score: scores[i],
  }))
}

/** All that an update needs of judged episodes: rewards become advantages, and advantages are whitened. */
export function ppoBatch(
  episodes: readonly Episode[],
  judged: readonly Judgement[],
  seq: number,
  { klCoef, ...settings }: PpoSettings & { klCoef: number },
): Batch {
  const estimates = judged.map((one) => generalizedAdvantages(perTokenRewards(one, klCoef), one.values, settings))
  return episodeBatch(episodes, seq, {
    oldLogProbs: judged.map(({ logProbs }) => logProbs),
    oldValues: judged.map(({ values }) => values),
    advantages: whiten(estimates.map(({ advantages }) => advantages)),
    returns: estimates.map(({ returns }) => returns),
  } satisfies Record<(typeof PER_TOKEN)[number], readonly Float32Array[]>)
}
