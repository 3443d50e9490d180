import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { bytesToSpelling, GPT2_WORDS } from '../../src/text/byte-level.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

interface Trained {
  model: { vocab: Record<string, number>; merges: [string, string][] }
}

/** The definition, with all pairs counted anew before each merge. */
function bruteForce(texts: string[], vocabSize: number, minFrequency: number): [string, string][] {
  const ids = new Map<string, number>()
  const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte))
  for (const byte of bytes.map((_, i) => spellByte(i)).sort()) ids.set(byte, ids.size)
  let words = texts.flatMap((text) => (text.match(GPT2_WORDS) ?? []).map((word) => [...bytesToSpelling(word)]))
  const merges: [string, string][] = []
  while (ids.size < vocabSize) {
    const counts = new Map<string, { pair: [string, string]; count: number }>()
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair: [string, string] = [word[i], word[i + 1]]
        const entry = counts.get(pair.join('\0')) ?? { pair, count: 0 }
        entry.count++
        counts.set(pair.join('\0'), entry)
      }
    }
    const order = [...counts.values()].sort(
      (a, b) =>
        b.count - a.count || ids.get(a.pair[0])! - ids.get(b.pair[0])! || ids.get(a.pair[1])! - ids.get(b.pair[1])!,
    )
    if (order.length === 0 || order[0].count < minFrequency) break
    const [left, right] = order[0].pair
    merges.push([left, right])
    if (!ids.has(left + right)) ids.set(left + right, ids.size)
    words = words.map((word) => {
      const merged: string[] = []
      for (let i = 0; i < word.length; i++) {
        if (word[i] === left && word[i + 1] === right) merged.push(left + word[++i])
        else merged.push(word[i])
      }
      return merged
    })
  }
  return merges
}

function spellByte(byte: number): string {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  if (printable) return String.fromCharCode(byte)
  // 0–32, 127–160 and 173 are the bytes that take 256 and on.
  const rank = byte <= 32 ? byte : byte === 173 ? 67 : byte - 127 + 33
  return String.fromCharCode(256 + rank)
}

describe('training', () => {
  it('merges as the definition does, recounting all pairs each time', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' ', 'é', '1'), maxLength: 60 })
    fc.assert(
      fc.property(fc.array(text, { maxLength: 6 }), fc.integer({ min: 1, max: 3 }), (texts, minFrequency) => {
        const trained = trainByteLevelBpe(texts, { vocabSize: 290, minFrequency }) as Trained
        expect(trained.model.merges).toEqual(bruteForce(texts, 290, minFrequency))
      }),
      { numRuns: 300 },
    )
  })

  it('puts special tokens first, then the bytes, then merges', () => {
    const texts = ['low lower lowest'.repeat(4)]
    const trained = trainByteLevelBpe(texts, { vocabSize: 262, specialTokens: ['<a>', '<b>'] }) as Trained
    expect(trained.model.vocab['<a>']).toBe(0)
    expect(trained.model.vocab['<b>']).toBe(1)
    expect(trained.model.vocab['!']).toBe(2)
    expect(trained.model.merges).toEqual([
      ['l', 'o'],
      ['lo', 'w'],
      ['Ġ', 'low'],
      ['Ġlow', 'e'],
    ])
    const tokenizer = tokenizerFromJson(trained)
    expect(tokenizer.encode('<b>low')).toEqual([1, trained.model.vocab.low])
    expect(tokenizer.specialIds).toEqual(new Set([0, 1]))
  })

  it('gives a tokenizer that gives any text back', () => {
    const tokenizer = tokenizerFromJson(trainByteLevelBpe(['the cat sat on the mat 2024'], { vocabSize: 280 }))
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
      }),
    )
  })

  it('never merges digits where they are split, nor across a pattern', () => {
    const digits = trainByteLevelBpe(['2024 2024 2024 2024'], { vocabSize: 300, splitDigits: true }) as Trained
    expect(digits.model.merges).toEqual([])
    const pattern = trainByteLevelBpe(['abab abab'], { vocabSize: 300, pattern: 'ab|[^ab]+' }) as Trained
    expect(pattern.model.merges).toEqual([['a', 'b']])
  })

  it('refuses a vocabulary smaller than the bytes', () => {
    expect(() => trainByteLevelBpe([], { vocabSize: 256, specialTokens: ['<s>'] })).toThrow(
      'vocabSize must be at least 257 (the special tokens and 256 bytes), got 256',
    )
  })
})
