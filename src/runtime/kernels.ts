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

type Kernel = 'axpy' | 'lerp' | 'adamw'

/** Every kernel takes the number of elements, then its arrays' places, then its numbers. */
type Exports = Record<Kernel | 'random', (n: number, ...args: number[]) => void> & {
  sumOfSquares(n: number, src: number): number
}

/** The kernels that work on chunks, by the number that a job names them with. */
const SHARED_KERNELS = ['axpy', 'lerp', 'adamw', 'sumOfSquares'] as const

type SharedKernel = (typeof SHARED_KERNELS)[number]

/** What helping threads need to know of an arena. */
export interface CrewJob {
  readonly module: WebAssembly.Module
  readonly memory: WebAssembly.Memory
  readonly kernels: readonly string[]
  readonly chunkFloats: number
  /** What `sumOfSquares` answers for each chunk. */
  readonly sums: Float64Array
}

/** Threads that take chunks of a pass beside the calling one. */
export interface Crew {
  /** Offers a pass over arrays of `length` floats, at these places in the memory, to all threads. */
  begin(kernel: SharedKernel, length: number, places: readonly number[], numbers: readonly number[]): void
  /** The next chunk to be taken, counted from 0; beyond the last one there are no more. */
  next(): number
  /** Returns when no thread is at the pass any more. */
  finish(): void
  /** Ends the threads. */
  end(): void
}

/** What a host does for arenas beyond what WebAssembly can. The entry point for Node sets its own. */
export interface KernelHost {
  /** Called for the memory of every arena of a megabyte and more, before it is used. */
  prepare?(memory: ArrayBufferLike): void
  /** Starts threads for long passes. */
  openCrew?(job: CrewJob): Crew
}

let host: KernelHost = {}

export function setKernelHost(kernelHost: KernelHost): void {
  host = kernelHost
}

const WORDS = 0
const UNIFORM = 1
const NORMAL = 2

const PAGE_BYTES = 65536
const MAX_PAGES = 65536
/** Alignment of every array: a cache line, and what ONNX Runtime's kernels like best. */
const ALIGN_BYTES = 64
/** Long passes go in chunks of so many floats. Sums are made of the chunks' sums, so they do not depend on who made them. */
const CHUNK_FLOATS = 32768
/** Shorter passes are done before another thread is awake: AdamW over 0.8M parameters takes 0.44 ms either way. */
const SHARED_FLOATS = 32 * CHUNK_FLOATS

const PREPARED_BYTES = 1 << 20

/** The first bytes of memory stay free: the ends of up to four arrays are staged there, four floats each. */
const RESERVED_BYTES = 64

const compiled = new Map<boolean, WebAssembly.Module>()

/** The module over memory of one thread's own, or over shared memory: they differ in one bit of the memory's import. */
function compile(shared: boolean): WebAssembly.Module {
  let module = compiled.get(shared)
  if (!module) {
    const bytes = Uint8Array.from(atob(KERNELS_BASE64), (char) => char.charCodeAt(0))
    if (shared) bytes[memoryFlags(bytes)] |= SHARED_FLAG
    module = new WebAssembly.Module(bytes)
    compiled.set(shared, module)
  }
  return module
}

const SHARED_FLAG = 2

/** Where the limits of the imported memory begin: behind its name and the kind of import. */
function memoryFlags(bytes: Uint8Array): number {
  const name = [...'memory'].map((char) => char.charCodeAt(0))
  const at = bytes.findIndex((_, i) => name.every((code, j) => bytes[i + j] === code))
  return at + name.length + 1
}

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
  readonly #shared: boolean
  readonly #sums: Float64Array
  #crew: Crew | undefined
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
    this.#shared = host.openCrew !== undefined && totalFloats >= SHARED_FLOATS
    const size = Math.max(pages, 1)
    try {
      this.#memory = new WebAssembly.Memory({ initial: size, maximum: size, shared: this.#shared })
    } catch (cause) {
      throw new RangeError(`Arena: this machine has no ${Math.ceil(bytes / 2 ** 20)} MiB of memory left`, { cause })
    }
    if (bytes >= PREPARED_BYTES) host.prepare?.(this.#memory.buffer)
    this.#end = bytes
    const { exports } = new WebAssembly.Instance(compile(this.#shared), { host: { memory: this.#memory } })
    this.#kernels = exports as unknown as Exports
    const sumBytes = 8 * Math.ceil(totalFloats / CHUNK_FLOATS)
    this.#sums = new Float64Array(this.#shared ? new SharedArrayBuffer(sumBytes) : new ArrayBuffer(sumBytes))
  }

  /** Ends the threads that help with long passes; they would end when the arena is collected. */
  release(): void {
    if (!this.#crew) return
    CREWS.unregister(this)
    this.#crew.end()
    this.#crew = undefined
  }

  /**
   * A zero-filled array, its start aligned to 64 bytes; its `byteOffset` is its place in the memory.
   *
   * @throws RangeError where the arena is full.
   */
  alloc(n: number): Float32Array {
    const start = this.#next
    const end = start + 4 * paddedLength(n)
    if (!Number.isInteger(n) || n < 0 || end > this.#end) {
      throw new RangeError(`Arena.alloc: ${n} floats do not fit into the ${(this.#end - start) / 4} that are left`)
    }
    this.#next = end
    return new Float32Array(this.#memory.buffer, start, n)
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
    this.#chunks('sumOfSquares', whole, [src])
    let sum = 0
    for (let chunk = 0; chunk * CHUNK_FLOATS < whole; chunk++) sum += this.#sums[chunk]
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
    this.#chunks(name, whole, arrays, ...numbers)
    if (whole === length) return
    const staged = arrays.map((_, i) => new Float32Array(this.#memory.buffer, 16 * i, 4))
    for (const [i, stage] of staged.entries()) stage.set(arrays[i].subarray(whole))
    kernel(4, ...staged.map(({ byteOffset }) => byteOffset), ...numbers)
    for (const [i, stage] of staged.entries()) arrays[i].set(stage.subarray(0, length - whole), whole)
  }

  /** The first `length` elements, whole vectors of them, chunk after chunk: on several threads where that pays. */
  #chunks(name: SharedKernel, length: number, arrays: readonly Float32Array[], ...numbers: readonly number[]): void {
    const kernel = this.#kernels[name] as (n: number, ...args: number[]) => number | undefined
    const places = arrays.map(({ byteOffset }) => byteOffset)
    const crew = this.#shared && length >= SHARED_FLOATS ? this.#helpers() : undefined
    crew?.begin(name, length, places, numbers)
    let taken = 0
    for (;;) {
      const chunk = crew ? crew.next() : taken++
      const start = chunk * CHUNK_FLOATS
      if (start >= length) break
      const n = Math.min(CHUNK_FLOATS, length - start)
      const sum = kernel(n, ...places.map((place) => place + 4 * start), ...numbers)
      if (sum !== undefined) this.#sums[chunk] = sum
    }
    crew?.finish()
  }

  #helpers(): Crew | undefined {
    if (!this.#crew && host.openCrew) {
      this.#crew = host.openCrew({
        module: compile(true),
        memory: this.#memory,
        kernels: SHARED_KERNELS,
        chunkFloats: CHUNK_FLOATS,
        sums: this.#sums,
      })
      CREWS.register(this, this.#crew, this)
    }
    return this.#crew
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

/** The threads of arenas that are no more. */
const CREWS = new FinalizationRegistry<Crew>((crew) => crew.end())
