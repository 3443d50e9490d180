import type { DType } from '../data.ts'
import { broadcastShapes, type Shape, showShape } from '../dim.ts'
import type { Emitter } from '../emitter.ts'
import { addMethods, apply, constantValue, type Op, scalar, type Tensor } from '../graph.ts'
import { cast, sumTo } from './shape.ts'

/** Ops that treat every element alone, with NumPy's broadcasting. */

/** A tensor, or a number that becomes a scalar of the other operand's type. */
export type Operand = Tensor | number

const toTensor = (x: Operand, like: Tensor): Tensor => (typeof x === 'number' ? scalar(x, like.dtype) : x)

/** Unary ops that integers know too. */
const WHOLE: ReadonlySet<string> = new Set(['neg', 'abs', 'sign', 'relu'])

const shown = (x: Tensor): string => `${x.dtype} ${showShape(x.shape)}`

interface UnaryRule {
  lower(e: Emitter, x: string): string
  /** dy · dy/dx, from the input x and the output y. */
  grad?(dy: Tensor, x: Tensor, y: Tensor): Tensor
}

function unary(name: string, rule: UnaryRule | string, grad?: UnaryRule['grad']): (x: Tensor) => Tensor {
  const { lower, grad: derivative } =
    typeof rule === 'string' ? { lower: (e: Emitter, x: string) => e.one(rule, [x]), grad } : rule
  const op: Op<null> = {
    name,
    infer: ([x]) => {
      if (x.dtype !== 'float32' && (!WHOLE.has(name) || x.dtype === 'bool' || x.dtype === 'uint8')) {
        throw new TypeError(`${name}: needs ${WHOLE.has(name) ? 'numbers' : 'float32'}, got ${shown(x)}`)
      }
      return [{ shape: x.shape, dtype: x.dtype }]
    },
    lower: (e, [x]) => [lower(e, x)],
    grad: derivative && ((node, [dy]) => [dy && derivative(dy, node.inputs[0], node.outputs[0])]),
  }
  return (x) => apply(op, [x], null)
}

export const neg = unary('neg', 'Neg', (dy) => neg(dy))
export const exp = unary('exp', 'Exp', (dy, _x, y) => dy.mul(y))
export const log = unary('log', 'Log', (dy, x) => dy.div(x))
export const sqrt = unary('sqrt', 'Sqrt', (dy, _x, y) => dy.div(y.mul(2)))
export const reciprocal = unary('reciprocal', 'Reciprocal', (dy, _x, y) => neg(dy.mul(y).mul(y)))
export const abs = unary('abs', 'Abs', (dy, x) => dy.mul(sign(x)))
export const sign = unary('sign', 'Sign')
export const floor = unary('floor', 'Floor')
export const ceil = unary('ceil', 'Ceil')
/** Halves go to the even neighbour. */
export const round = unary('round', 'Round')
export const sin = unary('sin', 'Sin', (dy, x) => dy.mul(cos(x)))
export const cos = unary('cos', 'Cos', (dy, x) => neg(dy.mul(sin(x))))
export const tanh = unary('tanh', 'Tanh', (dy, _x, y) => dy.mul(scalar(1).sub(y.mul(y))))
export const sigmoid = unary('sigmoid', 'Sigmoid', (dy, _x, y) => dy.mul(y).mul(scalar(1).sub(y)))
/** (2/√π) ∫₀ˣ exp(−t²) dt */
export const erf = unary('erf', 'Erf', (dy, x) => dy.mul(exp(neg(x.mul(x))).mul(2 / Math.sqrt(Math.PI))))
/** log(1 + eˣ) */
export const softplus = unary('softplus', 'Softplus', (dy, x) => dy.mul(sigmoid(x)))
export const relu = unary('relu', 'Relu', (dy, _x, y) => dy.mul(apply(isPositiveOp, [y], null)))

/** 1 where x > 0, 0 elsewhere: min(max(huge · x, 0), 1) is one pass, and half as long as a comparison and a choice. */
const isPositiveOp: Op<null> = {
  name: 'isPositive',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, [x]) => [e.one('HardSigmoid', [x], { alpha: { float: 3e38 }, beta: { float: 0 } })],
}
// biome-ignore lint/suspicious/noShadowRestrictedNames: the op has this name everywhere
export const isNaN = (x: Tensor): Tensor => apply(isNaNOp, [x], null)

