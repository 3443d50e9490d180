import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addDims,
  broadcastShapes,
  type Dim,
  evaluateDim,
  exactQuotient,
  floorDivDim,
  mulDims,
  normalizeAxis,
  sameDim,
  showShape,
  subDims,
  symbol,
} from '../../src/tensor/index.ts'

const NAMES = ['batch', 'past', 'seq']

/** An expression over named dimensions: how to build it, and what it is worth. */
interface Expression {
  readonly dim: Dim
  readonly value: (names: ReadonlyMap<string, number>) => number
}

const { expression } = fc.letrec<{ expression: Expression; leaf: Expression }>((tie) => ({
  leaf: fc.oneof(
    fc.integer({ min: -4, max: 6 }).map((n): Expression => ({ dim: n, value: () => n })),
    fc
      .constantFrom(...NAMES)
      .map((name): Expression => ({ dim: symbol(name), value: (names) => names.get(name) as number })),
  ),
  expression: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    tie('leaf'),
    fc
      .tuple(fc.constantFrom('add', 'sub', 'mul'), tie('expression'), tie('expression'))
      .map(([op, a, b]): Expression => {
        if (op === 'add') return { dim: addDims(a.dim, b.dim), value: (names) => a.value(names) + b.value(names) }
        if (op === 'sub') return { dim: subDims(a.dim, b.dim), value: (names) => a.value(names) - b.value(names) }
        return { dim: mulDims(a.dim, b.dim), value: (names) => a.value(names) * b.value(names) }
      }),
    fc
      .tuple(tie('expression'), fc.integer({ min: 1, max: 4 }))
      .map(([a, n]): Expression => ({ dim: floorDivDim(a.dim, n), value: (names) => Math.floor(a.value(names) / n) })),
  ),
}))

const values = fc
  .tuple(...NAMES.map(() => fc.integer({ min: 0, max: 9 })))
  .map((sizes) => new Map(NAMES.map((name, i) => [name, sizes[i]])))

describe('dimensions', () => {
  it('computed by name are worth what the same sums of numbers are', () => {
    fc.assert(
      fc.property(expression, values, ({ dim, value }, names) => {
        expect(evaluateDim(dim, names) + 0).toBe(value(names) + 0)
      }),
      { numRuns: 500 },
    )
  })

  it('that are called the same are always equal, and shown alike', () => {
    fc.assert(
      fc.property(expression, expression, values, (a, b, names) => {
        if (sameDim(a.dim, b.dim)) expect(a.value(names) + 0).toBe(b.value(names) + 0)
        expect(sameDim(a.dim, b.dim)).toBe(`${a.dim}` === `${b.dim}`)
      }),
      { numRuns: 500 },
    )
  })

  it('have one form for one polynomial, however it was written', () => {
    fc.assert(
      fc.property(expression, expression, expression, ({ dim: a }, { dim: b }, { dim: c }) => {
        expect(sameDim(addDims(a, b), addDims(b, a))).toBe(true)
        expect(sameDim(mulDims(a, b), mulDims(b, a))).toBe(true)
        expect(sameDim(mulDims(a, addDims(b, c)), addDims(mulDims(a, b), mulDims(a, c)))).toBe(true)
        expect(sameDim(addDims(addDims(a, b), c), addDims(a, addDims(b, c)))).toBe(true)
        expect(sameDim(subDims(addDims(a, b), b), a)).toBe(true)
        expect(subDims(a, a)).toBe(0)
      }),
    )
  })

  it('divide exactly where the quotient is whole for every size, and not otherwise', () => {
    const monomial = fc
      .tuple(fc.integer({ min: 1, max: 4 }), fc.subarray(NAMES))
      .map(([n, names]) => names.reduce<Dim>((product, name) => mulDims(product, symbol(name)), n))
    fc.assert(
      fc.property(expression, monomial, values, ({ dim }, divisor, names) => {
        const whole = exactQuotient(mulDims(dim, divisor), divisor)
        if (dim !== 0) expect(whole !== undefined && sameDim(whole, dim)).toBe(true)
        const quotient = exactQuotient(dim, divisor)
        if (quotient === undefined) return
        expect(evaluateDim(quotient, names) * evaluateDim(divisor, names) + 0).toBe(evaluateDim(dim, names) + 0)
      }),
      { numRuns: 300 },
    )
    expect(exactQuotient(7, 2)).toBeUndefined()
    expect(exactQuotient(symbol('seq'), 0)).toBeUndefined()
    expect(exactQuotient(symbol('seq'), symbol('batch'))).toBeUndefined()
  })

  it('read as arithmetic', () => {
    const [batch, seq] = [symbol('batch'), symbol('seq')]
    expect(
      showShape([batch, subDims(mulDims(2, seq), 1), mulDims(batch, seq), floorDivDim(addDims(seq, 1), 2)]),
    ).toMatchInlineSnapshot(`"[batch, 2*seq-1, batch*seq, floor((seq+1)/2)]"`)
  })

  it('broadcast as their sizes do', () => {
    const seq = symbol('seq')
    expect(broadcastShapes([2, 1, seq], [3, 1])).toEqual([2, 3, seq])
    expect(broadcastShapes([seq], [seq])).toEqual([seq])
    expect(broadcastShapes([seq], [4])).toBeUndefined()
    expect(broadcastShapes([symbol('a')], [symbol('b')])).toBeUndefined()
    expect(broadcastShapes([], [])).toEqual([])
  })

  it('have names that cannot be mistaken for arithmetic', () => {
    expect(() => symbol('a*b')).toThrow("symbol: 'a*b' is not a name: letters, digits and _ only, not first a digit")
    expect(() => symbol('')).toThrow("symbol: '' is not a name")
  })

  it('without a value are named in the error', () => {
    expect(() => evaluateDim(symbol('seq'), new Map())).toThrow('dimension seq has no value')
    expect(() => normalizeAxis('sum', -3, 2)).toThrow('sum: axis -3 is outside a tensor of 2 dimensions')
  })
})
