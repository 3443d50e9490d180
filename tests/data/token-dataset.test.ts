import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { TokenDataset, TokenFileError } from '../../src/data/token-dataset.ts'
import { loadTokens, saveTokens } from '../../src/data/token-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-tokens-'))
afterAll(() => rmSync(folder, { recursive: true }))

const dataset = fc
  .oneof(fc.integer({ min: 1, max: 70_000 }), fc.constantFrom(65_536, 65_537, 2 ** 31))
  .chain((vocabSize) =>
    fc.array(fc.nat({ max: vocabSize - 1 }), { maxLength: 200 }).map((ids) => TokenDataset.from(ids, vocabSize)),
  )

/** Encodes each UTF-16 unit as itself. */
const unitTokenizer = {
  vocabSize: 65_536,
  encode: (text: string) => Uint16Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)),
}

describe('TokenDataset', () => {
  it('keeps tokens in two bytes as long as the vocabulary fits', () => {
    expect(TokenDataset.from([65_535], 65_536).tokens).toBeInstanceOf(Uint16Array)
    expect(TokenDataset.from([65_536], 65_537).tokens).toBeInstanceOf(Uint32Array)
  })

  it('refuses a token outside the vocabulary, and a vocabulary of no size', () => {
    expect(() => TokenDataset.from([0, 5], 5)).toThrow('token 1 is 5, which is outside the vocabulary of 5')
    expect(() => TokenDataset.from([0.5], 5)).toThrow('token 0 is 0.5')
    expect(() => TokenDataset.from([-1], 5)).toThrow('token 0 is -1')
    expect(() => TokenDataset.from([], 0)).toThrow('vocabSize')
  })

  it('holds what the tokenizer gives for a text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(String.fromCharCode(...TokenDataset.fromText(unitTokenizer, text).tokens)).toBe(text)
      }),
    )
  })

  it('joins documents, each followed by the end-of-text token', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 40 })), (documents) => {
        const { tokens } = TokenDataset.fromDocuments(unitTokenizer, documents, 3)
        expect(String.fromCharCode(...tokens)).toBe(documents.map((text) => `${text}\u0003`).join(''))
      }),
    )
    const long = 'x'.repeat(70_000)
    expect(TokenDataset.fromDocuments(unitTokenizer, [long, long, long], 0).length).toBe(210_003)
    expect(() => TokenDataset.fromDocuments(unitTokenizer, ['a'], 65_536)).toThrow('outside the vocabulary')
  })

  it('splits like int(n * 0.9) does, losing nothing and copying nothing', () => {
    fc.assert(
      fc.property(dataset, fc.double({ min: 0, max: 1, noNaN: true }), (data, fraction) => {
        const { train, validation } = data.split(fraction)
        expect([...train.tokens, ...validation.tokens]).toEqual([...data.tokens])
        expect(train.length).toBe(Math.floor(data.length * fraction))
        expect(train.tokens.buffer).toBe(data.tokens.buffer)
      }),
    )
    expect(() => TokenDataset.from([], 1).split(Number.NaN)).toThrow('trainFraction')
  })

  it('comes back from its bytes and from its file as it was', () => {
    fc.assert(
      fc.property(dataset, (data) => {
        const back = TokenDataset.fromBytes(data.toBytes())
        expect(back.vocabSize).toBe(data.vocabSize)
        expect(back.tokens).toEqual(data.tokens)
      }),
    )
    const path = join(folder, 'whole.tokens')
    const data = TokenDataset.from([1, 2, 3, 99_999], 100_000)
    saveTokens(data.slice(1), path)
    expect([...loadTokens(path).tokens]).toEqual([2, 3, 99_999])
  })

  it('reads bytes that begin at an odd address', () => {
    const bytes = TokenDataset.from([7, 8, 70_000], 70_001).toBytes()
    const shifted = new Uint8Array(bytes.length + 1)
    shifted.set(bytes, 1)
    expect([...TokenDataset.fromBytes(shifted.subarray(1)).tokens]).toEqual([7, 8, 70_000])
  })

  it('answers any damage to the header or the length with one sentence', () => {
    fc.assert(
      fc.property(dataset, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(), (data, at, change, cut) => {
        const bytes = data.toBytes()
        const damaged = bytes.slice()
        damaged[at % 24] ^= change
        expectSentenceOrValid(damaged)
        expect(() => TokenDataset.fromBytes(bytes.slice(0, cut % bytes.length))).toThrow(TokenFileError)
        expect(() => TokenDataset.fromBytes(Uint8Array.of(...bytes, 0))).toThrow(TokenFileError)
      }),
    )
  })

  it('answers arbitrary bytes with one sentence', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => expectSentenceOrValid(bytes)))
  })

  it('allocates nothing for a header that promises more than the file has', () => {
    const bytes = TokenDataset.from([1], 2).toBytes()
    new DataView(bytes.buffer).setBigUint64(16, 2n ** 63n, true)
    const path = join(folder, 'lying.tokens')
    writeFileSync(path, bytes)
    expect(() => loadTokens(path)).toThrow(/promises 9223372036854775808 tokens/)
  })

  it('names the file that is cut short, and the token that lies outside the vocabulary', () => {
    const path = join(folder, 'cut.tokens')
    saveTokens(TokenDataset.from([1, 2, 3], 4), path)
    truncateSync(path, 29)
    expect(() => loadTokens(path)).toThrow(/cut\.tokens: its header promises 3 tokens \(30 bytes in all\).* 29/)
    truncateSync(path, 5)
    expect(() => loadTokens(path)).toThrow(/cut\.tokens: not a token file/)
    const bytes = TokenDataset.from([1, 2, 3], 4).toBytes()
    bytes[26] = 9
    expect(() => TokenDataset.fromBytes(bytes)).toThrow('token 1 is 9, outside the vocabulary of 4')
  })
})

/** A changed vocabulary size may still give a consistent file; everything else must be refused in a sentence. */
function expectSentenceOrValid(bytes: Uint8Array): void {
  try {
    const data = TokenDataset.fromBytes(bytes)
    expect(data.tokens.every((token) => token < data.vocabSize)).toBe(true)
  } catch (error) {
    expect(error).toBeInstanceOf(TokenFileError)
    expect((error as Error).message).not.toContain('\n')
  }
}