const isNaNOp: Op<null> = {
  name: 'isNaN',
  infer: ([x]) => [{ shape: x.shape, dtype: 'bool' }],
  lower: (e, [x]) => [e.one('IsNaN', [x])],
}

export const square = (x: Tensor): Tensor => x.mul(x)
export const rsqrt = (x: Tensor): Tensor => reciprocal(sqrt(x))

function joined(name: string, a: Tensor, b: Tensor): { shape: Shape; dtype: DType } {
  const shape = broadcastShapes(a.shape, b.shape)
  if (!shape || a.dtype !== b.dtype) {
    throw new TypeError(
      `${name}: cannot combine ${a.dtype} ${showShape(a.shape)} with ${b.dtype} ${showShape(b.shape)}`,
    )
  }
  return { shape, dtype: a.dtype }
}

type BinaryGrad = (dy: Tensor, a: Tensor, b: Tensor, y: Tensor) => [Tensor | (() => Tensor), Tensor | (() => Tensor)]

function binary(name: string, opType: string, grad?: BinaryGrad): (a: Tensor, b: Operand) => Tensor {
  const op: Op<null> = {
    name,
    infer: ([a, b]) => {
      const type = joined(name, a, b)
      if (type.dtype === 'bool') throw new TypeError(`${name}: needs numbers, got ${shown(a)}`)
      if (name === 'mod' && type.dtype === 'float32') throw new TypeError(`${name}: needs integers, got ${shown(a)}`)
      return [type]
    },
    lower: (e, inputs) => [e.one(opType, inputs)],
    grad:
      grad &&
      (({ inputs: [a, b], outputs: [y] }, [dy]) => {
        if (!dy) return [undefined, undefined]
        const [da, db] = grad(dy, a, b, y)
        const settle = (d: Tensor | (() => Tensor), x: Tensor): Tensor | undefined =>
          constantValue(x) ? undefined : sumTo(typeof d === 'function' ? d() : d, x.shape)
        return [settle(da, a), settle(db, b)]
      }),
  }
  return (a, b) => apply(op, [a, toTensor(b, a)], null)
}

export const add = binary('add', 'Add', (dy) => [dy, dy])
export const sub = binary('sub', 'Sub', (dy) => [dy, () => neg(dy)])
export const mul = binary('mul', 'Mul', (dy, a, b) => [() => dy.mul(b), () => dy.mul(a)])
export const div = binary('div', 'Div', (dy, _a, b, y) => [() => dy.div(b), () => neg(dy.mul(y).div(b))])
export const pow = binary('pow', 'Pow', (dy, a, b, y) => [
  () => dy.mul(b).mul(pow(a, b.sub(1))),
  () => dy.mul(y).mul(log(a)),
])
/** Where both are equal the gradient goes to the first. */
export const maximum = binary('maximum', 'Max', (dy, a, b) => [
  () => where(greaterOrEqual(a, b), dy, 0),
  () => where(greaterOrEqual(a, b), 0, dy),
])
export const minimum = binary('minimum', 'Min', (dy, a, b) => [
  () => where(lessOrEqual(a, b), dy, 0),
  () => where(lessOrEqual(a, b), 0, dy),
])
/** The remainder with the sign of the divisor; integers. */
export const mod = binary('mod', 'Mod')

function requireBool(name: string, x: Tensor): void {
  if (x.dtype !== 'bool') throw new TypeError(`${name}: needs bool, got ${shown(x)}`)
}

function comparison(name: string, opType: string): (a: Tensor, b: Operand) => Tensor {
  const op: Op<null> = {
    name,
    infer: ([a, b]) => {
      const type = joined(name, a, b)
      if (name.startsWith('logical')) requireBool(name, a)
      else if (type.dtype === 'bool' && name !== 'equal') throw new TypeError(`${name}: needs numbers, got ${shown(a)}`)
      return [{ ...type, dtype: 'bool' }]
    },
    lower: (e, inputs) => [e.one(opType, inputs)],
  }
  return (a, b) => apply(op, [a, toTensor(b, a)], null)
}

