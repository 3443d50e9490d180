import * as t from '../../src/tensor/index.ts'
import { booleans, integers, uniform } from './check.ts'
import { erf, get, type Nd, nd, size } from './reference.ts'

/**
 * Every op at sizes where threads divide the work, beside a plain loop in doubles. A row's name is the op's, and after a
 * comma what is special about it.
 */

type Tensors = Record<string, t.Tensor>
type Arrays = Record<string, Nd>

export interface LargeCase {
  readonly inputs: () => Record<string, t.TensorData>
  readonly fn: (inputs: Tensors) => Tensors
  readonly reference: (inputs: Arrays) => Arrays
  /** Inputs that nothing is differentiated by; `all` where there is no gradient. */
  readonly fixed?: readonly string[] | 'all'
  /** ONNX Runtime sums in another order on another number of threads; on one number always in the same. */
  readonly variesWithThreads?: boolean
}

const ROWS = 256
const COLUMNS = 768
const SHAPE = [ROWS, COLUMNS]

const like = (x: Nd, f: (value: number, i: number) => number): Nd => ({ shape: x.shape, data: x.data.map(f) })

/** Each line along an axis replaced by what `f` makes of it: `length` numbers. `at` counts the lines. */
function lines(x: Nd, axis: number, length: number, f: (line: Float64Array, at: number) => ArrayLike<number>): Nd {
  const [before, after] = [size(x.shape.slice(0, axis)), size(x.shape.slice(axis + 1))]
  const count = x.shape[axis]
  const data = new Float64Array(before * length * after)
  const line = new Float64Array(count)
  for (let b = 0; b < before; b++) {
    for (let a = 0; a < after; a++) {
      for (let i = 0; i < count; i++) line[i] = x.data[(b * count + i) * after + a]
      const made = f(line, b * after + a)
      for (let i = 0; i < length; i++) data[(b * length + i) * after + a] = made[i]
    }
  }
  return { shape: x.shape.map((n, i) => (i === axis ? length : n)), data }
}

const flat = (x: Nd, shape: readonly number[]): Nd => ({ shape, data: x.data })
const sumOf = (values: Float64Array): number => values.reduce((a, b) => a + b, 0)
const fold = (x: Nd, axis: number, f: (line: Float64Array) => number): Nd => {
  const folded = lines(x, axis, 1, (line) => [f(line)])
  return flat(
    folded,
    folded.shape.filter((_, i) => i !== axis),
  )
}
const soft = (line: Float64Array): Float64Array => {
  const most = line.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const e = line.map((v) => Math.exp(v - most))
  const total = sumOf(e)
  return e.map((v) => v / total)
}
const standard = (line: Float64Array, epsilon = 1e-5): Float64Array => {
  const mu = sumOf(line) / line.length
  const spread = sumOf(line.map((v) => (v - mu) ** 2)) / line.length
  return line.map((v) => (v - mu) / Math.sqrt(spread + epsilon))
}
const orderOf = (line: Float64Array, descending: boolean): number[] =>
  [...line.keys()].sort((a, b) => (descending ? line[b] - line[a] : line[a] - line[b]) || a - b)

/** [..., m, k] by [..., k, n], as many of each. */
function product(a: Nd, b: Nd): Nd {
  const [m, k] = a.shape.slice(-2)
  const n = b.shape[b.shape.length - 1]
  const batch = size(a.shape.slice(0, -2))
  const data = new Float64Array(batch * m * n)
  for (let p = 0; p < batch; p++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < k; j++) {
        const factor = a.data[(p * m + i) * k + j]
        const [from, to] = [(p * k + j) * n, (p * m + i) * n]
        for (let l = 0; l < n; l++) data[to + l] += factor * b.data[from + l]
      }
    }
  }
  return { shape: [...a.shape.slice(0, -1), n], data }
}

const swapped = (x: Nd): Nd => {
  const [m, n] = x.shape.slice(-2)
  const batch = size(x.shape.slice(0, -2))
  const data = new Float64Array(x.data.length)
  for (let p = 0; p < batch; p++)
    for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) data[(p * n + j) * m + i] = x.data[(p * m + i) * n + j]
  return { shape: [...x.shape.slice(0, -2), n, m], data }
}

/** [batch, seq, heads * d] ⇄ [batch, heads, seq, d] */
function heads(x: Nd, count: number): Nd {
  const [batch, seq, width] = x.shape
  const d = width / count
  return nd([batch, count, seq, d], ([b, h, s, f]) => x.data[(b * seq + s) * width + h * d + f])
}
function unheads(x: Nd): Nd {
  const [batch, count, seq, d] = x.shape
  return nd([batch, seq, count * d], ([b, s, f]) => x.data[((b * count + Math.floor(f / d)) * seq + s) * d + (f % d)])
}

/** x [batch, in, height, width] by weight [out, in, k, k]. */
function convolved(x: Nd, weight: Nd, bias: Nd | undefined, stride: number, padding: number): Nd {
  const [batch, channels, height, width] = x.shape
  const [out, , kernel] = weight.shape
  const [rows, columns] = [height, width].map((n) => Math.floor((n + 2 * padding - kernel) / stride) + 1)
  const data = new Float64Array(batch * out * rows * columns)
  for (let b = 0; b < batch; b++)
    for (let o = 0; o < out; o++)
      for (let y = 0; y < rows; y++)
        for (let z = 0; z < columns; z++) {
          let sum = bias ? bias.data[o] : 0
          for (let c = 0; c < channels; c++)
            for (let i = 0; i < kernel; i++) {
              const row = y * stride + i - padding
              if (row < 0 || row >= height) continue
              for (let j = 0; j < kernel; j++) {
                const column = z * stride + j - padding
                if (column < 0 || column >= width) continue
                const w = weight.data[((o * channels + c) * kernel + i) * kernel + j]
                sum += w * x.data[((b * channels + c) * height + row) * width + column]
              }
            }
          data[((b * out + o) * rows + y) * columns + z] = sum
        }
  return { shape: [batch, out, rows, columns], data }
}

