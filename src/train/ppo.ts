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
 * On a language model, as InstructGPT has it (Ouyang et al., 2022, arXiv 2203.02155, §3.5, eq. 2): an episode is an
 * answer, an action a token; the reward model's score comes with the last token, every token pays for the distance from a
 * frozen reference, the value begins as the reward model, and pre-training goes on beside (PPO-ptx), so that what the
 * model knew is not what the reward costs.
 *
 * Departures: the value's error is clipped and halved, advantages are normalised over the batch, as in the paper's code;
 * rewards can be scaled to variance 1, as in the code that InstructGPT grew from (Ziegler et al., 2019, arXiv 1909.08593). γ
 * weighs the mean loss a token of pre-training against the mean a token of answers.
 *
 * | paper                  | here                                        |
 * |------------------------|---------------------------------------------|
 * | π_θ, π_θold            | `logProbs`, `oldLogProbs`                   |
 * | r_t(θ), ε              | `ratio`, `clipRange`                        |
 * | Â_t, V^targ            | `advantages`, `returns`                     |
 * | c₁, c₂                 | `valueCoef`, `entropyCoef`                  |
 * | β, γ (InstructGPT)     | `klCoef`, `ptxCoef`                         |
 * | π^SFT (InstructGPT)    | `reference`                                 |
 */

import type { StepRandom } from '../data/random.ts'
import { CachedDecoder } from '../generate/decoder.ts'
import { type Episode, type RolloutOptions, rollout } from '../generate/rollout.ts'
import { zeros } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, type InputSpec, int32, trace } from '../nn/trace.ts'
import type { RecipeContext, Scalars } from '../optim/recipe.ts'
import type { Schedule } from '../optim/schedule.ts'
import type { Batch, Objective, Trainer } from '../optim/trainer.ts'
import { compile, type LiveWeights, type Program, type Weights } from '../runtime/compile.ts'
import {
  abs,
  clamp,
  crossEntropy,
  crossEntropySum,
  exp,
  indicator,
  logSoftmax,
  maximum,
  meanOf,
  minimum,
  type SumAndCount,
  stopGradient,
  sum,
  type Tensor,
  type TensorData,
  tensorData,
} from '../tensor/index.ts'
import { type RewardModel, SCORE } from './reward.ts'

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
  /** c₂ of eq. 9. Default 0: the entropy is watched alone. */
  readonly entropyCoef?: number
  /** γ of InstructGPT's eq. 2. Default 0: no pre-training beside. */
  readonly ptxCoef?: number
  /** Scale the rewards of a batch's tokens to variance 1, without moving their mean. Default false. */
  readonly whitenRewards?: boolean
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

/** V(s_t) of every position, from a network's states: [batch, seq, dModel] → [batch, seq]. Zero at first. */
export function valueHead(scope: Scope, hiddenStates: Tensor): Tensor {
  const [batch, seq] = hiddenStates.shape
  return linear(scope.at('value_head'), hiddenStates, 1, { init: zeros }).reshape([batch, seq])
}

/** What is asked about episodes: rows of tokens, and the token that follows each, −100 where it is not of the answer. */
type EpisodeInputs = Record<'inputIds' | 'shiftLabels', Tensor>

/** log π(token) of the token that follows each position, 0 where nothing was chosen; and what they come from. */
export function chosenLogProbs(scope: Scope, model: CausalLm, { inputIds, shiftLabels }: EpisodeInputs) {
  const { logits, lastHiddenState } = model.forward(scope, { inputIds })
  const logProbs = crossEntropy(logits, shiftLabels, { reduction: 'none' }).neg() // [batch, seq]
  return { logProbs, logits, lastHiddenState }
}

/**
 * V(s_t) from a head on the policy's own states; or from a network of its own, which can begin as the reward model
 * (`valueWeights`).
 */
function valuesOf(scope: Scope, inputIds: Tensor, policyStates: Tensor, valueModel?: CausalLm): Tensor {
  if (!valueModel) return valueHead(scope, policyStates)
  const own = scope.at(VALUE)
  return valueHead(own, valueModel.forward(own, { inputIds }).lastHiddenState)
}

