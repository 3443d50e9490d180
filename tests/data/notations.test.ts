import { describe, expect, it } from 'vitest'
import { dayWords, NOTATION_WORDS, numberWords, yearWords } from '../../src/data/notations.ts'
import { wordTokenizerJson } from '../../src/data/word-tokenizer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

describe('numbers and dates in words', () => {
  it.each([
    [0, 'zero'],
    [19, 'nineteen'],
    [40, 'forty'],
    [99, 'ninety nine'],
    [100, 'one hundred'],
    [305, 'three hundred and five'],
    [1000, 'one thousand'],
    [2009, 'two thousand and nine'],
    [40_120, 'forty thousand one hundred and twenty'],
    [402_005, 'four hundred and two thousand and five'],
    [1_000_001, 'one million and one'],
    [
      999_999_999,
      'nine hundred and ninety nine million nine hundred and ninety nine thousand nine hundred and ninety nine',
    ],
  ])('%d is %s', (n, words) => {
    expect(numberWords(n)).toBe(words)
  })

  it('tell every number and day apart, in words of the list', () => {
    const known = new Set(NOTATION_WORDS)
    const said = new Set<string>()
    let count = 0
    const say = (text: string) => {
      for (const word of text.split(' ')) expect(known.has(word)).toBe(true)
      said.add(text)
      count++
    }
    for (let n = 0; n < 20_000; n++) say(numberWords(n))
    for (let month = 1; month <= 12; month++) {
      for (let day = 1; day <= 31; day++) for (const first of [true, false]) say(dayWords(month, day, first))
    }
    expect(said.size).toBe(count)
    expect(known.size).toBe(NOTATION_WORDS.length)
  })

  it.each([
    [1905, 'nineteen oh five'],
    [1900, 'nineteen hundred'],
    [1997, 'nineteen ninety seven'],
    [2000, 'two thousand'],
    [2009, 'two thousand and nine'],
    [2024, 'twenty twenty four'],
  ])('the year %d is %s', (year, words) => {
    expect(yearWords(year)).toBe(words)
  })

  it('say days either way round, and refuse what has no words', () => {
    expect(dayWords(3, 3)).toBe('the third of march')
    expect(dayWords(9, 21, true)).toBe('september the twenty first')
    expect(dayWords(12, 30)).toBe('the thirtieth of december')
    expect(() => numberWords(-1)).toThrow('needs 0 to 999999999, got -1')
    expect(() => numberWords(1e9)).toThrow('got 1000000000')
  })
})

describe('wordTokenizerJson', () => {
  const special = { specialTokens: ['<pad>', '</s>', '<unk>'], unknown: '<unk>', end: '</s>' }

  it('reads words, ends texts, and writes tokens as one word where it is to', () => {
    const tokenizer = tokenizerFromJson(wordTokenizerJson(['one', '1', '2'], { ...special, fused: true }))
    expect(tokenizer.encode('one  two 1')).toEqual([3, 2, 4, 1])
    expect(tokenizer.decode([4, 5, 1], { skipSpecialTokens: true })).toBe('12')
    expect(tokenizer.vocabSize).toBe(6)
    const apart = tokenizerFromJson(wordTokenizerJson(['one', 'two'], special))
    expect(apart.decode([3, 4, 1], { skipSpecialTokens: true })).toBe('one two')
  })

  it('refuses a word that is there twice, and special tokens that are not', () => {
    expect(() => wordTokenizerJson(['a', 'b', 'a'], special)).toThrow("'a' is there twice")
    expect(() => wordTokenizerJson(['a', 'b c'], special)).toThrow("'b c' is no word")
    expect(() => wordTokenizerJson([''], special)).toThrow("'' is no word")
    expect(() => wordTokenizerJson(['a'], { ...special, end: '<eos>' })).toThrow(
      "'<eos>' is none of the special tokens",
    )
  })
})
