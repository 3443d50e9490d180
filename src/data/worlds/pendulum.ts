import { evenly, type World } from './world.ts'

/**
 * A pendulum that is too heavy to be lifted at once, to be swung up and held: the equations, limits and first states of
 * Gymnasium's Pendulum-v1. It never ends; a step costs θ² + 0.1 θ̇² + 0.001 u², θ being 0 at the top.
 *
 * A state is its angle and its speed; cos θ, sin θ and θ̇ are seen. An action is a torque u, cut to [−2, 2].
 */

const GRAVITY = 10
const SECONDS = 0.05
const MOST_SPEED = 8
export const MOST_TORQUE = 2

/** Into [−π, π), as Python's remainder has it. */
const centred = (angle: number): number => {
  const turns = (angle + Math.PI) % (2 * Math.PI)
  return (turns < 0 ? turns + 2 * Math.PI : turns) - Math.PI
}

const cut = (value: number, most: number): number => Math.min(Math.max(value, -most), most)

export const pendulum = {
  name: 'pendulum',
  stateSize: 2,
  observationSize: 3,
  actions: { continuous: true, count: 1 },
  timeLimit: 200,

  reset(states, at, random) {
    states[at] = evenly(random, Math.PI)
    states[at + 1] = evenly(random, 1)
  },

  step(states, at, action) {
    const [angle, speed] = [states[at], states[at + 1]]
    const torque = cut(action, MOST_TORQUE)
    const cost = centred(angle) ** 2 + 0.1 * speed ** 2 + 0.001 * torque ** 2
    // A rod of length 1 and mass 1.
    const faster = cut(speed + ((3 * GRAVITY) / 2) * Math.sin(angle) * SECONDS + 3 * torque * SECONDS, MOST_SPEED)
    states[at] = angle + faster * SECONDS
    states[at + 1] = faster
    return { reward: -cost, terminated: false }
  },

  observe(states, at, into, offset) {
    into[offset] = Math.cos(states[at])
    into[offset + 1] = Math.sin(states[at])
    into[offset + 2] = states[at + 1]
  },
} as const satisfies World
