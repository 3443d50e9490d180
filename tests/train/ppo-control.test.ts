import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { StepRandom } from '../../src/data/random.ts'
import { cartPole } from '../../src/data/worlds/cartpole.ts'
import { pendulum } from '../../src/data/worlds/pendulum.ts'
import { Environments, type World } from '../../src/data/worlds/world.ts'
import { orthogonal } from '../../src/nn/initializers.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { tensorData } from '../../src/tensor/index.ts'
import {
  adaptedPenalty,
  advantagesOf,
  CONTROL_SETTINGS,
  type ControlSettings,
  chooseAction,
  controlInputs,
  controlObjective,
  type Experience,
  entropyOf,
  gather,
  improve,
  klOf,
  logProbsOf,
  openActor,
  playEpisodes,
  policyFor,
} from '../../src/train/ppo-control.ts'

const floats = (...values: number[]) => Float32Array.from(values)

/** Of two rows: what the formulas say. */
async function formulas(continuous: boolean, old: number[], now: number[], actions: number[]) {
  const width = old.length / 2
  const traced = trace(
    (_, inputs) => ({
      logProbs: logProbsOf(continuous, inputs.now, inputs.actions),
      entropy: entropyOf(continuous, inputs.now),
      kl: klOf(continuous, inputs.old, inputs.now),
    }),
    { old: float32(2, width), now: float32(2, width), actions: continuous ? float32(2, width / 2) : int32(2) },
  )
  const run = await compile(traced)
  const outputs = await run({
    old: tensorData('float32', [2, width], old),
    now: tensorData('float32', [2, width], now),
    actions: tensorData(continuous ? 'float32' : 'int32', continuous ? [2, width / 2] : [2], actions),
  })
  run.release()
  return outputs
}

describe('distributions', () => {
  it('of several things: by the definitions', async () => {
    const logitsOf = (shares: number[]) => shares.map((share) => Math.log(share) + 3)
    const [p, q] = [
      [0.5, 0.3, 0.2],
      [0.25, 0.25, 0.5],
    ]
    const { logProbs, entropy, kl } = await formulas(
      false,
      [...logitsOf(p), ...logitsOf(q)],
      [...logitsOf(q), ...logitsOf(q)],
      [2, 0],
    )
    expect(logProbs.data[0]).toBeCloseTo(Math.log(0.5), 5)
    expect(logProbs.data[1]).toBeCloseTo(Math.log(0.25), 5)
    expect(entropy.data[0]).toBeCloseTo(-q.reduce((total, share) => total + share * Math.log(share), 0), 5)
    expect(kl.data[0]).toBeCloseTo(
      p.reduce((total, share, i) => total + share * Math.log(share / q[i]), 0),
      5,
    )
    expect(kl.data[1]).toBeCloseTo(0, 5)
  })

  it('of two numbers: as sums over a fine grid have them', async () => {
    const [old, now] = [
      [0.3, -0.5, -0.2, 0.1],
      [-0.4, 0.2, 0.3, -0.3],
    ]
    const { logProbs, entropy, kl } = await formulas(true, [...old, ...now], [...now, ...now], [1, 2, 0, 0])
    const density = (x: number, mu: number, logStd: number): number =>
      Math.exp(-0.5 * ((x - mu) / Math.exp(logStd)) ** 2 - logStd) / Math.sqrt(2 * Math.PI)
    const integral = (of: (x: number) => number): number => {
      let total = 0
      for (let x = -12; x < 12; x += 1e-3) total += of(x) * 1e-3
      return total
    }
    const both = (of: (i: number) => number): number => of(0) + of(1)
    expect(logProbs.data[0]).toBeCloseTo(
      both((i) => Math.log(density(i + 1, now[i], now[2 + i]))),
      4,
    )
    const expectedEntropy = both((i) =>
      integral((x) => {
        const p = density(x, now[i], now[2 + i])
        return p > 0 ? -p * Math.log(p) : 0
      }),
    )
    expect(entropy.data[0]).toBeCloseTo(expectedEntropy, 4)
    const expectedKl = both((i) =>
      integral((x) => {
        const [p, q] = [density(x, old[i], old[2 + i]), density(x, now[i], now[2 + i])]
        return p > 0 && q > 0 ? p * Math.log(p / q) : 0
      }),
    )
    expect(kl.data[0]).toBeCloseTo(expectedKl, 4)
    expect(kl.data[1]).toBeCloseTo(0, 5)
  })

  it('are drawn from as often as they say, and what is drawn has the probability that it says', () => {
    const random = new StepRandom(1, 1)
    const counts = [0, 0, 0]
    const three = { continuous: false, count: 3 }
    const rows = floats(9, 9, 9, Math.log(0.2), Math.log(0.7), Math.log(0.1))
    for (let i = 0; i < 20_000; i++) {
      const { action, logProb } = chooseAction(three, rows, 1, random)
      if (i < 50) expect(logProb).toBeCloseTo(Math.log([0.2, 0.7, 0.1][action]), 5)
      counts[action]++
    }
    for (const [i, share] of [0.2, 0.7, 0.1].entries()) expect(counts[i] / 20_000).toBeCloseTo(share, 1)
    expect(chooseAction(three, rows, 1).action).toBe(1)
    const number = { continuous: true, count: 1 }
    const drawn = Array.from({ length: 20_000 }, () => chooseAction(number, floats(0, 0, 2, Math.log(0.5)), 1, random))
    const mean = drawn.reduce((total, { action }) => total + action, 0) / drawn.length
    const variance = drawn.reduce((total, { action }) => total + (action - mean) ** 2, 0) / drawn.length
    expect(mean).toBeCloseTo(2, 1)
    expect(variance).toBeCloseTo(0.25, 1)
    for (const { action, logProb } of drawn.slice(0, 20)) {
      const density = Math.exp(-0.5 * ((action - 2) / 0.5) ** 2) / (0.5 * Math.sqrt(2 * Math.PI))
      expect(logProb).toBeCloseTo(Math.log(density), 4)
    }
  })
})

