import { StepRandom } from '../random.ts'

/** What may be done: one of so many things, or a number. */
export interface ActionSpace {
  readonly continuous: boolean
  /** How many things; 1 where it is a number. */
  readonly count: number
}

/** A control task. Its functions work on one state among many in a flat array, `at` being where it begins. */
export interface World {
  readonly name: string
  /** Numbers that a state is made of, and that are seen of it. */
  readonly stateSize: number
  readonly observationSize: number
  readonly actions: ActionSpace
  /** An episode is cut off after so many steps. That is no end that the world has: what comes after is only not seen. */
  readonly timeLimit: number
  /** Draws a first state. */
  reset(states: Float64Array, at: number, random: StepRandom): void
  /**
   * Moves a state on, in place.
   *
   * @param action - which one it is, or its number
   */
  step(states: Float64Array, at: number, action: number): { reward: number; terminated: boolean }
  observe(states: Float64Array, at: number, into: Float32Array, offset: number): void
}

/** All that `Environments` goes on from, as plain JSON. */
export interface EnvironmentsState {
  readonly states: number[]
  readonly ages: number[]
  readonly episodes: number[]
  readonly returns: number[]
}

/** An episode that is over. */
export interface FinishedEpisode {
  readonly environment: number
  /** The sum of its rewards. */
  readonly return: number
  readonly length: number
}

/**
 * So many copies of a world, side by side. One whose episode is over begins the next at once: `observations` are then
 * those of its first state, and what was seen last stands in `finalObservations`. First states are a function of the
 * seed, the copy and the number of its episode.
 */
export class Environments {
  /** Of each, what is seen now: [count, observationSize]. */
  readonly observations: Float32Array
  /** Of the last step: [count, observationSize], where an episode ended. */
  readonly finalObservations: Float32Array
  /** Of the last step. */
  readonly rewards: Float32Array
  /** 1 where the world ended an episode with the last step, and where the time limit cut it off. */
  readonly terminated: Uint8Array
  readonly truncated: Uint8Array
  private readonly states: Float64Array
  private readonly ages: Int32Array
  private readonly episodes: Int32Array
  private readonly returns: Float64Array

  constructor(
    readonly world: World,
    readonly count: number,
    private readonly seed: number,
    state?: EnvironmentsState,
  ) {
    this.observations = new Float32Array(count * world.observationSize)
    this.finalObservations = new Float32Array(count * world.observationSize)
    this.rewards = new Float32Array(count)
    this.terminated = new Uint8Array(count)
    this.truncated = new Uint8Array(count)
    this.states = new Float64Array(count * world.stateSize)
    this.ages = new Int32Array(count)
    this.episodes = new Int32Array(count)
    this.returns = new Float64Array(count)
    if (state) {
      this.states.set(state.states)
      this.ages.set(state.ages)
      this.episodes.set(state.episodes)
      this.returns.set(state.returns)
    }
    for (let i = 0; i < count; i++) {
      if (!state) this.begin(i)
      this.observe(i, this.observations)
    }
  }

  /**
   * One step of each.
   *
   * @param actions - [count]
   * @returns the episodes that are over with it
   */
  step(actions: ArrayLike<number>): FinishedEpisode[] {
    const { world, states, ages, returns } = this
    const finished: FinishedEpisode[] = []
    for (let i = 0; i < this.count; i++) {
      const { reward, terminated } = world.step(states, i * world.stateSize, actions[i])
      ages[i]++
      returns[i] += reward
      this.rewards[i] = reward
      this.terminated[i] = terminated ? 1 : 0
      this.truncated[i] = !terminated && ages[i] >= world.timeLimit ? 1 : 0
      if (this.terminated[i] || this.truncated[i]) {
        this.observe(i, this.finalObservations)
        finished.push({ environment: i, return: returns[i], length: ages[i] })
        this.episodes[i]++
        this.begin(i)
      }
      this.observe(i, this.observations)
    }
    return finished
  }

  toState(): EnvironmentsState {
    const [states, ages, episodes, returns] = [this.states, this.ages, this.episodes, this.returns].map((array) => [
      ...array,
    ])
    return { states, ages, episodes, returns }
  }

  private begin(i: number): void {
    const random = new StepRandom(this.seed, this.episodes[i] * this.count + i)
    this.world.reset(this.states, i * this.world.stateSize, random)
    this.ages[i] = 0
    this.returns[i] = 0
  }

  private observe(i: number, into: Float32Array): void {
    const { stateSize, observationSize } = this.world
    this.world.observe(this.states, i * stateSize, into, i * observationSize)
  }
}

/** Evenly from [−bound, bound), to 2⁻⁵³. */
export const evenly = (random: StepRandom, bound: number): number =>
  bound * (2 * ((random.uint32() * 2 ** 21 + (random.uint32() >>> 11)) / 2 ** 53) - 1)
