import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileKernels } from '../../scripts/build-kernels.ts'
import { type AdamWOptions, Arena, paddedLength, type RandomPosition } from '../../src/runtime/kernels.ts'

/** Half a unit in the last place of float32, and some for the operations before the last. */
const RELATIVE_ERROR = 4 * 2 ** -24

interface Recorded<Options> {
  options: Options
  start: number[]
  grads: number[][]
  params: number[][]
}
const recorded: { torch: string; adamw: Recorded<AdamWOptions>[] } = JSON.parse(
  readFileSync(new URL('fixtures/optimizers.json', import.meta.url), 'utf8'),
)

const float = fc.double({ min: -100, max: 100, noNaN: true }).map(Math.fround)
/** Arrays of one length, any multiple of four or not. */
const floats = (arrays: number) =>
  fc
    .integer({ min: 0, max: 70 })
    .chain((n) => fc.tuple(...Array.from({ length: arrays }, () => fc.array(float, { minLength: n, maxLength: n }))))

const CANARY = 12345

/** The arrays in an arena, each followed by a canary that the kernels must leave alone. */
function place(...arrays: readonly (readonly number[])[]): {
  arena: Arena
  views: Float32Array[]
  intact: () => boolean
} {
  const arena = new Arena(arrays.reduce((sum, { length }) => sum + paddedLength(length + 1), 0))
  const whole = arrays.map((values) => {
    const view = arena.alloc(values.length + 1)
    view.set([...values, CANARY])
    return view
  })
  return {
    arena,
    views: whole.map((view) => view.subarray(0, view.length - 1)),
    intact: () => whole.every((view) => view[view.length - 1] === CANARY),
  }
}

function expectClose(
  actual: ArrayLike<number>,
  expected: readonly number[],
  scale: readonly number[] = expected,
): void {
  expect(actual.length).toBe(expected.length)
  for (let i = 0; i < expected.length; i++) {
    expect(Math.abs(actual[i] - expected[i])).toBeLessThanOrEqual(RELATIVE_ERROR * (Math.abs(scale[i]) + 1e-30))
  }
}

it('the committed module is the compiled source', async () => {
  await expect(await compileKernels()).toMatchFileSnapshot('../../src/runtime/kernels.wasm.ts')
})

describe('passes equal double-precision arithmetic, at any length, and touch nothing else', () => {
  it('axpy and lerp', () => {
    fc.assert(
      fc.property(floats(2), float, ([x, y], a) => {
        const { arena, views, intact } = place(x, y, x)
        arena.axpy(views[0], views[1], a)
        expectClose(
          views[0],
          x.map((value, i) => value + a * y[i]),
          x.map((value, i) => Math.abs(value) + Math.abs(a * y[i])),
        )
        arena.lerp(views[2], views[1], a)
        expectClose(
          views[2],
          x.map((value, i) => value + a * (y[i] - value)),
          x.map((value, i) => Math.abs(value) + Math.abs(a) * (Math.abs(y[i]) + Math.abs(value))),
        )
        expect([...views[1]]).toEqual(y)
        expect(intact()).toBe(true)
      }),
    )
  })

  it('sumOfSquares', () => {
    fc.assert(
      fc.property(floats(1), ([x]) => {
        const { arena, views } = place(x)
        const expected = x.reduce((sum, value) => sum + value * value, 0)
        expect(Math.abs(arena.sumOfSquares(views[0]) - expected)).toBeLessThanOrEqual(1e-14 * expected)
      }),
    )
  })

  it('sumOfSquares, over a million small numbers beside a large one', () => {
    const arena = new Arena(1_000_000)
    const x = arena.alloc(1_000_000)
    x.fill(1e-3)
    x[0] = 1e4
    const small = Math.fround(1e-3)
    // In float32 the million would vanish, 1 in 10⁸.
    expect(Math.abs(arena.sumOfSquares(x) - (1e8 + 999_999 * small * small))).toBeLessThan(1e-3)
  })

  it('adamw', () => {
    const options = fc.record({
      lr: fc.double({ min: 1e-5, max: 1, noNaN: true }),
      beta1: fc.constantFrom(0, 0.5, 0.9),
      beta2: fc.constantFrom(0, 0.95, 0.999),
      eps: fc.constantFrom(1e-8, 1e-3),
      weightDecay: fc.constantFrom(0, 0.1),
      step: fc.integer({ min: 1, max: 10_000 }),
      gradScale: fc.constantFrom(1, 0.25, 3),
    })
    fc.assert(
      fc.property(floats(4), options, ([p, g, m, vs], o) => {
        const v = vs.map((value) => Math.fround(value * value))
        const { arena, views, intact } = place(p, g, m, v)
        arena.adamw(views[0], views[1], views[2], views[3], o)
        const grad = g.map((value) => value * o.gradScale)
        const nextM = m.map((value, i) => value + (1 - o.beta1) * (grad[i] - value))
        const nextV = v.map((value, i) => value * o.beta2 + (1 - o.beta2) * grad[i] ** 2)
        const sizeM = m.map((value, i) => Math.abs(value) + Math.abs(grad[i]))
        expectClose(views[2], nextM, sizeM)
        expectClose(views[3], nextV)
        const rate = o.lr / (1 - o.beta1 ** o.step)
        const divisor = nextV.map((value) => Math.sqrt(value / (1 - o.beta2 ** o.step)) + o.eps)
        expectClose(
          views[0],
          p.map((value, i) => value * (1 - o.lr * o.weightDecay) - (rate * nextM[i]) / divisor[i]),
          p.map((value, i) => Math.abs(value) + (2 * rate * sizeM[i]) / divisor[i]),
        )
        expect([...views[1]]).toEqual(g)
        expect(intact()).toBe(true)
      }),
    )
  })
})

