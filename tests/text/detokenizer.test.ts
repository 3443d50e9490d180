import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { loadTokenizer } from '../../src/text/load.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const KINDS = ['gpt2', 'gpt1', 'bert', 'unigram', 'byte-fallback']

function streamed(tokenizer: Tokenizer, ids: number[], skipSpecialTokens: boolean): string[] {
  const detokenizer = tokenizer.stream({ skipSpecialTokens })
  return [...ids.map((id) => detokenizer.push(id)), detokenizer.flush()]
}

const beginsOrEndsInsidePair = (piece: string): boolean => /^[\udc00-\udfff]|[\ud800-\udbff]$/.test(piece)

describe.skipIf(lacksShared('parity/tokenizers'))('streaming', () => {
  for (const kind of KINDS) {
    it(`${kind}: the pieces of any ids join to their decoding, and none cuts a character`, async () => {
      const tokenizer = await loadTokenizer(sharedPath(`parity/tokenizers/${kind}`))
      // Random ids, thick with bytes and special tokens (low ids) and with a few that do not exist.
      const id = fc.oneof(fc.nat(tokenizer.vocabSize + 1), fc.nat(300))
      fc.assert(
        fc.property(fc.array(id, { maxLength: 60 }), fc.boolean(), (ids, skipSpecialTokens) => {
          const pieces = streamed(tokenizer, ids, skipSpecialTokens)
          expect(pieces.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens }))
          expect(pieces.filter(beginsOrEndsInsidePair)).toEqual([])
        }),
        { numRuns: 500 },
      )
    })

    it(`${kind}: text streams without a broken character`, async () => {
      const tokenizer = await loadTokenizer(sharedPath(`parity/tokenizers/${kind}`))
      fc.assert(
        fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
          const ids = tokenizer.encode(text)
          const pieces = streamed(tokenizer, ids, true)
          expect(pieces.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens: true }))
          if (!text.includes('\ufffd')) expect(pieces.filter((piece) => piece.includes('\ufffd'))).toEqual([])
        }),
        { numRuns: 500 },
      )
    })
  }

  it('gpt2 and byte-fallback give any text back', async () => {
    for (const kind of ['gpt2', 'byte-fallback']) {
      const tokenizer = await loadTokenizer(sharedPath(`parity/tokenizers/${kind}`))
      fc.assert(
        // What looks like a byte token is one, so it does not come back as it was.
        fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
          const wellFormed = text.replace(/\p{Surrogate}/gu, '\ufffd')
          expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(wellFormed)
        }),
        { numRuns: 500 },
      )
    }
  })
})

describe('streaming through a decoder that trims both ends', () => {
  const tokens = ['a', ' ', '  ', '🙂', ' 🙂', 'b ']
  const json = (start: number, stop: number, fused: boolean) => ({
    model: { type: 'WordLevel', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), unk_token: 'a' },
    decoder: {
      type: 'Sequence',
      decoders: [...(fused ? [{ type: 'Fuse' }] : []), { type: 'Strip', content: ' ', start, stop }],
    },
  })
  const trim = (text: string, start: number, stop: number): string => {
    let trimmed = text
    for (let i = 0; i < start && trimmed.startsWith(' '); i++) trimmed = trimmed.slice(1)
    for (let i = 0; i < stop && trimmed.endsWith(' '); i++) trimmed = trimmed.slice(0, -1)
    return trimmed
  }

  it('trims the whole text after Fuse, each token without it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(tokens.length - 1), { maxLength: 12 }),
        fc.nat(3),
        fc.nat(3),
        fc.boolean(),
        (ids, start, stop, fused) => {
          const tokenizer = tokenizerFromJson(json(start, stop, fused))
          const words = ids.map((id) => tokens[id])
          const expected = fused
            ? trim(words.join(''), start, stop)
            : words.map((word) => trim(word, start, stop)).join('')
          const pieces = streamed(tokenizer, ids, false)
          expect(pieces.join('')).toBe(expected)
          expect(pieces.filter(beginsOrEndsInsidePair)).toEqual([])
        },
      ),
      { numRuns: 500 },
    )
  })
})
