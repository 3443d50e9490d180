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

describe.skipIf(lacksShared('models/minilm.json'))('all-MiniLM-L6-v2', () => {
  it('encodes its reference sentences to their ids', async () => {
    const tokenizer = await loadTokenizer(sharedPath('models/all-MiniLM-L6-v2'))
    const { sentences, inputIds, maxLength } = JSON.parse(readFileSync(sharedPath('models/minilm.json'), 'utf8')) as {
      sentences: string[]
      inputIds: number[][]
      maxLength: number
    }
    sentences.forEach((sentence, i) => {
      const ids = tokenizer.encode(sentence)
      // The reference cuts long sentences before the closing [SEP].
      const cut = ids.length > maxLength ? [...ids.slice(0, maxLength - 1), ids.at(-1)] : ids
      expect(cut, sentence).toEqual(inputIds[i])
    })
  })
})
