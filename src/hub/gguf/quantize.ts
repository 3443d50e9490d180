/** Float32 to GGUF's number formats, rounded as the reference quantisers round: every step in float32. */

import { floatToBfloat, floatToHalf } from '../half.ts'
import { ggufType } from './quants.ts'

const { fround } = Math

/** The types that `quantize` writes. */
export const WRITABLE_TYPES = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_1'] as const
export type WritableType = (typeof WRITABLE_TYPES)[number]

/**
 * The bytes of a tensor in a GGUF type.
 *
 * @param values - whole rows; a row's length is a multiple of the type's block
 * @throws Error where a value is not finite, or a block's scale is too large for float16.
 */
export function quantize(type: WritableType, values: Float32Array): Uint8Array {
  if (type === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  if (type === 'F16' || type === 'BF16') {
    const halves = new Uint16Array(values.length)
    if (type === 'F16') floatToHalf(values, halves)
    else floatToBfloat(values, halves)
    return new Uint8Array(halves.buffer)
  }
  const { blockBytes, blockElements } = ggufType(type)
  if (values.length % blockElements !== 0) {
    throw new RangeError(`quantize: ${values.length} elements are no multiple of ${type}'s block of ${blockElements}`)
  }
  const out = new Uint8Array((values.length / blockElements) * blockBytes)
  QUANTIZE[type](values, out)
  return out
}

const scratchFloat = new Float32Array(1)
const scratchHalf = new Uint16Array(1)

/** Writes one float16. */
function putHalf(out: Uint8Array, at: number, value: number): void {
  scratchFloat[0] = value
  floatToHalf(scratchFloat, scratchHalf)
  if ((scratchHalf[0] & 0x7c00) === 0x7c00) {
    throw new Error(`quantize: ${value} is too large to be a block's scale; keep this tensor in F32`)
  }
  out[at] = scratchHalf[0]
  out[at + 1] = scratchHalf[0] >> 8
}

const finite = (value: number): number => {
  if (!Number.isFinite(value)) throw new Error(`quantize: ${value} has no quantised form`)
  return value
}

const inverse = (d: number): number => (d === 0 ? 0 : fround(1 / d))

/** Half away from zero, as C's `roundf`. */
const roundAway = (x: number): number => (x < 0 ? -Math.floor(0.5 - x) : Math.floor(x + 0.5))

const QUANTIZE: Readonly<Record<'Q8_0' | 'Q4_0' | 'Q4_1', (x: Float32Array, out: Uint8Array) => void>> = {
  Q8_0(x, out) {
    for (let from = 0, at = 0; from < x.length; from += 32, at += 34) {
      let largest = 0
      for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(finite(x[from + i])))
      const d = fround(largest / 127)
      const id = inverse(d)
      putHalf(out, at, d)
      for (let i = 0; i < 32; i++) out[at + 2 + i] = roundAway(fround(x[from + i] * id))
    }
  },

  Q4_0(x, out) {
    for (let from = 0, at = 0; from < x.length; from += 32, at += 18) {
      // The value of largest magnitude, with its sign, becomes exactly −8 steps.
      let extreme = x[from]
      for (let i = 0; i < 32; i++) {
        if (Math.abs(finite(x[from + i])) > Math.abs(extreme)) extreme = x[from + i]
      }
      const d = fround(extreme / -8)
      const id = inverse(d)
      putHalf(out, at, d)
      for (let i = 0; i < 16; i++) {
        const low = Math.min(15, Math.trunc(fround(fround(x[from + i] * id) + 8.5)))
        const high = Math.min(15, Math.trunc(fround(fround(x[from + 16 + i] * id) + 8.5)))
        out[at + 2 + i] = low | (high << 4)
      }
    }
  },

  Q4_1(x, out) {
    for (let from = 0, at = 0; from < x.length; from += 32, at += 20) {
      let min = Infinity
      let max = -Infinity
      for (let i = 0; i < 32; i++) {
        min = Math.min(min, finite(x[from + i]))
        max = Math.max(max, x[from + i])
      }
      const d = fround(fround(max - min) / 15)
      const id = inverse(d)
      putHalf(out, at, d)
      putHalf(out, at + 2, min)
      for (let i = 0; i < 16; i++) {
        const low = Math.min(15, Math.trunc(fround(fround(fround(x[from + i] - min) * id) + 0.5)))
        const high = Math.min(15, Math.trunc(fround(fround(fround(x[from + 16 + i] - min) * id) + 0.5)))
        out[at + 4 + i] = low | (high << 4)
      }
    }
  },
}
