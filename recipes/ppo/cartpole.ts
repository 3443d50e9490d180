/**
 * PPO by itself: a pole is kept upright on a cart. Four carts side by side, 128 steps of each to an update, half a million
 * steps in all; everything as CleanRL has it.
 *
 *     jackdaw train ppo/cartpole --out runs/cartpole
 */

import { cartPole } from '../../src/data/worlds/cartpole.ts'
import { mean } from '../../src/eval/statistics.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { CONTROL_SETTINGS, JUDGING, learnControl, playEpisodes } from '../../src/train/ppo-control.ts'

/** What CartPole-v1 counts as solved, of 500. */
const SOLVED = 475

export default recipe({
  paper: 'ppo',
  claim: `CartPole-v1 is solved: after training, 100 new episodes of the likeliest actions last at least ${SOLVED} steps on average, in each of five seeds`,
  curve: ['return'],
  settings: {
    data: '',
    /** Updates of 512 steps. */
    steps: 976,
    seed: 1,
    evalEvery: 0,
    checkpointEvery: 250,
    seeds: 5,
    /** To judge by. */
    episodes: 100,
  },
  async run({ settings, stage, say, figure, claim, save, ...context }) {
    const { environments, horizon } = CONTROL_SETTINGS
    const curves: Record<string, [number, number][]> = {}
    const results: number[] = []
    for (let i = 0; i < settings.seeds; i++) {
      const seed = settings.seed + i
      const { value } = await stage(`seed-${seed}`, async () => {
        const { model, trainer, returns } = await learnControl(context, {
          ...{ world: cartPole, settings: CONTROL_SETTINGS, seed },
          worldSteps: settings.steps * environments * horizon,
        })
        await save({ model, weights: trainer })
        const { episodes } = settings
        const played = await playEpisodes(model, trainer, cartPole, { episodes, seed: JUDGING + seed })
        return { mean: mean(played), least: Math.min(...played), curve: returns }
      })
      say(`seed ${seed}: ${value.mean} steps on average, ${value.least} at the least`)
      results.push(value.mean)
      curves[`seed ${seed}`] = value.curve as [number, number][]
    }
    figure({ title: 'return of the episodes that ended in an update', x: 'steps', lines: curves })
    const measured = Object.fromEntries(results.map((result, i) => [`seed${settings.seed + i}`, result]))
    claim({ mean: mean(results), ...measured }, Math.min(...results) >= SOLVED)
  },
})
