import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileGraph } from '../../src/runtime/compiled.ts'
import { shapeOf } from '../../src/tensor/dim.ts'
import type { QuantizedWeight } from '../../src/tensor/emitter.ts'
import * as t from '../../src/tensor/index.ts'
import {
  checkGradient,
  checkSecondGradient,
  expectClose,
  fractions,
  integers,
  property,
  seeds,
  uniform,
} from './check.ts'
import { get, map, type Nd, nd, product, transposeLast } from './reference.ts'

const dims = fc.integer({ min: 1, max: 4 })

/** Leading axes of two factors that broadcast against each other. */
const batches = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom('both', 'a', 'b')), { maxLength: 2 })
  .chain((axes) =>
    fc.tuple(fc.nat({ max: axes.length }), fc.boolean()).map(([drop, dropFromB]) => {
      const a = axes.map(([dim, who]) => (who === 'b' ? 1 : dim))
      const b = axes.map(([dim, who]) => (who === 'a' ? 1 : dim))
      return dropFromB ? { a, b: b.slice(drop) } : { a: a.slice(drop), b }
    }),
  )

describe('matmul', () => {
  it('multiplies the last two axes, transposed or not, scaled, with leading axes broadcast', () =>
    property(
      fc.record({
        batch: batches,
        m: dims,
        k: dims,
        n: dims,
        transposeA: fc.boolean(),
        transposeB: fc.boolean(),
        alpha: fc.constantFrom(1, 0.5, -2),
        seed: seeds,
      }),
      ({ batch, m, k, n, transposeA, transposeB, alpha, seed }) =>
        checkSecondGradient({
          inputs: {
            a: uniform([...batch.a, ...(transposeA ? [k, m] : [m, k])], seed),
            b: uniform([...batch.b, ...(transposeB ? [n, k] : [k, n])], seed + 1),
          },
          fn: ({ a, b }) => ({ y: t.matmul(a, b, { transposeA, transposeB, alpha }) }),
          reference: ({ a, b }) => ({
            y: map(product(transposeA ? transposeLast(a) : a, transposeB ? transposeLast(b) : b), (v) => alpha * v),
          }),
        }),
      60,
    ))

  it('multiplies by a transposed first factor of any proportions', () =>
    property(
      fc.record({ k: dims, m: fc.constantFrom(1, 2, 5, 40), n: fc.constantFrom(1, 2, 3, 41), seed: seeds }),
      async ({ k, m, n, seed }) => {
        const [a, b] = [uniform([k, m], seed), uniform([k, n], seed + 1)]
        const leaves = [t.input('a', a.shape), t.input('b', b.shape)]
        const y = t.matmul(leaves[0], leaves[1], { transposeA: true })
        const compiled = await compileGraph({ inputs: leaves, outputs: { y } })
        const [left, right] = [a, b].map(({ shape, data }) =>
          nd(shape, ([row, column]) => (data as Float32Array)[row * shape[1] + column]),
        )
        expectClose((await compiled.run({ a, b })).y, product(transposeLast(left), right), 1e-6)
        compiled.release()
      },
    ))
})

describe('linear', () => {
  it('maps the last axis of an array of any rank, either layout of the weight, with and without bias', () =>
    property(
      fc.record({
        lead: fc.array(dims, { maxLength: 3 }),
        inFeatures: dims,
        out: dims,
        inFirst: fc.boolean(),
        withBias: fc.boolean(),
        seed: seeds,
      }),
      ({ lead, inFeatures, out, inFirst, withBias, seed }) =>
        checkSecondGradient({
          inputs: {
            x: uniform([...lead, inFeatures], seed),
            weight: uniform(inFirst ? [inFeatures, out] : [out, inFeatures], seed + 1),
            ...(withBias ? { bias: uniform([out], seed + 2) } : {}),
          },
          fn: ({ x, weight, bias }) => ({ y: t.linear(x, weight, bias, { inFirst }) }),
          reference: ({ x, weight, bias }) => ({
            y: nd([...lead, out], (index) => {
              const o = index[index.length - 1]
              let sum = bias ? bias.data[o] : 0
              for (let i = 0; i < inFeatures; i++) {
                sum += get(x, [...index.slice(0, -1), i]) * get(weight, inFirst ? [i, o] : [o, i])
              }
              return sum
            }),
          }),
        }),
      30,
    ))
})

/** Sums over every label that the result lacks, one index at a time. */
function einsumLoops(equation: string, operands: readonly Nd[]): Nd {
  const [left, result] = equation.split('->')
  const labels = left.split(',')
  const sizes = new Map<string, number>()
  operands.forEach((x, i) => {
    ;[...labels[i]].forEach((label, axis) => {
      sizes.set(label, x.shape[axis])
    })
  })
  const summed = [...sizes.keys()].filter((label) => !result.includes(label))
  const sizeOf = (label: string) => sizes.get(label) as number
  return nd([...result].map(sizeOf), (index) => {
    let sum = 0
    nd(summed.map(sizeOf), (inner) => {
      const at = (label: string) => {
        const i = result.indexOf(label)
        return i >= 0 ? index[i] : inner[summed.indexOf(label)]
      }
      sum += operands.reduce((term, x, i) => term * get(x, [...labels[i]].map(at)), 1)
      return 0
    })
    return sum
  })
}

