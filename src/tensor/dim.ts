/**
 * Dimensions: numbers, or polynomials over named ones such as `batch`, `seq` and `past`, so that one compiled graph
 * serves any length. Two dimensions are the same when their polynomials are.
 */

export type Dim = number | SymbolicDim
export type Shape = readonly Dim[]

/** A factor that is not a plain name: the floor of a quotient, as in the size of a strided convolution. */
interface Quotient {
  readonly numerator: Dim
  readonly denominator: number
}

interface Term {
  readonly coefficient: number
  /** Names in alphabetical order, repeated for powers; the empty product is the constant term. */
  readonly factors: readonly string[]
}

export class SymbolicDim {
  constructor(
    readonly terms: readonly Term[],
    readonly quotients: ReadonlyMap<string, Quotient>,
  ) {}

  toString(): string {
    return this.terms
      .map(({ coefficient, factors }, i) => {
        const sign = coefficient < 0 ? '-' : i > 0 ? '+' : ''
        const size = Math.abs(coefficient)
        const product = factors.join('*')
        return sign + (product === '' ? `${size}` : size === 1 ? product : `${size}*${product}`)
      })
      .join('')
  }
}

/** A dimension known only when the graph runs. */
export function symbol(name: string): Dim {
  if (!/^[A-Za-z_]\w*$/.test(name)) {
    throw new RangeError(`symbol: '${name}' is not a name: letters, digits and _ only, not first a digit`)
  }
  return new SymbolicDim([{ coefficient: 1, factors: [name] }], new Map())
}

/** A dimension in a signature: a size, or the name of one that is known only when the graph runs. */
export type NamedShape = readonly (number | string)[]

export const shapeOf = (named: NamedShape): Shape =>
  named.map((dim): Dim => (typeof dim === 'string' ? symbol(dim) : dim))

const termsOf = (dim: Dim): readonly Term[] =>
  typeof dim === 'number' ? [{ coefficient: dim, factors: [] }] : dim.terms

const quotientsOf = (...dims: Dim[]): Map<string, Quotient> =>
  new Map(dims.flatMap((dim) => (typeof dim === 'number' ? [] : [...dim.quotients])))

function collect(terms: readonly Term[], quotients: ReadonlyMap<string, Quotient>): Dim {
  const sums = new Map<string, { coefficient: number; factors: readonly string[] }>()
  for (const { coefficient, factors } of terms) {
    const key = factors.join('*')
    sums.set(key, { coefficient: (sums.get(key)?.coefficient ?? 0) + coefficient, factors })
  }
  const kept = [...sums].filter(([, term]) => term.coefficient !== 0).sort(([a], [b]) => (a < b ? 1 : -1))
  if (kept.length === 0) return 0
  if (kept.length === 1 && kept[0][1].factors.length === 0) return kept[0][1].coefficient
  const used = new Set(kept.flatMap(([, term]) => term.factors))
  return new SymbolicDim(
    kept.map(([, term]) => term),
    new Map([...quotients].filter(([name]) => used.has(name))),
  )
}

export const addDims = (a: Dim, b: Dim): Dim =>
  typeof a === 'number' && typeof b === 'number' ? a + b : collect([...termsOf(a), ...termsOf(b)], quotientsOf(a, b))

export const mulDims = (a: Dim, b: Dim): Dim =>
  typeof a === 'number' && typeof b === 'number'
    ? a * b
    : collect(
        termsOf(a).flatMap((s) =>
          termsOf(b).map((t) => ({
            coefficient: s.coefficient * t.coefficient,
            factors: [...s.factors, ...t.factors].sort(),
          })),
        ),
        quotientsOf(a, b),
      )

export const subDims = (a: Dim, b: Dim): Dim => addDims(a, mulDims(b, -1))

/** ⌊dim / divisor⌋: whole multiples of the divisor are taken out, so that equal sizes look equal. */
export function floorDivDim(dim: Dim, divisor: number): Dim {
  if (divisor === 1) return dim
  if (typeof dim === 'number') return Math.floor(dim / divisor)
  const scaled = (coefficientOf: (term: Term) => number): Dim =>
    collect(
      dim.terms.map((term) => ({ ...term, coefficient: coefficientOf(term) })),
      dim.quotients,
    )
  // The constant gives up every multiple (what is left of it is not negative), other terms give all or nothing.
  const whole = ({ coefficient, factors }: Term): number =>
    factors.length === 0 || coefficient % divisor === 0 ? Math.floor(coefficient / divisor) : 0
  const outside = scaled(whole)
  const inside = scaled((term) => term.coefficient - divisor * whole(term))
  if (typeof inside === 'number') return outside
  const name = `floor((${inside})/${divisor})`
  const quotients = new Map(inside.quotients).set(name, { numerator: inside, denominator: divisor })
  return addDims(outside, new SymbolicDim([{ coefficient: 1, factors: [name] }], quotients))
}

/**
 * dim / divisor where the quotient is known to be whole, for either kind of divisor: a reshape's missing size.
 * Undefined where it cannot be shown.
 */
export function exactQuotient(dim: Dim, divisor: Dim): Dim | undefined {
  if (typeof divisor === 'number') {
    if (typeof dim === 'number') return dim % divisor === 0 ? dim / divisor : undefined
    return dim.terms.every((term) => term.coefficient % divisor === 0) ? floorDivDim(dim, divisor) : undefined
  }
  if (divisor.terms.length !== 1) return sameDim(dim, divisor) ? 1 : undefined
  const [{ coefficient, factors }] = divisor.terms
  const terms: Term[] = []
  for (const term of termsOf(dim)) {
    const left = [...term.factors]
    for (const factor of factors) {
      const at = left.indexOf(factor)
      if (at < 0) return undefined
      left.splice(at, 1)
    }
    if (term.coefficient % coefficient !== 0) return undefined
    terms.push({ coefficient: term.coefficient / coefficient, factors: left })
  }
  return collect(terms, quotientsOf(dim, divisor))
}

export const sameDim = (a: Dim, b: Dim): boolean =>
  a === b || (typeof a !== 'number' && typeof b !== 'number' && `${a}` === `${b}`)

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, i) => sameDim(dim, b[i]))

export const sizeOfShape = (shape: Shape): Dim => shape.reduce<Dim>(mulDims, 1)

export const showShape = (shape: Shape): string => `[${shape.join(', ')}]`

export const isStatic = (shape: Shape): shape is readonly number[] => shape.every((dim) => typeof dim === 'number')

/** The dimension's value once every name has one. */
export function evaluateDim(dim: Dim, values: ReadonlyMap<string, number>): number {
  if (typeof dim === 'number') return dim
  let sum = 0
  for (const { coefficient, factors } of dim.terms) {
    let product = coefficient
    for (const factor of factors) {
      const quotient = dim.quotients.get(factor)
      const value = quotient
        ? Math.floor(evaluateDim(quotient.numerator, values) / quotient.denominator)
        : values.get(factor)
      if (value === undefined) throw new Error(`dimension ${factor} has no value: no input has it`)
      product *= value
    }
    sum += product
  }
  return sum
}

/** The shape of an elementwise result: equal dimensions, or 1 stretched to the other. Undefined where they clash. */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length)
  const result: Dim[] = []
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1
    const y = b[b.length - rank + i] ?? 1
    if (sameDim(x, y) || y === 1) result.push(x)
    else if (x === 1) result.push(y)
    else return undefined
  }
  return result
}

/** A non-negative axis index. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  const normal = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(axis) || normal < 0 || normal >= rank) {
    throw new RangeError(`${op}: axis ${axis} is outside a tensor of ${rank} dimensions`)
  }
  return normal
}
