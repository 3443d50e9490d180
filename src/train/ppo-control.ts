/**
 * Proximal Policy Optimization Algorithms — PPO by itself, on control tasks
 * Schulman, Wolski, Dhariwal, Radford and Klimov, OpenAI, 2017. arXiv 1707.06347
 *
 * The clipped losses and the advantages are those of ppo.ts; here is what language does without:
 * - actors that act for a fixed number of steps, whether episodes end or not (§5, algorithm 1), in worlds side by side;
 * - an entropy bonus (eq. 9), and a penalty for the distance from the policy that acted, fixed or adapted, instead of
 *   clipping (§4, eq. 8).
 *
 * Departures, as in the paper's code: the value's error is clipped and halved, advantages are normalised in every
 * minibatch, the learning rate falls to nothing, Adam's ε is 10⁻⁵, gradients are clipped at 0.5. Unlike that code, an
 * episode that the time limit cuts off is worth what the value says of its last state: it did not end (Pardo et al., 2017,
 * arXiv 1712.00378).
 *
 * | paper        | here                             |
 * |--------------|----------------------------------|
 * | N, T         | `environments`, `horizon`        |
 * | K, M         | `epochs`, a minibatch's rows     |
 * | c₂, S        | `entropyCoef`, `entropyOf`       |
 * | β, d, d_targ | `klCoef`, `kl`, `klTarget`       |
 */

import type { StepRandom } from '../data/random.ts'
import {
  type ActionSpace,
  Environments,
  type EnvironmentsState,
  type FinishedEpisode,
  type World,
} from '../data/worlds/world.ts'
import { mean as meanOf } from '../eval/statistics.ts'
import { ActorCritic } from '../models/actor-critic.ts'
import { float32, type InputSpec, trace } from '../nn/trace.ts'
import type { RecipeContext, Scalars } from '../optim/recipe.ts'
import { linearSchedule } from '../optim/schedule.ts'
import type { Batch, Objective, StepResult, Trainer } from '../optim/trainer.ts'
import { compile, type LiveWeights, type Weights } from '../runtime/compile.ts'
import {
  abs,
  exp,
  indicator,
  logSoftmax,
  mean,
  softmax,
  split,
  sum,
  type Tensor,
  takeAlongAxis,
  tensorData,
} from '../tensor/index.ts'
import { clippedPolicyLoss, clippedValueLoss, generalizedAdvantages, type PpoSettings, whiten } from './ppo.ts'

export interface ControlSettings extends PpoSettings {
  /** Copies of the world that are acted in side by side. */
  readonly environments: number
  /** Steps of each between two updates. */
  readonly horizon: number
  readonly epochs: number
  /** Of an epoch. */
  readonly minibatches: number
  readonly learningRate: number
  readonly entropyCoef: number
  /** The table of §6.1: eq. 7, eq. 6, or eq. 8. */
  readonly surrogate: 'clipped' | 'unclipped' | 'penalised'
  /** β of eq. 8 at first, and what d is to be; it stays as it is where that is 0. */
  readonly klCoef: number
  readonly klTarget: number
  /** What rewards are multiplied by: values should be within a few units. */
  readonly rewardScale: number
}

/** For CartPole, as CleanRL has it (Huang et al., 2022). */
export const CONTROL_SETTINGS: ControlSettings = {
  clipRange: 0.2,
  valueClipRange: 0.2,
  valueCoef: 0.5,
  discount: 0.99,
  lambda: 0.95,
  environments: 4,
  horizon: 128,
  epochs: 4,
  minibatches: 4,
  learningRate: 2.5e-4,
  entropyCoef: 0.01,
  surrogate: 'clipped',
  klCoef: 1,
  klTarget: 0,
  rewardScale: 1,
}

/** For the pendulum: what comes in a second decides, and its rewards are larger than values should be. */
export const PENDULUM_SETTINGS: ControlSettings = {
  ...CONTROL_SETTINGS,
  discount: 0.9,
  environments: 8,
  horizon: 256,
  epochs: 10,
  minibatches: 32,
  learningRate: 1e-3,
  entropyCoef: 0,
  rewardScale: 0.1,
}

/** The network for a world. */
export const policyFor = ({ observationSize, actions }: World, dHidden = 64): ActorCritic =>
  new ActorCritic({
    nObservations: observationSize,
    nActions: actions.count,
    continuous: actions.continuous,
    dHidden,
  })

// Distributions: logits, or means and the logarithms of standard deviations.

