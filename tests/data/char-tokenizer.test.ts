import { readFileSync } from 'node:fs'
import { Tokenizer } from '@huggingface/tokenizers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const load = (text: string) => {
  const json = charTokenizerJson(text)
  const tokenizer = new Tokenizer(json, { clean_up_tokenization_spaces: false })
  return {
    vocabSize: Object.keys(json.model.vocab).length,
    encode: (part: string): number[] => tokenizer.encode(part, { add_special_tokens: false }).ids,
    decode: (ids: number[]): string => tokenizer.decode(ids, { clean_up_tokenization_spaces: false }),
  }
}

describe('charTokenizerJson', () => {
  it('gives one token a character and comes back as the same text, spaces and line ends included', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1 }),
      fc.string({ unit: fc.constantFrom(' ', '\n', '\r', '\t', 'a', "'", '.', '\u00a0', '\u{1f426}', 'é', 'e\u0301') }),
    )
    fc.assert(
      fc.property(text, (text) => {
        fc.pre(text !== '')
        const tokenizer = load(text)
        const ids = tokenizer.encode(text)
        expect(ids.length).toBe([...text].length)
        expect(tokenizer.decode(ids)).toBe(text)
      }),
      { numRuns: 300 },
    )
  })

  it('numbers characters in code-point order, as nanoGPT does', () => {
    expect(charTokenizerJson('b\u{1f426}a\uffe5 \n').model.vocab).toEqual({
      '\n': 0,
      ' ': 1,
      a: 2,
      b: 3,
      '\uffe5': 4,
      '\u{1f426}': 5,
    })
  })

  it('refuses an empty text and half a character', () => {
    expect(() => charTokenizerJson('')).toThrow('the text is empty')
    expect(() => charTokenizerJson('a\ud83d')).toThrow('surrogate')
  })

  const path = 'data/text/tinyshakespeare.txt'
  it.skipIf(lacksShared(path))('gives the counts that nanoGPT prints for tinyshakespeare', () => {
    const text = readFileSync(sharedPath(path), 'utf8')
    const tokenizer = load(text)
    const { train, validation } = TokenDataset.fromText(tokenizer, text).split()
    expect([tokenizer.vocabSize, train.length, validation.length]).toEqual([65, 1_003_854, 111_540])
    expect([...train.tokens.subarray(0, 8)].map((id) => tokenizer.decode([id])).join('')).toBe(text.slice(0, 8))
  })
})
