/**
 * Counter-based random numbers: Philox4x32-10 of Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011).
 * A draw is a pure function of (key, counter), so a data loader has no generator state to save.
 */

const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85
const ROUNDS = 10

/** The upper 32 bits of the 64-bit product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const carry = (middle & 0xffff) + aLow * bHigh
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0
}

/**
 * One block of Philox4x32-10: four unsigned 32-bit integers written into `out`.
 *
 * @param counter four 32-bit words, least significant first
 * @param key two 32-bit words, least significant first
 */
export function philox4x32(counter: ArrayLike<number>, key: ArrayLike<number>, out: Uint32Array): Uint32Array {
  let [c0, c1, c2, c3] = [counter[0] >>> 0, counter[1] >>> 0, counter[2] >>> 0, counter[3] >>> 0]
  let [k0, k1] = [key[0] >>> 0, key[1] >>> 0]
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0)
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0
    const high1 = multiplyHigh(MULTIPLIER_1, c2)
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
    k0 = (k0 + WEYL_0) >>> 0
    k1 = (k1 + WEYL_1) >>> 0
  }
  out[0] = c0
  out[1] = c1
  out[2] = c2
  out[3] = c3
  return out
}

/**
 * The stream of draws that belongs to one (seed, step): the same two numbers always give the same stream.
 *
 * @throws RangeError where seed or step is not an integer in [0, 2^53).
 */
export class StepRandom {
  readonly #key: Uint32Array
  readonly #counter: Uint32Array
  readonly #block = new Uint32Array(4)
  #used = 4

  constructor(seed: number, step: number) {
    requireCount('seed', seed)
    requireCount('step', step)
    this.#key = Uint32Array.of(seed, Math.floor(seed / 2 ** 32))
    this.#counter = Uint32Array.of(0, 0, step, Math.floor(step / 2 ** 32))
  }

  /** A uniform integer in [0, 2^32). */
  uint32(): number {
    if (this.#used === 4) {
      philox4x32(this.#counter, this.#key, this.#block)
      this.#counter[0]++
      if (this.#counter[0] === 0) this.#counter[1]++
      this.#used = 0
    }
    return this.#block[this.#used++]
  }

  /** A number in [0, 1), exact in fp32. */
  uniform(): number {
    return (this.uint32() >>> 8) / 2 ** 24
  }

  /** A uniform integer in [0, n), without the bias of a plain remainder; `n` is in [1, 2^32]. */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new RangeError(`StepRandom.below: n must be an integer from 1 to 2^32, got ${n}`)
    }
    const limit = 2 ** 32 - (2 ** 32 % n)
    let draw = this.uint32()
    while (draw >= limit) draw = this.uint32()
    return draw % n
  }

  /** A standard normal number (Box and Muller, 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** A uniform permutation of 0 … n − 1 (Fisher–Yates). */
  permutation(n: number): Uint32Array {
    const order = Uint32Array.from({ length: n }, (_, i) => i)
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const held = order[i]
      order[i] = order[j]
      order[j] = held
    }
    return order
  }
}

function requireCount(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`StepRandom: ${name} must be an integer of at least 0, got ${value}`)
  }
}
