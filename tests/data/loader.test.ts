import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  IGNORED_LABEL,
  type LanguageModelBatch,
  PackedDocuments,
  RandomWindows,
  SequentialWindows,
  type TrainingLoader,
} from '../../src/data/loader.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'

const copy = ({ inputIds, shiftLabels }: LanguageModelBatch): number[][] => [[...inputIds], [...shiftLabels]]

/** Tokens 0, 1, 2, …, so that a token tells where it stood. */
const numbered = (length: number): TokenDataset =>
  TokenDataset.from(
    Array.from({ length }, (_, i) => i),
    Math.max(1, length),
  )

const shape = fc.record({ batch: fc.integer({ min: 1, max: 5 }), seq: fc.integer({ min: 1, max: 9 }) })
const seed = fc.nat({ max: Number.MAX_SAFE_INTEGER })

/** Documents of 1 … n tokens from 1, each ended by 0. */
const documents = fc.array(fc.array(fc.integer({ min: 1, max: 999 }), { maxLength: 20 }), {
  minLength: 1,
  maxLength: 12,
})
const joined = (parts: readonly number[][]): TokenDataset =>
  TokenDataset.from(
    parts.flatMap((part) => [...part, 0]),
    1000,
  )

const loaders: [string, (data: TokenDataset, shape: { batch: number; seq: number }, seed: number) => TrainingLoader][] =
  [
    ['RandomWindows', (data, shape, seed) => new RandomWindows(data, shape, seed)],
    ['PackedDocuments', (data, shape, seed) => new PackedDocuments(data, 0, shape, seed)],
  ]

describe.each(loaders)('%s', (_, create) => {
  const data = joined(Array.from({ length: 15 }, (_, i) => Array.from({ length: i }, (_, t) => 20 * i + t + 1)))

  it('gives a batch that depends on the seed and the step alone', () => {
    fc.assert(
      fc.property(shape, seed, fc.array(fc.nat({ max: 400 }), { minLength: 1, maxLength: 6 }), (shape, seed, steps) => {
        const one = create(data, shape, seed)
        for (const step of steps) expect(copy(one.batchAt(step))).toEqual(copy(create(data, shape, seed).batchAt(step)))
      }),
    )
  })

  it('goes on after a restart exactly as if it had not been stopped', () => {
    fc.assert(
      fc.property(shape, seed, fc.nat({ max: 30 }), fc.nat({ max: 20 }), (shape, seed, before, after) => {
        const uninterrupted = create(data, shape, seed)
        for (let i = 0; i < before; i++) uninterrupted.next()
        const saved = JSON.parse(JSON.stringify(uninterrupted.state))
        const resumed = create(data, shape, seed)
        resumed.restore(saved)
        for (let i = 0; i < after; i++) expect(copy(resumed.next())).toEqual(copy(uninterrupted.next()))
        expect(resumed.state).toEqual(uninterrupted.state)
      }),
    )
  })

  it('gives other batches for another seed', () => {
    const [one, other] = [1, 2].map((seed) => create(data, { batch: 8, seq: 4 }, seed))
    expect(copy(one.next())).not.toEqual(copy(other.next()))
  })

  it('fills the same buffers at every step', () => {
    const loader = create(data, { batch: 2, seq: 3 }, 0)
    expect(loader.next().inputIds).toBe(loader.next().inputIds)
  })

  it('refuses what it cannot serve', () => {
    expect(() => create(numbered(4), { batch: 1, seq: 4 }, 0)).toThrow('need at least 5 tokens, the data has 4')
    expect(() => create(data, { batch: 0, seq: 4 }, 0)).toThrow('batch 0')
    expect(() => create(data, { batch: 1, seq: 1.5 }, 0)).toThrow('seq 1.5')
    expect(() => create(data, { batch: 1, seq: 1 }, -1)).toThrow('seed')
    expect(() => create(data, { batch: 1, seq: 1 }, 0).batchAt(-1)).toThrow('step')
    expect(() => create(data, { batch: 1, seq: 1 }, 0).restore({ seed: 1, step: 0 })).toThrow('seed 1')
  })
})

describe('RandomWindows', () => {
  it('cuts windows of consecutive tokens, labels one ahead, anywhere in the data', () => {
    fc.assert(
      fc.property(shape, seed, fc.nat({ max: 50 }), (shape, seed, extra) => {
        const length = shape.seq + 1 + extra
        const { inputIds, shiftLabels } = new RandomWindows(numbered(length), shape, seed).next()
        for (let i = 0; i < inputIds.length; i++) {
          expect(shiftLabels[i]).toBe(inputIds[i] + 1)
          if (i % shape.seq > 0) expect(inputIds[i]).toBe(inputIds[i - 1] + 1)
        }
        expect(Math.max(...shiftLabels)).toBeLessThan(length)
      }),
    )
  })

  it('draws every offset about equally often, the first and the last too', () => {
    const loader = new RandomWindows(numbered(12), { batch: 100, seq: 2 }, 5)
    const drawn = new Array<number>(10).fill(0)
    for (let step = 0; step < 200; step++) {
      const { inputIds } = loader.next()
      for (let row = 0; row < 100; row++) drawn[inputIds[2 * row]]++
    }
    for (const times of drawn) expect(Math.abs(times - 2000)).toBeLessThan(5 * Math.sqrt(20_000 * 0.09))
  })
})

