import { describe, expect, it } from 'vitest'
import { exactMatch } from '../../../src/eval/metrics/exact-match.ts'

describe('exact match', () => {
  it('compares what is left of case, punctuation, digits and patterns', () => {
    expect(exactMatch('Paris', 'Paris')).toBe(true)
    expect(exactMatch('paris', 'Paris')).toBe(false)
    expect(exactMatch('paris', ['Rome', 'Paris'], { ignoreCase: true })).toBe(true)
    expect(exactMatch('Paris!', 'Paris', { ignorePunctuation: true })).toBe(true)
    expect(exactMatch('Paris 2', 'Paris ', { ignoreNumbers: true })).toBe(true)
    expect(exactMatch('the answer is $5', '5', { ignore: [/^.*\$/] })).toBe(true)
    expect(exactMatch('5', '5.0')).toBe(false)
  })
})
