/**
 * The number formats of GGUF: a row is cut into blocks, each with its own scale. Block layouts are those of ggml's
 * `ggml-common.h`; every product and sum is rounded to float32 where the reference rounds, so results are equal
 * bit for bit.
 */
import { bfloatToFloat, halfToFloat, halfValues } from '../half.ts'

export interface GgufType {
  /** The number that stands for the type in a file. */
  readonly id: number
  readonly name: string
  readonly blockElements: number
  readonly blockBytes: number
}

const type = (id: number, name: string, blockElements: number, blockBytes: number): GgufType => ({
  id,
  name,
  blockElements,
  blockBytes,
})

/** Every type that a file may hold; those without an entry in `DEQUANTIZE` are only copied. */
export const GGUF_TYPES: readonly GgufType[] = [
  type(0, 'F32', 1, 4),
  type(1, 'F16', 1, 2),
  type(2, 'Q4_0', 32, 18),
  type(3, 'Q4_1', 32, 20),
  type(6, 'Q5_0', 32, 22),
  type(7, 'Q5_1', 32, 24),
  type(8, 'Q8_0', 32, 34),
  type(9, 'Q8_1', 32, 36),
  type(10, 'Q2_K', 256, 84),
  type(11, 'Q3_K', 256, 110),
  type(12, 'Q4_K', 256, 144),
  type(13, 'Q5_K', 256, 176),
  type(14, 'Q6_K', 256, 210),
  type(15, 'Q8_K', 256, 292),
  type(16, 'IQ2_XXS', 256, 66),
  type(17, 'IQ2_XS', 256, 74),
  type(18, 'IQ3_XXS', 256, 98),
  type(19, 'IQ1_S', 256, 50),
  type(20, 'IQ4_NL', 32, 18),
  type(21, 'IQ3_S', 256, 110),
  type(22, 'IQ2_S', 256, 82),
  type(23, 'IQ4_XS', 256, 136),
  type(24, 'I8', 1, 1),
  type(25, 'I16', 1, 2),
  type(26, 'I32', 1, 4),
  type(27, 'I64', 1, 8),
  type(28, 'F64', 1, 8),
  type(29, 'IQ1_M', 256, 56),
  type(30, 'BF16', 1, 2),
  type(34, 'TQ1_0', 256, 54),
  type(35, 'TQ2_0', 256, 66),
  type(39, 'MXFP4', 32, 17),
]

const BY_NAME = new Map(GGUF_TYPES.map((entry) => [entry.name, entry]))

/** @throws Error where no such type is known. */
export function ggufType(name: string): GgufType {
  const found = BY_NAME.get(name)
  if (!found) throw new Error(`GGUF has no type ${name}`)
  return found
}

/** Whether `dequantize` knows the type. */
export const canDequantize = (name: string): boolean => Object.hasOwn(DEQUANTIZE, name) || Object.hasOwn(PLAIN, name)

/**
 * Writes the float32 values of whole blocks into `target`.
 *
 * @param blocks - as stored; may lie at any byte offset
 * @param target - [blocks.length / blockBytes · blockElements]
 * @throws Error where the type is not one of those known here.
 */
export function dequantize(name: string, blocks: Uint8Array, target: Float32Array): void {
  const { blockBytes, blockElements } = ggufType(name)
  const count = blocks.length / blockBytes
  if (target.length !== count * blockElements) {
    throw new RangeError(`dequantize: ${blocks.length} bytes of ${name} do not make ${target.length} elements`)
  }
  if (Object.hasOwn(PLAIN, name)) {
    const aligned = blocks.byteOffset % 8 === 0 ? blocks : blocks.slice()
    PLAIN[name](aligned, target)
    return
  }
  if (!Object.hasOwn(DEQUANTIZE, name)) throw new Error(`${name} is a type that cannot be dequantised here`)
  DEQUANTIZE[name](blocks, count, target, halfValues())
}

type PlainReader = (bytes: Uint8Array, target: Float32Array) => void

