/**
 * DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models — GRPO
 * Shao, Wang, Zhu, Xu, Song et al., DeepSeek-AI, 2024. arXiv 2402.03300, §4.1
 *
 * New over PPO:
 * - no value network: several answers to each prompt are sampled, a group to be compared with each other (§4.1.1);
 * - what an answer is worth is how far its reward lies above the mean of its group, in standard deviations (§4.1.2);
 * - the distance from the reference is no part of the reward but of the loss, by an estimate that is never negative and
 *   right on the average (eq. 4; Schulman's k₃, 2020).
 *
 * Departures: the reference stays the first policy; the paper's iterative form takes a new one now and then.
 *
 * | paper            | here                                        |
 * |------------------|---------------------------------------------|
 * | G, o_i           | `group`, an episode                         |
 * | r_i, Â_{i,t}     | `scores`, `advantages`: one for all tokens  |
 * | π_θ, π_θold, π_ref | `logProbs`, `oldLogProbs`, `refLogProbs`  |
 * | ε, β             | `clipRange`, `klCoef`                       |
 */

import { CachedDecoder } from '../generate/decoder.ts'
import { type Episode, rollout } from '../generate/rollout.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, type InputSpec, int32, trace } from '../nn/trace.ts'
import type { RecipeContext, Scalars } from '../optim/recipe.ts'
import type { Batch, Objective } from '../optim/trainer.ts'
import { compile } from '../runtime/compile.ts'
import { abs, exp, indicator, type SumAndCount, scalar, stopGradient, sum, type Tensor } from '../tensor/index.ts'
import {
  answerKl,
  chosenLogProbs,
  clippedPolicyLoss,
  entropyOf,
  episodeBatch,
  episodeScalars,
  judgeTokens,
  minibatches,
  type PolicyResult,
  type PolicyRun,
  REFERENCE,
  requireWhole,
  withReference,
} from './ppo.ts'

export interface GrpoSettings {
  /** ε of eq. 3. */
  readonly clipRange: number
  /** β of eq. 3. */
  readonly klCoef: number
}

/** β is the paper's (§4.2); it gives no ε. */
export const GRPO_SETTINGS: GrpoSettings = { clipRange: 0.2, klCoef: 0.04 }

/**
 * Â_i = (r_i − mean(r)) / std(r), each group for itself (§4.1.2). A group of equal rewards says nothing: 0.
 *
 * @param scores - group after group
 */
export function groupAdvantages(scores: readonly number[], group: number): number[] {
  return scores.map((score, i) => {
    const first = i - (i % group)
    const rewards = scores.slice(first, first + group)
    const mean = rewards.reduce((a, b) => a + b, 0) / group
    const deviation = Math.sqrt(rewards.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(group - 1, 1))
    return deviation === 0 ? 0 : (score - mean) / deviation
  })
}

/** D_KL[π_θ ‖ π_ref] of a token: π_ref/π_θ − log π_ref/π_θ − 1 (eq. 4). */
export function klEstimate(logProbs: Tensor, refLogProbs: Tensor): Tensor {
  const logRatio = refLogProbs.sub(logProbs)
  return exp(logRatio).sub(logRatio).sub(1)
}

/** Eq. 3, negated: a mean over answers of the mean over their tokens of the clipped gain less β times the KL. */
export const grpoObjective =
  (model: CausalLm, { clipRange, klCoef }: GrpoSettings): Objective =>
  (scope, inputs) => {
    const { inputIds, shiftLabels, oldLogProbs, refLogProbs, advantages } = inputs
    const { logProbs, logits } = chosenLogProbs(scope, model, { inputIds, shiftLabels })
    const chosen = indicator(shiftLabels.equal(-100).not()) // [batch, seq]
    const answers = scalar(1).mul(chosen.shape[0] as number)
    const lengths = chosen.sum({ axis: 1, keepDims: true })
    /** 1/G Σ_i 1/|o_i| Σ_t */
    const overAnswers = (perToken: Tensor): SumAndCount => ({
      sum: sum(perToken.mul(chosen).div(lengths)),
      count: answers,
    })
    const ratio = exp(logProbs.sub(oldLogProbs))
    const policyLoss = clippedPolicyLoss(ratio, advantages, clipRange)
    const kl = klEstimate(logProbs, refLogProbs)
    return {
      loss: overAnswers(policyLoss.add(kl.mul(klCoef))),
      policyLoss: overAnswers(policyLoss),
      tokenKl: overAnswers(kl),
      entropy: overAnswers(entropyOf(stopGradient(logits))),
      clipFraction: overAnswers(indicator(abs(ratio.sub(1)).greater(clipRange))),
    }
  }

