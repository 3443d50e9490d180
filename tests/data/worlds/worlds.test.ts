import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { StepRandom } from '../../../src/data/random.ts'
import { cartPole } from '../../../src/data/worlds/cartpole.ts'
import { pendulum } from '../../../src/data/worlds/pendulum.ts'
import { Environments, type World } from '../../../src/data/worlds/world.ts'

interface Transition {
  state: number[]
  action: number
  next: number[]
  observation: number[]
  reward: number
  terminated: boolean
}

/** Of Gymnasium: gymnasium_worlds.py. */
const reference = JSON.parse(readFileSync(new URL('gymnasium_worlds.json', import.meta.url), 'utf8')) as {
  cartpole: Transition[]
  pendulum: Transition[]
  cartpoleFalls: { steps: number }
  pendulumEnds: { steps: number }
}

const closeTo = (actual: ArrayLike<number>, expected: readonly number[], digits: number): void => {
  for (const [i, value] of expected.entries()) expect(actual[i]).toBeCloseTo(value, digits)
}

describe.each([
  [cartPole, reference.cartpole],
  [pendulum, reference.pendulum],
] as [World, Transition[]][])('$name', (world, transitions) => {
  it('moves as Gymnasium’s does, in float64', () => {
    expect(transitions.length).toBe(40)
    for (const { state, action, next, observation, reward, terminated } of transitions) {
      // In the middle of others, which stay as they are.
      const states = new Float64Array(3 * world.stateSize).fill(0.25)
      states.set(state, world.stateSize)
      const answer = world.step(states, world.stateSize, action)
      closeTo(states.subarray(world.stateSize), next, 12)
      expect(answer.reward).toBeCloseTo(reward, 12)
      expect(answer.terminated).toBe(terminated)
      const seen = new Float32Array(world.observationSize)
      world.observe(states, world.stateSize, seen, 0)
      closeTo(seen, observation, 6)
      expect([...states.subarray(0, world.stateSize), ...states.subarray(2 * world.stateSize)]).toEqual(
        Array(2 * world.stateSize).fill(0.25),
      )
    }
  })

  it('begins anywhere within its limits', () => {
    const limits = world === cartPole ? [0.05, 0.05, 0.05, 0.05] : [Math.PI, 1]
    const firsts = Array.from({ length: 400 }, (_, i) => {
      const state = new Float64Array(world.stateSize)
      world.reset(state, 0, new StepRandom(1, i))
      return state
    })
    for (const [i, limit] of limits.entries()) {
      const values = firsts.map((state) => state[i])
      for (const value of values) expect(Math.abs(value)).toBeLessThanOrEqual(limit)
      expect(Math.max(...values)).toBeGreaterThan(0.95 * limit)
      expect(Math.min(...values)).toBeLessThan(-0.95 * limit)
    }
  })
})

it('an episode of the pendulum is cut off, one of the cart that is only pushed ends by itself', () => {
  const ended = (world: World, action: number): { step: number; terminated: number; truncated: number } => {
    const state = { states: Array(world.stateSize).fill(0), ages: [0], episodes: [0], returns: [0] }
    const alone = new Environments(world, 1, 1, state)
    for (let step = 1; ; step++) {
      if (alone.step([action]).length > 0)
        return { step, terminated: alone.terminated[0], truncated: alone.truncated[0] }
    }
  }
  expect(ended(cartPole, 1)).toEqual({ step: reference.cartpoleFalls.steps, terminated: 1, truncated: 0 })
  expect(ended(pendulum, 0)).toEqual({ step: reference.pendulumEnds.steps, terminated: 0, truncated: 1 })
})

describe('many of one world', () => {
  it('go on at once where an episode is over, and remember what was seen last', () => {
    const many = new Environments(cartPole, 3, 7)
    const before = many.toState()
    let finished = many.step([1, 0, 1])
    let steps = 1
    for (; finished.length === 0; steps++) finished = many.step([1, 0, 1])
    const [{ environment, length, return: sum }] = finished
    expect(length).toBe(steps)
    expect(sum).toBe(steps)
    const first = many.observations.subarray(4 * environment, 4 * environment + 4)
    const last = many.finalObservations.subarray(4 * environment, 4 * environment + 4)
    for (const value of first) expect(Math.abs(value)).toBeLessThanOrEqual(0.05)
    expect(Math.max(Math.abs(last[0]) / 2.4, Math.abs(last[2]) / ((12 * Math.PI) / 180))).toBeGreaterThan(1)
    expect([...many.terminated]).toEqual([0, 1, 2].map((i) => (finished.some((one) => one.environment === i) ? 1 : 0)))
    // Another copy begins elsewhere, and the next episode does, too.
    expect(new Set(before.states).size).toBe(12)
    expect(many.toState().episodes[environment]).toBe(1)
    expect(many.toState().states.slice(4 * environment, 4 * environment + 4)).not.toEqual(
      before.states.slice(4 * environment, 4 * environment + 4),
    )
  })

  it('go on from their state as if they had never stopped', () => {
    const drive = (of: Environments, from: number, to: number): number[] => {
      const seen: number[] = []
      for (let step = from; step < to; step++) {
        const random = new StepRandom(3, step)
        of.step([0, 1].map(() => random.below(2)))
        seen.push(...of.observations, ...of.rewards, ...of.terminated)
      }
      return seen
    }
    const whole = new Environments(cartPole, 2, 5)
    const first = drive(whole, 0, 60)
    const halves = new Environments(cartPole, 2, 5)
    const half = drive(halves, 0, 30)
    const stored = JSON.parse(JSON.stringify(halves.toState()))
    expect([...half, ...drive(new Environments(cartPole, 2, 5, stored), 30, 60)]).toEqual(first)
  })
})
