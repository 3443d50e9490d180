import { broadcastShapes, type Dim, type Shape, sameDim, showShape, sizeOfShape } from '../dim.ts'
import { type Emitter, MICROSOFT } from '../emitter.ts'
import { addMethods, apply, type Op, type Tensor } from '../graph.ts'
import { reshape, sumKeepingAxes, sumTo, transpose } from './shape.ts'

/** Products of matrices. */

interface MatmulAttributes {
  readonly transposeA: boolean
  readonly transposeB: boolean
  /** A factor on the product, free of cost inside the kernel. */
  readonly alpha: number
}

const rows = (x: Tensor, transposed: boolean): Dim => x.shape[x.rank - (transposed ? 1 : 2)]
const columns = (x: Tensor, transposed: boolean): Dim => x.shape[x.rank - (transposed ? 2 : 1)]

const matmulOp: Op<MatmulAttributes> = {
  name: 'matmul',
  infer: ([a, b], { transposeA, transposeB }) => {
    const batch = a.rank >= 2 && b.rank >= 2 && broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2))
    if (
      !batch ||
      !sameDim(columns(a, transposeA), rows(b, transposeB)) ||
      a.dtype !== 'float32' ||
      b.dtype !== 'float32'
    ) {
      const show = (x: Tensor, t: boolean) => `${x.dtype} ${showShape(x.shape)}${t ? ' transposed' : ''}`
      throw new RangeError(`matmul: cannot multiply ${show(a, transposeA)} by ${show(b, transposeB)}`)
    }
    return [{ shape: [...batch, rows(a, transposeA), columns(b, transposeB)], dtype: 'float32' }]
  },
  lower: (e, inputs, { inputs: [a, b], attributes: { transposeA, transposeB, alpha } }) => {
    const transforms = { transA: +transposeA, transB: +transposeB, alpha: { float: alpha } }
    if (a.rank === 2 && b.rank === 2) {
      if (transposeA && !transposeB && alpha === 1) return [transposedProduct(e, inputs, a.shape, b.shape)]
      return [e.one('Gemm', [...inputs], transforms)]
    }
    if (!transposeA && !transposeB && alpha === 1) return [e.one('MatMul', inputs)]
    return [e.one('FusedMatMul', inputs, transforms, MICROSOFT)]
  },
  grad: ({ inputs: [a, b], attributes: { transposeA, transposeB, alpha } }, [dy]) => {
    if (!dy) return [undefined, undefined]
    const product = (x: Tensor, tx: boolean, y: Tensor, ty: boolean) =>
      matmul(x, y, { transposeA: tx, transposeB: ty, alpha })
    const da = transposeA ? product(b, transposeB, dy, true) : product(dy, false, b, !transposeB)
    const db = transposeB ? product(dy, true, a, transposeA) : product(a, !transposeA, dy, false)
    return [sumTo(da, a.shape), sumTo(db, b.shape)]
  },
}

/** From this many columns on, turning a larger first operand pays as well. */
const LONG_ROW = 512

/**
 * Aᵀ B, a weight's gradient. ONNX Runtime reads a transposed first operand a fifth slower than one that lies in order,
 * much slower where its rows are long. Turning the smaller operand beforehand, or the product, costs little.
 */
function transposedProduct(e: Emitter, [a, b]: readonly string[], shapeA: Shape, shapeB: Shape): string {
  const [rows, m] = shapeA
  const n = shapeB[1]
  if (typeof rows === 'number' && typeof m === 'number' && typeof n === 'number' && n > 1) {
    // A table of words: its gradient has far more rows than columns.
    if (m >= 16 * n) return turned(e, e.one('Gemm', [turned(e, b, rows, n), a]), n, m)
    if (m < n || n >= LONG_ROW) return e.one('Gemm', [turned(e, a, rows, m), b])
  }
  return e.one('Gemm', [a, b], { transA: 1 })
}

/** [rows, columns] → [columns, rows]. The reshapes keep ONNX Runtime from folding it into the product again. */
function turned(e: Emitter, x: string, rows: number, columns: number): string {
  const plane = e.one('Reshape', [x, e.ints([1, rows, columns])])
  return e.one('Reshape', [e.one('Transpose', [plane], { perm: [0, 2, 1] }), e.ints([columns, rows])])
}

