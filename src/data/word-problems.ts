/**
 * Word problems of several steps, whose values stay small: made, solved, and a share of them kept for tests. What is learned
 * from them is to carry a value from step to step, as in the arithmetic of Wei et al., 2022 (arXiv 2201.11903).
 */

import type { StepRandom } from './random.ts'

/** All values of a problem lie between 0 and this. */
export const LARGEST_VALUE = 20
/** One problem of so many is never trained on. */
const HELD_OUT_EVERY = 10

export const PROBLEM_NAMES = ['Tom', 'Ann', 'Sam', 'Eva']
export const PROBLEM_THINGS = ['apples', 'coins', 'books', 'shells']
export const PROBLEM_VERBS = { '+': ['finds', 'buys', 'wins'], '-': ['eats', 'loses', 'sells'] } as const

export interface Operation {
  readonly sign: '+' | '-' | '*'
  readonly by: number
}

export interface WordProblem {
  readonly start: number
  readonly operations: readonly Operation[]
  /** `start`, and what is there after each operation. */
  readonly values: readonly number[]
  /** `Tom has 7 apples , finds 5 , doubles them . How many?` */
  readonly question: string
}

/** A problem of so many operations: additions, subtractions, doublings. */
export function drawProblem(random: StepRandom, count: number): WordProblem {
  const pick = <T>(of: readonly T[]): T => of[random.below(of.length)]
  const start = random.below(LARGEST_VALUE + 1)
  const values = [start]
  const operations: Operation[] = []
  const told = [`${pick(PROBLEM_NAMES)} has ${start} ${pick(PROBLEM_THINGS)}`]
  for (let i = 0; i < count; i++) {
    const value = values[i]
    const signs = [
      ...(value < LARGEST_VALUE ? ['+' as const] : []),
      ...(value > 0 ? ['-' as const] : []),
      ...(value > 0 && 2 * value <= LARGEST_VALUE ? ['*' as const] : []),
    ]
    const sign = pick(signs)
    const most = Math.min(9, sign === '+' ? LARGEST_VALUE - value : value)
    const by = sign === '*' ? 2 : 1 + random.below(most)
    operations.push({ sign, by })
    values.push(sign === '+' ? value + by : sign === '-' ? value - by : value * by)
    told.push(sign === '*' ? 'doubles them' : `${pick(PROBLEM_VERBS[sign])} ${by}`)
  }
  return { start, operations, values, question: `${told.join(' , ')} . How many?` }
}

/** By the numbers and the operations alone, whatever the words. */
export function isHeldOutProblem({ start, operations }: WordProblem): boolean {
  let hash = 0x811c9dc5
  for (const number of [start, ...operations.flatMap(({ sign, by }) => [sign.charCodeAt(0), by])]) {
    hash = Math.imul(hash ^ number, 0x01000193)
  }
  return ((hash >>> 0) >>> 8) % HELD_OUT_EVERY === 0
}

/** A problem of the training half, or of the test's. */
export function problemOf(random: StepRandom, count: number, heldOut: boolean): WordProblem {
  for (;;) {
    const problem = drawProblem(random, count)
    if (isHeldOutProblem(problem) === heldOut) return problem
  }
}

/** `7 + 5 = 12 , 12 * 2 = 24` */
export const stepsOf = ({ operations, values }: WordProblem): string =>
  operations.map(({ sign, by }, i) => `${values[i]} ${sign} ${by} = ${values[i + 1]}`).join(' , ')

export const resultOf = ({ values }: WordProblem): number => values[values.length - 1]