/** Windows of pictures without padding, each as an array. */
function windows(x: Nd, kernel: number, stride: number, f: (values: Float64Array) => number): Nd {
  const [batch, channels, height, width] = x.shape
  const [rows, columns] = [height, width].map((n) => Math.floor((n - kernel) / stride) + 1)
  const values = new Float64Array(kernel * kernel)
  return nd([batch, channels, rows, columns], ([b, c, y, z]) => {
    for (let k = 0; k < values.length; k++) {
      const [row, column] = [y * stride + Math.floor(k / kernel), z * stride + (k % kernel)]
      values[k] = x.data[((b * channels + c) * height + row) * width + column]
    }
    return f(values)
  })
}

const unary = (op: (x: t.Tensor) => t.Tensor, f: (x: number) => number, low = -2, high = 2): LargeCase => ({
  inputs: () => ({ x: uniform(SHAPE, 1, low, high) }),
  fn: ({ x }) => ({ y: op(x) }),
  reference: ({ x }) => ({ y: like(x, f) }),
})

/** Against a row, which is repeated: its gradient is a sum over all rows. */
const binary = (
  op: (a: t.Tensor, b: t.Tensor) => t.Tensor,
  f: (a: number, b: number) => number,
  low = -2,
  high = 2,
): LargeCase => ({
  inputs: () => ({ a: uniform(SHAPE, 1, low, high), b: uniform([COLUMNS], 2, low, high) }),
  fn: ({ a, b }) => ({ y: op(a, b) }),
  reference: ({ a, b }) => ({ y: like(a, (v, i) => f(v, b.data[i % COLUMNS])) }),
})

const whole = (
  op: (a: t.Tensor, b: t.Tensor) => t.Tensor,
  f: (a: number, b: number) => number,
  low = -3,
): LargeCase => ({
  inputs: () => ({ a: integers(SHAPE, 1, low, 3), b: integers([COLUMNS], 2, 1, 3) }),
  fn: ({ a, b }) => ({ y: op(a, b) }),
  reference: ({ a, b }) => ({ y: like(a, (v, i) => f(v, b.data[i % COLUMNS])) }),
})

const logical = (op: (a: t.Tensor, b: t.Tensor) => t.Tensor, f: (a: number, b: number) => number): LargeCase => ({
  inputs: () => ({ a: booleans(SHAPE, 1), b: booleans(SHAPE, 2) }),
  fn: ({ a, b }) => ({ y: op(a, b) }),
  reference: ({ a, b }) => ({ y: like(a, (v, i) => f(v, b.data[i])) }),
})

/** One op over the rows, the columns and everything. */
const reduction = (
  op: (x: t.Tensor, options?: t.ReduceOptions) => t.Tensor,
  f: (line: Float64Array) => number,
  low = -2,
  high = 2,
): LargeCase => ({
  inputs: () => ({ x: uniform(SHAPE, 1, low, high) }),
  fn: ({ x }) => ({ rows: op(x, { axis: 1 }), columns: op(x, { axis: 0 }), all: op(x) }),
  reference: ({ x }) => ({
    rows: fold(x, 1, f),
    columns: fold(x, 0, f),
    all: { shape: [], data: Float64Array.of(f(x.data)) },
  }),
})

const moved = (op: (x: t.Tensor) => t.Tensor, f: (x: Nd) => Nd): LargeCase => ({
  inputs: () => ({ x: uniform([16, 64, 192], 1) }),
  fn: ({ x }) => ({ y: op(x.mul(x)) }),
  reference: ({ x }) => ({ y: f(like(x, (v) => v * v)) }),
})

const channelwise = (f: (x: Nd, of: (line: Float64Array, channel: number) => Float64Array) => Nd) => f
/** Each channel of [batch, channels, ...space] as one line. */
const byChannel = channelwise((x, of) => {
  const [batch, channels] = x.shape
  const space = size(x.shape.slice(2))
  const data = new Float64Array(x.data.length)
  for (let c = 0; c < channels; c++) {
    const line = new Float64Array(batch * space)
    for (let b = 0; b < batch; b++)
      for (let i = 0; i < space; i++) line[b * space + i] = x.data[(b * channels + c) * space + i]
    const made = of(line, c)
    for (let b = 0; b < batch; b++)
      for (let i = 0; i < space; i++) data[(b * channels + c) * space + i] = made[b * space + i]
  }
  return { shape: x.shape, data }
})

const sigma = (x: number): number => 1 / (1 + Math.exp(-x))
const tanhGelu = (x: number): number => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

const LABELS = 300

/** −log softmax(logits)[label] of each row; those labelled −100 give 0. */
const rowLosses = (logits: Nd, labels: Nd): Float64Array =>
  lines(logits, 1, 1, (line, row) => [labels.data[row] < 0 ? 0 : -Math.log(soft(line)[labels.data[row]])]).data

const labelled = (): Record<string, t.TensorData> => {
  const labels = integers([1024], 2, 0, LABELS - 1)
  for (let i = 0; i < 1024; i += 7) labels.data[i] = -100
  return { logits: uniform([1024, LABELS], 1), labels }
}

const pictures = (): Record<string, t.TensorData> => ({ x: uniform([8, 16, 48, 48], 1) })

const angles = uniform([300, 32], 5, -3, 3).data as Float32Array
const table = (f: (angle: number) => number): t.Tensor =>
  t.constant({ dtype: 'float32', shape: [300, 32], data: angles.map(f) })

/** Rows whose elements lie apart, so that none changes places with another in a small step. */
const apart = (rows: number, columns: number): t.TensorData => {
  const keys: Nd = { shape: [rows, columns], data: Float64Array.from(uniform([rows, columns], 1).data as Float32Array) }
  const places = lines(keys, 1, columns, (line) => orderOf(line, false))
  return t.tensorData(
    'float32',
    [rows, columns],
    Float32Array.from(places.data, (place) => place / 64),
  )
}

const distinctPositions = (): t.TensorData => {
  const keys = uniform(SHAPE, 3).data as Float32Array
  const picked = Array.from({ length: ROWS }, (_, row) =>
    orderOf(Float64Array.from(keys.subarray(row * COLUMNS, (row + 1) * COLUMNS)), false).slice(0, 300),
  )
  return t.tensorData('int32', [ROWS, 300], picked.flat())
}

