/**
 * Passes over flat arrays in WebAssembly SIMD (kernels.wat), the same bits in Node and in every browser, and the memory
 * that they and ONNX Runtime share.
 */

import { KERNELS_BASE64 } from './kernels.wasm.ts'

export interface AdamWOptions {
  lr: number
  beta1: number
  beta2: number
  eps: number
  /** Decoupled: the parameters shrink by `lr · weightDecay` before the step. */
  weightDecay: number
  /** 1 for the first step. */
  step: number
  /** What the gradients are multiplied by: clipping, averaging. Default 1. */
  gradScale?: number
}

export interface SgdOptions {
  lr: number
  momentum?: number
  /** Added to the gradient as `weightDecay · parameter`. */
  weightDecay?: number
  nesterov?: boolean
  /** What the gradients are multiplied by: clipping, averaging. Default 1. */
  gradScale?: number
}

/** Where a random stream is read from. All words are taken modulo 2³². */
export interface RandomPosition {
  /** Philox's key: the seed. */
  key: readonly [number, number]
  /**
   * Philox's counter. The first two words, low one first, count blocks of four numbers: an array of `n` takes
   * ⌈n / 4⌉ of them. The last two tell streams apart.
   */
  counter: readonly [number, number, number, number]
}

type Kernel = 'fill' | 'scale' | 'axpy' | 'lerp' | 'adamw' | 'sgd'

/** Every kernel takes the number of elements, then its arrays' places, then its numbers. */
type Exports = Record<Kernel | 'random', (n: number, ...args: number[]) => void> & {
  sumOfSquares(n: number, src: number): number
}

const WORDS = 0
const UNIFORM = 1
const NORMAL = 2

const PAGE_BYTES = 65536
const MAX_PAGES = 65536
/** Alignment of every array: a cache line, and what ONNX Runtime's kernels like best. */
const ALIGN_BYTES = 64
/** The first bytes of memory stay free: the ends of up to four arrays are staged there, four floats each. */
const RESERVED_BYTES = 64

let compiled: WebAssembly.Module | undefined

const compile = (): WebAssembly.Module =>
  (compiled ??= new WebAssembly.Module(Uint8Array.from(atob(KERNELS_BASE64), (char) => char.charCodeAt(0))))

/** The number of floats that an array of `n` takes up in an arena. */
export const paddedLength = (n: number): number => Math.ceil((4 * n) / ALIGN_BYTES) * (ALIGN_BYTES / 4)

/**
 * One block of WebAssembly memory for flat arrays of float32. It never grows, since growing would detach the views, and
 * ends when the last view of it is collected. All arrays of one call of a kernel come from one arena.
 */
export class Arena {
  readonly #memory: WebAssembly.Memory
  readonly #kernels: Exports
  readonly #end: number
  #next = RESERVED_BYTES

