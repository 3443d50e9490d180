import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applySettings } from '../../src/optim/recipe.ts'

const DEFAULTS = {
  data: '',
  steps: 10,
  seed: 1,
  evalEvery: 0,
  checkpointEvery: 0,
  learningRate: 1e-3,
  tied: true,
}

describe('settings', () => {
  it('are read as the type of their default', () => {
    const settings = applySettings(DEFAULTS, ['data=a=b.txt', 'learningRate=6e-4', 'tied=false', 'steps=20'])
    expect(settings).toEqual({ ...DEFAULTS, data: 'a=b.txt', learningRate: 6e-4, tied: false, steps: 20 })
    expect(DEFAULTS.steps).toBe(10)
  })

  it.each([
    ['rate=1', '--set rate=1: write key=value with one of the keys data, steps, seed'],
    ['step=1', '--set step=1: did you mean steps? write key=value'],
    ['learningrate=1', 'did you mean learningRate? write key=value'],
    ['steps', '--set steps: write key=value'],
    ['=5', '--set =5: write key=value'],
    ['steps=many', '--set steps=many: the value must be a number'],
    ['learningRate=', '--set learningRate=: the value must be a number'],
    ['learningRate=Infinity', 'the value must be a number'],
    ['steps=1.5', '--set steps=1.5: the value must be an integer of at least 0'],
    ['evalEvery=-1', '--set evalEvery=-1: the value must be an integer of at least 0'],
    ['tied=yes', '--set tied=yes: the value must be true or false'],
    ['__proto__=1', 'write key=value with one of the keys'],
  ])('%s is refused in one sentence', (pair, message) => {
    expect(() => applySettings(DEFAULTS, [pair])).toThrow(message)
  })

  it('of any text are taken or refused, never taken wrongly', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.constantFrom('steps=', 'tied=', 'data=').chain((key) => fc.string().map((text) => key + text)),
        ),
        (pair) => {
          try {
            const settings = applySettings(DEFAULTS, [pair])
            expect(Object.keys(settings)).toEqual(Object.keys(DEFAULTS))
            for (const [key, value] of Object.entries(DEFAULTS)) {
              expect(typeof settings[key as keyof typeof DEFAULTS]).toBe(typeof value)
            }
            expect(Number.isSafeInteger(settings.steps)).toBe(true)
          } catch (error) {
            expect((error as Error).message).toMatch(/^--set /)
          }
        },
      ),
    )
  })
})
