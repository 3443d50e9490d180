import { evenly, type World } from './world.ts'

/**
 * A pole on a cart, to be kept upright by pushing the cart left (0) or right (1): Barto, Sutton and Anderson, 1983, with
 * the equations, limits and first states of Gymnasium's CartPole-v1. Every step is worth 1.
 *
 * A state is the cart's place and speed and the pole's angle and speed: metres, radians, seconds.
 */

const GRAVITY = 9.8
const POLE_MASS = 0.1
const TOTAL_MASS = 1.1
/** Half the pole's. */
const LENGTH = 0.5
const FORCE = 10
const SECONDS = 0.02
/** An episode ends where the cart is further out, or the pole leans more. */
const MOST_PLACE = 2.4
const MOST_ANGLE = (12 * 2 * Math.PI) / 360
const FIRST = 0.05

export const cartPole = {
  name: 'cartpole',
  stateSize: 4,
  observationSize: 4,
  actions: { continuous: false, count: 2 },
  timeLimit: 500,

  reset(states, at, random) {
    for (let i = 0; i < 4; i++) states[at + i] = evenly(random, FIRST)
  },

  step(states, at, action) {
    const force = action === 1 ? FORCE : -FORCE
    const [speed, angle, turning] = [states[at + 1], states[at + 2], states[at + 3]]
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
    const pushed = (force + POLE_MASS * LENGTH * turning ** 2 * sin) / TOTAL_MASS
    const angular = (GRAVITY * sin - cos * pushed) / (LENGTH * (4 / 3 - (POLE_MASS * cos ** 2) / TOTAL_MASS))
    const acceleration = pushed - (POLE_MASS * LENGTH * angular * cos) / TOTAL_MASS
    // Euler's method: places move with the speeds before the step.
    states[at] += SECONDS * speed
    states[at + 1] += SECONDS * acceleration
    states[at + 2] += SECONDS * turning
    states[at + 3] += SECONDS * angular
    const terminated = Math.abs(states[at]) > MOST_PLACE || Math.abs(states[at + 2]) > MOST_ANGLE
    return { reward: 1, terminated }
  },

  observe(states, at, into, offset) {
    for (let i = 0; i < 4; i++) into[offset + i] = states[at + i]
  },
} as const satisfies World