const shuffled = (labels: readonly string[]) =>
  fc.shuffledSubarray([...labels], { minLength: labels.length, maxLength: labels.length })

/** Random equations of one or two operands over up to five labels of sizes 1 to 3. */
const equations = fc
  .record({
    roles: fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 1, maxLength: 5 }),
    kept: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    sizes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 5, maxLength: 5 }),
    single: fc.boolean(),
  })
  .chain(({ roles, kept, sizes, single }) => {
    const labels = [...'pqrst'].slice(0, roles.length)
    const own = (who: string) => labels.filter((_, i) => single || roles[i].includes(who))
    const result = labels.filter((_, i) => kept[i])
    return fc.tuple(shuffled(own('a')), shuffled(own('b')), shuffled(result)).map(([a, b, out]) => ({
      equation: `${a.join('')}${single ? '' : `,${b.join('')}`}->${out.join('')}`,
      shapes: (single ? [a] : [a, b]).map((group) => group.map((label) => sizes[labels.indexOf(label)])),
    }))
  })

describe('einsum', () => {
  it('equals sums over indices, for any equation of one or two operands', () =>
    property(
      fc.tuple(equations, seeds),
      ([{ equation, shapes }, seed]) =>
        checkGradient({
          inputs: Object.fromEntries(shapes.map((shape, i) => [`x${i}`, uniform(shape, seed + i)])),
          fn: (x) => ({ y: t.einsum(equation, ...Object.values(x)) }),
          reference: (x) => ({ y: einsumLoops(equation, Object.values(x)) }),
        }),
      60,
    ))
})

describe('the rules of products', () => {
  const [a, b] = [t.input('a', [2, 3]), t.input('b', [4, 5])]
  it.each<[string, () => unknown, string]>([
    ['inner sizes that differ', () => a.matmul(b), 'matmul: cannot multiply float32 [2, 3] by float32 [4, 5]'],
    ['a vector', () => a.matmul(t.input('v', [3])), 'matmul: cannot multiply float32 [2, 3] by float32 [3]'],
    [
      'a weight that does not fit',
      () => t.linear(a, b),
      'linear: a weight of [4, 5] (out, in) does not fit features of [2, 3]',
    ],
    ['integers', () => t.linear(a.cast('int32'), a), 'linear: needs float32, got int32 [2, 3]'],
    ['a bias of another size', () => t.linear(a, a, t.input('c', [3])), 'linear: the bias must be [2], got [3]'],
    [
      'an equation for more operands',
      () => t.einsum('ab,bc->ac', a),
      "einsum: 'ab,bc->ac' does not describe 1 operands",
    ],
    ['a label of two sizes', () => t.einsum('ij,ik->jk', a, b), "einsum: 'i' is both 2 and 4 in 'ij,ik->jk'"],
    ['an unknown result label', () => t.einsum('ij->k', a), "einsum: 'k' of the result is in no operand"],
    ['a result label twice', () => t.einsum('ij->ii', a), "einsum: 'i' stands twice in the result of 'ij->ii'"],
  ])('refuse %s in one sentence', (_name, call, message) => {
    expect(call).toThrow(message)
  })
})

/** Random integers in blocks, and the floats that they stand for. */
function quantized(rows: number, columns: number, bits: 4 | 8, blockSize: number, seed: number) {
  const levels = 2 ** bits
  const codes = integers([rows, columns], seed, 0, levels - 1).data as Int32Array
  const blocks = Math.ceil(columns / blockSize)
  const draw = fractions(seed)
  const scales = Float32Array.from({ length: rows * blocks }, () => 0.02 + 0.1 * draw())
  // What lies behind the end of a row must not matter.
  const packed = new Uint8Array((rows * blocks * blockSize * bits) / 8).fill(0xa5)
  codes.forEach((code, i) => {
    const at = Math.floor(i / columns) * blocks * blockSize + (i % columns)
    if (bits === 8) packed[at] = code
    else packed[at >> 1] = at & 1 ? (packed[at >> 1] & 15) | (code << 4) : (packed[at >> 1] & 240) | code
  })
  const weight: QuantizedWeight = { bits, blockSize, shape: [rows, columns], packed, scales }
  const floats = nd(
    [rows, columns],
    ([r, c]) => (codes[r * columns + c] - levels / 2) * scales[r * blocks + Math.floor(c / blockSize)],
  )
  return { weight, floats }
}

