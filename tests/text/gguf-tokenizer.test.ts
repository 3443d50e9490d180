import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { openGguf } from '../../src/hub/gguf/file.ts'
import { renderChat } from '../../src/text/chat-template.ts'
import { tokenizerFromGguf } from '../../src/text/gguf-tokenizer.ts'
import { loadTokenizer } from '../../src/text/load.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const SMOLLM = 'models/SmolLM2-135M-Instruct.Q4_1.gguf'

function metadataOf(path: string): Record<string, unknown> {
  const file = openGguf(path)
  try {
    return file.metadata
  } finally {
    file.close()
  }
}

interface SmolCase {
  messages?: { role: string; content: string }[]
  prompt: string
  inputIds: number[]
  newIds: number[]
  text: string
}

describe.skipIf(lacksShared(SMOLLM))('SmolLM2 from its GGUF file', () => {
  let tokenizer: Tokenizer
  let cases: SmolCase[]
  // Not while the tests are collected: that happens where the file is missing, too.
  beforeAll(() => {
    tokenizer = tokenizerFromGguf(metadataOf(sharedPath(SMOLLM)))
    cases = JSON.parse(readFileSync(sharedPath('models/smollm2.json'), 'utf8')).cases
  })

  it('renders the reference prompts and encodes them to the reference ids', () => {
    const chats = cases.filter((each) => each.messages)
    expect(chats.length).toBeGreaterThan(0)
    for (const { messages, prompt, inputIds } of chats) {
      const bosToken = tokenizer.tokenOf(tokenizer.bosTokenId!)
      const rendered = renderChat(tokenizer.chatTemplate!, messages!, { addGenerationPrompt: true, bosToken })
      expect(rendered).toBe(prompt)
      expect(tokenizer.encode(rendered, { addSpecialTokens: false })).toEqual(inputIds)
    }
  })

  it('decodes the reference answers', () => {
    for (const { newIds, text } of cases) expect(tokenizer.decode(newIds)).toBe(text)
  })

  it('knows its special tokens', () => {
    expect(tokenizer.vocabSize).toBe(49152)
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.unkTokenId, tokenizer.padTokenId]).toEqual([
      1, 2, 0, 2,
    ])
    expect(tokenizer.specialIds.size).toBe(17)
    expect(tokenizer.tokenOf(2)).toBe('<|im_end|>')
    expect(tokenizer.idOf('<|im_end|>')).toBe(2)
  })

  it('is the same tokenizer when saved and loaded', () => {
    const again = tokenizerFromJson(JSON.parse(JSON.stringify(tokenizer.toJSON())), tokenizer.toConfigJSON())
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(again.encode(text)).toEqual(tokenizer.encode(text))
      }),
    )
    expect(again.eosTokenId).toBe(2)
    expect(again.chatTemplate).toBe(tokenizer.chatTemplate)
  })
})

interface BpeFile {
  added_tokens: { id: number; special: boolean }[]
  model: { vocab: Record<string, number>; merges: [string, string][] }
}

function vocabularyOf(kind: string): { file: BpeFile; tokens: string[]; types: number[] } {
  const file = JSON.parse(readFileSync(sharedPath(`parity/tokenizers/${kind}/tokenizer.json`), 'utf8')) as BpeFile
  const tokens: string[] = []
  for (const [token, id] of Object.entries(file.model.vocab)) tokens[id] = token
  const types = tokens.map(() => 1)
  for (const { id } of file.added_tokens) types[id] = 3
  return { file, tokens, types }
}