const PLAIN: Readonly<Record<string, PlainReader>> = {
  F32: ({ buffer, byteOffset }, target) => target.set(new Float32Array(buffer, byteOffset, target.length)),
  F16: ({ buffer, byteOffset }, target) => halfToFloat(new Uint16Array(buffer, byteOffset, target.length), target),
  BF16: ({ buffer, byteOffset }, target) => bfloatToFloat(new Uint16Array(buffer, byteOffset, target.length), target),
  F64: ({ buffer, byteOffset }, target) => target.set(new Float64Array(buffer, byteOffset, target.length)),
  I8: ({ buffer, byteOffset }, target) => target.set(new Int8Array(buffer, byteOffset, target.length)),
  I16: ({ buffer, byteOffset }, target) => target.set(new Int16Array(buffer, byteOffset, target.length)),
  I32: ({ buffer, byteOffset }, target) => target.set(new Int32Array(buffer, byteOffset, target.length)),
  I64: ({ buffer, byteOffset }, target) =>
    target.set(Float32Array.from(new BigInt64Array(buffer, byteOffset, target.length), Number)),
}

/** Reads `count` blocks of `b`; `half` is the table of all float16 values. */
type BlockReader = (b: Uint8Array, count: number, out: Float32Array, half: Float32Array) => void

const { fround } = Math
const u16 = (b: Uint8Array, at: number): number => b[at] | (b[at + 1] << 8)

/** The 16 steps of the non-linear 4-bit types. */
const IQ4_VALUES = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

/** The eight 6-bit scales and minima that Q4_K and Q5_K pack into twelve bytes. */
function unpackScales(b: Uint8Array, at: number, scales: Uint8Array, minima: Uint8Array): void {
  for (let i = 0; i < 4; i++) {
    const low = b[at + i]
    const middle = b[at + 4 + i]
    const high = b[at + 8 + i]
    scales[i] = low & 63
    minima[i] = middle & 63
    scales[i + 4] = (high & 15) | ((low >> 2) & 0x30)
    minima[i + 4] = (high >> 4) | ((middle >> 2) & 0x30)
  }
}

