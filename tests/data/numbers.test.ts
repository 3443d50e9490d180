import { expect, it } from 'vitest'
import { inDigits, inWords, NUMBER_WORDS } from '../../src/data/numbers.ts'

it('writes numbers in digits and in words', () => {
  const known: [number, string][] = [
    [0, 'zero'],
    [7, 'seven'],
    [10, 'ten'],
    [13, 'thirteen'],
    [20, 'twenty'],
    [42, 'forty two'],
    [100, 'one hundred'],
    [105, 'one hundred five'],
    [119, 'one hundred nineteen'],
    [340, 'three hundred forty'],
    [999, 'nine hundred ninety nine'],
  ]
  for (const [value, words] of known) expect(inWords(value)).toBe(words)
  expect(inDigits(740)).toBe('7 4 0')
  expect(inDigits(0)).toBe('0')
})

it('writes no two numbers alike, with its own words alone', () => {
  const all = Array.from({ length: 1000 }, (_, value) => value)
  for (const notation of [inDigits, inWords]) {
    expect(new Set(all.map(notation)).size).toBe(1000)
    for (const word of all.flatMap((value) => notation(value).split(' '))) expect(NUMBER_WORDS).toContain(word)
  }
})

it('says which numbers it has words for', () => {
  for (const value of [-1, 1000, 2.5, Number.NaN]) {
    expect(() => inWords(value)).toThrow(`0 to 999, got ${value}`)
    expect(() => inDigits(value)).toThrow(`0 to 999, got ${value}`)
  }
})