describe.skipIf(lacksShared('parity/tokenizers'))('GGUF metadata', () => {
  it('of the kind gpt2 say what tokenizer.json says', async () => {
    const reference = await loadTokenizer(sharedPath('parity/tokenizers/gpt2'))
    const { file, tokens, types } = vocabularyOf('gpt2')
    const tokenizer = tokenizerFromGguf({
      'tokenizer.ggml.model': 'gpt2',
      'tokenizer.ggml.pre': 'gpt-2',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': Int32Array.from(types),
      'tokenizer.ggml.merges': file.model.merges.map((merge) => merge.join(' ')),
      'tokenizer.ggml.eos_token_id': 50256,
    })
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(tokenizer.encode(text)).toEqual(reference.encode(text))
      }),
    )
    expect(tokenizer.eosTokenId).toBe(50256)
  })

  it('of the kind llama, with scores in place of merges, say what tokenizer.json says', async () => {
    const reference = await loadTokenizer(sharedPath('parity/tokenizers/byte-fallback'))
    const { tokens, types } = vocabularyOf('byte-fallback')
    const tokenizer = tokenizerFromGguf({
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': types,
      // Tokens were numbered in the order in which they were merged.
      'tokenizer.ggml.scores': Float32Array.from(tokens, (_, id) => -id),
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.unknown_token_id': 0,
    })
    const cases = JSON.parse(readFileSync(sharedPath('parity/tokenizers/byte-fallback/cases.json'), 'utf8')) as {
      text: string
      ids: number[]
      decoded: string
    }[]
    for (const { text, ids, decoded } of cases) {
      expect(tokenizer.encode(text), text).toEqual(ids)
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(decoded)
    }
    expect(reference.encode('')).toEqual(tokenizer.encode(''))
  })
})

describe('GGUF metadata that cannot be used get one sentence', () => {
  const good = {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': ['a', 'b', 'ab'],
    'tokenizer.ggml.merges': ['a b'],
  }
  it.each([
    [{}, /has no tokenizer/],
    [{ ...good, 'tokenizer.ggml.model': 'bert' }, /kind "bert"; we know/],
    [{ ...good, 'tokenizer.ggml.pre': 'surprise' }, /pre-tokenizer "surprise" is not one we know/],
    [{ ...good, 'tokenizer.ggml.pre': undefined }, /does not say how its tokenizer splits words/],
    [{ ...good, 'tokenizer.ggml.merges': undefined }, /has no tokenizer merges/],
    [{ ...good, 'tokenizer.ggml.merges': ['a c'] }, /has "ac", "model.vocab" not|has "c", "model.vocab" not/],
    [{ ...good, 'tokenizer.ggml.tokens': 'abc' }, /must be an array of strings/],
    [{ ...good, 'tokenizer.ggml.token_type': [1] }, /3 tokens but 1 entries/],
    [{ ...good, 'tokenizer.ggml.eos_token_id': 7 }, /eos_token_id" is 7, but it has 3 tokens/],
    [{ ...good, 'tokenizer.ggml.model': 'llama' }, /needs a score for each/],
  ])('%#', (metadata, message) => {
    expect(() => tokenizerFromGguf(metadata)).toThrow(message)
  })

  it('reads scores of a token of any length in no time', () => {
    const tokens = ['a', 'b', 'ab', 'ab'.repeat(100_000)]
    const metadata = {
      ...good,
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.scores': [0, 0, -1, -2],
    }
    const start = performance.now()
    expect(tokenizerFromGguf(metadata).idOf('ab')).toBe(2)
    expect(performance.now() - start).toBeLessThan(1000)
  })

  it('any values whatever give a tokenizer or an Error of one line', () => {
    const keys = [
      ...Object.keys(good),
      'tokenizer.ggml.token_type',
      'tokenizer.ggml.scores',
      'tokenizer.ggml.bos_token_id',
    ]
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.anything(), fc.boolean(), (key, value, llama) => {
        const metadata = { ...good, ...(llama ? { 'tokenizer.ggml.model': 'llama' } : {}), [key]: value }
        try {
          tokenizerFromGguf(metadata).encode('abba')
        } catch (error) {
          expect(Object.getPrototypeOf(error)).toBe(Error.prototype)
          expect((error as Error).message).not.toContain('\n')
        }
      }),
      { numRuns: 500 },
    )
  })
})
