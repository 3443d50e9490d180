/** Updates of PPO on CartPole: 4 worlds × 128 steps, then 4 epochs of 4 minibatches; the environment's work is in it. */

import { StepRandom } from '../../src/data/random.ts'
import { cartPole } from '../../src/data/worlds/cartpole.ts'
import { Environments } from '../../src/data/worlds/world.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import '../../src/runtime/node.ts'
import {
  CONTROL_SETTINGS,
  controlInputs,
  controlObjective,
  gather,
  improve,
  openActor,
  policyFor,
} from '../../src/train/ppo-control.ts'
import { compete, perSecond } from '../contestant.ts'
import { versions } from './versions.ts'

await compete(async () => {
  const { environments: count, horizon, minibatches, learningRate } = CONTROL_SETTINGS
  const model = policyFor(cartPole)
  const trainer = await Trainer.create({
    objective: controlObjective(model, CONTROL_SETTINGS),
    inputs: controlInputs(model, (count * horizon) / minibatches),
    learningRate: constantSchedule(learningRate),
    ...{ beta2: 0.999, epsilon: 1e-5, weightDecay: 0, clipNorm: 0.5 },
  })
  const actor = await openActor(model, trainer, count)
  const environments = new Environments(cartPole, count, 1)
  let step = 0
  const update = async () => {
    const random = new StepRandom(1, step++)
    const experience = await gather(actor, environments, horizon, random)
    await improve(trainer, experience, experience.rewards, random, CONTROL_SETTINGS)
  }
  await update()
  return {
    rounds: { update: (seconds) => perSecond(seconds, count * horizon, update) },
    parameters: trainer.layout.parameterCount,
    versions: versions(),
  }
})
