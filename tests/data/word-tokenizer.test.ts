import { expect, it } from 'vitest'
import { wordVocabulary } from '../../src/data/word-tokenizer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

it('numbers words in their order, special ones first, and gives a text back', () => {
  const tokenizer = tokenizerFromJson(
    wordVocabulary(['<pad>', '<end>', '<unk>'], ['7', '+', '5', '=', '12', 'Q:']).tokenizerJson,
  )
  const ids = tokenizer.encode('Q: 7 + 5\n=  12')
  expect(Array.from(ids)).toEqual([8, 3, 4, 5, 6, 7])
  expect(tokenizer.decode([...ids, 1, 0], { skipSpecialTokens: true })).toBe('Q: 7 + 5 = 12')
  expect(Array.from(tokenizer.encode('7 - 5'))).toEqual([3, 2, 5])
})

it('needs a special token for unknown words', () => {
  expect(() => wordVocabulary([], ['a'])).toThrow('none of the special tokens')
})

it('a vocabulary writes ids as its tokenizer does, numbers among the words too', () => {
  const vocabulary = wordVocabulary(['<pad>', '<unk>'], ['+', '12', '7', '=', '19'])
  const ids = vocabulary.idsOf('7 + 12 = 19')
  expect(ids).toEqual([4, 2, 3, 5, 6])
  expect(vocabulary.textOf(ids)).toBe('7 + 12 = 19')
  expect(vocabulary.size).toBe(7)
  expect(Array.from(tokenizerFromJson(vocabulary.tokenizerJson).encode('7 + 12 = 19'))).toEqual(ids)
  expect(() => vocabulary.idsOf('7 - 12')).toThrow("'-' is no word")
})