const VALUE = 'value'

/** First values of a value network: a reward model's, its bias too, under the names that they have in training. */
export const valueWeights = (
  { bias }: Pick<RewardModel, 'bias'>,
  weights: ReadonlyMap<string, TensorData>,
): Map<string, TensorData> =>
  new Map([
    ...[...weights].map(([name, value]) => [`${VALUE}.${name === SCORE ? 'value_head.weight' : name}`, value] as const),
    [`${VALUE}.value_head.bias`, tensorData('float32', [1], [bias])],
  ])

/**
 * What a policy and its value say of episodes: log π(token) of the token that follows each position, where it is the
 * answer's, and the position's value.
 *
 * @param inputIds - int32 [batch, seq]
 * @param shiftLabels - int32 [batch, seq]: the token that follows, −100 where it is not of the answer
 * @param valueModel - a network of its own for the value. Default: a head on the policy's states
 * @returns both [batch, seq]; log-probabilities are 0 where nothing was chosen
 */
export function actorCritic(
  scope: Scope,
  model: CausalLm,
  { inputIds, shiftLabels }: Record<string, Tensor>,
  valueModel?: CausalLm,
): { logProbs: Tensor; values: Tensor } {
  const { logProbs, lastHiddenState } = chosenLogProbs(scope, model, { inputIds, shiftLabels })
  return { logProbs, values: valuesOf(scope, inputIds, lastHiddenState, valueModel) }
}

/** H[π(·|s_t)] of every position: [batch, seq, vocabSize] → [batch, seq]. */
export function entropyOf(logits: Tensor): Tensor {
  const logProbs = logSoftmax(logits)
  return exp(logProbs).mul(logProbs).sum({ axis: -1 }).neg()
}

/** The loss of eq. 9 over every token of the answers, with InstructGPT's γ E[log π(x)], and what to watch beside it. */
export const ppoObjective =
  (model: CausalLm, settings: PpoSettings, valueModel?: CausalLm): Objective =>
  (scope, inputs) => {
    const { clipRange, valueClipRange, valueCoef, entropyCoef = 0, ptxCoef = 0 } = settings
    const { inputIds, shiftLabels, oldLogProbs, advantages, oldValues, returns } = inputs
    const { logProbs, logits, lastHiddenState } = chosenLogProbs(scope, model, { inputIds, shiftLabels })
    const values = valuesOf(scope, inputIds, lastHiddenState, valueModel)
    const chosen = indicator(shiftLabels.equal(-100).not())
    const count = sum(chosen)
    const overTokens = (perToken: Tensor): SumAndCount => ({ sum: sum(perToken.mul(chosen)), count })

    const logRatio = logProbs.sub(oldLogProbs)
    const ratio = exp(logRatio)
    const policyLoss = clippedPolicyLoss(ratio, advantages, clipRange)
    const valueLoss = clippedValueLoss(values, oldValues, returns, valueClipRange)
    const entropy = entropyOf(entropyCoef === 0 ? stopGradient(logits) : logits)
    const perToken = policyLoss.add(valueLoss.mul(valueCoef)).sub(entropy.mul(entropyCoef))
    const ppo = overTokens(perToken)
    const watched = {
      policyLoss: overTokens(policyLoss),
      valueLoss: overTokens(valueLoss),
      entropy: overTokens(entropy),
      /** ½ E[(log r)²], which is not negative (Schulman, 2020). */
      approxKl: overTokens(logRatio.mul(logRatio).mul(0.5)),
      clipFraction: overTokens(indicator(abs(ratio.sub(1)).greater(clipRange))),
    }
    if (ptxCoef === 0) return { loss: ppo, ...watched }
    const pretraining = model.forward(scope, { inputIds: inputs.ptxInputIds })
    const ptxLoss = crossEntropySum(pretraining.logits, inputs.ptxShiftLabels)
    // Both are means; as a sum that is divided by `count`, the one of pre-training is taken as often.
    const loss = { sum: ppo.sum.add(meanOf(ptxLoss).mul(count).mul(ptxCoef)), count }
    return { loss, ...watched, ptxLoss }
  }