const HALF_LOG_2PI = 0.5 * Math.log(2 * Math.PI)

/**
 * log π(a | s).
 *
 * @param actions - int32 [batch], or float32 [batch, numbers] where they are continuous
 * @returns [batch]
 */
export function logProbsOf(continuous: boolean, distribution: Tensor, actions: Tensor): Tensor {
  if (!continuous) {
    const [batch] = actions.shape
    return takeAlongAxis(logSoftmax(distribution), actions.reshape([batch, 1])).reshape([batch])
  }
  const [mu, logStd] = split(distribution, 2)
  const z = actions.sub(mu).div(exp(logStd))
  return sum(z.mul(z).mul(-0.5).sub(logStd).sub(HALF_LOG_2PI), { axis: -1 })
}

/** S[π](s): [batch]. */
export function entropyOf(continuous: boolean, distribution: Tensor): Tensor {
  if (!continuous) return sum(softmax(distribution).mul(logSoftmax(distribution)), { axis: -1 }).neg()
  return sum(split(distribution, 2)[1].add(0.5 + HALF_LOG_2PI), { axis: -1 })
}

/** KL[π_old(· | s), π(· | s)]: [batch]. */
export function klOf(continuous: boolean, old: Tensor, now: Tensor): Tensor {
  if (!continuous) return sum(softmax(old).mul(logSoftmax(old).sub(logSoftmax(now))), { axis: -1 })
  const [[oldMu, oldLogStd], [mu, logStd]] = [split(old, 2), split(now, 2)]
  const [variance, oldVariance] = [exp(logStd.mul(2)), exp(oldLogStd.mul(2))]
  const distance = oldMu.sub(mu)
  const spread = oldVariance.add(distance.mul(distance)).div(variance.mul(2))
  return sum(logStd.sub(oldLogStd).add(spread).sub(0.5), { axis: -1 })
}

/** Eq. 9, with the surrogate of eq. 6, 7 or 8, over the rows of a minibatch. */
export const controlObjective =
  (model: ActorCritic, { clipRange, valueClipRange, valueCoef, entropyCoef, surrogate }: ControlSettings): Objective =>
  (scope, { observations, actions, oldDistribution, oldLogProbs, oldValues, advantages, returns, klCoef }) => {
    const { continuous } = model.config
    const { distribution, values } = model.forward(scope, { observations })
    const ratio = exp(logProbsOf(continuous, distribution, actions).sub(oldLogProbs))
    const kl = mean(klOf(continuous, oldDistribution, distribution))
    const entropy = mean(entropyOf(continuous, distribution))
    const plain = ratio.mul(advantages).neg()
    const policyLoss = mean(surrogate === 'clipped' ? clippedPolicyLoss(ratio, advantages, clipRange) : plain)
    const penalised = surrogate === 'penalised' ? policyLoss.add(klCoef.mul(kl)) : policyLoss
    const valueLoss = mean(clippedValueLoss(values, oldValues, returns, valueClipRange))
    const clipFraction = mean(indicator(abs(ratio.sub(1)).greater(clipRange)))
    const loss = penalised.add(valueLoss.mul(valueCoef)).sub(entropy.mul(entropyCoef))
    return { loss: loss.reshape([]), ...{ policyLoss, valueLoss, entropy, kl, clipFraction } }
  }

/** The inputs of `controlObjective`. */
export function controlInputs({ config }: ActorCritic, batch: number): Record<string, InputSpec> {
  const { nObservations, nActions, continuous } = config
  return {
    observations: float32(batch, nObservations),
    actions: continuous ? float32(batch, nActions) : { dtype: 'int32', shape: [batch] },
    oldDistribution: float32(batch, continuous ? 2 * nActions : nActions),
    ...{ oldLogProbs: float32(batch), oldValues: float32(batch), advantages: float32(batch), returns: float32(batch) },
    klCoef: float32(),
  }
}

/** A policy that answers a fixed number of observations at a time, at the speed of one call in place. */
export interface Actor {
  /** Written before a call: [count, nObservations]. */
  readonly observations: Float32Array
  /** Read after it. */
  readonly distribution: Float32Array
  readonly values: Float32Array
  act(): void | Promise<void>
  /** V of other states, any number of them: [rows, nObservations] → [rows]. */
  valuesOf(observations: Float32Array): Promise<Float32Array>
  release(): void
}