const DEQUANTIZE: Readonly<Record<string, BlockReader>> = {
  Q8_0(b, count, out, half) {
    const signed = new Int8Array(b.buffer, b.byteOffset, b.length)
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 34) {
      const d = half[u16(b, at)]
      for (let i = 0; i < 32; i++) out[to++] = d * signed[at + 2 + i]
    }
  },

  Q4_0(b, count, out, half) {
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 18, to += 32) {
      const d = half[u16(b, at)]
      for (let i = 0; i < 16; i++) {
        const q = b[at + 2 + i]
        out[to + i] = d * ((q & 15) - 8)
        out[to + 16 + i] = d * ((q >> 4) - 8)
      }
    }
  },

  Q4_1(b, count, out, half) {
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 20, to += 32) {
      const d = half[u16(b, at)]
      const m = half[u16(b, at + 2)]
      for (let i = 0; i < 16; i++) {
        const q = b[at + 4 + i]
        out[to + i] = fround(d * (q & 15)) + m
        out[to + 16 + i] = fround(d * (q >> 4)) + m
      }
    }
  },

  Q5_0(b, count, out, half) {
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 22, to += 32) {
      const d = half[u16(b, at)]
      const high = u16(b, at + 2) | (u16(b, at + 4) << 16)
      for (let i = 0; i < 16; i++) {
        const q = b[at + 6 + i]
        out[to + i] = d * (((q & 15) | (((high >>> i) & 1) << 4)) - 16)
        out[to + 16 + i] = d * (((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16)
      }
    }
  },

  Q5_1(b, count, out, half) {
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 24, to += 32) {
      const d = half[u16(b, at)]
      const m = half[u16(b, at + 2)]
      const high = u16(b, at + 4) | (u16(b, at + 6) << 16)
      for (let i = 0; i < 16; i++) {
        const q = b[at + 8 + i]
        out[to + i] = fround(d * ((q & 15) | (((high >>> i) & 1) << 4))) + m
        out[to + 16 + i] = fround(d * ((q >> 4) | (((high >>> (i + 16)) & 1) << 4))) + m
      }
    }
  },

  // Bytes 0–15: 4-bit scale and minimum of each 16 elements; 16–79: 2-bit values; then d and the minima's own scale.
  Q2_K(b, count, out, half) {
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 84) {
      const d = half[u16(b, at + 80)]
      const dMin = half[u16(b, at + 82)]
      for (let i = 0; i < 256; i++) {
        const scale = b[at + (i >> 4)]
        const q = (b[at + 16 + (i >> 7) * 32 + (i & 31)] >> ((i >> 4) & 6)) & 3
        out[to++] = fround(fround(d * (scale & 15)) * q) - fround(dMin * (scale >> 4))
      }
    }
  },

  // 0–31: third bits; 32–95: low two bits; 96–107: sixteen 6-bit scales; then d.
  Q3_K(b, count, out, half) {
    const scales = new Float32Array(16)
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 110) {
      const d = half[u16(b, at + 108)]
      for (let i = 0; i < 16; i++) {
        const low = i < 8 ? b[at + 96 + i] & 15 : b[at + 88 + i] >> 4
        const high = (b[at + 104 + (i & 3)] >> ((i >> 2) * 2)) & 3
        scales[i] = d * ((low | (high << 4)) - 32)
      }
      for (let i = 0; i < 256; i++) {
        const low = (b[at + 32 + (i >> 7) * 32 + (i & 31)] >> ((i >> 4) & 6)) & 3
        // A clear third bit subtracts.
        const q = (b[at + (i & 31)] >> (i >> 5)) & 1 ? low : low - 4
        out[to++] = scales[i >> 4] * q
      }
    }
  },

  // d, the minima's scale, 4–15: 6-bit scales and minima of each 32 elements; 16–143: 4-bit values.
  Q4_K(b, count, out, half) {
    const scales = new Uint8Array(8)
    const minima = new Uint8Array(8)
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 144) {
      const d = half[u16(b, at)]
      const dMin = half[u16(b, at + 2)]
      unpackScales(b, at + 4, scales, minima)
      for (let part = 0; part < 8; part++) {
        const scale = fround(d * scales[part])
        const minimum = fround(dMin * minima[part])
        const from = at + 16 + (part >> 1) * 32
        const shift = (part & 1) * 4
        for (let i = 0; i < 32; i++) out[to++] = fround(scale * ((b[from + i] >> shift) & 15)) - minimum
      }
    }
  },

  // As Q4_K, with the fifth bits in 16–47 before the 4-bit values.
  Q5_K(b, count, out, half) {
    const scales = new Uint8Array(8)
    const minima = new Uint8Array(8)
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 176) {
      const d = half[u16(b, at)]
      const dMin = half[u16(b, at + 2)]
      unpackScales(b, at + 4, scales, minima)
      for (let part = 0; part < 8; part++) {
        const scale = fround(d * scales[part])
        const minimum = fround(dMin * minima[part])
        const from = at + 48 + (part >> 1) * 32
        const shift = (part & 1) * 4
        for (let i = 0; i < 32; i++) {
          const q = ((b[from + i] >> shift) & 15) | (((b[at + 16 + i] >> part) & 1) << 4)
          out[to++] = fround(scale * q) - minimum
        }
      }
    }
  },

  // 0–127: low four bits; 128–191: high two bits; 192–207: 8-bit scales of each 16 elements; then d.
  Q6_K(b, count, out, half) {
    const signed = new Int8Array(b.buffer, b.byteOffset, b.length)
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 210) {
      const d = half[u16(b, at + 208)]
      for (let i = 0; i < 256; i++) {
        const low = (b[at + (i >> 7) * 64 + (i & 63)] >> ((i >> 4) & 4)) & 15
        const high = (b[at + 128 + (i >> 7) * 32 + (i & 31)] >> ((i >> 4) & 6)) & 3
        out[to++] = fround(d * signed[at + 192 + (i >> 4)]) * ((low | (high << 4)) - 32)
      }
    }
  },

  IQ4_NL(b, count, out, half) {
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 18, to += 32) {
      const d = half[u16(b, at)]
      for (let i = 0; i < 16; i++) {
        const q = b[at + 2 + i]
        out[to + i] = d * IQ4_VALUES[q & 15]
        out[to + 16 + i] = d * IQ4_VALUES[q >> 4]
      }
    }
  },

  // d, 2–3: high two bits of the eight scales; 4–7: their low four bits; 8–135: values.
  IQ4_XS(b, count, out, half) {
    for (let n = 0, at = 0, to = 0; n < count; n++, at += 136) {
      const d = half[u16(b, at)]
      const highs = u16(b, at + 2)
      for (let part = 0; part < 8; part++, to += 32) {
        const low = (b[at + 4 + (part >> 1)] >> ((part & 1) * 4)) & 15
        const scale = fround(d * ((low | (((highs >> (2 * part)) & 3) << 4)) - 32))
        for (let i = 0; i < 16; i++) {
          const q = b[at + 8 + part * 16 + i]
          out[to + i] = scale * IQ4_VALUES[q & 15]
          out[to + 16 + i] = scale * IQ4_VALUES[q >> 4]
        }
      }
    }
  },
}
