import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  BlankLoader,
  blankText,
  sampleSentences,
  sampleSpans,
  sampleSuffix,
  spanLength,
  stretchOf,
} from '../../src/data/blanks.ts'
import { StepRandom } from '../../src/data/random.ts'

const TOKENS = { maskIds: { span: 901, sentence: 902, document: 903 }, startId: 904, endId: 905, padId: 900 }
const random = (seed: number): StepRandom => new StepRandom(seed, 0)
const seeds = fc.nat(1e6)
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

describe('spans', () => {
  it('have lengths by Poisson’s distribution with mean 3, without 0', () => {
    const draws = random(1)
    const lengths = upTo(20_000).map(() => spanLength(draws))
    expect(Math.min(...lengths)).toBe(1)
    // The mean of the lengths that are not 0: λ / (1 − e^−λ).
    expect(lengths.reduce((a, b) => a + b) / lengths.length).toBeCloseTo(3 / (1 - Math.exp(-3)), 1)
    const ones = lengths.filter((length) => length === 1).length / lengths.length
    expect(ones).toBeCloseTo((3 * Math.exp(-3)) / (1 - Math.exp(-3)), 1)
  })

  it('are in order with a token between two, inside the text, and about 15 % of it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 400 }), seeds, (length, seed) => {
        const spans = sampleSpans(length, random(seed))
        expect(spans.length).toBeGreaterThan(0)
        for (const [i, { start, end }] of spans.entries()) {
          expect(end).toBeGreaterThan(start)
          expect(start).toBeGreaterThanOrEqual(i === 0 ? 0 : spans[i - 1].end + 1)
        }
        expect(spans[spans.length - 1].end).toBeLessThanOrEqual(length)
        const covered = spans.reduce((sum, { start, end }) => sum + end - start, 0)
        expect(covered).toBeLessThan(length)
        if (length > 100) {
          expect(covered).toBeGreaterThanOrEqual(0.15 * length)
          expect(covered).toBeLessThan(0.15 * length + 39)
        }
      }),
    )
  })

  it('begin anywhere alike', () => {
    const counts = new Array<number>(20).fill(0)
    for (const seed of upTo(4000))
      for (const { start, end } of sampleSpans(20, random(seed))) for (let i = start; i < end; i++) counts[i]++
    const mean = counts.reduce((a, b) => a + b) / counts.length
    // At the ends fewer spans reach a place.
    for (const count of counts.slice(4, -4)) expect(Math.abs(count / mean - 1)).toBeLessThan(0.35)
  })
})

describe('sentences and ends', () => {
  it('sentences are whole, and at least 15 % of the text', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 12 }),
        seeds,
        (lengths, seed) => {
          const ends = lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b))
          const spans = sampleSentences(lengths, random(seed))
          for (const { start, end } of spans) {
            expect([0, ...ends]).toContain(start)
            expect(ends).toContain(end)
          }
          const total = ends[ends.length - 1]
          const covered = spans.reduce((sum, { start, end }) => sum + end - start, 0)
          if (lengths.length > 1) expect(covered).toBeLessThan(total)
          const starts = new Set(spans.map(({ start }) => start))
          const others = Math.min(...lengths.filter((length, i) => !starts.has(ends[i] - length)))
          expect(covered >= 0.15 * total || covered + others >= total).toBe(true)
        },
      ),
    )
  })

  it('an end is from half of the text to all of it', () => {
    const shares = upTo(2000).map((seed) => {
      const [{ start, end }] = sampleSuffix(40, random(seed))
      expect(end).toBe(40)
      return (end - start) / 40
    })
    expect(Math.min(...shares)).toBe(0.5)
    expect(Math.max(...shares)).toBe(1)
    expect(shares.reduce((a, b) => a + b) / shares.length).toBeCloseTo(0.75, 1)
  })
})

