import { expect, it } from 'vitest'
import { wordTokenizerJson } from '../../src/data/word-tokenizer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

it('numbers words in their order, special ones first, and gives a text back', () => {
  const tokenizer = tokenizerFromJson(wordTokenizerJson(['<pad>', '<end>', '<unk>'], ['7', '+', '5', '=', '12', 'Q:']))
  const ids = tokenizer.encode('Q: 7 + 5\n=  12')
  expect(Array.from(ids)).toEqual([8, 3, 4, 5, 6, 7])
  expect(tokenizer.decode([...ids, 1, 0], { skipSpecialTokens: true })).toBe('Q: 7 + 5 = 12')
  expect(Array.from(tokenizer.encode('7 - 5'))).toEqual([3, 2, 5])
})

it('refuses words with white space in them, words that come twice, and a vocabulary without a special token', () => {
  expect(() => wordTokenizerJson(['<unk>'], ['a', 'b c'])).toThrow("'b c'")
  expect(() => wordTokenizerJson(['<unk>'], ['a', '<unk>'])).toThrow("'<unk>'")
  expect(() => wordTokenizerJson(['<unk>'], [''])).toThrow("''")
  expect(() => wordTokenizerJson([], ['a'])).toThrow('special')
})
