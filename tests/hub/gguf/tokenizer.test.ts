import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { tokenizerToGguf } from '../../../src/hub/gguf/tokenizer.ts'
import { tokenizerFromGguf } from '../../../src/text/gguf-tokenizer.ts'
import { lacksShared, sharedPath } from '../../shared.ts'

const json = (path: string) => JSON.parse(readFileSync(sharedPath(path), 'utf8'))
const toGguf = (tokenizer: unknown, settings = {}) =>
  tokenizerToGguf({ tokenizer, settings, config: {}, chatTemplate: undefined })

describe('a tokenizer in GGUF metadata', () => {
  for (const kind of ['gpt2', 'byte-fallback']) {
    const folder = `parity/tokenizers/${kind}`
    it.skipIf(lacksShared(folder))(`encodes as ${kind}'s tokenizer.json does`, () => {
      const metadata = toGguf(json(`${folder}/tokenizer.json`), { bos_token: '<s>', unk_token: '<unk>' })
      const plain = Object.fromEntries(Array.from(metadata, ([key, { value }]) => [key, value]))
      const tokenizer = tokenizerFromGguf(plain)
      const cases: { text: string; ids: number[] }[] = json(`${folder}/cases.json`)
      for (const { text, ids } of cases) expect(tokenizer.encode(text), text).toEqual(ids)
    })
  }

  for (const kind of ['bert', 'unigram', 'gpt1']) {
    const folder = `parity/tokenizers/${kind}`
    it.skipIf(lacksShared(folder))(`is refused where GGUF has no words for it: ${kind}`, () => {
      expect(() => toGguf(json(`${folder}/tokenizer.json`))).toThrow(/^its tokenizer (is not BPE|knows neither)/)
    })
  }

  const bpe = (preTokenizer: unknown) => ({
    model: { type: 'BPE', vocab: { a: 0 }, merges: [] },
    pre_tokenizer: preTokenizer,
  })
  const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }
  const sequence = (...pretokenizers: unknown[]) => ({ type: 'Sequence', pretokenizers })

  it('names the way words are cut as llama.cpp does, and refuses one that has no name', () => {
    const newer = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"
    const name = (preTokenizer: unknown) => toGguf(bpe(preTokenizer)).get('tokenizer.ggml.pre')?.value
    expect(name({ ...bytes, use_regex: true })).toBe('gpt-2')
    expect(name(sequence({ type: 'Digits', individual_digits: true }, { ...bytes, use_regex: true }))).toBe('smollm')
    expect(name(sequence(split(`${newer}{1,3}| ?[^\\s]+`), bytes))).toBe('llama-bpe')
    expect(name(sequence(split(`${newer}| ?[^\\s]+`), bytes))).toBe('qwen2')
    expect(() => name(sequence(split('[a-z]+'), bytes))).toThrow('GGUF has no name for')
  })
})
