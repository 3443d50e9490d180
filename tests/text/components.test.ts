import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

interface Component {
  name: string
  json: object
  cases: {
    text: string
    ids: number[]
    tokens: string[]
    bare: number[]
    decodes: number[]
    decoded: string
    skipped: string
  }[]
}

// Made by fixtures/make_components.py; another file, with more cases, may be named instead.
const path = process.env.TOKENIZER_COMPONENTS ?? fileURLToPath(new URL('fixtures/components.json', import.meta.url))
const components = JSON.parse(readFileSync(path, 'utf8')) as Component[]

describe('every piece of a tokenizer.json does as the reference', () => {
  for (const { name, json, cases } of components) {
    it(name, () => {
      const tokenizer = tokenizerFromJson(json)
      for (const { text, ids, tokens, bare, decodes, decoded, skipped } of cases) {
        expect(tokenizer.tokenize(text), JSON.stringify(text)).toEqual({ ids, tokens })
        expect(tokenizer.encode(text, { addSpecialTokens: false }), JSON.stringify(text)).toEqual(bare)
        expect(tokenizer.decode(decodes), JSON.stringify(decodes)).toBe(decoded)
        expect(tokenizer.decode(decodes, { skipSpecialTokens: true }), JSON.stringify(decodes)).toBe(skipped)
      }
    })
  }
})