describe('orthogonal first weights', () => {
  it.each([
    [64, 4],
    [4, 64],
    [16, 16],
  ])('%i × %i: at right angles, as long as the gain', (rows, columns) => {
    const values = new Float32Array(rows * columns)
    const random = new StepRandom(3, 0)
    orthogonal(1.5)(values, [rows, columns], {
      normal: (array) => array.set(Array.from(array, () => random.normal())),
      uniform: () => {},
    })
    const few = Math.min(rows, columns)
    const element = (i: number, j: number): number =>
      rows <= columns ? values[i * columns + j] : values[j * columns + i]
    for (let a = 0; a < few; a++) {
      for (let b = 0; b <= a; b++) {
        let product = 0
        for (let j = 0; j < Math.max(rows, columns); j++) product += element(a, j) * element(b, j)
        expect(product).toBeCloseTo(a === b ? 2.25 : 0, 5)
      }
    }
  })
})

describe('what is gathered', () => {
  /** Two copies of it, five steps: the first ends after its second and is cut off after its fourth. */
  const experience: Experience = {
    environments: 2,
    rows: 10,
    ...{ observations: floats(), actions: floats(), distribution: floats(), logProbs: floats(), finished: [] },
    rewards: floats(1, 10, 2, 20, 3, 30, 4, 40, 5, 50),
    values: floats(0.1, 1, 0.2, 2, 0.3, 3, 0.4, 4, 0.5, 5),
    over: Uint8Array.from([0, 0, 1, 0, 0, 0, 1, 0, 0, 0]),
    nextValues: floats(0.2, 2, 0, 3, 0.4, 4, 0.9, 5, 0.7, 6),
  }

  it('becomes advantages that do not look past an episode’s end', () => {
    const [discount, lambda] = [0.9, 0.8]
    const { rewards, values, nextValues } = experience
    const { advantages, returns } = advantagesOf(experience, rewards, { discount, lambda })
    const delta = (row: number): number => rewards[row] + discount * nextValues[row] - values[row]
    const expected = (pieces: number[][]): Map<number, number> =>
      new Map(
        pieces.flatMap((piece) =>
          piece.map((row, k): [number, number] => [
            row,
            piece.slice(k).reduce((total, other, l) => total + (discount * lambda) ** l * delta(other), 0),
          ]),
        ),
      )
    const first = expected([[0, 2], [4, 6], [8], [1, 3, 5, 7, 9]])
    for (let row = 0; row < 10; row++) {
      expect(advantages[row]).toBeCloseTo(first.get(row) as number, 4)
      expect(returns[row]).toBeCloseTo((first.get(row) as number) + values[row], 4)
    }
  })

  it('says what comes next: nothing where the world ended it, the value of the last state where it was cut off', async () => {
    const short = (world: World, timeLimit: number): World => ({ ...world, timeLimit })
    for (const world of [short(cartPole, 14), short(pendulum, 7)]) {
      const model = policyFor(world, 8)
      const trainer = await Trainer.create({
        objective: controlObjective(model, CONTROL_SETTINGS),
        inputs: controlInputs(model, 8),
        learningRate: constantSchedule(1e-3),
      })
      const actor = await openActor(model, trainer, 3)
      const environments = new Environments(world, 3, 1)
      const gathered = await gather(actor, environments, 40, new StepRandom(1, 1))
      const size = world.observationSize
      let [ends, cuts] = [0, 0]
      // The same again, by hand, one step after another.
      const again = new Environments(world, 3, 1)
      for (let t = 0; t < 40; t++) {
        expect(gathered.observations.slice(t * 3 * size, (t + 1) * 3 * size)).toEqual(again.observations)
        again.step(gathered.actions.subarray(t * 3, t * 3 + 3))
        const seen = await actor.valuesOf(again.observations)
        const last = await actor.valuesOf(again.finalObservations)
        for (let i = 0; i < 3; i++) {
          const row = t * 3 + i
          ends += again.terminated[i]
          cuts += again.truncated[i]
          const next = again.terminated[i] ? 0 : again.truncated[i] ? last[i] : seen[i]
          expect(gathered.nextValues[row]).toBeCloseTo(next, 5)
          expect(gathered.over[row]).toBe(again.terminated[i] | again.truncated[i])
        }
      }
      expect(cuts).toBeGreaterThan(0)
      if (world.name === 'cartpole') expect(ends).toBeGreaterThan(0)
      actor.release()
      trainer.release()
    }
  })
})