/** @param weights - a trainer's are read as they are at every call */
export async function openActor(model: ActorCritic, weights: Weights | LiveWeights, count: number): Promise<Actor> {
  const { nObservations, nActions, continuous } = model.config
  const traced = trace((scope, inputs) => model.forward(scope, inputs as { observations: Tensor }), model.inputs)
  const run = await compile(traced, weights)
  const observations = tensorData('float32', [count, nObservations], new Float32Array(count * nObservations))
  const width = continuous ? 2 * nActions : nActions
  const distribution = tensorData('float32', [count, width], new Float32Array(count * width))
  const values = tensorData('float32', [count], new Float32Array(count))
  const binding = run.bind({ observations }, { distribution, values })
  return {
    observations: observations.data as Float32Array,
    distribution: distribution.data as Float32Array,
    values: values.data as Float32Array,
    // Microseconds of work: waking another thread would take longer.
    act: () => (binding.canBlock ? binding.runSync() : binding.run()),
    async valuesOf(rows) {
      const shape = [rows.length / nObservations, nObservations]
      return (await run({ observations: tensorData('float32', shape, rows) })).values.data as Float32Array
    },
    release() {
      binding.release()
      run.release()
    },
  }
}

/**
 * Draws an action from a row of a distribution, or takes the likeliest where there is no `random`.
 *
 * @returns the action, a number, and its log π
 */
export function chooseAction(
  { continuous, count }: ActionSpace,
  distribution: Float32Array,
  row: number,
  random?: StepRandom,
): { action: number; logProb: number } {
  if (continuous) {
    const [mu, logStd] = [distribution[2 * row], distribution[2 * row + 1]]
    const z = random?.normal() ?? 0
    return { action: Math.fround(mu + Math.exp(logStd) * z), logProb: -0.5 * z * z - logStd - HALF_LOG_2PI }
  }
  const logits = distribution.subarray(row * count, (row + 1) * count)
  const most = Math.max(...logits)
  const weights = Array.from(logits, (logit) => Math.exp(logit - most))
  const total = weights.reduce((a, b) => a + b)
  let action = logits.indexOf(most)
  if (random) {
    let left = random.uniform() * total
    action = weights.findIndex((weight) => {
      left -= weight
      return left < 0
    })
    if (action < 0) action = count - 1 // what rounding left
  }
  return { action, logProb: Math.log(weights[action] / total) }
}

/** What actors saw and did for `horizon` steps: row t · environments + i is step t of copy i. */
export interface Experience {
  readonly environments: number
  readonly rows: number
  /** [rows, nObservations] */
  readonly observations: Float32Array
  /** [rows] */
  readonly actions: Float32Array
  readonly distribution: Float32Array
  readonly logProbs: Float32Array
  readonly values: Float32Array
  readonly rewards: Float32Array
  /** 1 where an episode was over with the step: what stands in the next row is another's beginning. */
  readonly over: Uint8Array
  /** V of the state after the step; 0 where the world ended the episode. */
  readonly nextValues: Float32Array
  readonly finished: readonly FinishedEpisode[]
}

/** Algorithm 1, lines 3–4: runs the policy for `horizon` steps. */
export async function gather(
  actor: Actor,
  environments: Environments,
  horizon: number,
  random: StepRandom,
): Promise<Experience> {
  const { world, count } = environments
  const { observationSize: size } = world
  const rows = horizon * count
  const observations = new Float32Array(rows * size)
  const [actions, logProbs, values, rewards, nextValues] = Array.from({ length: 5 }, () => new Float32Array(rows))
  const distribution = new Float32Array((rows * actor.distribution.length) / count)
  const over = new Uint8Array(rows)
  const finished: FinishedEpisode[] = []
  const cutOff: number[] = []
  const lastSeen: number[] = []
  for (let t = 0; t < horizon; t++) {
    actor.observations.set(environments.observations)
    await actor.act()
    const start = t * count
    observations.set(actor.observations, start * size)
    distribution.set(actor.distribution, start * (actor.distribution.length / count))
    values.set(actor.values, start)
    for (let i = 0; i < count; i++) {
      const { action, logProb } = chooseAction(world.actions, actor.distribution, i, random)
      actions[start + i] = action
      logProbs[start + i] = logProb
    }
    finished.push(...environments.step(actions.subarray(start, start + count)))
    rewards.set(environments.rewards, start)
    for (let i = 0; i < count; i++) {
      over[start + i] = environments.terminated[i] | environments.truncated[i]
      if (!environments.truncated[i]) continue
      cutOff.push(start + i)
      lastSeen.push(...environments.finalObservations.subarray(i * size, (i + 1) * size))
    }
  }
  actor.observations.set(environments.observations)
  await actor.act()
  for (let row = 0; row < rows; row++) {
    if (!over[row]) nextValues[row] = row + count < rows ? values[row + count] : actor.values[row + count - rows]
  }
  if (cutOff.length > 0) {
    const after = await actor.valuesOf(Float32Array.from(lastSeen))
    for (const [k, row] of cutOff.entries()) nextValues[row] = after[k]
  }
  const seen = { observations, actions, distribution, logProbs, values, rewards, over, nextValues, finished }
  return { environments: count, rows, ...seen }
}