  /**
   * @param totalFloats - the sum of `paddedLength` over all arrays to come; at most 4 GiB of floats.
   * @throws RangeError where that is too much, for WebAssembly or for this machine.
   */
  constructor(totalFloats: number) {
    const bytes = RESERVED_BYTES + 4 * totalFloats
    const pages = Math.ceil(bytes / PAGE_BYTES)
    if (!(totalFloats >= 0 && pages <= MAX_PAGES)) {
      throw new RangeError(`Arena: ${totalFloats} floats do not fit into the 4 GiB of a WebAssembly memory`)
    }
    try {
      this.#memory = new WebAssembly.Memory({ initial: Math.max(pages, 1), maximum: Math.max(pages, 1) })
    } catch (cause) {
      throw new RangeError(`Arena: this machine has no ${Math.ceil(bytes / 2 ** 20)} MiB of memory left`, { cause })
    }
    this.#end = bytes
    const { exports } = new WebAssembly.Instance(compile(), { host: { memory: this.#memory } })
    this.#kernels = exports as unknown as Exports
  }

  /**
   * A zero-filled array, its start aligned to 64 bytes; its `byteOffset` is its place in the memory.
   *
   * @throws RangeError where the arena is full.
   */
  alloc(n: number): Float32Array<ArrayBuffer> {
    const start = this.#next
    const end = start + 4 * paddedLength(n)
    if (!Number.isInteger(n) || n < 0 || end > this.#end) {
      throw new RangeError(`Arena.alloc: ${n} floats do not fit into the ${(this.#end - start) / 4} that are left`)
    }
    this.#next = end
    return new Float32Array(this.#memory.buffer as ArrayBuffer, start, n)
  }

  /** `dst[i] = value` */
  fill(dst: Float32Array, value: number): void {
    this.#pass('fill', [dst], value)
  }

  /** `dst[i] *= factor` */
  scale(dst: Float32Array, factor: number): void {
    this.#pass('scale', [dst], factor)
  }

  /** `dst[i] += factor · src[i]` */
  axpy(dst: Float32Array, src: Float32Array, factor: number): void {
    this.#pass('axpy', [dst, src], factor)
  }

  /** `dst[i] += weight · (src[i] − dst[i])`: a moving average with decay `1 − weight`. */
  lerp(dst: Float32Array, src: Float32Array, weight: number): void {
    this.#pass('lerp', [dst, src], weight)
  }

  /** Σ src[i]², summed in double precision: the square of a gradient's norm. */
  sumOfSquares(src: Float32Array): number {
    this.#check('sumOfSquares', [src])
    const whole = src.length - (src.length % 4)
    let sum = whole > 0 ? this.#kernels.sumOfSquares(whole, src.byteOffset) : 0
    for (let i = whole; i < src.length; i++) sum += src[i] * src[i]
    return sum
  }

  /**
   * One step of AdamW (Loshchilov & Hutter 2019), as `torch.optim.AdamW` takes it. `m` and `v` start as zeros.
   *
   * m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  p ← (1 − lr λ) p − lr · m̂ / (√v̂ + ε), m̂ = m / (1 − β₁ᵗ), v̂ alike
   */
  adamw(params: Float32Array, grads: Float32Array, m: Float32Array, v: Float32Array, options: AdamWOptions): void {
    const { lr, beta1, beta2, eps, weightDecay, step, gradScale = 1 } = options
    if (!(step >= 1)) throw new RangeError(`adamw: step counts from 1, got ${step}`)
    this.#pass(
      'adamw',
      [params, grads, m, v],
      beta1,
      (1 - beta1) * gradScale,
      beta2,
      (1 - beta2) * gradScale * gradScale,
      1 - lr * weightDecay,
      lr / (1 - beta1 ** step),
      1 / Math.sqrt(1 - beta2 ** step),
      eps,
    )
  }

  /** One step of gradient descent with momentum, as `torch.optim.SGD` takes it. `buffer` starts as zeros. */
  sgd(params: Float32Array, grads: Float32Array, buffer: Float32Array, options: SgdOptions): void {
    const { lr, momentum = 0, weightDecay = 0, nesterov = false, gradScale = 1 } = options
    const [useGrad, useBuffer] = nesterov ? [1, momentum] : [0, 1]
    this.#pass('sgd', [params, grads, buffer], gradScale, weightDecay, momentum, lr, useGrad, useBuffer)
  }

  /** Numbers in [0, 1), multiples of 2⁻²⁴, from Philox4x32-10. */
  philoxUniform(dst: Float32Array, position: RandomPosition): void {
    this.#random('philoxUniform', dst, UNIFORM, position)
  }

  /** Standard normal numbers, by Box and Muller's transform of Philox4x32-10. At most 5.77 in size. */
  philoxNormal(dst: Float32Array, position: RandomPosition): void {
    this.#random('philoxNormal', dst, NORMAL, position)
  }

  /** Philox4x32-10's own 32-bit words, written over the floats. */
  philoxWords(dst: Float32Array, position: RandomPosition): void {
    this.#random('philoxWords', dst, WORDS, position)
  }

  #random(name: string, dst: Float32Array, kind: number, { key, counter }: RandomPosition): void {
    this.#check(name, [dst])
    this.#kernels.random(dst.length, dst.byteOffset, kind, ...key, ...counter)
  }

  /** Whole vectors in place; the last one to three elements of each array in vectors of their own. */
  #pass(name: Kernel, arrays: readonly Float32Array[], ...numbers: readonly number[]): void {
    this.#check(name, arrays)
    const kernel = this.#kernels[name]
    const { length } = arrays[0]
    const whole = length - (length % 4)
    if (whole > 0) kernel(whole, ...arrays.map(({ byteOffset }) => byteOffset), ...numbers)
    if (whole === length) return
    const staged = arrays.map((_, i) => new Float32Array(this.#memory.buffer, 16 * i, 4))
    for (const [i, stage] of staged.entries()) stage.set(arrays[i].subarray(whole))
    kernel(4, ...staged.map(({ byteOffset }) => byteOffset), ...numbers)
    for (const [i, stage] of staged.entries()) arrays[i].set(stage.subarray(0, length - whole), whole)
  }

  #check(name: string, arrays: readonly Float32Array[]): void {
    for (const array of arrays) {
      if (array.buffer !== this.#memory.buffer) throw new Error(`${name}: an array is not of this arena`)
      if (array.length !== arrays[0].length) {
        throw new RangeError(`${name}: arrays have ${arrays.map(({ length }) => length).join(', ')} elements`)
      }
    }
  }
}