/**
 * alpha · A B over the last two axes, with leading axes broadcast. Vectors are not matrices: add an axis first.
 *
 * @param a - [..., m, k], or [..., k, m] with `transposeA`
 * @param b - [..., k, n], or [..., n, k] with `transposeB`
 * @returns [..., m, n]
 */
export const matmul = (a: Tensor, b: Tensor, options: Partial<MatmulAttributes> = {}): Tensor =>
  apply(matmulOp, [a, b], { transposeA: false, transposeB: false, alpha: 1, ...options })

interface LinearAttributes {
  /** The weight is [inFeatures, outFeatures], as GPT's `Conv1D` keeps it. */
  readonly inFirst: boolean
}

const outFeatures = (weight: Tensor, inFirst: boolean): Dim => weight.shape[inFirst ? 1 : 0]

/** All leading axes in one: [rows, features]. */
export const flattenRows = (x: Tensor): Tensor =>
  x.rank === 2 ? x : reshape(x, [sizeOfShape(x.shape.slice(0, -1)), x.shape[x.rank - 1]])

const linearOp: Op<LinearAttributes> = {
  name: 'linear',
  infer: ([x, weight, bias], { inFirst }) => {
    const integers = [x, weight, bias].find((operand) => operand && operand.dtype !== 'float32')
    if (integers) throw new TypeError(`linear: needs float32, got ${integers.dtype} ${showShape(integers.shape)}`)
    const inFeatures = weight.shape[inFirst ? 0 : 1]
    const out = outFeatures(weight, inFirst)
    if (weight.rank !== 2 || x.rank === 0 || !sameDim(x.shape[x.rank - 1], inFeatures)) {
      throw new RangeError(
        `linear: a weight of ${showShape(weight.shape)}${inFirst ? ' (in, out)' : ' (out, in)'} does not fit features of ${showShape(x.shape)}`,
      )
    }
    if (bias && (bias.rank !== 1 || !sameDim(bias.shape[0], out))) {
      throw new RangeError(`linear: the bias must be [${out}], got ${showShape(bias.shape)}`)
    }
    return [{ shape: [...x.shape.slice(0, -1), out], dtype: 'float32' }]
  },
  lower: (e, [x, weight, bias], { inputs, outputs: [y], attributes: { inFirst } }) => {
    const quantized = e.quantized(inputs[1])
    if (quantized) {
      const { weight: q, packed, scales, zeroPoints } = quantized
      const [N, K] = q.shape
      // A weight that the model has as [in, out] was turned when it was cut into blocks.
      if (inFirst && (K !== inputs[1].shape[0] || N !== inputs[1].shape[1])) {
        throw new Error(`linear: a quantised weight must be [out, in], and '${inputs[1]}' is [in, out]`)
      }
      const attributes = { K, N, bits: q.bits, block_size: q.blockSize, accuracy_level: 4 }
      const product = e.one(
        'MatMulNBits',
        [x, packed, scales, ...(zeroPoints ? [zeroPoints] : [])],
        attributes,
        MICROSOFT,
      )
      return [bias ? e.one('Add', [product, bias]) : product]
    }
    const operands = bias ? [weight, bias] : [weight]
    if (inputs[0].rank === 2) return [e.one('Gemm', [x, ...operands], { transB: +!inFirst })]
    const flat = e.one('Reshape', [x, e.shape([-1, inputs[0].shape[inputs[0].rank - 1]])])
    return [e.one('Reshape', [e.one('Gemm', [flat, ...operands], { transB: +!inFirst }), e.shape(y.shape)])]
  },
  grad: ({ inputs: [x, weight, bias], attributes: { inFirst } }, [dy]) => {
    if (!dy) return [undefined, undefined, undefined]
    const flatX = flattenRows(x)
    const flatDy = flattenRows(dy)
    const dx = matmul(flatDy, weight, { transposeB: inFirst })
    const dWeight = inFirst ? matmul(flatX, flatDy, { transposeA: true }) : matmul(flatDy, flatX, { transposeA: true })
    return [reshape(dx, x.shape), dWeight, bias && reshape(sumKeepingAxes(flatDy, [0]), bias.shape)]
  },
}