export const equal = comparison('equal', 'Equal')
export const less = comparison('less', 'Less')
export const lessOrEqual = comparison('lessOrEqual', 'LessOrEqual')
export const greater = comparison('greater', 'Greater')
export const greaterOrEqual = comparison('greaterOrEqual', 'GreaterOrEqual')
export const logicalAnd = comparison('logicalAnd', 'And')
export const logicalOr = comparison('logicalOr', 'Or')
const notOp: Op<null> = {
  name: 'logicalNot',
  infer: ([x]) => {
    requireBool('logicalNot', x)
    return [{ shape: x.shape, dtype: 'bool' }]
  },
  lower: (e, [x]) => [e.one('Not', [x])],
}
export const logicalNot = (x: Tensor): Tensor => apply(notOp, [x], null)

const whereOp: Op<null> = {
  name: 'where',
  infer: ([condition, a, b]) => {
    const values = joined('where', a, b)
    const shape = broadcastShapes(condition.shape, values.shape)
    if (!shape || condition.dtype !== 'bool') {
      throw new TypeError(
        `where: the condition must be bool and broadcast to ${showShape(values.shape)}, got ${condition.dtype} ${showShape(condition.shape)}`,
      )
    }
    return [{ shape, dtype: values.dtype }]
  },
  lower: (e, inputs) => [e.one('Where', inputs)],
  grad: ({ inputs: [condition, a, b] }, [dy]) => {
    if (!dy) return [undefined, undefined, undefined]
    const zero = scalar(0)
    return [
      undefined,
      constantValue(a) ? undefined : sumTo(where(condition, dy, zero), a.shape),
      constantValue(b) ? undefined : sumTo(where(condition, zero, dy), b.shape),
    ]
  },
}

/** a where the condition holds, b elsewhere. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  const dtype = typeof a !== 'number' ? a.dtype : typeof b !== 'number' ? b.dtype : 'float32'
  const tensor = (x: Operand): Tensor => (typeof x === 'number' ? scalar(x, dtype) : x)
  return apply(whereOp, [condition, tensor(a), tensor(b)], null)
}

/** Limits values to [low, high]; the gradient is zero outside. */
export const clamp = (x: Tensor, low: number, high: number): Tensor => minimum(maximum(x, low), high)

declare module '../graph.ts' {
  interface Tensor {
    add(other: Operand): Tensor
    sub(other: Operand): Tensor
    mul(other: Operand): Tensor
    div(other: Operand): Tensor
    pow(exponent: Operand): Tensor
    neg(): Tensor
    exp(): Tensor
    log(): Tensor
    sqrt(): Tensor
    square(): Tensor
    tanh(): Tensor
    sigmoid(): Tensor
    equal(other: Operand): Tensor
    less(other: Operand): Tensor
    lessOrEqual(other: Operand): Tensor
    greater(other: Operand): Tensor
    greaterOrEqual(other: Operand): Tensor
    and(other: Tensor): Tensor
    or(other: Tensor): Tensor
    not(): Tensor
  }
}

addMethods({
  add(other: Operand) {
    return add(this, other)
  },
  sub(other: Operand) {
    return sub(this, other)
  },
  mul(other: Operand) {
    return mul(this, other)
  },
  div(other: Operand) {
    return div(this, other)
  },
  pow(exponent: Operand) {
    return pow(this, exponent)
  },
  neg() {
    return neg(this)
  },
  exp() {
    return exp(this)
  },
  log() {
    return log(this)
  },
  sqrt() {
    return sqrt(this)
  },
  square() {
    return square(this)
  },
  tanh() {
    return tanh(this)
  },
  sigmoid() {
    return sigmoid(this)
  },
  equal(other: Operand) {
    return equal(this, other)
  },
  less(other: Operand) {
    return less(this, other)
  },
  lessOrEqual(other: Operand) {
    return lessOrEqual(this, other)
  },
  greater(other: Operand) {
    return greater(this, other)
  },
  greaterOrEqual(other: Operand) {
    return greaterOrEqual(this, other)
  },
  and(other: Tensor) {
    return logicalAnd(this, other)
  },
  or(other: Tensor) {
    return logicalOr(this, other)
  },
  not() {
    return logicalNot(this)
  },
})

/** The mask as 0 and 1. */
export const indicator = (condition: Tensor): Tensor => cast(condition, 'float32')
