import fc from 'fast-check'
import { expect, it } from 'vitest'
import { settings as settingsSchema } from '../../src/server/wire.ts'
import { numberSettings, parseSetting } from '../../web/src/settings.ts'

it('what the panel takes, the server takes, and what it refuses, the server refuses', () => {
  const numbers = fc.oneof(fc.double({ noNaN: true }), fc.integer(), fc.double({ min: -1, max: 3, noNaN: true }))
  fc.assert(
    fc.property(fc.constantFrom(...numberSettings), numbers, (setting, number) => {
      const parsed = parseSetting(setting, String(number))
      // The panel's least penalty is 0.01; the server takes any above 0.
      if (setting.name === 'repetitionPenalty' && number > 0 && number < 0.01) return
      expect('error' in parsed).toBe(!settingsSchema.safeParse({ [setting.name]: number }).success)
    }),
  )
})

it('an empty field is the default, and words are told what is wanted', () => {
  const [temperature] = numberSettings
  expect(parseSetting(temperature, ' ')).toEqual({})
  expect(parseSetting(temperature, 'warm')).toEqual({ error: 'Temperature must be a number, 0 to 10.' })
})