const PER_TOKEN = ['oldLogProbs', 'refLogProbs', 'advantages'] as const

/** The inputs of `grpoObjective`. */
export const grpoInputs = (batch: number, seq: number): Record<string, InputSpec> => ({
  inputIds: int32(batch, seq),
  shiftLabels: int32(batch, seq),
  ...Object.fromEntries(PER_TOKEN.map((name) => [name, float32(batch, seq)])),
})

/** log π of the policy and of the frozen reference: trace it, and compile it `withReference`. */
export const likelihoods =
  (model: CausalLm, reference: CausalLm = model) =>
  (scope: Scope, { inputIds, shiftLabels }: Record<string, Tensor>): Record<'logProbs' | 'refLogProbs', Tensor> => ({
    logProbs: chosenLogProbs(scope, model, { inputIds, shiftLabels }).logProbs,
    refLogProbs: chosenLogProbs(scope.at(REFERENCE).frozen(), reference, { inputIds, shiftLabels }).logProbs,
  })

/** All that an update needs of episodes: every token of an answer has the answer's advantage. */
export const grpoBatch = (
  episodes: readonly Episode[],
  judged: readonly Record<'logProbs' | 'refLogProbs', Float32Array>[],
  scores: readonly number[],
  { seq, group }: { seq: number; group: number },
): Batch => {
  const advantages = groupAdvantages(scores, group)
  return episodeBatch(episodes, seq, {
    oldLogProbs: judged.map(({ logProbs }) => logProbs),
    refLogProbs: judged.map(({ refLogProbs }) => refLogProbs),
    advantages: episodes.map(({ ids }, i) => new Float32Array(ids.length).fill(advantages[i])),
  } satisfies Record<(typeof PER_TOKEN)[number], readonly Float32Array[]>)
}

export interface GrpoRun extends PolicyRun {
  readonly settings: GrpoSettings
  /** G: answers to each prompt; `prompts` says each prompt once. */
  readonly group: number
}

/**
 * Ask several times, answer, compare within each group, update; and again (algorithm 1, its inner loop).
 */
export async function trainGrpo(
  { trainer: create, steps, log }: Pick<RecipeContext, 'trainer' | 'steps' | 'log'>,
  run: GrpoRun,
): Promise<PolicyResult> {
  const { model, adapted: actor = model, weights, seq, settings, group, minibatch, epochs = 1 } = run
  const asked = (step: number) => run.prompts(step).flatMap((prompt) => Array.from({ length: group }, () => prompt))
  const answers = asked(0).length
  requireWhole(answers, minibatch)
  const policy = await create({
    objective: grpoObjective(actor, settings),
    inputs: grpoInputs(minibatch, seq),
    learningRate: run.learningRate,
    weights,
    missing: actor === model ? 'error' : 'init',
    weightDecay: 0,
    beta2: 0.999,
    emaDecay: run.emaDecay,
  })
  const rows = { inputIds: int32('batch', seq), shiftLabels: int32('batch', seq) }
  const judge = await compile(trace(likelihoods(actor, model), rows), withReference(policy, weights))
  const decoder = await CachedDecoder.create(actor, policy, { slots: answers, capacity: seq })
  try {
    const evaluate = run.evaluate?.bind(run, policy)
    const state: { history: Scalars[] } = { history: [] }
    const onStop = run.onStop?.bind(run, policy)
    const loop = { steps: run.steps, trainers: { policy }, state, perStep: { answers }, evaluate, onStop }
    for await (const { step, random } of steps(loop)) {
      const episodes = await rollout(decoder, asked(step), { ...run.sampling, seed: random.uint32() })
      const scores = await run.score(episodes, step)
      const judged = await judgeTokens(judge, episodes, { seq, rows: minibatch })
      const kl = judged.reduce((total, one) => total + answerKl(one), 0) / answers
      const told = { ...episodeScalars(episodes, scores), kl, ...(await run.seen?.(step, episodes, scores)) }
      const batch = grpoBatch(episodes, judged, scores, { seq, group })
      for (const part of minibatches(batch, { count: answers, size: minibatch, epochs, random })) {
        log(await policy.train(part))
      }
      log(told)
      state.history.push(told)
    }
    return { policy, history: state.history }
  } finally {
    decoder.release()
    judge.release()
  }
}