describe('SequentialWindows', () => {
  it('labels every token but the first exactly once, in order, whatever the shape', () => {
    fc.assert(
      fc.property(shape, fc.integer({ min: 2, max: 120 }), (shape, length) => {
        const windows = new SequentialWindows(numbered(length), shape)
        const labelled: number[] = []
        let batches = 0
        for (const { inputIds, shiftLabels } of windows) {
          batches++
          expect(inputIds.length).toBe(shape.batch * shape.seq)
          for (let i = 0; i < shiftLabels.length; i++) {
            if (shiftLabels[i] === IGNORED_LABEL) expect(inputIds[i]).toBe(0)
            else {
              expect(shiftLabels[i]).toBe(inputIds[i] + 1)
              labelled.push(shiftLabels[i])
            }
          }
        }
        expect(labelled).toEqual(Array.from({ length: length - 1 }, (_, i) => i + 1))
        expect(windows.labelCount).toBe(length - 1)
        expect(windows.batchCount).toBe(batches)
      }),
    )
  })

  it('starts afresh each time it is iterated', () => {
    const windows = new SequentialWindows(numbered(10), { batch: 2, seq: 3 })
    expect([...windows].length).toBe([...windows].length)
    expect(() => new SequentialWindows(numbered(1), { batch: 1, seq: 1 })).toThrow('need at least 2 tokens')
  })
})

describe('PackedDocuments', () => {
  /** The windows of one epoch, each as its seq + 1 tokens. */
  function epochWindows(loader: PackedDocuments, epoch: number): number[][] {
    const { batch, seq } = loader.shape
    return Array.from({ length: loader.windowsPerEpoch }, (_, i) => {
      const window = epoch * loader.windowsPerEpoch + i
      const { inputIds, shiftLabels } = loader.batchAt(Math.floor(window / batch))
      const row = (window % batch) * seq
      return [...inputIds.subarray(row, row + seq), shiftLabels[row + seq - 1]]
    })
  }

  it('shows every token once an epoch, save at most seq at the end, and lays whole documents end to end', () => {
    fc.assert(
      fc.property(documents, seed, fc.nat({ max: 3 }), shape, (parts, seed, epoch, shape) => {
        // Tokens are made unique by their place, so that a window tells where each of its tokens comes from.
        let place = 0
        const marked = parts.map((part) => part.map(() => ++place))
        const data = TokenDataset.from(
          marked.flatMap((part) => [...part, 0]),
          1000,
        )
        fc.pre(data.length > shape.seq)
        const loader = new PackedDocuments(data, 0, shape, seed)
        const windows = epochWindows(loader, epoch)
        const inputs = windows.flatMap((window) => window.slice(0, shape.seq))
        const words = inputs.filter((token) => token !== 0)
        expect(new Set(words).size).toBe(words.length)
        expect(inputs.filter((token) => token === 0).length).toBeLessThanOrEqual(parts.length)
        expect(data.length - inputs.length).toBeLessThanOrEqual(shape.seq)
        const after = new Map(marked.flatMap((part) => part.map((token, t) => [token, part[t + 1] ?? 0])))
        for (const window of windows) {
          for (let t = 0; t < shape.seq; t++) if (window[t] !== 0) expect(window[t + 1]).toBe(after.get(window[t]))
        }
      }),
    )
  })

  it('orders documents and windows anew in every epoch', () => {
    const data = joined(Array.from({ length: 30 }, (_, i) => [i + 1, i + 101]))
    const loader = new PackedDocuments(data, 0, { batch: 2, seq: 5 }, 11)
    expect(epochWindows(loader, 0)).not.toEqual(epochWindows(loader, 1))
    const sorted = (epoch: number): string[] => epochWindows(loader, epoch).map(String).sort()
    expect(sorted(0)).not.toEqual(sorted(1))
  })

  it('takes data without any separator, and data smaller than a batch', () => {
    const loader = new PackedDocuments(TokenDataset.from([1, 2, 3], 9), 0, { batch: 7, seq: 2 }, 0)
    const { inputIds, shiftLabels } = loader.next()
    expect([...inputIds]).toEqual(Array.from({ length: 7 }, () => [1, 2]).flat())
    expect([...shiftLabels]).toEqual(Array.from({ length: 7 }, () => [2, 3]).flat())
  })
})
