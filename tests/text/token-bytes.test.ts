import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { byteToken } from '../../src/text/byte-level.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'

const read = (path: string): unknown => JSON.parse(readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8'))

/** As sentencepiece's models are converted: a mark for spaces, and bytes for what is not in the vocabulary. */
function withByteFallback(): Tokenizer {
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from({ length: 256 }, (_, byte) => byteToken(byte)),
    '▁',
    ...'abcé',
    '▁a',
    'bc',
  ]
  return tokenizerFromJson({
    added_tokens: [0, 1, 2].map((id) => ({
      id,
      content: tokens[id],
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      byte_fallback: true,
      fuse_unk: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: ['▁ a', 'b c'],
    },
  })
}

const TOKENIZERS: [string, () => Tokenizer][] = [
  ['a byte-level vocabulary', () => tokenizerFromJson(read('../../weights/jackdaw-base/tokenizer.json'))],
  ['one with byte fallback', withByteFallback],
]

describe('the bytes of tokens', () => {
  it.each(TOKENIZERS)('of %s are, one after another, those of the text', (_, make) => {
    const tokenizer = make()
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 20 }), (text) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false })
        const bytes = Buffer.concat(ids.map((id) => tokenizer.bytesOf(id) ?? new Uint8Array()))
        // Some put a space before every text, which its first token then has.
        expect([text, ` ${text}`]).toContain(bytes.toString('utf8'))
      }),
      { numRuns: 200 },
    )
  })

  it('outside of the vocabulary there are none', () => {
    expect(withByteFallback().bytesOf(100_000)).toBeUndefined()
  })
})