it('the penalty’s price is halved where the policy hardly moved, doubled where it moved too far', () => {
  expect([0.001, 0.008, 0.01, 0.0149, 0.02].map((kl) => adaptedPenalty(2, kl, 0.01))).toEqual([1, 2, 2, 2, 4])
  expect(adaptedPenalty(2, 9, 0)).toBe(2)
})

describe('learning', () => {
  /** Updates of a small batch; answers with the mean length of episodes of the likeliest actions. */
  async function learnt(updates: number, own: Partial<ControlSettings>, judge = (rewards: Float32Array) => rewards) {
    const settings = { ...CONTROL_SETTINGS, environments: 8, horizon: 64, learningRate: 2e-3, ...own }
    const model = policyFor(cartPole, 16)
    const trainer = await Trainer.create({
      objective: controlObjective(model, settings),
      inputs: controlInputs(model, (settings.environments * settings.horizon) / settings.minibatches),
      learningRate: constantSchedule(settings.learningRate),
      ...{ beta2: 0.999, epsilon: 1e-5, weightDecay: 0, clipNorm: 0.5, seed: 1 },
    })
    const actor = await openActor(model, trainer, settings.environments)
    const environments = new Environments(cartPole, settings.environments, 1)
    let kl = 0
    for (let step = 0; step < updates; step++) {
      const random = new StepRandom(1, step)
      const experience = await gather(actor, environments, settings.horizon, random)
      const update = await improve(trainer, experience, judge(experience.rewards), random, settings)
      kl = Math.max(kl, update.kl)
    }
    const lengths = await playEpisodes(model, trainer, cartPole, { episodes: 20, seed: 99 })
    actor.release()
    trainer.release()
    return { length: lengths.reduce((a, b) => a + b) / lengths.length, kl }
  }

  it('keeps the pole up several times as long, and does not where every step costs as much as it gives', async () => {
    const [{ length: before }, { length: after, kl }] = [await learnt(0, {}), await learnt(25, {})]
    expect(before).toBeLessThan(60)
    expect(after).toBeGreaterThan(3 * before)
    expect(kl).toBeLessThan(0.1)
    const { length: without } = await learnt(25, {}, (rewards) =>
      rewards.map((reward, i) => (i % 2 ? reward : -reward)),
    )
    expect(without).toBeLessThan(after / 2)
  }, 60_000)

  it('a high price for distance holds the policy where it was', async () => {
    const free = await learnt(8, { surrogate: 'penalised', klCoef: 0 })
    const held = await learnt(8, { surrogate: 'penalised', klCoef: 100 })
    expect(held.kl).toBeLessThan(free.kl / 5)
  }, 60_000)
})
