import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StepRandom } from '../../src/data/random.ts'
import { corruptedLengths, corruptSpans, randomSpans, textLengthFor } from '../../src/data/span-corruption.ts'

const TOKENS = { firstSentinelId: 32_099, endTokenId: 1 }

describe('corruptSpans', () => {
  it('does what figure 2 of the paper shows', () => {
    const words = 'Thank you for inviting me to your party last week .'.split(' ')
    const ids = words.map((_, i) => 100 + i)
    const spans = [
      { start: 2, end: 4 },
      { start: 8, end: 9 },
    ]
    const said = new Map([...ids.map((id, i): [number, string] => [id, words[i]]), [1, '</s>']])
    for (const [i, name] of ['<X>', '<Y>', '<Z>'].entries()) said.set(32_099 - i, name)
    const { inputIds, labels } = corruptSpans(ids, spans, TOKENS)
    expect(inputIds.map((id) => said.get(id)).join(' ')).toBe('Thank you <X> me to your party <Y> week . </s>')
    expect(labels.map((id) => said.get(id)).join(' ')).toBe('<X> for inviting <Y> last <Z> </s>')
  })

  it('takes runs out at the beginning and at the end, too', () => {
    const spans = [
      { start: 0, end: 1 },
      { start: 3, end: 5 },
    ]
    expect(corruptSpans([11, 12, 13, 14, 15], spans, TOKENS)).toEqual({
      inputIds: [32_099, 12, 13, 32_098, 1],
      labels: [32_099, 11, 32_098, 14, 15, 32_097, 1],
    })
  })

  it('leaves a text whole that has no runs', () => {
    expect(corruptSpans([11, 12], [], TOKENS)).toEqual({ inputIds: [11, 12, 1], labels: [32_099, 1] })
  })

  it('names the run that is out of order, touches another or does not fit, and a lack of sentinels', () => {
    const ids = [11, 12, 13, 14]
    const touching = [
      { start: 1, end: 2 },
      { start: 2, end: 3 },
    ]
    expect(() => corruptSpans(ids, touching, TOKENS)).toThrow('run 1 is 2 to 3, after one that ends at 2')
    expect(() => corruptSpans(ids, [{ start: 2, end: 2 }], TOKENS)).toThrow('run 0')
    expect(() => corruptSpans(ids, [{ start: 3, end: 5 }], TOKENS)).toThrow('of 4 tokens')
    expect(() => corruptSpans(ids, [{ start: 1, end: 2 }], { ...TOKENS, sentinels: 1 })).toThrow('sentinel')
  })
})

describe('randomSpans', () => {
  it('takes out as many tokens and runs as the reference does, rounding halves to even', () => {
    // round(0.15 n) with 10 → 1.5 → 2, 30 → 4.5 → 4, 50 → 7.5 → 8; runs: round(tokens / 3), at least one.
    const expected = [
      [2, 1, 1],
      [3, 1, 1],
      [10, 2, 1],
      [30, 4, 1],
      [50, 8, 3],
      [100, 15, 5],
      [512, 77, 26],
      [568, 85, 28],
    ]
    for (const [length, tokens, runs] of expected) {
      const spans = randomSpans(length, new StepRandom(1, length))
      expect([length, spans.reduce((sum, { start, end }) => sum + end - start, 0), spans.length]).toEqual([
        ...[length, tokens, runs],
      ])
    }
  })

  it('begins with what stays, ends with what is taken out, and keeps runs apart', () => {
    const cases = fc.record({
      length: fc.integer({ min: 2, max: 400 }),
      noiseDensity: fc.double({ min: 0.01, max: 0.9, noNaN: true }),
      meanSpanLength: fc.double({ min: 1, max: 20, noNaN: true }),
      seed: fc.nat(),
    })
    fc.assert(
      fc.property(cases, ({ length, seed, ...options }) => {
        const spans = randomSpans(length, new StepRandom(seed, 0), options)
        expect(spans[0].start).toBeGreaterThan(0)
        expect(spans.at(-1)?.end).toBe(length)
        for (const [i, { start, end }] of spans.entries()) {
          expect(end).toBeGreaterThan(start)
          expect(start).toBeGreaterThan(spans[i - 1]?.end ?? 0)
        }
      }),
    )
  })

  it('draws every way to divide a text equally often', () => {
    // Seven tokens, three of them out in two runs: 2 ways to divide 3, 3 ways to divide 4.
    const options = { noiseDensity: 3 / 7, meanSpanLength: 1.5 }
    const counts = new Map<string, number>()
    const draws = 6000
    for (let step = 0; step < draws; step++) {
      const key = randomSpans(7, new StepRandom(3, step), options)
        .map(({ start, end }) => `${start}-${end}`)
        .join(' ')
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    expect(counts.size).toBe(6)
    // Four standard deviations of a sixth of the draws.
    for (const count of counts.values())
      expect(Math.abs(count - draws / 6)).toBeLessThan(4 * Math.sqrt(draws * (5 / 36)))
  })

  it('comes back as the text it was made of', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 2, max: 30_000 }), { minLength: 2, maxLength: 120 }),
        fc.nat(),
        (ids, seed) => {
          const { inputIds, labels } = corruptSpans(ids, randomSpans(ids.length, new StepRandom(seed, 0)), TOKENS)
          expect(restored(inputIds, labels)).toEqual(ids)
          expect(corruptedLengths(ids.length)).toEqual({ inputs: inputIds.length, targets: labels.length })
        },
      ),
    )
  })
})

it('a text of 568 tokens fills T5’s 512 inputs, and 114 targets and a last sentinel', () => {
  expect(textLengthFor(512)).toBe(568)
  expect(corruptedLengths(568)).toEqual({ inputs: 512, targets: 115 })
  expect(corruptedLengths(569).inputs).toBeGreaterThan(512)
})

it('refuses shares and lengths that make no sense', () => {
  const random = new StepRandom(1, 1)
  expect(() => randomSpans(1, random)).toThrow('two tokens or more, got 1')
  expect(() => randomSpans(9, random, { noiseDensity: 1 })).toThrow('noiseDensity')
  expect(() => randomSpans(9, random, { meanSpanLength: 0.5 })).toThrow('meanSpanLength')
})

/** The text again: each sentinel of the inputs replaced by what the targets have for it. */
function restored(inputIds: readonly number[], labels: readonly number[]): number[] {
  const runs = new Map<number, number[]>()
  let run: number[] = []
  for (const id of labels) {
    if (id > 32_000) runs.set(id, (run = []))
    else run.push(id)
  }
  return inputIds.slice(0, -1).flatMap((id) => runs.get(id) ?? [id])
}
