/** float16 and bfloat16, as bits in a `Uint16Array`, to and from float32. Rounding is to nearest, ties to even. */

let halfTable: Uint32Array | undefined

/** The float32 bits of every float16: 256 KB, made on first use. NaN payloads are kept. */
function halfToFloatBits(): Uint32Array {
  if (halfTable) return halfTable
  const table = new Uint32Array(65536)
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16
    const exponent = (half >>> 10) & 31
    const mantissa = half & 0x3ff
    if (exponent === 31) table[half] = sign | 0x7f800000 | (mantissa << 13)
    else if (exponent > 0) table[half] = sign | ((exponent + 112) << 23) | (mantissa << 13)
    else if (mantissa > 0) {
      // Subnormal: shift the leading one into place; float32 has room for the exponent.
      const shift = Math.clz32(mantissa) - 21
      table[half] = sign | ((113 - shift) << 23) | ((mantissa << (shift + 13)) & 0x7fffff)
    } else table[half] = sign
  }
  return (halfTable = table)
}

// Values move as integers: a trip through a JavaScript number may change the payload of a NaN.
const bitsOf = (floats: Float32Array): Uint32Array => new Uint32Array(floats.buffer, floats.byteOffset, floats.length)

/** Writes the float32 value of each float16 of `source` into `target`. */
export function halfToFloat(source: Uint16Array, target: Float32Array): void {
  const table = halfToFloatBits()
  const out = bitsOf(target)
  for (let i = 0; i < source.length; i++) out[i] = table[source[i]]
}

/** The float32 value of one float16. */
export function halfValue(bits: number): number {
  const one = new Uint32Array([halfToFloatBits()[bits]])
  return new Float32Array(one.buffer)[0]
}

/** The float values of all float16 numbers, indexed by their bits. Do not write to it. */
export const halfValues = (): Float32Array => new Float32Array(halfToFloatBits().buffer)

/** Writes each float32 of `source` as float16 into `target`. Beyond 65,519.99… it becomes an infinity. */
export function floatToHalf(source: Float32Array, target: Uint16Array): void {
  const bits = bitsOf(source)
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i] & 0x7fffffff
    const sign = (bits[i] >>> 16) & 0x8000
    if (x > 0x7f800000) target[i] = sign | 0x7e00 | ((x >>> 13) & 0x3ff)
    else if (x >= 0x47800000) target[i] = sign | 0x7c00
    else if (x >= 0x38800000) target[i] = sign | ((x - 0x38000000 + 0xfff + ((x >>> 13) & 1)) >>> 13)
    else {
      // Below 2^-14: count in units of 2^-24, the least float16.
      const shift = 126 - (x >>> 23)
      if (shift > 24) target[i] = sign
      else {
        const mantissa = (x & 0x7fffff) | 0x800000
        const halfUnit = 2 ** (shift - 1) - 1 + ((mantissa >>> shift) & 1)
        target[i] = sign | ((mantissa + halfUnit) >>> shift)
      }
    }
  }
}

/** Writes the float32 value of each bfloat16 of `source` into `target`. */
export function bfloatToFloat(source: Uint16Array, target: Float32Array): void {
  const out = bitsOf(target)
  for (let i = 0; i < source.length; i++) out[i] = source[i] << 16
}

/** Writes each float32 of `source` as bfloat16 into `target`. */
export function floatToBfloat(source: Float32Array, target: Uint16Array): void {
  const bits = bitsOf(source)
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]
    // A NaN is made quiet, so that dropping its low bits cannot turn it into an infinity.
    target[i] = (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16
  }
}