/**
 * The inputs of `ppoObjective`.
 *
 * @param ptx - rows of pre-training in the same step, where there are any
 */
export const ppoInputs = (
  batch: number,
  seq: number,
  ptx?: { readonly batch: number; readonly seq: number },
): Record<string, InputSpec> => ({
  inputIds: int32(batch, seq),
  shiftLabels: int32(batch, seq),
  ...Object.fromEntries(PER_TOKEN.map((name) => [name, float32(batch, seq)])),
  ...(ptx ? { ptxInputIds: int32(ptx.batch, ptx.seq), ptxShiftLabels: int32(ptx.batch, ptx.seq) } : {}),
})

const PER_TOKEN = ['oldLogProbs', 'oldValues', 'advantages', 'returns'] as const

/**
 * What policy, value and a frozen reference say of episodes, in one pass: trace it, and compile it `withReference`.
 *
 * @returns each [batch, seq]
 */
export const judgement =
  (model: CausalLm, valueModel?: CausalLm, reference: CausalLm = model) =>
  (scope: Scope, inputs: Record<string, Tensor>): Record<'logProbs' | 'values' | 'refLogProbs', Tensor> => ({
    ...actorCritic(scope, model, inputs, valueModel),
    refLogProbs: chosenLogProbs(scope.at(REFERENCE).frozen(), reference, inputs as EpisodeInputs).logProbs,
  })

export const REFERENCE = 'reference'

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

/** Scales all numbers to variance 1, and unless `shiftMean` is false shifts them to mean 0. */
export function whiten(parts: readonly Float32Array[], { shiftMean = true } = {}): Float32Array[] {
  const all = parts.flatMap((part) => [...part])
  const mean = all.reduce((a, b) => a + b, 0) / all.length
  const variance = all.reduce((a, b) => a + (b - mean) ** 2, 0) / Math.max(all.length - 1, 1)
  const stays = shiftMean ? 0 : mean
  return parts.map((part) => part.map((x) => (x - mean) / Math.sqrt(variance + 1e-8) + stays))
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
  episodes: readonly Pick<Episode, 'promptIds' | 'ids'>[],
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
 * What a program says of every token of episodes, by the names of its outputs.
 *
 * @param options.rows - episodes that are read at a time. Default: all
 */
export async function judgeTokens<Name extends string>(
  judge: Program<Record<Name, Tensor>>,
  episodes: readonly Episode[],
  { seq, rows = episodes.length }: { seq: number; rows?: number },
): Promise<Record<Name, Float32Array>[]> {
  const judged: Record<Name, Float32Array>[] = []
  for (let start = 0; start < episodes.length; start += rows) {
    const some = episodes.slice(start, start + rows)
    const feeds = Object.entries(episodeBatch(some, seq)).map(
      ([name, data]) => [name, tensorData('int32', [some.length, seq], data)] as const,
    )
    const said = Object.entries<TensorData>(await judge(Object.fromEntries(feeds)))
    const answers = said.map(([name, all]) => [name, perAnswer(some, all)] as const)
    judged.push(...some.map((_, i) => Object.fromEntries(answers.map(([name, parts]) => [name, parts[i]])) as never))
  }
  return judged
}

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
  rows?: number,
): Promise<Judgement[]> {
  const judged = await judgeTokens(judge, episodes, { seq, rows })
  return judged.map((one, i) => ({ ...one, score: scores[i] }))
}

