import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bfloatToFloat, floatToBfloat, floatToHalf, halfToFloat } from '../../src/hub/half.ts'

const all = Uint16Array.from({ length: 65536 }, (_, i) => i)
const bits = (floats: Float32Array) => new Uint32Array(floats.buffer, floats.byteOffset, floats.length)

/** The definition, in arithmetic that float64 does exactly. */
function halfByDefinition(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 31
  const mantissa = half & 1023
  if (exponent === 31) return mantissa ? Number.NaN : sign * Infinity
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}

const toHalf = (value: number): number => {
  const out = new Uint16Array(1)
  floatToHalf(Float32Array.of(value), out)
  return out[0]
}

describe('float16', () => {
  const values = new Float32Array(65536)
  halfToFloat(all, values)

  it('means what the definition says, for all 65,536 bit patterns', () => {
    expect(all.filter((half) => !Object.is(values[half], halfByDefinition(half)))).toHaveLength(0)
  })

  it('survives a trip through float32, payloads of NaN included', () => {
    const back = new Uint16Array(65536)
    floatToHalf(values, back)
    // Signalling NaNs become quiet, as the standard asks.
    const isNaN16 = (half: number) => (half & 0x7c00) === 0x7c00 && (half & 1023) !== 0
    expect(all.filter((half) => back[half] !== (isNaN16(half) ? half | 0x200 : half))).toHaveLength(0)
  })

  it('rounds to the nearest, ties to even, between and just beside all neighbours', () => {
    const wrong: number[] = []
    for (let half = 0; half < 0x7bff; half++) {
      const low = halfByDefinition(half)
      const high = halfByDefinition(half + 1)
      const middle = (low + high) / 2
      const even = half % 2 === 0 ? half : half + 1
      const step = Math.max(middle * 2 ** -23, 2 ** -149)
      const rounded = [middle, middle - step, middle + step, -middle].map(toHalf)
      if (rounded.join() !== [even, half, half + 1, even | 0x8000].join()) wrong.push(half)
    }
    expect(wrong).toEqual([])
  })

  it('overflows to infinity from 65,520 and underflows to a signed zero up to 2^-25', () => {
    expect([65519.99609375, 65520, 1e30, Infinity].map(toHalf)).toEqual([0x7bff, 0x7c00, 0x7c00, 0x7c00])
    expect([2 ** -25, -(2 ** -25), 2 ** -25 * 1.0001, 2 ** -149].map(toHalf)).toEqual([0, 0x8000, 1, 0])
  })

  it('picks the nearest value for any float32', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: -65504, max: 65504 }), (value) => {
        const half = toHalf(value)
        const error = Math.abs(halfByDefinition(half) - value)
        for (const other of [half - 1, half + 1]) {
          const distance = Math.abs(halfByDefinition(other & 0xffff) - value)
          if (Number.isFinite(distance)) expect(error).toBeLessThanOrEqual(distance)
        }
      }),
    )
  })
})

describe('bfloat16', () => {
  it('is the upper half of a float32, for all 65,536 bit patterns, and survives the trip', () => {
    const values = new Float32Array(65536)
    bfloatToFloat(all, values)
    const back = new Uint16Array(65536)
    floatToBfloat(values, back)
    const isNaN16 = (half: number) => (half & 0x7f80) === 0x7f80 && (half & 127) !== 0
    expect(all.filter((half) => bits(values)[half] !== (half << 16) >>> 0)).toHaveLength(0)
    expect(all.filter((half) => back[half] !== (isNaN16(half) ? half | 0x40 : half))).toHaveLength(0)
  })

  it('rounds to the nearest, ties to even', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), (pattern) => {
        const source = new Float32Array(Uint32Array.of(pattern).buffer)
        if (Number.isNaN(source[0])) return
        const out = new Uint16Array(1)
        floatToBfloat(source, out)
        const rest = pattern & 0xffff
        const upper = pattern >>> 16
        const expected = rest > 0x8000 || (rest === 0x8000 && upper % 2 === 1) ? upper + 1 : upper
        expect(out[0]).toBe(expected)
      }),
    )
  })

  it('keeps a NaN a NaN', () => {
    const out = new Uint16Array(1)
    floatToBfloat(new Float32Array(Uint32Array.of(0x7f800001).buffer), out)
    expect(out[0]).toBe(0x7fc0)
  })
})