describe(`optimisers take PyTorch ${recorded.torch}'s steps`, () => {
  const follow = <Options>(
    { options, start, grads, params }: Recorded<Options>,
    take: (arena: Arena, views: Float32Array[], options: Options, step: number) => void,
  ) => {
    const zeros = start.map(() => 0)
    const { arena, views } = place(start, zeros, zeros, zeros)
    for (const [i, grad] of grads.entries()) {
      views[1].set(grad)
      take(arena, views, options, i + 1)
      for (const [j, value] of params[i].entries()) expect(Math.abs(views[0][j] - value)).toBeLessThan(1e-6)
    }
  }

  it.each(recorded.adamw)('AdamW, $options', (record) => {
    follow(record, (arena, [p, g, m, v], options, step) => arena.adamw(p, g, m, v, { ...options, step }))
  })
})

/** Philox4x32-10 in big integers, from the paper's definition. */
function philox([k0, k1]: readonly number[], counter: readonly number[]): number[] {
  const word = (value: bigint) => value & 0xffffffffn
  let [c0, c1, c2, c3] = counter.map(BigInt)
  let [key0, key1] = [BigInt(k0), BigInt(k1)]
  for (let round = 0; round < 10; round++) {
    const [p0, p1] = [0xd2511f53n * c0, 0xcd9e8d57n * c2]
    ;[c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ key0, word(p1), (p0 >> 32n) ^ c3 ^ key1, word(p0)]
    ;[key0, key1] = [word(key0 + 0x9e3779b9n), word(key1 + 0xbb67ae85n)]
  }
  return [c0, c1, c2, c3].map(Number)
}

