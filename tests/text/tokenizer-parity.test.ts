import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { loadTokenizer } from '../../src/text/load.ts'
import { lacksShared, sharedPath } from '../shared.ts'

/** Recorded from the reference implementation by `../shared/oracle/make_tokenizers.py`. */
interface Case {
  text: string
  ids: number[]
  tokens: string[]
  decoded: string
}

const folder = process.env.TOKENIZER_CASES ?? sharedPath('parity/tokenizers')

describe.skipIf(lacksShared('parity/tokenizers'))('the reference cases', () => {
  for (const kind of ['gpt2', 'gpt1', 'bert', 'unigram', 'byte-fallback']) {
    it(`${kind}: ids, tokens and decoded text are the reference's`, async () => {
      const tokenizer = await loadTokenizer(`${folder}/${kind}/tokenizer.json`)
      const cases = JSON.parse(readFileSync(`${folder}/${kind}/cases.json`, 'utf8')) as Case[]
      expect(cases.length).toBeGreaterThan(0)
      for (const { text, ids, tokens, decoded } of cases) {
        expect(tokenizer.encode(text), text).toEqual(ids)
        expect(tokenizer.tokenize(text), text).toEqual({ ids, tokens })
        expect(tokenizer.decode(ids, { skipSpecialTokens: true }), text).toBe(decoded)
      }
    })
  }
})