/** Eq. 11–12 within every episode, or as much of it as was seen, [rows] each. */
export function advantagesOf(
  { environments, rows, values, nextValues, over }: Experience,
  rewards: Float32Array,
  settings: Pick<PpoSettings, 'discount' | 'lambda'>,
): { advantages: Float32Array; returns: Float32Array } {
  const [advantages, returns] = [new Float32Array(rows), new Float32Array(rows)]
  for (let i = 0; i < environments; i++) {
    let piece: number[] = []
    for (let row = i; row < rows; row += environments) {
      piece.push(row)
      if (!over[row] && row + environments < rows) continue
      const its = (of: Float32Array): number[] => piece.map((at) => of[at])
      const judged = generalizedAdvantages(
        Float32Array.from(its(rewards)),
        Float32Array.from([...its(values), nextValues[row]]),
        settings,
      )
      for (const [k, at] of piece.entries()) {
        advantages[at] = judged.advantages[k]
        returns[at] = judged.returns[k]
      }
      piece = []
    }
  }
  return { advantages, returns }
}

/** Algorithm 1, lines 5–6: several epochs over what was gathered. Answers with the means over the last epoch. */
export async function improve(
  trainer: Trainer,
  experience: Experience,
  rewards: Float32Array,
  random: StepRandom,
  { log, ...settings }: ControlSettings & { log?: (result: StepResult) => void },
): Promise<Scalars> {
  const { rows, observations, actions, distribution, logProbs, values } = experience
  const { advantages, returns } = advantagesOf(experience, rewards, settings)
  const size = rows / settings.minibatches
  const continuous = trainer.options.inputs.actions.dtype === 'float32'
  const inputs = {
    ...{ observations, actions, oldDistribution: distribution, oldLogProbs: logProbs, oldValues: values },
    ...{ advantages, returns },
  }
  const picked = (order: Uint32Array): Batch => {
    const batch = Object.entries(inputs).map(([name, all]) => {
      const width = all.length / rows
      const some = name === 'actions' && !continuous ? new Int32Array(size) : new Float32Array(size * width)
      order.forEach((row, k) => {
        for (let j = 0; j < width; j++) some[k * width + j] = all[row * width + j]
      })
      return [name, name === 'advantages' ? whiten([some as Float32Array])[0] : some]
    })
    return { ...Object.fromEntries(batch), klCoef: Float32Array.of(settings.klCoef) }
  }
  const last: StepResult[] = []
  for (let epoch = 0; epoch < settings.epochs; epoch++) {
    const order = random.permutation(rows)
    for (let start = 0; start < rows; start += size) {
      const result = await trainer.train(picked(order.subarray(start, start + size)))
      log?.(result)
      if (epoch === settings.epochs - 1) last.push(result)
    }
  }
  return { kl: last.reduce((total, { metrics }) => total + metrics.kl, 0) / last.length }
}

/** β after an update that moved the policy by `kl`: half where that is far below the target, double where far above (§4). */
export function adaptedPenalty(klCoef: number, kl: number, klTarget: number): number {
  if (klTarget === 0) return klCoef
  if (kl < klTarget / 1.5) return klCoef / 2
  return kl > klTarget * 1.5 ? klCoef * 2 : klCoef
}

/** Seeds of the episodes that count begin here: their first states are apart from those of every training. */
export const JUDGING = 2 ** 32

/**
 * Plays whole episodes, one in each of so many worlds.
 *
 * @param random - draws actions; the likeliest are taken where it is left out
 * @returns the episodes' returns
 */
