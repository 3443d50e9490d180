import { expect, it } from 'vitest'
import { describeSpeed, speedOf } from '../../web/src/speed.ts'

const usage = { promptTokens: 3, cachedTokens: 0, completionTokens: 101, promptMs: 80, decodeMs: 500 }

it('speed counts the steps after the first token, which is the prompt’s', () => {
  expect(speedOf({ usage }, undefined)).toEqual({ tokens: 101, tokensPerSecond: 200, firstTokenMs: 80 })
  const timing = { tokens: 3, sentAt: 1000, firstTokenAt: 2500, lastTokenAt: 3000 }
  expect(speedOf({ usage: null }, timing)).toEqual({ tokens: 3, tokensPerSecond: 4, firstTokenMs: 1500 })
})

it('speed is not told before there is something to tell', () => {
  expect(speedOf({ usage: null }, undefined)).toBe(null)
  expect(speedOf({ usage: null }, { tokens: 0, sentAt: 0, firstTokenAt: null, lastTokenAt: null })).toBe(null)
  expect(describeSpeed({ tokens: 1, tokensPerSecond: null, firstTokenMs: 1500 })).toBe('1 token · first after 1.5 s')
})