describe('random numbers', () => {
  const draw = (n: number, fill: (arena: Arena, dst: Float32Array) => void): Float32Array => {
    const arena = new Arena(paddedLength(n))
    const dst = arena.alloc(n)
    fill(arena, dst)
    return dst
  }
  const words = (n: number, position: RandomPosition): Uint32Array => {
    const dst = draw(n, (arena, view) => arena.philoxWords(view, position))
    return new Uint32Array(dst.buffer, dst.byteOffset, n)
  }

  // Random123 1.14, tests/kat_vectors: philox 4x32, 10 rounds.
  it.each<[RandomPosition, number[]]>([
    [{ key: [0, 0], counter: [0, 0, 0, 0] }, [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [
      { key: [0xffffffff, 0xffffffff], counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff] },
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      { key: [0xa4093822, 0x299f31d0], counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344] },
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])('are the published vectors of Philox4x32-10, %o', (position, expected) => {
    expect([...words(4, position)]).toEqual(expected)
  })

  const uint32 = fc.integer({ min: 0, max: 0xffffffff })
  const positions = fc.record({
    key: fc.tuple(uint32, uint32),
    // Often where the low word of the counter overflows.
    counter: fc.tuple(fc.oneof(uint32, fc.integer({ min: 0xfffffff0, max: 0xffffffff })), uint32, uint32, uint32),
  })

  it('are block after block of the counter, whatever the length', () => {
    fc.assert(
      fc.property(positions, fc.integer({ min: 0, max: 50 }), ({ key, counter }, n) => {
        const start = BigInt(counter[0]) | (BigInt(counter[1]) << 32n)
        const expected = Array.from({ length: Math.ceil(n / 4) }, (_, block) => {
          const at = BigInt.asUintN(64, start + BigInt(block))
          return philox(key, [Number(at & 0xffffffffn), Number(at >> 32n), counter[2], counter[3]])
        }).flat()
        expect([...words(n, { key, counter })]).toEqual(expected.slice(0, n))
      }),
    )
  })

  it('uniform are the top 24 bits, normal are Box and Muller of them', () => {
    fc.assert(
      fc.property(positions, (position) => {
        const n = 37
        const bits = words(40, position)
        const unit = (i: number) => (bits[i] >>> 8) * 2 ** -24
        const uniform = draw(n, (arena, dst) => arena.philoxUniform(dst, position))
        expect([...uniform]).toEqual(Array.from({ length: n }, (_, i) => unit(i)))
        const normal = draw(n, (arena, dst) => arena.philoxNormal(dst, position))
        for (const [i, value] of normal.entries()) {
          const pair = i - (i % 2)
          const radius = Math.sqrt(-2 * Math.log(unit(pair) + 2 ** -24))
          const angle = 2 * Math.PI * unit(pair + 1)
          expect(Math.abs(value - radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle)))).toBeLessThan(1e-6)
        }
      }),
    )
  })

  it('have the mean, variance and kurtosis of their distributions', () => {
    const n = 1 << 20
    const position: RandomPosition = { key: [1, 2], counter: [0, 0, 0, 0] }
    const moment = (values: Float32Array, power: number) => values.reduce((sum, x) => sum + x ** power, 0) / n
    const uniform = draw(n, (arena, dst) => arena.philoxUniform(dst, position))
    expect(moment(uniform, 1)).toBeCloseTo(1 / 2, 2)
    expect(moment(uniform, 2)).toBeCloseTo(1 / 3, 2)
    const normal = draw(n, (arena, dst) => arena.philoxNormal(dst, position))
    expect(moment(normal, 1)).toBeCloseTo(0, 2)
    expect(moment(normal, 2)).toBeCloseTo(1, 2)
    expect(moment(normal, 3)).toBeCloseTo(0, 1)
    expect(moment(normal, 4)).toBeCloseTo(3, 1)
  })

  it('normal have the same bits on every machine', () => {
    const normal = draw(100_000, (arena, dst) => arena.philoxNormal(dst, { key: [7, 0], counter: [0, 0, 1, 0] }))
    const bits = new Uint32Array(normal.buffer, normal.byteOffset, normal.length)
    // FNV-1a over the words, recorded from this kernel: it changes with any rounding anywhere.
    expect(bits.reduce((hash, word) => Math.imul(hash ^ word, 0x01000193) >>> 0, 0x811c9dc5)).toBe(2260665428)
  })
})

describe('Arena', () => {
  it('gives zero-filled arrays, 64-byte aligned and apart, until it is full', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 100 }), { maxLength: 20 }), (lengths) => {
        const arena = new Arena(lengths.reduce((sum, n) => sum + paddedLength(n), 0))
        const views = lengths.map((n) => arena.alloc(n))
        let end = 64
        for (const view of views) {
          expect(view.byteOffset % 64).toBe(0)
          expect(view.byteOffset).toBeGreaterThanOrEqual(end)
          expect(view.every((value) => value === 0)).toBe(true)
          end = view.byteOffset + view.byteLength
        }
        expect(() => arena.alloc(1)).toThrow('Arena.alloc: 1 floats do not fit into the 0 that are left')
      }),
    )
  })

  it('says in one sentence what is wrong', () => {
    expect(() => new Arena(2 ** 30)).toThrow('do not fit into the 4 GiB of a WebAssembly memory')
    expect(() => new Arena(Number.NaN)).toThrow('do not fit')
    const arena = new Arena(64)
    const x = arena.alloc(4)
    expect(() => arena.alloc(-1)).toThrow('Arena.alloc: -1 floats do not fit')
    expect(() => arena.axpy(x, new Float32Array(4), 2)).toThrow('axpy: an array is not of this arena')
    expect(() => arena.axpy(x, arena.alloc(5), 2)).toThrow('axpy: arrays have 4, 5 elements')
    const step = { lr: 1, beta1: 0.9, beta2: 0.9, eps: 1e-8, weightDecay: 0, step: 0 }
    expect(() => arena.adamw(x, x, x, x, step)).toThrow('adamw: step counts from 1, got 0')
  })
})