export const LARGE: Readonly<Record<string, LargeCase>> = {
  // One element at a time.
  neg: unary(t.neg, (x) => -x),
  exp: unary(t.exp, Math.exp),
  log: unary(t.log, Math.log, 0.1, 3),
  sqrt: unary(t.sqrt, Math.sqrt, 0.1, 3),
  reciprocal: unary(t.reciprocal, (x) => 1 / x, 0.5, 2),
  abs: unary(t.abs, Math.abs),
  sign: unary(t.sign, Math.sign),
  floor: unary(t.floor, Math.floor),
  ceil: unary(t.ceil, Math.ceil),
  round: unary(t.round, Math.round),
  sin: unary(t.sin, Math.sin),
  cos: unary(t.cos, Math.cos),
  tanh: unary(t.tanh, Math.tanh),
  sigmoid: unary(t.sigmoid, sigma),
  erf: unary(t.erf, erf),
  softplus: unary(t.softplus, (x) => Math.log1p(Math.exp(x))),
  relu: unary(t.relu, (x) => Math.max(x, 0)),
  isNaN: unary(
    (x) => t.isNaN(t.log(x)),
    (x) => +(x < 0),
  ),
  square: unary(t.square, (x) => x * x),
  rsqrt: unary(t.rsqrt, (x) => 1 / Math.sqrt(x), 0.5, 2),
  gelu: unary(t.gelu, (x) => (x / 2) * (1 + erf(x * Math.SQRT1_2))),
  geluTanh: unary(t.geluTanh, tanhGelu),
  silu: unary(t.silu, (x) => x * sigma(x)),
  quickGelu: unary(t.quickGelu, (x) => x * sigma(1.702 * x)),
  mish: unary(t.mish, (x) => x * Math.tanh(Math.log1p(Math.exp(x)))),
  leakyRelu: unary(t.leakyRelu, (x) => (x > 0 ? x : 0.01 * x)),
  elu: unary(t.elu, (x) => (x > 0 ? x : Math.expm1(x))),
  relu6: unary(t.relu6, (x) => Math.min(Math.max(x, 0), 6), -2, 8),
  clamp: unary(
    (x) => t.clamp(x, -1, 1),
    (x) => Math.min(Math.max(x, -1), 1),
  ),
  cast: unary((x) => t.cast(x, 'int32'), Math.trunc),
  indicator: unary(
    (x) => t.indicator(x.greater(0)),
    (x) => +(x > 0),
  ),
  add: binary(t.add, (a, b) => a + b),
  sub: binary(t.sub, (a, b) => a - b),
  mul: binary(t.mul, (a, b) => a * b),
  div: binary(t.div, (a, b) => a / b, 0.5, 2),
  pow: binary(t.pow, (a, b) => a ** b, 0.5, 2),
  maximum: binary(t.maximum, Math.max),
  minimum: binary(t.minimum, Math.min),
  mod: whole(t.mod, (a, b) => ((a % b) + b) % b),
  equal: whole(t.equal, (a, b) => +(a === b)),
  less: whole(t.less, (a, b) => +(a < b)),
  lessOrEqual: whole(t.lessOrEqual, (a, b) => +(a <= b)),
  greater: whole(t.greater, (a, b) => +(a > b)),
  greaterOrEqual: whole(t.greaterOrEqual, (a, b) => +(a >= b)),
  logicalAnd: logical(t.logicalAnd, (a, b) => a & b),
  logicalOr: logical(t.logicalOr, (a, b) => a | b),
  logicalNot: logical(
    (a, b) => t.logicalNot(t.logicalAnd(a, b)),
    (a, b) => 1 - (a & b),
  ),
  where: {
    inputs: () => ({ condition: booleans(SHAPE, 1), a: uniform(SHAPE, 2), b: uniform([COLUMNS], 3) }),
    fn: ({ condition, a, b }) => ({ y: t.where(condition, a, b) }),
    reference: ({ condition, a, b }) => ({ y: like(a, (v, i) => (condition.data[i] ? v : b.data[i % COLUMNS])) }),
  },

  // Sums and their kin.
  sum: reduction(t.sum, sumOf),
  mean: reduction(t.mean, (line) => sumOf(line) / line.length),
  variance: reduction(t.variance, (line) => {
    const mu = sumOf(line) / line.length
    return sumOf(line.map((v) => (v - mu) ** 2)) / line.length
  }),
  max: reduction(t.max, (line) => line.reduce((a, b) => Math.max(a, b))),
  min: reduction(t.min, (line) => line.reduce((a, b) => Math.min(a, b))),
  logSumExp: reduction(t.logSumExp, (line) => Math.log(sumOf(line.map(Math.exp)))),
  l2Norm: reduction(t.l2Norm, (line) => Math.sqrt(sumOf(line.map((v) => v * v)))),
  prod: {
    inputs: () => ({ x: uniform([64, 48, 20], 1, 0.8, 1.2) }),
    fn: ({ x }) => ({ y: t.prod(x, { axis: 1 }) }),
    reference: ({ x }) => ({ y: fold(x, 1, (line) => line.reduce((a, b) => a * b)) }),
  },
  'sum, outer and inner axes at once': {
    inputs: () => ({ x: uniform([16, 64, 192], 1) }),
    fn: ({ x }) => ({ middle: t.sum(x, { axis: [0, 2] }), outer: t.mean(x, { axis: 1 }) }),
    reference: ({ x }) => ({ middle: fold(fold(x, 2, sumOf), 0, sumOf), outer: fold(x, 1, (l) => sumOf(l) / 64) }),
  },
  sumKeepingAxes: moved(
    (x) => t.sumKeepingAxes(x, [1]),
    (x) => lines(x, 1, 1, (line) => [sumOf(line)]),
  ),
  sumTo: moved(
    (x) => t.sumTo(x, [192]),
    (x) => fold(fold(x, 0, sumOf), 0, sumOf),
  ),
  argMax: {
    inputs: () => ({ x: uniform(SHAPE, 1) }),
    fn: ({ x }) => ({ rows: t.argMax(x), columns: t.argMax(x, 0) }),
    reference: ({ x }) => ({
      rows: fold(x, 1, (line) => orderOf(line, true)[0]),
      columns: fold(x, 0, (line) => orderOf(line, true)[0]),
    }),
  },
  argMin: {
    inputs: () => ({ x: uniform(SHAPE, 1) }),
    fn: ({ x }) => ({ rows: t.argMin(x), columns: t.argMin(x, 0) }),
    reference: ({ x }) => ({
      rows: fold(x, 1, (line) => orderOf(line, false)[0]),
      columns: fold(x, 0, (line) => orderOf(line, false)[0]),
    }),
  },
  cumSum: moved(
    (x) => t.cumSum(x, 1),
    (x) => {
      return lines(x, 1, 64, (line) => line.map((_, i) => sumOf(line.subarray(0, i + 1))))
    },
  ),
  cumProd: {
    inputs: () => ({ x: uniform([64, 32, 64], 1, 0.8, 1.2) }),
    fn: ({ x }) => ({ y: t.cumProd(x, 1) }),
    reference: ({ x }) => ({
      y: lines(x, 1, 32, (line) => line.map((_, i) => line.subarray(0, i + 1).reduce((a, b) => a * b))),
    }),
  },
  softmax: {
    inputs: () => ({ x: uniform(SHAPE, 1) }),
    fn: ({ x }) => ({ rows: t.softmax(x), columns: t.softmax(x, 0) }),
    reference: ({ x }) => ({ rows: lines(x, 1, COLUMNS, soft), columns: lines(x, 0, ROWS, soft) }),
  },
  logSoftmax: {
    inputs: () => ({ x: uniform(SHAPE, 1) }),
    fn: ({ x }) => ({ y: t.logSoftmax(x) }),
    reference: ({ x }) => ({ y: lines(x, 1, COLUMNS, (line) => soft(line).map(Math.log)) }),
  },

  // Positions. Ids are few, so that every row of a table is named dozens of times.
  gather: {
    inputs: () => ({ x: uniform([48, 64, 24], 1), ids: integers([96], 2, -64, 63) }),
    fn: ({ x, ids }) => ({ y: t.gather(x, ids, 1) }),
    reference: ({ x, ids }) => ({ y: lines(x, 1, 96, (line) => ids.data.map((id) => line[(id + 64) % 64])) }),
  },
  embedding: {
    inputs: () => ({ weight: uniform([64, 384], 1), ids: integers([4, 1024], 2, 0, 63) }),
    fn: ({ weight, ids }) => ({ y: t.embedding(weight, ids) }),
    reference: ({ weight, ids }) => ({
      y: nd([4, 1024, 384], ([b, s, f]) => weight.data[ids.data[b * 1024 + s] * 384 + f]),
    }),
  },
  scatterAddRows: {
    inputs: () => ({ x: uniform([64, 384], 1), ids: integers([1024], 2, 0, 63), updates: uniform([1024, 384], 3) }),
    fn: ({ x, ids, updates }) => ({ y: t.scatterAddRows(x, ids, updates) }),
    reference: ({ x, ids, updates }) => {
      const data = Float64Array.from(x.data)
      updates.data.forEach((update, i) => {
        data[ids.data[Math.floor(i / 384)] * 384 + (i % 384)] += update
      })
      return { y: { shape: x.shape, data } }
    },
  },
  // The gradients of a table that is read twice, as words and as the head's weight.
  addGradients: {
    inputs: () => ({ weight: uniform([64, 384], 1, -0.1, 0.1), ids: integers([1024], 2, 0, 63) }),
    fn: ({ weight, ids }) => ({ y: t.linear(t.embedding(weight, ids), weight) }),
    reference: ({ weight, ids }) => ({
      y: product(
        nd([1024, 384], ([s, f]) => weight.data[ids.data[s] * 384 + f]),
        swapped(weight),
      ),
    }),
  },
  takeAlongAxis: {
    inputs: () => ({ x: uniform([ROWS, 40], 1), ids: integers([ROWS, 600], 2, 0, 39) }),
    fn: ({ x, ids }) => ({ y: t.takeAlongAxis(x, ids) }),
    reference: ({ x, ids }) => ({ y: like(ids, (id, i) => x.data[Math.floor(i / 600) * 40 + id]) }),
  },
  scatterAddAlongAxis: {
    inputs: () => ({
      x: uniform([ROWS, 40], 1),
      ids: integers([ROWS, 600], 2, 0, 39),
      updates: uniform([ROWS, 600], 3),
    }),
    fn: ({ x, ids, updates }) => ({ y: t.scatterAddAlongAxis(x, ids, updates) }),
    reference: ({ x, ids, updates }) => {
      const data = Float64Array.from(x.data)
      updates.data.forEach((update, i) => {
        data[Math.floor(i / 600) * 40 + ids.data[i]] += update
      })
      return { y: { shape: x.shape, data } }
    },
  },
  scatterAlongAxis: {
    inputs: () => ({ x: uniform(SHAPE, 1), ids: distinctPositions(), updates: uniform([ROWS, 300], 2) }),
    fn: ({ x, ids, updates }) => ({ y: t.scatterAlongAxis(x, ids, updates) }),
    reference: ({ x, ids, updates }) => {
      const data = Float64Array.from(x.data)
      updates.data.forEach((update, i) => {
        data[Math.floor(i / 300) * COLUMNS + ids.data[i]] = update
      })
      return { y: { shape: x.shape, data } }
    },
  },
  topK: {
    inputs: () => ({ x: apart(ROWS, 300) }),
    fn: ({ x }) => t.topK(x, 40) as unknown as Tensors,
    reference: ({ x }) => ({
      values: lines(x, 1, 40, (line) => orderOf(line, true).map((i) => line[i])),
      indices: lines(x, 1, 40, (line) => orderOf(line, true)),
    }),
  },
  sort: {
    inputs: () => ({ x: apart(ROWS, 300) }),
    fn: ({ x }) => t.sort(x) as unknown as Tensors,
    reference: ({ x }) => ({
      values: lines(x, 1, 300, (line) => Float64Array.from(line).sort()),
      indices: lines(x, 1, 300, (line) => orderOf(line, false)),
    }),
  },
  oneHot: {
    inputs: () => ({ labels: integers([2048], 1, 0, 99) }),
    fn: ({ labels }) => ({ y: t.oneHot(labels, 100) }),
    reference: ({ labels }) => ({ y: nd([2048, 100], ([row, i]) => +(labels.data[row] === i)) }),
  },
  at: moved(
    (x) => t.at(x, 1, 5),
    (x) => nd([16, 192], ([b, f]) => get(x, [b, 5, f])),
  ),
  takeRows: {
    inputs: () => ({ x: uniform([16, 32, 384], 1), positions: integers([900], 2, 0, 511) }),
    fn: ({ x, positions }) => ({ y: t.takeRows(x, positions) }),
    reference: ({ x, positions }) => ({ y: nd([900, 384], ([row, f]) => x.data[positions.data[row] * 384 + f]) }),
  },

  // Shapes.
  reshape: moved(
    (x) => t.reshape(x, [64, -1]),
    (x) => flat(x, [64, 3072]),
  ),
  transpose: moved(
    (x) => t.transpose(x, [2, 0, 1]),
    (x) => nd([192, 16, 64], ([f, b, s]) => get(x, [b, s, f])),
  ),
  swapAxes: moved(
    (x) => t.swapAxes(x, 0, 2),
    (x) => nd([192, 64, 16], ([f, s, b]) => get(x, [b, s, f])),
  ),
  broadcastTo: {
    inputs: () => ({ x: uniform([1, 768], 1), column: uniform([ROWS, 1], 2) }),
    fn: ({ x, column }) => ({ rows: t.broadcastTo(x, SHAPE), columns: t.broadcastTo(column, SHAPE) }),
    reference: ({ x, column }) => ({
      rows: nd(SHAPE, ([, f]) => x.data[f]),
      columns: nd(SHAPE, ([row]) => column.data[row]),
    }),
  },
  slice: moved(
    (x) => t.slice(x, { axis: 1, start: 3, end: 60, step: 2 }),
    (x) => lines(x, 1, 29, (line) => line.filter((_, i) => i >= 3 && i < 60 && i % 2 === 1)),
  ),
  flip: moved(
    (x) => t.flip(x, 1),
    (x) => lines(x, 1, 64, (line) => Float64Array.from(line).reverse()),
  ),
  split: moved(
    (x) => t.split(x, 4, 1)[2],
    (x) => lines(x, 1, 16, (line) => line.slice(32, 48)),
  ),
  concat: moved(
    (x) => t.concat([x, x.mul(2)], 1),
    (x) => {
      return lines(x, 1, 128, (line) => [...line, ...line.map((v) => 2 * v)])
    },
  ),
  stack: moved(
    (x) => t.stack([x, x.mul(2)], 1),
    (x) => {
      return nd([16, 2, 64, 192], ([b, copy, s, f]) => (copy + 1) * get(x, [b, s, f]))
    },
  ),
  pad: moved(
    (x) =>
      t.pad(
        x,
        [
          [0, 0],
          [2, 3],
          [0, 0],
        ],
        'reflect',
      ),
    (x) => lines(x, 1, 69, (line) => [line[2], line[1], ...line, line[62], line[61], line[60]]),
  ),
  padAxis: moved(
    (x) => t.padAxis(x, 1, 1, 2),
    (x) => lines(x, 1, 67, (line) => [0, ...line, 0, 0]),
  ),
  roll: moved(
    (x) => t.roll(x, 5, 1),
    (x) => lines(x, 1, 64, (line) => [...line.slice(59), ...line.slice(0, 59)]),
  ),
  expandDims: moved(
    (x) => t.expandDims(x, 1),
    (x) => flat(x, [16, 1, 64, 192]),
  ),
  squeeze: moved(
    (x) => t.squeeze(t.expandDims(x, 1).mul(2), 1),
    (x) => like(x, (v) => 2 * v),
  ),
  full: moved(
    (x) => x.add(t.full([64, 1], 3)),
    (x) => like(x, (v) => v + 3),
  ),
  zerosLike: moved(
    (x) => t.zerosLike(x),
    (x) => like(x, () => 0),
  ),
  arange: moved(
    (x) => x.mul(t.arange(192).cast('float32')),
    (x) => like(x, (v, i) => v * (i % 192)),
  ),
  dimTensor: moved(
    (x) => x.mul(t.dimTensor(192).cast('float32')),
    (x) => like(x, (v) => v * 192),
  ),

  // Gradients of one's own.
  customGradient: moved(
    (x) => t.customGradient(x.mul(3), [x], (dy) => [dy.mul(3)]),
    (x) => like(x, (v) => 3 * v),
  ),
  stopGradient: {
    inputs: () => ({ x: uniform(SHAPE, 1) }),
    fn: ({ x }) => ({ y: x.add(t.stopGradient(t.constant(uniform(SHAPE, 2)))) }),
    reference: ({ x }) => {
      const other = uniform(SHAPE, 2).data
      return { y: like(x, (v, i) => v + Number(other[i])) }
    },
  },
  recompute: moved(
    (x) => t.recompute((y) => y.mul(y).tanh(), x),
    (x) => like(x, (v) => Math.tanh(v * v)),
  ),

  // Losses.
  crossEntropy: {
    inputs: labelled,
    fn: ({ logits, labels }) => ({
      mean: t.crossEntropy(logits, labels),
      each: t.crossEntropy(logits, labels, { reduction: 'none' }),
    }),
    reference: ({ logits, labels }) => {
      const each = rowLosses(logits, labels)
      const counted = labels.data.filter((label) => label >= 0).length
      return { mean: { shape: [], data: Float64Array.of(sumOf(each) / counted) }, each: { shape: [1024], data: each } }
    },
  },
  crossEntropySum: {
    inputs: labelled,
    fn: ({ logits, labels }) => t.crossEntropySum(logits, labels) as unknown as Tensors,
    reference: ({ logits, labels }) => ({
      sum: { shape: [], data: Float64Array.of(sumOf(rowLosses(logits, labels))) },
      count: { shape: [], data: Float64Array.of(labels.data.filter((label) => label >= 0).length) },
    }),
  },
  squaredError: {
    inputs: () => ({ a: uniform(SHAPE, 1), b: uniform(SHAPE, 2) }),
    fn: ({ a, b }) => ({ y: t.meanOf(t.squaredError(a, b)) }),
    reference: ({ a, b }) => ({
      y: { shape: [], data: Float64Array.of(sumOf(a.data.map((v, i) => (v - b.data[i]) ** 2)) / a.data.length) },
    }),
  },

  // Products.
  matmul: {
    inputs: () => ({ a: uniform([512, 200], 1), b: uniform([200, 384], 2) }),
    fn: ({ a, b }) => ({ y: t.matmul(a, b) }),
    reference: ({ a, b }) => ({ y: product(a, b) }),
  },
  'matmul, transposed, with a factor': {
    inputs: () => ({ a: uniform([200, 300], 1), b: uniform([384, 200], 2) }),
    fn: ({ a, b }) => ({ y: t.matmul(a, b, { transposeA: true, transposeB: true, alpha: 0.5 }) }),
    reference: ({ a, b }) => ({ y: like(product(swapped(a), swapped(b)), (v) => v / 2) }),
  },
  'matmul, batched': {
    inputs: () => ({ a: uniform([12, 128, 64], 1), b: uniform([12, 128, 64], 2) }),
    fn: ({ a, b }) => ({ y: t.matmul(a, b, { transposeB: true }) }),
    reference: ({ a, b }) => ({ y: product(a, swapped(b)) }),
  },
  'matmul, long and thin': {
    inputs: () => ({ a: uniform([2048, 128], 1), b: uniform([2048, 65], 2) }),
    fn: ({ a, b }) => ({ y: t.matmul(a, b, { transposeA: true }) }),
    reference: ({ a, b }) => ({ y: product(swapped(a), b) }),
  },
  // Fewer rows than columns: threads share the columns, and how many of the sum's terms are taken at a time depends on
  // how many columns each has.
  'matmul, wide': {
    inputs: () => ({ a: uniform([64, 512], 1), b: uniform([512, 128], 2) }),
    fn: ({ a, b }) => ({ y: t.matmul(a, b) }),
    reference: ({ a, b }) => ({ y: product(a, b) }),
    variesWithThreads: true,
  },
  linear: {
    inputs: () => ({ x: uniform([4, 256, 192], 1), weight: uniform([256, 192], 2), bias: uniform([256], 3) }),
    fn: ({ x, weight, bias }) => ({ y: t.linear(x, weight, bias) }),
    reference: ({ x, weight, bias }) => {
      const y = product(flat(x, [1024, 192]), swapped(weight))
      return {
        y: flat(
          like(y, (v, i) => v + bias.data[i % 256]),
          [4, 256, 256],
        ),
      }
    },
  },
  flattenRows: moved(t.flattenRows, (x) => flat(x, [1024, 192])),
  einsum: {
    inputs: () => ({ q: uniform([2, 128, 4, 48], 1), k: uniform([2, 96, 4, 48], 2) }),
    fn: ({ q, k }) => ({ y: t.einsum('bqhd,bkhd->bhqk', q, k) }),
    reference: ({ q, k }) => ({
      y: product(heads(flat(q, [2, 128, 192]), 4), swapped(heads(flat(k, [2, 96, 192]), 4))),
    }),
  },
  lstm: {
    inputs: () => ({
      x: uniform([256, 2, 96], 1),
      wIh: uniform([512, 96], 2, -0.1, 0.1),
      wHh: uniform([512, 128], 3, -0.1, 0.1),
      bIh: uniform([512], 4),
      bHh: uniform([512], 5),
    }),
    fn: ({ x, wIh, wHh, bIh, bHh }) => ({ y: t.lstm(x, { wIh, wHh, bIh, bHh }).outputs }),
    reference: ({ x, wIh, wHh, bIh, bHh }) => {
      const y = new Float64Array(256 * 2 * 128)
      const inputs = product(flat(x, [512, 96]), swapped(wIh))
      let h: Nd = { shape: [256, 128], data: new Float64Array(256 * 128) }
      const c = new Float64Array(256 * 128)
      for (let step = 0; step < 2; step++) {
        const recurrent = product(h, swapped(wHh))
        h = nd([256, 128], ([b, f]) => {
          const gate = (k: number): number => {
            const row = k * 128 + f
            return (
              inputs.data[(b * 2 + step) * 512 + row] + recurrent.data[b * 512 + row] + bIh.data[row] + bHh.data[row]
            )
          }
          const at = b * 128 + f
          c[at] = sigma(gate(1)) * c[at] + sigma(gate(0)) * Math.tanh(gate(2))
          y[(b * 2 + step) * 128 + f] = sigma(gate(3)) * Math.tanh(c[at])
          return y[(b * 2 + step) * 128 + f]
        })
      }
      return { y: { shape: [256, 2, 128], data: y } }
    },
  },

  // Attention.
  attention: {
    inputs: () => ({ q: uniform([2, 256, 128], 1), k: uniform([2, 256, 128], 2), v: uniform([2, 256, 128], 3) }),
    fn: ({ q, k, v }) => ({ y: t.attention(q, k, v, { nHeads: 4, causal: true }) }),
    reference: ({ q, k, v }) => {
      const scores = product(heads(q, 4), swapped(heads(k, 4)))
      const weights = lines(scores, 3, 256, (line, at) =>
        soft(line.map((v, i) => (i <= at % 256 ? v / Math.sqrt(32) : Number.NEGATIVE_INFINITY))),
      )
      return { y: unheads(product(weights, heads(v, 4))) }
    },
  },
  splitHeads: moved(
    (x) => t.splitHeads(x, 6),
    (x) => heads(x, 6),
  ),
  mergeHeads: {
    inputs: () => ({ x: uniform([8, 6, 64, 32], 1) }),
    fn: ({ x }) => ({ y: t.mergeHeads(x) }),
    reference: ({ x }) => ({ y: unheads(x) }),
  },
  rotary: {
    inputs: () => ({ x: uniform([2, 6, 256, 64], 1), ids: integers([2, 256], 2, 0, 299) }),
    fn: ({ x, ids }) => ({ y: t.rotary(x, ids, table(Math.cos), table(Math.sin)) }),
    reference: ({ x, ids }) => ({
      y: lines(x, 3, 64, (line, at) => {
        const position = ids.data[Math.floor(at / (6 * 256)) * 256 + (at % 256)]
        return line.map((v, f) => {
          const angle = angles[position * 32 + (f % 32)]
          return v * Math.cos(angle) + (f < 32 ? -line[f + 32] : line[f - 32]) * Math.sin(angle)
        })
      }),
    }),
  },
  cachedAttention: {
    inputs: () => ({
      query: uniform([4, 1, 512], 1),
      key: uniform([4, 1, 256], 2),
      value: uniform([4, 1, 256], 3),
      pastKey: uniform([4, 4, 512, 64], 4),
      pastValue: uniform([4, 4, 512, 64], 5),
      lastPosition: t.tensorData('int32', [4], [300, 17, 511, 200]),
      totalLength: t.tensorData('int32', [1], [512]),
    }),
    fn: (tensors) => ({
      y: t.cachedAttention(tensors as unknown as t.CachedAttentionInputs, { nHeads: 8, nKvHeads: 4, scale: 0.125 })
        .output,
    }),
    reference: ({ query, key, value, pastKey, pastValue, lastPosition }) => ({
      y: flat(
        lines(flat(query, [4, 8, 64]), 2, 64, (q, at) => {
          const [b, kv] = [Math.floor(at / 8), Math.floor((at % 8) / 2)]
          const last = lastPosition.data[b]
          const pick = (past: Nd, now: Nd, s: number, f: number): number =>
            s === last ? now.data[b * 256 + kv * 64 + f] : past.data[((b * 4 + kv) * 512 + s) * 64 + f]
          const scores = Float64Array.from({ length: last + 1 }, (_, s) =>
            q.reduce((sum, v, f) => sum + 0.125 * v * pick(pastKey, key, s, f), 0),
          )
          const weights = soft(scores)
          return q.map((_, f) => weights.reduce((sum, w, s) => sum + w * pick(pastValue, value, s, f), 0))
        }),
        [4, 1, 512],
      ),
    }),
    fixed: 'all',
  },
  causalMask: moved(
    (x) => t.where(t.causalMask(192, 50), x.slice({ axis: 1, start: 0, end: 1 }), 0),
    (x) => {
      return nd([16, 192, 192], ([b, i, j]) => (j <= i && j > i - 50 ? get(x, [b, 0, j]) : 0))
    },
  ),
  sameSegment: moved(
    (x) => {
      const data = Int32Array.from({ length: 192 }, (_, i) => Math.floor(i / 50))
      const segmentIds = t.constant({ dtype: 'int32', shape: [1, 192], data })
      return t.where(t.sameSegment(segmentIds, 100, 192), x.slice({ axis: 1, start: 0, end: 1 }), 0)
    },
    (x) =>
      nd([16, 92, 192], ([b, i, j]) => (Math.floor((i + 100) / 50) === Math.floor(j / 50) ? get(x, [b, 0, j]) : 0)),
  ),
  defaultPositionIds: {
    inputs: () => ({ x: uniform([64, 1024], 1) }),
    fn: ({ x }) => ({ y: x.mul(t.defaultPositionIds(64, 1024).cast('float32')) }),
    reference: ({ x }) => ({ y: like(x, (v, i) => v * (i % 1024)) }),
  },
  countTo: {
    inputs: () => ({ limit: t.tensorData('int32', [1], [200_000]) }),
    fn: ({ limit }) => ({ y: t.countTo(limit, 'many') }),
    reference: () => ({ y: nd([200_000], ([i]) => i) }),
  },

  // Norms.
  layerNorm: {
    inputs: () => ({ x: uniform([1024, 384], 1), weight: uniform([384], 2), bias: uniform([384], 3) }),
    fn: ({ x, weight, bias }) => ({ y: t.layerNorm(x, weight, bias) }),
    reference: ({ x, weight, bias }) => ({
      y: lines(x, 1, 384, (line) => standard(line).map((v, i) => v * weight.data[i] + bias.data[i])),
    }),
  },
  rmsNorm: {
    inputs: () => ({ x: uniform([1024, 384], 1), weight: uniform([384], 2) }),
    fn: ({ x, weight }) => ({ y: t.rmsNorm(x, weight) }),
    reference: ({ x, weight }) => ({
      y: lines(x, 1, 384, (line) => {
        const rms = Math.sqrt(sumOf(line.map((v) => v * v)) / 384 + 1e-6)
        return line.map((v, i) => (v / rms) * weight.data[i])
      }),
    }),
  },
  groupNorm: {
    inputs: () => ({ x: uniform([8, 16, 48, 48], 1), weight: uniform([16], 2), bias: uniform([16], 3) }),
    fn: ({ x, weight, bias }) => ({ y: t.groupNorm(x, 4, weight, bias) }),
    reference: ({ x, weight, bias }) => {
      const normal = lines(flat(x, [32, 4 * 48 * 48]), 1, 4 * 48 * 48, (line) => standard(line))
      const channel = (i: number): number => Math.floor(i / (48 * 48)) % 16
      return {
        y: flat(
          like(normal, (v, i) => v * weight.data[channel(i)] + bias.data[channel(i)]),
          x.shape,
        ),
      }
    },
  },
  batchNorm: {
    inputs: () => ({
      x: uniform([8, 16, 48, 48], 1),
      weight: uniform([16], 2),
      bias: uniform([16], 3),
      runningMean: uniform([16], 4),
      runningVar: uniform([16], 5, 0.5, 2),
    }),
    fn: ({ x, weight, bias, runningMean, runningVar }) => ({
      y: t.batchNorm(x, weight, bias, { runningMean, runningVar }),
    }),
    reference: ({ x, weight, bias, runningMean, runningVar }) => ({
      y: byChannel(x, (line, c) => {
        const slope = weight.data[c] / Math.sqrt(runningVar.data[c] + 1e-5)
        return line.map((v) => (v - runningMean.data[c]) * slope + bias.data[c])
      }),
    }),
  },
  batchNormTraining: {
    inputs: () => ({ x: uniform([8, 16, 48, 48], 1), weight: uniform([16], 2), bias: uniform([16], 3) }),
    fn: ({ x, weight, bias }) => {
      const state = { runningMean: t.full([16], 0), runningVar: t.full([16], 1) }
      return { y: t.batchNormTraining(x, weight, bias, state).y }
    },
    reference: ({ x, weight, bias }) => ({
      y: byChannel(x, (line, c) => standard(line).map((v) => v * weight.data[c] + bias.data[c])),
    }),
  },
  l2Normalize: {
    inputs: () => ({ x: uniform(SHAPE, 1) }),
    fn: ({ x }) => ({ y: t.l2Normalize(x) }),
    reference: ({ x }) => ({
      y: lines(x, 1, COLUMNS, (line) => {
        const norm = Math.sqrt(sumOf(line.map((v) => v * v)))
        return line.map((v) => v / norm)
      }),
    }),
  },

  // Pictures.
  maxPool: {
    inputs: pictures,
    fn: ({ x }) => ({ y: t.maxPool(x, { kernel: 3, stride: 2 }) }),
    reference: ({ x }) => ({ y: windows(x, 3, 2, (values) => values.reduce((a, b) => Math.max(a, b))) }),
  },
  averagePool: {
    inputs: pictures,
    fn: ({ x }) => ({ y: t.averagePool(x, { kernel: 3, stride: 2 }) }),
    reference: ({ x }) => ({ y: windows(x, 3, 2, (values) => sumOf(values) / 9) }),
  },
  globalAveragePool: {
    inputs: pictures,
    fn: ({ x }) => ({ y: t.globalAveragePool(x) }),
    reference: ({ x }) => ({
      y: flat(
        fold(flat(x, [128, 2304]), 1, (l) => sumOf(l) / 2304),
        [8, 16, 1, 1],
      ),
    }),
  },
  adaptiveAveragePool: {
    inputs: pictures,
    fn: ({ x }) => ({ y: t.adaptiveAveragePool(x, 20) }),
    reference: ({ x }) => {
      const averages = (line: Float64Array): Float64Array =>
        Float64Array.from({ length: 20 }, (_, i) => {
          const part = line.subarray(Math.floor((i * 48) / 20), Math.ceil(((i + 1) * 48) / 20))
          return sumOf(part) / part.length
        })
      return { y: lines(lines(x, 2, 20, averages), 3, 20, averages) }
    },
  },
  conv2d: {
    inputs: () => ({ x: uniform([4, 16, 32, 32], 1), weight: uniform([32, 16, 3, 3], 2), bias: uniform([32], 3) }),
    fn: ({ x, weight, bias }) => ({ y: t.conv2d(x, weight, bias, { padding: 1 }) }),
    reference: ({ x, weight, bias }) => ({ y: convolved(x, weight, bias, 1, 1) }),
  },
  'conv2d, large planes': {
    inputs: () => ({ x: uniform([2, 8, 64, 64], 1), weight: uniform([16, 8, 3, 3], 2), bias: uniform([16], 3) }),
    fn: ({ x, weight, bias }) => ({ y: t.conv2d(x, weight, bias, { padding: 1 }) }),
    reference: ({ x, weight, bias }) => ({ y: convolved(x, weight, bias, 1, 1) }),
  },
  'conv2d, with a stride': {
    inputs: () => ({ x: uniform([8, 16, 32, 32], 1), weight: uniform([32, 16, 3, 3], 2), bias: uniform([32], 3) }),
    fn: ({ x, weight, bias }) => ({ y: t.conv2d(x, weight, bias, { padding: 1, stride: 2 }) }),
    reference: ({ x, weight, bias }) => ({ y: convolved(x, weight, bias, 2, 1) }),
  },
  'conv2d, of single pixels': {
    inputs: () => ({ x: uniform([4, 64, 24, 24], 1), weight: uniform([48, 64, 1, 1], 2), bias: uniform([48], 3) }),
    fn: ({ x, weight, bias }) => ({ y: t.conv2d(x, weight, bias) }),
    reference: ({ x, weight, bias }) => ({ y: convolved(x, weight, bias, 1, 0) }),
  },
  convTranspose2d: {
    inputs: () => ({ x: uniform([4, 24, 24, 24], 1), weight: uniform([24, 16, 2, 2], 2) }),
    fn: ({ x, weight }) => ({ y: t.convTranspose2d(x, weight, undefined, { stride: 2 }) }),
    reference: ({ x, weight }) => {
      const data = new Float64Array(4 * 16 * 48 * 48)
      x.data.forEach((value, i) => {
        const [b, c, row, column] = [Math.floor(i / 13824), Math.floor(i / 576) % 24, Math.floor(i / 24) % 24, i % 24]
        for (let o = 0; o < 16; o++)
          for (let k = 0; k < 4; k++) {
            const [y, z] = [row * 2 + (k >> 1), column * 2 + (k & 1)]
            data[((b * 16 + o) * 48 + y) * 48 + z] += value * weight.data[(c * 16 + o) * 4 + k]
          }
      })
      return { y: { shape: [4, 16, 48, 48], data } }
    },
  },
  interpolate: {
    inputs: pictures,
    fn: ({ x }) => ({
      y: t.interpolate(x, { scale: 2 }),
      smooth: t.interpolate(x, { size: [30, 30], mode: 'bilinear' }),
    }),
    reference: ({ x }) => {
      const twice = (line: Float64Array): Float64Array => Float64Array.from({ length: 96 }, (_, i) => line[i >> 1])
      const between = (line: Float64Array): Float64Array =>
        Float64Array.from({ length: 30 }, (_, i) => {
          const place = Math.max(((i + 0.5) * 48) / 30 - 0.5, 0)
          const low = Math.floor(place)
          return line[low] + (place - low) * (line[Math.min(low + 1, 47)] - line[low])
        })
      return {
        y: lines(lines(x, 2, 96, twice), 3, 96, twice),
        smooth: lines(lines(x, 2, 30, between), 3, 30, between),
      }
    },
  },
}

/** What else `src/tensor` exports, and why it has no row. */
export const WITHOUT_ROW: Readonly<Record<string, readonly string[]>> = {
  'makes or reads the graph, and computes nothing': [
    'Tensor',
    'constant',
    'constantValue',
    'deferredConstant',
    'fillValue',
    'grad',
    'input',
    'isSumAndCount',
    'rerunOf',
    'scalar',
  ],
  'works on shapes and host arrays': [
    'ONNX_TYPES',
    'SymbolicDim',
    'addDims',
    'broadcastShapes',
    'bytesPerElement',
    'evaluateDim',
    'exactQuotient',
    'floorDivDim',
    'headDimOf',
    'isStatic',
    'mulDims',
    'newArray',
    'normalizeAxis',
    'sameDim',
    'sameShape',
    'shapeOf',
    'showShape',
    'sizeOf',
    'sizeOfShape',
    'subDims',
    'symbol',
    'tensorData',
  ],
  'are other rows by name': ['ACTIVATIONS', 'activation'],
  'two products with a number': ['hideKeys', 'hidePadding'],
  'multiplies by a leaf that the host fills': ['RandomStreams', 'dropout'],
  'divides one scalar by another: see squaredError': ['meanOf'],
}