/** All that an update needs of judged episodes: rewards become advantages, and advantages are whitened. */
export function ppoBatch(
  episodes: readonly Episode[],
  judged: readonly Judgement[],
  seq: number,
  { klCoef, whitenRewards = false, ...settings }: PpoSettings & { klCoef: number },
): Batch {
  const paid = judged.map((one) => perTokenRewards(one, klCoef))
  const rewards = whitenRewards ? whiten(paid, { shiftMean: false }) : paid
  const estimates = judged.map(({ values }, i) => generalizedAdvantages(rewards[i], values, settings))
  return episodeBatch(episodes, seq, {
    oldLogProbs: judged.map(({ logProbs }) => logProbs),
    oldValues: judged.map(({ values }) => values),
    advantages: whiten(estimates.map(({ advantages }) => advantages)),
    returns: estimates.map(({ returns }) => returns),
  } satisfies Record<(typeof PER_TOKEN)[number], readonly Float32Array[]>)
}

/** log π − log π_ref of each answer, summed over its tokens: an estimate of the KL, in nats. */
export const answerKl = ({ logProbs, refLogProbs }: Pick<Judgement, 'logProbs' | 'refLogProbs'>): number =>
  logProbs.reduce((kl, logProb, t) => kl + logProb - refLogProbs[t], 0)

/** Rows of a batch by their numbers; the batch has `count`. */
export const rowsOf = (batch: Batch, rows: ArrayLike<number>, count: number): Batch =>
  Object.fromEntries(
    Object.entries(batch).map(([name, all]) => {
      const width = all.length / count
      const chosen = all.slice(0, rows.length * width)
      for (let i = 0; i < rows.length; i++) {
        chosen.set(all.subarray(rows[i] * width, (rows[i] + 1) * width) as never, i * width)
      }
      return [name, chosen]
    }),
  )

/** Minibatches of a batch, in an order of its own each epoch. */
export function* minibatches(
  batch: Batch,
  { count, size, epochs, random }: { count: number; size: number; epochs: number; random: StepRandom },
): Generator<Batch> {
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = random.permutation(count)
    for (let start = 0; start < count; start += size) yield rowsOf(batch, order.subarray(start, start + size), count)
  }
}

/** What a policy learns from answers of its own: what PPO and GRPO have in common. */
export interface PolicyRun {
  readonly model: CausalLm
  /** What the policy begins as, and what it is held to. */
  readonly weights: ReadonlyMap<string, TensorData>
  /** The model with adapters (`Lora`), of which they alone learn. Default: all of the model learns. */
  readonly adapted?: CausalLm
  readonly steps: number
  /** What is asked in a step, as tokens: a pure function of it, always as many. */
  prompts(step: number): readonly (readonly number[])[]
  /** How good answers are: a reward model, or a rule. */
  score(episodes: readonly Episode[], step: number): Promise<readonly number[]> | readonly number[]
  /** Tokens of the longest prompt with its answer. */
  readonly seq: number
  readonly sampling: Pick<RolloutOptions, 'temperature' | 'topK' | 'topP' | 'maxNewTokens' | 'stopTokenIds'>
  /** Answers a minibatch. */
  readonly minibatch: number
  /** How often each answer is learned from. Default 1, as in InstructGPT. */
  readonly epochs?: number
  /** Over updates, of which a step has answers / minibatch × epochs. */
  readonly learningRate: Schedule
  readonly emaDecay?: number
  /**
   * Told of every step's answers before they are learned from: for samples, and for judges that teach nothing, whose
   * numbers it may answer with.
   */
  seen?(step: number, episodes: readonly Episode[], scores: readonly number[]): Promise<Scalars | undefined>
  evaluate?(policy: Trainer): Promise<Scalars>
  /** Where the run is stopped: save what there is. */
  onStop?(policy: Trainer): Promise<void>
}

/** What comes of a run. */
export interface PolicyResult {
  /** With all that learned beside it; its stage releases it. */
  readonly policy: Trainer
  /** Reward, KL and length of every step's answers, and what `seen` said of them. */
  readonly history: readonly Scalars[]
}