describe('a text with blanks', () => {
  it('is that of the paper’s figure 2', () => {
    const spans = [
      { start: 2, end: 3 },
      { start: 4, end: 6 },
    ]
    const [M, S, E] = [TOKENS.maskIds.span, TOKENS.startId, TOKENS.endId]
    expect(blankText([1, 2, 3, 4, 5, 6], spans, 'span', TOKENS, [1, 0])).toEqual({
      inputIds: [1, 2, M, 4, M, S, 5, 6, S, 3],
      positionIds: [
        [0, 1, 2, 3, 4, 4, 4, 4, 2, 2],
        [0, 0, 0, 0, 0, 1, 2, 3, 1, 2],
      ],
      shiftLabels: [-100, -100, -100, -100, -100, 5, 6, E, 3, E],
      sep: 5,
    })
  })

  it('gives the text back when its blanks are filled', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 90 }), seeds, (length, seed) => {
        const ids = upTo(length)
        const spans = sampleSpans(length, random(seed))
        const { inputIds, positionIds, shiftLabels, sep } = blankText(ids, spans, 'span', TOKENS)
        const filled = inputIds.slice(0, sep).flatMap((id, at) => {
          if (id !== TOKENS.maskIds.span) return [id]
          const told = inputIds.map((_, t) => t).filter((t) => t >= sep && positionIds[0][t] === at)
          return told.map((t) => shiftLabels[t]).slice(0, -1)
        })
        expect(filled).toEqual(ids)
      }),
    )
  })
})

describe('BlankLoader', () => {
  const documents = upTo(5).map((d) => upTo(6).map((s) => upTo(4 + d).map((i) => 100 * d + 10 * s + i)))
  const shape = { batch: 4, seq: 30 }
  const loader = (seed = 7) => new BlankLoader(documents, shape, 20, TOKENS, seed)

  it('gives the same batch for a seed and a step, in a row of which Part B is told from Part A', () => {
    const [once, again] = [loader(), loader()]
    once.batchAt(3)
    const batch = structuredClone(once.batchAt(5))
    expect(again.batchAt(5)).toEqual(batch)
    expect(loader(8).batchAt(5)).not.toEqual(batch)
    for (let row = 0; row < shape.batch; row++) {
      const of = (array: Int32Array) => [...array.subarray(row * shape.seq, (row + 1) * shape.seq)]
      const [ids, labels] = [of(batch.inputIds), of(batch.shiftLabels)]
      const sep = batch.sep[row]
      expect(ids[sep]).toBe(TOKENS.startId)
      expect(labels.slice(0, sep).every((label) => label === -100)).toBe(true)
      const masks = ids.slice(0, sep).filter((id) => Object.values(TOKENS.maskIds).includes(id))
      expect(ids.filter((id) => id === TOKENS.startId).length).toBe(masks.length)
      expect(labels.filter((label) => label === TOKENS.endId).length).toBe(masks.length)
    }
  })

  it('draws blanks of each kind as often as it is told', () => {
    const only = new BlankLoader(documents, shape, 20, TOKENS, 1, { span: 0, sentence: 1, document: 0 })
    for (const step of upTo(20)) {
      const ids = [...only.batchAt(step).inputIds]
      expect(ids).toContain(TOKENS.maskIds.sentence)
      expect(ids).not.toContain(TOKENS.maskIds.span)
      expect(ids).not.toContain(TOKENS.maskIds.document)
    }
  })

  it('cuts stretches of neighbouring tokens out of one document', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const ids = stretchOf(documents, 13, random(seed)).flat()
        expect(ids.length).toBe(13)
        const document = documents[Math.floor(ids[0] / 100)].flat()
        expect(document.join()).toContain(ids.join())
      }),
    )
  })

  it('refuses texts that do not fit', () => {
    expect(() => new BlankLoader(documents, shape, 29, TOKENS, 1)).toThrow('do not fit sequences of 30')
    expect(() => new BlankLoader([[[1]]], shape, 10, TOKENS, 1)).toThrow('at least two tokens')
  })
})
