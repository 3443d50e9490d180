import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StepRandom } from '../../src/data/random.ts'
import {
  drawProblem,
  isHeldOutProblem,
  LARGEST_VALUE,
  problemOf,
  resultOf,
  stepsOf,
} from '../../src/data/word-problems.ts'

describe('word problems', () => {
  it('have steps that are right, follow one another, and are told in the question', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 6 }), (step, count) => {
        const problem = drawProblem(new StepRandom(1, step), count)
        const equations = stepsOf(problem).split(' , ')
        expect(equations).toHaveLength(count)
        let value = problem.start
        for (const equation of equations) {
          const [, a, sign, b, result] = /^(\d+) ([-+*]) (\d+) = (\d+)$/.exec(equation) ?? []
          expect(Number(a)).toBe(value)
          value = sign === '+' ? value + Number(b) : sign === '-' ? value - Number(b) : value * Number(b)
          expect(Number(result)).toBe(value)
          expect(value >= 0 && value <= LARGEST_VALUE).toBe(true)
        }
        expect(resultOf(problem)).toBe(value)
        const told = [...problem.question.matchAll(/has (\d+)|, \w+ (\d+|them)/g)].map(([, a, b]) => a ?? b)
        const operands = problem.operations.map(({ sign, by }) => (sign === '*' ? 'them' : `${by}`))
        expect(told).toEqual([`${problem.start}`, ...operands])
      }),
    )
  })

  it('of the test are none of training, in whatever words', () => {
    for (let step = 0; step < 50; step++) {
      const random = new StepRandom(2, step)
      const [test, training] = [problemOf(random, 2, true), problemOf(random, 2, false)]
      expect([isHeldOutProblem(test), isHeldOutProblem(training)]).toEqual([true, false])
      expect(isHeldOutProblem({ ...test, question: 'in other words' })).toBe(true)
    }
  })
})
