/** Plain arrays of doubles, and index loops over them: what the ops are compared with. */

export interface Nd {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

type Index = readonly number[]

export const size = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1)

/** An array whose element at each index is `element(index)`. */
export function nd(shape: readonly number[], element: (index: Index) => number): Nd {
  const data = new Float64Array(size(shape))
  const index = new Array<number>(shape.length).fill(0)
  for (let i = 0; i < data.length; i++) {
    data[i] = element(index)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis] < shape[axis]) break
      index[axis] = 0
    }
  }
  return { shape: [...shape], data }
}

/** The element at an index, with NumPy's broadcasting: missing leading axes, and 0 along axes of size 1. */
export function get(x: Nd, index: Index): number {
  const extra = index.length - x.shape.length
  let offset = 0
  for (let axis = 0; axis < x.shape.length; axis++) {
    offset = offset * x.shape[axis] + (x.shape[axis] === 1 ? 0 : index[axis + extra])
  }
  return x.data[offset]
}

export function broadcast(...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(...shapes.map((shape) => shape.length))
  return Array.from({ length: rank }, (_, i) =>
    shapes.reduce((dim, shape) => {
      const own = shape[i - rank + shape.length] ?? 1
      return own === 1 ? dim : own
    }, 1),
  )
}

export const map = (x: Nd, f: (value: number) => number): Nd => ({ shape: x.shape, data: x.data.map(f) })

export const zip = (a: Nd, b: Nd, f: (x: number, y: number) => number): Nd =>
  nd(broadcast(a.shape, b.shape), (i) => f(get(a, i), get(b, i)))

export const replaceAt = (index: Index, axis: number, value: number): number[] => {
  const copy = [...index]
  copy[axis] = value
  return copy
}

/** The elements of `x` along an axis, through an index. */
export const line = (x: Nd, index: Index, axis: number): number[] =>
  Array.from({ length: x.shape[axis] }, (_, i) => get(x, replaceAt(index, axis, i)))

/** Replaces every line along an axis by what `f` makes of it, which may be longer or shorter. */
export function mapLines(x: Nd, axis: number, length: number, f: (values: number[]) => readonly number[]): Nd {
  const lines = new Map<string, readonly number[]>()
  return nd(replaceAt(x.shape, axis, length), (i) => {
    const key = `${replaceAt(i, axis, 0)}`
    let made = lines.get(key)
    if (!made) lines.set(key, (made = f(line(x, i, axis))))
    return made[i[axis]]
  })
}

/** Folds axes with `f`, leaving them with size 1 or taking them away. */
export function fold(x: Nd, axes: readonly number[], keepDims: boolean, f: (values: number[]) => number): Nd {
  const kept = x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim))
  const inner = axes.map((axis) => x.shape[axis])
  const result = nd(kept, (index) => {
    const values: number[] = []
    nd(inner, (offset) => {
      const full = [...index]
      axes.forEach((axis, k) => {
        full[axis] = offset[k]
      })
      values.push(get(x, full))
      return 0
    })
    return f(values)
  })
  return keepDims ? result : { shape: kept.filter((_, i) => !axes.includes(i)), data: result.data }
}

export const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

export const transposeLast = (x: Nd): Nd => {
  const [rows, columns] = x.shape.slice(-2)
  return nd([...x.shape.slice(0, -2), columns, rows], (i) =>
    get(x, [...i.slice(0, -2), i[i.length - 1], i[i.length - 2]]),
  )
}

/** A B over the last two axes, leading ones broadcast. */
export function product(a: Nd, b: Nd): Nd {
  const batch = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2))
  const [m, k] = a.shape.slice(-2)
  const n = b.shape[b.shape.length - 1]
  const pick = (x: Nd, index: Index, row: number, column: number): number => {
    const own = x.shape.slice(0, -2)
    const tail = index.slice(index.length - own.length).map((at, axis) => (own[axis] === 1 ? 0 : at))
    const [rows, columns] = x.shape.slice(-2)
    let offset = 0
    own.forEach((dim, axis) => {
      offset = offset * dim + tail[axis]
    })
    return x.data[(offset * rows + row) * columns + column]
  }
  return nd([...batch, m, n], (index) => {
    const lead = index.slice(0, -2)
    const [row, column] = index.slice(-2)
    let sum = 0
    for (let i = 0; i < k; i++) sum += pick(a, lead, row, i) * pick(b, lead, i, column)
    return sum
  })
}

/** The Gaussian error function by its series and continued fraction, to double precision. */
export function erf(x: number): number {
  const a = Math.abs(x)
  if (a < 3) {
    let term = a
    let sum = a
    for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 200; n++) {
      term *= -(a * a) / n
      sum += term / (2 * n + 1)
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI)
  }
  let fraction = 0
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction)
  return Math.sign(x) * (1 - Math.exp(-a * a) / ((a + fraction) * Math.sqrt(Math.PI)))
}
