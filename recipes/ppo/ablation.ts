/**
 * What each part of PPO is worth (§6.1 and table 1): the clipped surrogate beside none, beside penalties of fixed and of
 * adapted price, and generalised advantages beside both of their ends. As in the paper, a task's score is 0 for the policy
 * that one begins with and 1 for the best result, and what is told is the mean over tasks and seeds.
 *
 *     jackdaw train ppo/ablation --out runs/ablation
 */

import { cartPole } from '../../src/data/worlds/cartpole.ts'
import { pendulum } from '../../src/data/worlds/pendulum.ts'
import { mean } from '../../src/eval/statistics.ts'
import { type RecipeContext, recipe } from '../../src/optim/recipe.ts'
import {
  type ControlSettings,
  JUDGING,
  learnControl,
  PENDULUM_SETTINGS,
  playEpisodes,
} from '../../src/train/ppo-control.ts'

/** By name, what is other than in PPO as it is. */
const VARIANTS: Readonly<Record<string, Partial<ControlSettings>>> = {
  'no clipping': { surrogate: 'unclipped' },
  'clip 0.1': { clipRange: 0.1 },
  'clip 0.2': {},
  'clip 0.3': { clipRange: 0.3 },
  'adaptive KL 0.01': { surrogate: 'penalised', klTarget: 0.01 },
  'adaptive KL 0.03': { surrogate: 'penalised', klTarget: 0.03 },
  'fixed KL 1': { surrogate: 'penalised', klCoef: 1 },
  'fixed KL 3': { surrogate: 'penalised', klCoef: 3 },
  'λ = 0': { lambda: 0 },
  'λ = 1': { lambda: 1 },
}
const PPO = 'clip 0.2'
const WITHOUT = ['no clipping', 'λ = 0']
const DRAWN = [PPO, ...WITHOUT, 'λ = 1', 'adaptive KL 0.01', 'fixed KL 1']

/** Several epochs at a high rate, so that there is something for the clipping to do; half as many as the pendulum's own recipe. */
const SHORTER = { ...PENDULUM_SETTINGS, epochs: 5, minibatches: 16 }
const TASKS = [
  { world: cartPole, settings: { ...SHORTER, discount: 0.99 }, share: 0.5 },
  { world: pendulum, settings: SHORTER, share: 1 },
] as const

const settings = {
  data: '',
  /** Updates of 2048 steps, of each variant and seed on the pendulum; half as many on the cart. */
  steps: 30,
  seed: 11,
  evalEvery: 0,
  checkpointEvery: 0,
  seeds: 3,
  /** To judge by. */
  episodes: 100,
}

export default recipe({
  paper: 'ppo',
  claim:
    'what the paper’s parts are worth, over two tasks and three seeds: PPO with ε = 0.2 and λ = 0.95 scores higher than without clipping and than with errors of one step (λ = 0)',
  settings,
  async run(context) {
    const { settings, say, figure, claim } = context
    const scores = new Map<string, number[]>()
    const lines = new Map<string, [number, number][][]>()
    for (const task of TASKS) {
      const results: Record<string, Result[]> = {}
      for (const [name, own] of Object.entries({ start: {}, ...VARIANTS })) {
        results[name] = []
        for (let i = 0; i < settings.seeds; i++) {
          results[name].push(await trained(context, task, name, own, settings.seed + i))
        }
        say(`${task.world.name}, ${name}: ${results[name].map((result) => result.mean.toFixed(1)).join(', ')}`)
      }
      const zero = mean(results.start.map((result) => result.mean))
      const best = Math.max(...Object.values(results).flatMap((all) => all.map((result) => result.mean)))
      // Where nothing was learned, nothing is worth anything.
      const scored = (value: number): number => (best > zero ? (value - zero) / (best - zero) : 0)
      for (const name of Object.keys(VARIANTS)) {
        const of = results[name]
        scores.set(name, [...(scores.get(name) ?? []), ...of.map((result) => scored(result.mean))])
        const curves = of.map(({ curve }) => curve.map(([step, value]): [number, number] => [step, scored(value)]))
        lines.set(name, [...(lines.get(name) ?? []), ...curves])
      }
    }
    figure({
      title: 'score of the episodes that ended in an update',
      x: 'steps',
      lines: Object.fromEntries(DRAWN.map((name) => [name, meanCurve(lines.get(name) ?? [])])),
    })
    const measured = Object.fromEntries([...scores].map(([name, all]) => [name, mean(all)]))
    claim(
      measured,
      WITHOUT.every((name) => measured[PPO] > measured[name]),
    )
  },
})

type Context = RecipeContext<typeof settings>

interface Result {
  readonly mean: number
  readonly curve: readonly (readonly [number, number])[]
}

/** One run, and what its policy is worth; of the `start`, before there was any. */
async function trained(
  { stage, settings: { steps: updates, episodes }, ...context }: Context,
  { world, settings: usual, share }: (typeof TASKS)[number],
  name: string,
  own: Partial<ControlSettings>,
  seed: number,
): Promise<Result> {
  const rows = usual.environments * usual.horizon
  const { value } = await stage(`${world.name}-${name.replace(/\W+/g, '_')}-${seed}`, async () => {
    const { model, trainer, returns } = await learnControl(context, {
      ...{ world, settings: { ...usual, ...own }, seed },
      worldSteps: name === 'start' ? 0 : Math.round(share * updates) * rows,
    })
    const played = await playEpisodes(model, trainer, world, { episodes, seed: JUDGING + seed })
    return { mean: mean(played), curve: returns }
  })
  return value as Result
}

/** Point by point, of curves over the same steps; one that has no point there is left out. */
function meanCurve(curves: readonly (readonly (readonly [number, number])[])[]): [number, number][] {
  const at = new Map<number, number[]>()
  for (const [step, value] of curves.flat()) at.set(step, [...(at.get(step) ?? []), value])
  return [...at].sort(([a], [b]) => a - b).map(([step, values]) => [step, mean(values)])
}