/**
 * x Wᵀ + b on the last axis. A weight that serves may be quantised to 4 or 8 bits when the graph is compiled.
 *
 * @param x - [..., inFeatures]
 * @param weight - [outFeatures, inFeatures], or the reverse with `inFirst`
 * @param bias - [outFeatures]
 * @returns [..., outFeatures]
 */
export const linear = (x: Tensor, weight: Tensor, bias?: Tensor, { inFirst = false } = {}): Tensor =>
  apply(linearOp, bias ? [x, weight, bias] : [x, weight], { inFirst })

/**
 * Einstein summation of one or two tensors, e.g. `'bqhd,bkhd->bhqk'`. Letters of both operands are matched, letters
 * missing from the result are summed; it becomes one batched product. No ellipsis, no repeated letter in one operand.
 */
export function einsum(equation: string, ...operands: readonly Tensor[]): Tensor {
  const [left, result] = equation.replaceAll(' ', '').split('->')
  const labels = left?.split(',') ?? []
  if (result === undefined || labels.length !== operands.length || operands.length > 2 || operands.length === 0) {
    throw new RangeError(`einsum: '${equation}' does not describe ${operands.length} operands and a result`)
  }
  const sizes = new Map<string, Dim>()
  operands.forEach((x, i) => {
    if (labels[i].length !== x.rank || new Set(labels[i]).size !== x.rank) {
      throw new RangeError(`einsum: '${labels[i]}' does not name the axes of ${showShape(x.shape)}`)
    }
    ;[...labels[i]].forEach((label, axis) => {
      const known = sizes.get(label)
      if (known !== undefined && !sameDim(known, x.shape[axis])) {
        throw new RangeError(`einsum: '${label}' is both ${known} and ${x.shape[axis]} in '${equation}'`)
      }
      sizes.set(label, x.shape[axis])
    })
  })
  for (const label of result)
    if (!sizes.has(label)) throw new RangeError(`einsum: '${label}' of the result is in no operand`)
  const twice = [...result].find((label, i) => result.indexOf(label) !== i)
  if (twice) throw new RangeError(`einsum: '${twice}' stands twice in the result of '${equation}'`)

  /** Sums axes that neither the other operand nor the result has, and puts the rest in the order asked for. */
  const arrange = (i: number, order: readonly string[], shape: Shape): Tensor => {
    const own = [...labels[i]]
    const lone = own.flatMap((label, axis) => (order.includes(label) ? [] : [axis]))
    const kept = own.filter((label) => order.includes(label))
    const summed = reshape(
      sumKeepingAxes(operands[i], lone),
      kept.map((label) => sizes.get(label) as Dim),
    )
    return reshape(
      transpose(
        summed,
        order.map((label) => kept.indexOf(label)),
      ),
      shape,
    )
  }
  const dims = (group: readonly string[]): Dim => sizeOfShape(group.map((label) => sizes.get(label) as Dim))
  const full = (group: readonly string[]): Shape => group.map((label) => sizes.get(label) as Dim)
  if (operands.length === 1) return arrange(0, [...result], full([...result]))

  const [a, b] = labels.map((text) => [...text])
  const shared = a.filter((label) => b.includes(label))
  const batch = shared.filter((label) => result.includes(label))
  const contracted = shared.filter((label) => !result.includes(label))
  const freeA = a.filter((label) => !b.includes(label) && result.includes(label))
  const freeB = b.filter((label) => !a.includes(label) && result.includes(label))
  const product = matmul(
    arrange(0, [...batch, ...freeA, ...contracted], [dims(batch), dims(freeA), dims(contracted)]),
    arrange(1, [...batch, ...contracted, ...freeB], [dims(batch), dims(contracted), dims(freeB)]),
  )
  const order = [...batch, ...freeA, ...freeB]
  return transpose(
    reshape(product, full(order)),
    [...result].map((label) => order.indexOf(label)),
  )
}

declare module '../graph.ts' {
  interface Tensor {
    matmul(other: Tensor, options?: Partial<MatmulAttributes>): Tensor
  }
}

addMethods({
  matmul(other: Tensor, options?: Partial<MatmulAttributes>) {
    return matmul(this, other, options)
  },
})
