/**
 * A pendulum that nobody pays for being up: the reward is learned from comparisons of pieces of a second and a quarter
 * (25 steps) while the policy learns from it. Who answers is a synthetic judge, as in §3.1 of the paper: the piece with the
 * larger true return is preferred. The policy that is beside it, learned by the true reward, is otherwise the same.
 *
 *     jackdaw train rlhf/pendulum --out runs/rlhf
 */

import type { StepRandom } from '../../src/data/random.ts'
import { pendulum } from '../../src/data/worlds/pendulum.ts'
import { mean } from '../../src/eval/statistics.ts'
import { type RecipeContext, recipe } from '../../src/optim/recipe.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import {
  type Experience,
  JUDGING,
  learnControl,
  PENDULUM_SETTINGS,
  playEpisodes,
  type RewardSource,
} from '../../src/train/ppo-control.ts'
import {
  type Answers,
  type EnsembleShape,
  ensembleInputs,
  ensembleObjective,
  mostOf,
  noAnswers,
  RewardEnsemble,
} from '../../src/train/preferences.ts'

/** How much of the way from the first policy to the one of the true reward counts as nearly as good. */
const NEARLY = 0.9
/** Pairs that are looked at for each that is asked about (§2.2.4). */
const LOOKED_AT = 10
/** The spread of learned rewards: about that of the true ones as PPO is given them. */
const SPREAD = 0.5

const SHAPE: EnsembleShape = {
  members: 3,
  features: pendulum.observationSize + 1,
  length: 25,
  batch: 32,
}

const settings = {
  data: '',
  /** Updates of 2048 steps. */
  steps: 60,
  seed: 1,
  evalEvery: 0,
  checkpointEvery: 0,
  seeds: 3,
  /** Answers in all. A quarter of them are about what the first policy does. */
  comparisons: 1000,
  /** Steps of the predictors' training before the first update, and before every other. */
  firstRewardSteps: 300,
  rewardSteps: 40,
  rewardLearningRate: 1e-3,
  /** To judge by. */
  episodes: 100,
}
type Context = RecipeContext<typeof settings>

export default recipe({
  paper: 'rlhf',
  claim: `from comparisons alone, at most 1,400, the pendulum is swung up at least ${100 * NEARLY} % as well as from the true reward (0 being the policy that training begins with), in each of three seeds`,
  curve: ['return', 'heldOutLoss'],
  settings,
  async run(context) {
    const { settings, say, figure, claim } = context
    const measured: Record<string, number> = {}
    const lines: Record<string, [number, number][]> = {}
    const shares: number[] = []
    for (let i = 0; i < settings.seeds; i++) {
      const seed = settings.seed + i
      const start = await learned(context, 'start', seed)
      const truth = await learned(context, 'truth', seed)
      const preferred = await learned(context, 'comparisons', seed)
      const share = (preferred.mean - start.mean) / (truth.mean - start.mean)
      say(
        `seed ${seed}: ${start.mean.toFixed(0)} at first, ${truth.mean.toFixed(0)} by the true reward, ${preferred.mean.toFixed(0)} by ${preferred.asked} comparisons: ${(100 * share).toFixed(1)} % of it`,
      )
      shares.push(share)
      measured[`share${seed}`] = share
      measured[`truth${seed}`] = truth.mean
      measured[`comparisons${seed}`] = preferred.mean
      lines[`true reward, seed ${seed}`] = truth.curve
      lines[`comparisons, seed ${seed}`] = preferred.curve
    }
    figure({ title: 'true return of the episodes that ended in an update', x: 'steps', lines })
    claim({ share: mean(shares), ...measured }, Math.min(...shares) >= NEARLY)
  },
})

interface Learned {
  readonly mean: number
  readonly asked: number
  readonly curve: [number, number][]
}