export async function playEpisodes(
  model: ActorCritic,
  weights: Weights | LiveWeights,
  world: World,
  { episodes, seed, random }: { episodes: number; seed: number; random?: StepRandom },
): Promise<number[]> {
  const actor = await openActor(model, weights, episodes)
  const environments = new Environments(world, episodes, seed)
  const returns = new Map<number, number>()
  while (returns.size < episodes) {
    actor.observations.set(environments.observations)
    await actor.act()
    const actions = Array.from(
      { length: episodes },
      (_, i) => chooseAction(world.actions, actor.distribution, i, random).action,
    )
    for (const one of environments.step(actions)) {
      if (!returns.has(one.environment)) returns.set(one.environment, one.return)
    }
  }
  actor.release()
  return [...returns.values()]
}

type Context = Pick<RecipeContext, 'trainer' | 'steps' | 'log'>

/** Where rewards come from, if not from the world: something that may learn beside the policy. */
export interface RewardSource<State extends object> {
  readonly trainers: Readonly<Record<string, Trainer>>
  /** What it carries from update to update: plain JSON, changed in place. */
  readonly state: State
  /** @returns [rows] */
  rewardsOf(experience: Experience, state: State, random: StepRandom, update: number): Promise<Float32Array>
}

export interface ControlRun<State extends object = object> {
  readonly world: World
  readonly settings: ControlSettings
  /** Of the first weights and the first states. */
  readonly seed: number
  /** Steps in all worlds together. */
  readonly worldSteps: number
  readonly reward?: RewardSource<State>
}

const CURVE_POINTS = 50

/** What the loop carries from update to update beside the policy. */
interface LoopState<State> {
  klCoef: number
  reward?: State
  worlds?: EnvironmentsState
  curve: [done: number, meanReturn: number][]
  /** Returns since the curve's last point. */
  sinceLast: number[]
}

/**
 * Algorithm 1: PPO, actor-critic style. The loop of a stage.
 *
 * @throws RangeError where what is gathered is not so many minibatches
 * @returns the policy as it is at the end, and the mean return of the episodes that ended in each part of the training
 */
export async function learnControl<State extends object>(
  { trainer: newTrainer, steps, log }: Context,
  { world, settings, seed, worldSteps, reward }: ControlRun<State>,
): Promise<{
  model: ActorCritic
  trainer: Trainer
  returns: readonly (readonly [done: number, meanReturn: number])[]
}> {
  const { environments: count, horizon, epochs, minibatches } = settings
  const rows = count * horizon
  if (!Number.isInteger(rows / minibatches)) {
    throw new RangeError(
      `${count} environments × ${horizon} steps do not make ${minibatches} minibatches of one size: choose a divisor of ${rows}`,
    )
  }
  const updates = Math.floor(worldSteps / rows)
  const model = policyFor(world)
  const trainer = await newTrainer({
    objective: controlObjective(model, settings),
    inputs: controlInputs(model, rows / minibatches),
    learningRate: linearSchedule(settings.learningRate, { steps: updates * epochs * minibatches }),
    ...{ beta2: 0.999, epsilon: 1e-5, weightDecay: 0, clipNorm: 0.5, seed },
  })
  const actor = await openActor(model, trainer, count)
  const first: LoopState<State> = { klCoef: settings.klCoef, reward: reward?.state, curve: [], sinceLast: [] }
  const perPoint = Math.ceil(updates / CURVE_POINTS)
  const loop = {
    steps: updates,
    trainers: { policy: trainer, ...reward?.trainers },
    state: first,
    perStep: { frames: rows },
  }
  for await (const { step, state, random } of steps(loop)) {
    const environments = new Environments(world, count, seed, state.worlds)
    const experience = await gather(actor, environments, horizon, random)
    const rewards = reward
      ? await reward.rewardsOf(experience, state.reward as State, random, step)
      : experience.rewards.map((r) => r * settings.rewardScale)
    const { kl } = await improve(trainer, experience, rewards, random, { ...settings, klCoef: state.klCoef, log })
    state.klCoef = adaptedPenalty(state.klCoef, kl, settings.klTarget)
    state.worlds = environments.toState()
    const returns = experience.finished.map((one) => one.return)
    if (returns.length > 0) log({ return: meanOf(returns) })
    state.sinceLast.push(...returns)
    if (state.sinceLast.length > 0 && ((step + 1) % perPoint === 0 || step + 1 === updates)) {
      state.curve.push([(step + 1) * rows, meanOf(state.sinceLast)])
      state.sinceLast = []
    }
  }
  actor.release()
  return { model, trainer, returns: first.curve }
}
