import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { philox4x32, StepRandom } from '../../src/data/random.ts'

describe('philox4x32', () => {
  // The known-answer vectors published with Random123 (philox4x32, 10 rounds).
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])('gives the published vector for counter %j, key %j', (counter, key, expected) => {
    expect([...philox4x32(counter, key, new Uint32Array(4))]).toEqual(expected)
  })

  it('multiplies like 64-bit integers: a round by BigInt agrees on any input', () => {
    const word = fc.integer({ min: 0, max: 0xffffffff })
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), (counter, key) => {
        expect([...philox4x32(counter, key, new Uint32Array(4))]).toEqual(philoxByBigInt(counter, key))
      }),
    )
  })
})

function philoxByBigInt(counter: number[], key: number[]): number[] {
  const mask = 0xffffffffn
  let c = counter.map(BigInt)
  let k = key.map(BigInt)
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c[0]
    const p1 = 0xcd9e8d57n * c[2]
    c = [(p1 >> 32n) ^ c[1] ^ k[0], p1 & mask, (p0 >> 32n) ^ c[3] ^ k[1], p0 & mask]
    k = [(k[0] + 0x9e3779b9n) & mask, (k[1] + 0xbb67ae85n) & mask]
  }
  return c.map(Number)
}

const count = fc.nat({ max: Number.MAX_SAFE_INTEGER })

describe('StepRandom', () => {
  it('repeats its stream for the same seed and step, and differs where either differs', () => {
    const stream = (seed: number, step: number): number[] => {
      const random = new StepRandom(seed, step)
      return Array.from({ length: 12 }, () => random.uint32())
    }
    fc.assert(
      fc.property(count, count, (seed, step) => {
        expect(stream(seed, step)).toEqual(stream(seed, step))
        expect(stream(seed, step)).not.toEqual(stream(seed === 0 ? 1 : seed - 1, step))
        expect(stream(seed, step)).not.toEqual(stream(seed, step === 0 ? 1 : step - 1))
      }),
    )
  })

  it('draws every integer below n about equally often', () => {
    const random = new StepRandom(7, 0)
    const drawn = new Array<number>(10).fill(0)
    for (let i = 0; i < 100_000; i++) drawn[random.below(10)]++
    // Five standard deviations of a binomial with n = 100,000, p = 0.1.
    for (const times of drawn) expect(Math.abs(times - 10_000)).toBeLessThan(5 * Math.sqrt(100_000 * 0.09))
  })

  it('stays below n, and permutes', () => {
    fc.assert(
      fc.property(count, fc.integer({ min: 1, max: 2 ** 32 }), (seed, n) => {
        expect(new StepRandom(seed, 0).below(n)).toBeLessThan(n)
      }),
    )
    fc.assert(
      fc.property(count, fc.nat({ max: 300 }), (seed, n) => {
        const order = new StepRandom(seed, 3).permutation(n)
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i))
      }),
    )
  })

  it.each([-1, 0.5, Number.NaN, 2 ** 53])('refuses %s as a seed and as a step', (bad) => {
    expect(() => new StepRandom(bad, 0)).toThrow('seed must be an integer')
    expect(() => new StepRandom(0, bad)).toThrow('step must be an integer')
  })
})