/** A policy by one reward or the other, and what it is worth by the true one. */
async function learned(
  { settings, stage, save, ...context }: Context,
  from: 'start' | 'truth' | 'comparisons',
  seed: number,
): Promise<Learned> {
  const { environments, horizon } = PENDULUM_SETTINGS
  const { value } = await stage(`${from}-${seed}`, async () => {
    const reward = from === 'comparisons' ? await learnedReward(context, settings, seed) : undefined
    const { model, trainer, returns } = await learnControl(context, {
      ...{ world: pendulum, settings: PENDULUM_SETTINGS, seed, reward },
      worldSteps: from === 'start' ? 0 : settings.steps * environments * horizon,
    })
    await save({ model, weights: trainer })
    const { episodes } = settings
    const played = await playEpisodes(model, trainer, pendulum, { episodes, seed: JUDGING + seed })
    return { mean: mean(played), asked: reward?.state.comparisons.length ?? 0, curve: [...returns] }
  })
  return value as unknown as Learned
}

/** The reward as it is learned, update by update. */
async function learnedReward(
  { trainer: newTrainer, log }: Pick<Context, 'trainer' | 'log'>,
  { comparisons, firstRewardSteps, rewardSteps, rewardLearningRate, steps }: typeof settings,
  seed: number,
): Promise<RewardSource<Answers>> {
  const trainer = await newTrainer({
    objective: ensembleObjective(SHAPE),
    inputs: ensembleInputs(SHAPE),
    learningRate: constantSchedule(rewardLearningRate),
    ...{ beta2: 0.999, weightDecay: 0, seed: seed + 1000 },
  })
  const ensemble = await RewardEnsemble.create(SHAPE, trainer, seed)
  return {
    trainers: { reward: trainer },
    state: noAnswers(SHAPE),
    async rewardsOf(experience, answers, random, update) {
      const wanted = askedBy(update, comparisons, steps) - answers.comparisons.length
      const seen = stepsOf(experience)
      if (wanted > 0) {
        const pairs = Array.from({ length: update === 0 ? wanted : LOOKED_AT * wanted }, () => [
          drawPiece(experience, random),
          drawPiece(experience, random),
        ])
        const asPair = ([first, second]: Piece[]) => ({ first: taken(seen, first), second: taken(seen, second) })
        const apart = update === 0 ? pairs.map(() => 0) : await ensemble.disagreement(pairs.map(asPair))
        for (const i of mostOf(apart, wanted)) {
          answers.comparisons.push({ ...asPair(pairs[i]), preferred: judge(experience, pairs[i]) })
        }
      }
      const losses = await ensemble.learn(answers, update === 0 ? firstRewardSteps : rewardSteps, random)
      log({ comparisons: answers.comparisons.length, ...losses })
      return (await ensemble.rewards(answers, seen)).map((reward) => SPREAD * reward)
    },
  }
}

/** How many comparisons there are to be once an update is due: a quarter at first, then ever fewer (§3.1.1). */
function askedBy(update: number, comparisons: number, updates: number): number {
  const progress = update / Math.max(updates - 1, 1)
  return Math.round(comparisons * (0.25 + 0.75 * Math.log2(1 + progress)))
}

/** What the predictors are told of every step: what was seen, and what was done. */
function stepsOf({ rows, observations, actions }: Experience): Float32Array {
  const size = pendulum.observationSize
  const steps = new Float32Array(rows * (size + 1))
  for (let row = 0; row < rows; row++) {
    steps.set(observations.subarray(row * size, (row + 1) * size), row * (size + 1))
    steps[row * (size + 1) + size] = actions[row]
  }
  return steps
}

/** The rows of a piece, one step after the other. */
type Piece = readonly number[]

/** A piece of an episode, from anywhere in what was gathered. */
function drawPiece({ environments, rows, over }: Experience, random: StepRandom): Piece {
  for (;;) {
    const first = random.below(rows - (SHAPE.length - 1) * environments)
    const piece = Array.from({ length: SHAPE.length }, (_, t) => first + t * environments)
    if (piece.slice(0, -1).every((row) => !over[row])) return piece
  }
}

const taken = (steps: Float32Array, piece: Piece): number[] =>
  piece.flatMap((row) => [...steps.subarray(row * SHAPE.features, (row + 1) * SHAPE.features)])

/** The one that answers: the only place where the true reward is looked at. */
function judge({ rewards }: Experience, [first, second]: readonly Piece[]): number {
  const worth = (piece: Piece): number => piece.reduce((total, row) => total + rewards[row], 0)
  const difference = worth(first) - worth(second)
  return difference === 0 ? 0.5 : difference > 0 ? 1 : 0
}