describe('weights compiled in as blocks of integers', () => {
  for (const bits of [4, 8] as const) {
    it(`linear multiplies by ${bits}-bit weights, up to the rounding of its activations to 8 bits`, async () => {
      // Blocks of 64 and 128 reach past the end of the rows.
      const cases = [32, 64, 128].flatMap((blockSize) => [[3], [2, 3], [1, 2, 2]].map((lead) => ({ blockSize, lead })))
      for (const { blockSize, lead } of cases) {
        const [inFeatures, out] = [blockSize === 32 ? 64 : 96, 24]
        const { weight, floats } = quantized(out, inFeatures, bits, blockSize, 7)
        const x = t.input('x', shapeOf(['batch', ...lead.slice(1), inFeatures]))
        const [w, bias] = [t.input('w', [out, inFeatures]), t.input('bias', [out])]
        const value = uniform([...lead, inFeatures], 3)
        const shift = uniform([out], 4)
        const compiled = await compileGraph({
          inputs: [x, bias],
          outputs: { y: t.linear(x, w, bias), plain: t.linear(x, w) },
          weights: new Map([[w, weight]]),
        })
        const got = await compiled.run({ x: value, bias: shift })
        const exact = (withBias: boolean): Nd =>
          nd([...lead, out], (index) => {
            const o = index[index.length - 1]
            let sum = withBias ? Number(shift.data[o]) : 0
            for (let i = 0; i < inFeatures; i++) {
              sum +=
                get({ shape: value.shape, data: Float64Array.from(value.data as Float32Array) }, [
                  ...index.slice(0, -1),
                  i,
                ]) * get(floats, [o, i])
            }
            return sum
          })
        // Activations up to 2 in steps of 2/127: an error of 2/254 at most each, as random signs over 64 products.
        expectClose(got.y, exact(true), 0.01, `y of ${lead}`)
        expectClose(got.plain, exact(false), 0.01, `plain of ${lead}`)
        compiled.release()
      }
    })

    it(`gather reads rows of ${bits}-bit weights exactly, for positions of any rank`, async () => {
      const [rows, columns] = [10, 32]
      const { weight, floats } = quantized(rows, columns, bits, 16, 9)
      for (const shape of [[], [4], [2, 3], [2, 2, 2]]) {
        const ids = integers(shape, 5, 0, rows - 1)
        const [table, positions] = [t.input('table', [rows, columns]), t.input('ids', shape, 'int32')]
        const compiled = await compileGraph({
          inputs: [positions],
          outputs: { y: t.embedding(table, positions) },
          weights: new Map([[table, weight]]),
        })
        const got = await compiled.run({ ids })
        const want = nd([...shape, columns], (index) => {
          const row = get({ shape, data: Float64Array.from(ids.data as Int32Array) }, index.slice(0, -1))
          return get(floats, [row, index[index.length - 1]])
        })
        expectClose(got.y, want, 1e-7)
        compiled.release()
      }
    })
  }

  it('a layer that has its weight as [in, out] reads the blocks of the turned one', async () => {
    const { weight } = quantized(8, 32, 4, 32, 1)
    const x = t.input('x', [2, 32])
    const [rows, columns] = [t.input('rows', [8, 32]), t.input('columns', [32, 8])]
    const compiled = await compileGraph({
      inputs: [x],
      outputs: { plain: t.linear(x, rows), turned: t.linear(x, columns, undefined, { inFirst: true }) },
      weights: new Map([
        [rows, weight],
        [columns, weight],
      ]),
    })
    const data = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i))
    const { plain, turned } = await compiled.run({ x: { dtype: 'float32', shape: [2, 32], data } })
    expect(turned).toEqual(plain)
    compiled.release()
  })

  it('other ops refuse them in one sentence', async () => {
    const w = t.input('w', [4, 32])
    const { weight } = quantized(4, 32, 4, 32, 1)
    const graph = { inputs: [], outputs: { y: w.mul(2) }, weights: new Map([[w, weight]]) }
    const columns = { ...graph, outputs: { y: t.gather(w, t.arange(4), 1) } }
    await expect(compileGraph(columns)).rejects.toThrow(
      'gather: only rows of a quantised weight can be read, not axis 1',
    )
    const turned = { ...graph, outputs: { y: t.linear(t.full([1, 4], 1), w, undefined, { inFirst: true }) } }
    await expect(compileGraph(turned)).rejects.toThrow('linear: a quantised weight must be [out, in]')
    const odd = { ...graph, weights: new Map([[w, { ...weight, blockSize: 24 }]]) }
    await expect(compileGraph(odd)).rejects.toThrow(
      "weight 'w': blocks must have a power of two of values, 16 or more, got 24",
    )
    const padded = { ...graph, outputs: { y: t.embedding(w, t.arange(4)) } }
    const { weight: wide } = quantized(4, 32, 4, 64, 1)
    await expect(compileGraph({ ...padded, weights: new Map([[w, wide]]) })).rejects.toThrow(
      "gather: rows of 32 in 'w' do not cut into whole blocks of 64",
    )
    await expect(compileGraph(graph)).rejects.toThrow(
      "weight 'w' is quantised, which mul cannot read: give it as floats",
    )
  })
})
