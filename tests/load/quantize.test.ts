import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Quantization, quantizeMatrix, quantizers } from '../../src/load/quantize.ts'
import { Scope } from '../../src/nn/scope.ts'
import { embedding, input, linear, type QuantizedWeight } from '../../src/tensor/index.ts'

/** The floats that blocks stand for. */
function dequantized({ bits, blockSize, shape: [rows, columns], packed, scales, zeroPoints }: QuantizedWeight) {
  const perRow = Math.ceil(columns / blockSize)
  const nibble = (bytes: Uint8Array, at: number): number => (bytes[at >> 1] >> (4 * (at & 1))) & 15
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns]
    const block = Math.floor(column / blockSize)
    const at = row * perRow * blockSize + column
    const zero = zeroPoints ? nibble(zeroPoints, row * 2 * Math.ceil(perRow / 2) + block) : 2 ** (bits - 1)
    return ((bits === 8 ? packed[at] : nibble(packed, at)) - zero) * scales[row * perRow + block]
  })
}

const matrix = fc
  .record({
    rows: fc.integer({ min: 1, max: 3 }),
    columns: fc.integer({ min: 1, max: 300 }),
    size: fc.double({ min: 1e-3, max: 1e3, noNaN: true }),
  })
  .chain(({ rows, columns, size }) =>
    fc
      .array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: rows * columns, maxLength: rows * columns })
      .map((values) => ({ rows, columns, values: Float32Array.from(values, (value) => value * size) })),
  )

/** Scales this small are rounded in steps of their own size. */
const SUBNORMAL = 1e-40

const squares = (values: Iterable<number>): number => [...values].reduce((sum, value) => sum + value * value, 0)

describe('quantizeMatrix', () => {
  /** Levels that a value may be off by: one where the range ends a level early on one side, two where it is cut. */
  const worst: Record<Quantization, number> = { q8: 1.001, q4: 1.001, q4s: 2 }

  for (const kind of ['q8', 'q4', 'q4s'] as const) {
    it(`${kind} keeps every value to within ${kind === 'q4s' ? 'two levels' : 'a level'}, in blocks that need not divide the row`, () => {
      fc.assert(
        fc.property(matrix, fc.constantFrom(16, 32, 64, 128), ({ rows, columns, values }, blockSize) => {
          const weight = quantizeMatrix(values, [rows, columns], kind, blockSize)
          const perRow = Math.ceil(columns / blockSize)
          expect(weight.scales.length).toBe(rows * perRow)
          expect(weight.packed.length).toBe((rows * perRow * blockSize * weight.bits) / 8)
          dequantized(weight).forEach((value, i) => {
            const block = Math.floor(i / columns) * perRow + Math.floor((i % columns) / blockSize)
            const step = Math.abs(weight.scales[block])
            expect(Math.abs(value - values[i])).toBeLessThanOrEqual(worst[kind] * step + SUBNORMAL)
          })
        }),
      )
    })
  }

  it('q4s chooses scales with an error, weighed by squares, of at most that of the largest value at −8', () => {
    fc.assert(
      fc.property(matrix, ({ columns, values }) => {
        const row = values.subarray(0, columns)
        const got = dequantized(quantizeMatrix(row, [1, columns], 'q4s', 512))
        const largest = row.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0)
        const scale = Math.fround(largest / -8) || 1
        const plain = row.map((v) => Math.min(Math.max(Math.floor(v / scale + 8.5), 0), 15) * scale - 8 * scale)
        const error = (of: Float32Array) => squares(row.map((v, i) => v * (v - of[i])))
        expect(error(got)).toBeLessThanOrEqual(error(plain) * 1.01 + 1e-6 * squares(row.map((v) => v * v)))
      }),
    )
  })

  it('keeps zeros', () => {
    for (const kind of ['q8', 'q4', 'q4s'] as const) {
      const zeros = dequantized(quantizeMatrix(new Float32Array(80), [2, 40], kind))
      expect(zeros.every((value) => value === 0)).toBe(true)
    }
  })
})

describe('quantizers', () => {
  it.each([
    ['q8', { 'narrow.weight': [8, 32], 'wide.weight': [8, 128], 'table.weight': [8, 64] }],
    ['q4', { 'narrow.weight': [4, 32], 'wide.weight': [4, 32], 'table.weight': [8, 64] }],
    ['q4s', { 'narrow.weight': [4, 32], 'wide.weight': [4, 128], 'table.weight': [4, 32] }],
  ] as const)('%s takes the largest blocks that cost no accuracy, and pads none in tables', (kind, expected) => {
    const scope = Scope.root()
    const ids = input('ids', [2], 'int32')
    const parameter = (name: string, shape: number[]) => scope.at(name).param('weight', shape)
    const table = parameter('table', [10, 576])
    const hidden = linear(embedding(table, ids), parameter('wide', [96, 576]))
    const outputs = [linear(hidden, parameter('narrow', [8, 96]))]
    const blocks = quantizers(kind, { outputs, parameters: scope.parameters.values() })
    const chosen = [...blocks].map(([name, { quantize }]) => {
      const { shape } = scope.parameters.get(name) as { shape: readonly number[] }
      const data = new Float32Array(shape[0] * shape[1])
      const { bits, blockSize } = quantize({ dtype: 'float32', shape, data })
      return [name, [bits, blockSize]]
    })
    expect(Object.fromEntries(chosen)).toEqual(expected)
  })
})