export interface PpoRun extends PolicyRun {
  readonly settings: PpoSettings
  /** β at first. */
  readonly klCoef: number
  /** Nats an answer that β adapts to (Ziegler et al.); left out, β stays. */
  readonly klTarget?: number
  /** Answers over which β follows. Default 10,000. */
  readonly klHorizon?: number
  /** A value network of its own, which begins as this reward model. Default: a head on the policy. */
  readonly value?: { readonly model: RewardModel; readonly weights: ReadonlyMap<string, TensorData> }
  /** Pre-training beside, with the settings' `ptxCoef`. */
  readonly ptx?: { readonly batch: number; readonly seq: number; batchAt(update: number): Batch }
}

/** @throws RangeError where prompts do not fill minibatches */
export function requireWhole(answers: number, minibatch: number): void {
  if (answers > 0 && answers % minibatch === 0) return
  throw new RangeError(`${answers} answers a step are no whole number of minibatches of ${minibatch}`)
}

/**
 * Ask, answer, judge, update; and again. Logs reward, KL, length, the share of answers that ended, β, and the objective's
 * numbers.
 */
export async function trainPpo(
  { trainer: create, steps, log }: Pick<RecipeContext, 'trainer' | 'steps' | 'log'>,
  run: PpoRun,
): Promise<PolicyResult> {
  const { model, adapted: actor = model, weights, seq, settings, value, ptx, minibatch, epochs = 1 } = run
  const { klTarget, klHorizon = 10_000 } = run
  const answers = run.prompts(0).length
  requireWhole(answers, minibatch)
  const valueModel = value?.model.trunk
  const policy = await create({
    objective: ppoObjective(actor, settings, valueModel),
    inputs: ppoInputs(minibatch, seq, ptx),
    learningRate: run.learningRate,
    weights: new Map([...weights, ...(value ? valueWeights(value.model, value.weights) : [])]),
    missing: 'init',
    weightDecay: 0,
    beta2: 0.999,
    emaDecay: run.emaDecay,
  })
  const rows = { inputIds: int32('batch', seq), shiftLabels: int32('batch', seq) }
  const judge = await compile(trace(judgement(actor, valueModel, model), rows), withReference(policy, weights))
  const decoder = await CachedDecoder.create(actor, policy, { slots: answers, capacity: seq })
  try {
    const state: { klCoef: number; history: Scalars[] } = { klCoef: run.klCoef, history: [] }
    const evaluate = run.evaluate?.bind(run, policy)
    const loop = {
      steps: run.steps,
      trainers: { policy },
      state,
      perStep: { answers },
      evaluate,
      onStop: run.onStop?.bind(run, policy),
    }
    for await (const { step, random } of steps(loop)) {
      const episodes = await rollout(decoder, run.prompts(step), { ...run.sampling, seed: random.uint32() })
      const scores = await run.score(episodes, step)
      const judged = await judgeEpisodes(judge, episodes, scores, seq, minibatch)
      const kl = mean(judged.map(answerKl))
      const told = { ...episodeScalars(episodes, scores), kl, ...(await run.seen?.(step, episodes, scores)) }
      const batch = ppoBatch(episodes, judged, seq, { ...settings, klCoef: state.klCoef })
      for (const part of minibatches(batch, { count: answers, size: minibatch, epochs, random })) {
        log(await policy.train(ptx ? { ...part, ...ptxBatch(ptx.batchAt(policy.step)) } : part))
      }
      log({ ...told, klCoef: state.klCoef })
      state.history.push(told)
      if (klTarget) state.klCoef = adaptedKlCoef(state.klCoef, kl, { target: klTarget, horizon: klHorizon, answers })
    }
    return { policy, history: state.history }
  } finally {
    decoder.release()
    judge.release()
  }
}

/** A batch of pre-training under the names that it has beside episodes. */
const ptxBatch = ({ inputIds, shiftLabels }: Batch): Batch => ({ ptxInputIds: inputIds, ptxShiftLabels: shiftLabels })

/** What to log of answers and their scores. */
export const episodeScalars = (episodes: readonly Episode[], scores: readonly number[]): Scalars => ({
  reward: mean(scores),
  length: mean(episodes.map(({ ids }) => ids.length)),
  ended: mean(episodes.map(({ ended }) => Number(ended))),
})

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
