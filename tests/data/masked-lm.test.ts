import { describe, expect, it } from 'vitest'
import { type Document, maskTokens, PretrainingLoader } from '../../src/data/masked-lm.ts'
import { StepRandom } from '../../src/data/random.ts'

const tokens = { clsTokenId: 1, sepTokenId: 2, maskTokenId: 3, padTokenId: 0, vocabSize: 1000 }

/** Sentences of documents that do not share a token: document d has 100 d + 10 … 100 d + 99, in order. */
const documents: Document[] = [1, 2, 3, 4].map((d) =>
  Array.from({ length: 15 }, (_, s) => Array.from({ length: 6 }, (_, t) => 100 * d + 10 + 6 * s + t)),
)

describe('maskTokens', () => {
  it('tells 15 % of the tokens; of these 80 % read [MASK], 10 % another token, 10 % themselves', () => {
    const counts = { told: 0, hidden: 0, replaced: 0, kept: 0 }
    const [rounds, length] = [400, 100]
    for (let round = 0; round < rounds; round++) {
      const original = Int32Array.from({ length }, (_, i) => (i % 10 === 0 ? 2 : 500 + i))
      const ids = original.slice()
      const labels = new Int32Array(length)
      maskTokens(ids, labels, tokens, new StepRandom(7, round))
      for (let i = 0; i < length; i++) {
        if (labels[i] === -100) {
          expect(ids[i]).toBe(original[i])
          continue
        }
        expect(labels[i]).toBe(original[i])
        expect(original[i]).not.toBe(2)
        expect([0, 1, 2]).not.toContain(ids[i])
        counts.told++
        counts[ids[i] === 3 ? 'hidden' : ids[i] === original[i] ? 'kept' : 'replaced']++
      }
    }
    expect(counts.told).toBe(rounds * Math.round(0.15 * 90))
    for (const [kind, share] of Object.entries({ hidden: 0.8, replaced: 0.1, kept: 0.1 })) {
      // Three standard deviations of a share of 5,600 draws are less than this.
      expect(Math.abs(counts[kind as 'hidden'] / counts.told - share)).toBeLessThan(0.017)
    }
  })

  it('tells at least one token of a short text, and none where all are special', () => {
    const labels = new Int32Array(3)
    maskTokens(Int32Array.of(1, 77, 2), labels, tokens, new StepRandom(1, 0))
    expect([...labels]).toEqual([-100, 77, -100])
    maskTokens(Int32Array.of(1, 2, 0), labels, tokens, new StepRandom(1, 0))
    expect([...labels]).toEqual([-100, -100, -100])
  })
})

describe('PretrainingLoader', () => {
  const loader = new PretrainingLoader(documents, { batch: 64, seq: 40 }, tokens, 5)
  const rows = (step: number) => {
    const batch = loader.batchAt(step)
    return Array.from({ length: 64 }, (_, row) => {
      const part = (array: Int32Array) => [...array.subarray(row * 40, (row + 1) * 40)]
      const labels = part(batch.labels)
      const ids = part(batch.inputIds).map((id, i) => (labels[i] === -100 ? id : labels[i]))
      return {
        ids,
        mask: part(batch.attentionMask),
        types: part(batch.tokenTypeIds),
        label: batch.nextSentenceLabel[row],
      }
    })
  }

  it('writes [CLS] A [SEP] B [SEP] and padding, with segments and a mask that say so', () => {
    for (const { ids, mask, types } of rows(0)) {
      const length = mask.indexOf(0) === -1 ? 40 : mask.indexOf(0)
      expect(mask).toEqual(ids.map((_, i) => (i < length ? 1 : 0)))
      const [first, second] = [ids.indexOf(2), ids.lastIndexOf(2)]
      expect(ids[0]).toBe(1)
      expect(first).toBeGreaterThan(1)
      expect(second).toBe(length - 1)
      expect(second).toBeGreaterThan(first + 1)
      expect(ids.slice(length).every((id) => id === 0)).toBe(true)
      expect(types).toEqual(ids.map((_, i) => (i > first && i < length ? 1 : 0)))
    }
  })

  it('pairs what follows under 0, and documents that differ under 1, about as often', () => {
    let follows = 0
    const all = [0, 1, 2, 3, 4, 5].flatMap(rows)
    for (const { ids, label } of all) {
      const first = ids.indexOf(2)
      const [a, b] = [ids.slice(1, first), ids.slice(first + 1, ids.lastIndexOf(2))]
      const document = (id: number) => Math.floor(id / 100)
      expect(document(a[0]) === document(b[0])).toBe(label === 0)
      for (const segment of [a, b]) expect(segment).toEqual(segment.map((_, i) => segment[0] + i))
      if (label === 0) {
        follows++
        // Only what gave way for want of room lies between them.
        expect(b[0] - a[a.length - 1]).toBeGreaterThan(0)
        expect(b[0] - a[a.length - 1]).toBeLessThan(40)
      }
    }
    expect(follows / all.length).toBeGreaterThan(0.35)
    expect(follows / all.length).toBeLessThan(0.6)
  })

  it('gives a step the same batch again', () => {
    const before = JSON.stringify(rows(3))
    rows(4)
    expect(JSON.stringify(rows(3))).toBe(before)
    expect(JSON.stringify(rows(4))).not.toBe(before)
  })

  it('makes single segments for a masked LM alone', () => {
    const single = new PretrainingLoader(documents.slice(0, 1), { batch: 8, seq: 12 }, tokens, 1, { pairs: false })
    const { inputIds, tokenTypeIds } = single.batchAt(0)
    expect(tokenTypeIds.every((type) => type === 0)).toBe(true)
    for (let row = 0; row < 8; row++) {
      expect([...inputIds.subarray(12 * row, 12 * row + 12)].filter((id) => id === 2)).toHaveLength(1)
    }
  })

  it('says what it lacks', () => {
    const make = (documents: Document[], seq = 40) => new PretrainingLoader(documents, { batch: 1, seq }, tokens, 1)
    expect(() => make([[[5]], [[]]])).toThrow('needs at least 2 documents with text, got 1')
    expect(() => make(documents, 4)).toThrow('sequences of at least 5 tokens, got 4')
  })
})
