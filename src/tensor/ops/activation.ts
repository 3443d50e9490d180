import { normalizeAxis } from '../dim.ts'
import { MICROSOFT } from '../emitter.ts'
import { apply, type Op, scalar, type Tensor } from '../graph.ts'
import { exp, maximum, minimum, relu, sigmoid, softplus, tanh, where } from './elementwise.ts'
import { sumKeepingAxes } from './shape.ts'

/** Activation functions in every variant that the papers use, and softmax. */

const DENSITY_AT_ZERO = 1 / Math.sqrt(2 * Math.PI)

const normalCdfOp: Op<null> = {
  name: 'normalCdf',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, [x]) => {
    const error = e.one('Erf', [e.one('Mul', [x, e.float(Math.SQRT1_2)])])
    return [e.one('HardSigmoid', [error], { alpha: { float: 0.5 }, beta: { float: 0.5 } })] // (1 + erf) / 2 in one pass
  },
  grad: ({ inputs: [x] }, [dy]) => [dy?.mul(normalDensity(x))],
}

/** φ(x) = exp(−x²/2) / √2π. The square is of the number that Φ needs too, and the factor is a summand of the exponent. */
function normalDensity(x: Tensor): Tensor {
  const scaled = x.mul(Math.SQRT1_2)
  return exp(scalar(Math.log(DENSITY_AT_ZERO)).sub(scaled.mul(scaled)))
}

const geluOp: Op<null> = {
  name: 'gelu',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, inputs) => [e.one('Gelu', inputs)],
  // Φ + x φ. Computing Φ again is no slower than keeping it from the forward pass, which one operator then does.
  grad: ({ inputs: [x] }, [dy]) => [dy?.mul(apply(normalCdfOp, [x], null).add(x.mul(normalDensity(x))))],
}

/** x Φ(x) with the exact Gaussian distribution function (Hendrycks and Gimpel, 2016, arXiv 1606.08415). */
export const gelu = (x: Tensor): Tensor => apply(geluOp, [x], null)

const geluTanhOp: Op<null> = {
  name: 'geluTanh',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, inputs) => [e.one('Gelu', inputs, { approximate: 'tanh' })],
  // In other words x σ(z) with z = √(8/π) (x + 0.044715 x³), so the derivative is σ + x σ (1 − σ) z'.
  grad: ({ inputs: [x] }, [dy]) => {
    if (!dy) return [undefined]
    const c = Math.sqrt(8 / Math.PI)
    const cubic = x.mul(x).mul(0.044715 * c)
    const s = sigmoid(x.mul(cubic.add(c)))
    const slope = cubic.mul(3).add(c)
    return [dy.mul(s.mul(x.mul(scalar(1).sub(s)).mul(slope).add(1)))]
  },
}

/** The tanh approximation of GELU: `gelu_new`, `gelu_pytorch_tanh`. */
export const geluTanh = (x: Tensor): Tensor => apply(geluTanhOp, [x], null)

const swishOp: Op<{ alpha: number }> = {
  name: 'swish',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, [x], { attributes: { alpha } }) => [e.one('QuickGelu', [x], { alpha: { float: alpha } }, MICROSOFT)],
  grad: ({ inputs: [x], outputs: [y], attributes: { alpha } }, [dy]) => {
    if (!dy) return [undefined]
    const s = sigmoid(alpha === 1 ? x : x.mul(alpha))
    return [dy.mul(s.add(y.mul(scalar(1).sub(s)).mul(alpha)))]
  },
}

/** x σ(x): `silu`, `swish`. */
export const silu = (x: Tensor): Tensor => apply(swishOp, [x], { alpha: 1 })

/** x σ(1.702 x), CLIP's approximation of GELU. */
export const quickGelu = (x: Tensor): Tensor => apply(swishOp, [x], { alpha: 1.702 })

export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => where(x.greater(0), x, x.mul(slope))

/** x for x > 0, eˣ − 1 below. */
export const elu = (x: Tensor): Tensor => where(x.greater(0), x, exp(minimum(x, 0)).sub(1))

/** x tanh(softplus(x)) (Misra, 2019, arXiv 1908.08681). */
export const mish = (x: Tensor): Tensor => x.mul(tanh(softplus(x)))

/** min(max(x, 0), 6) */
export const relu6 = (x: Tensor): Tensor => minimum(maximum(x, 0), 6)

/** Activations by the names that checkpoints' configurations use. */
export const ACTIVATIONS = {
  relu,
  relu6,
  gelu,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  gelu_fast: geluTanh,
  quick_gelu: quickGelu,
  silu,
  swish: silu,
  mish,
  tanh,
  sigmoid,
} as const satisfies Record<string, (x: Tensor) => Tensor>

export type ActivationName = keyof typeof ACTIVATIONS

/** @throws RangeError for a name that no paper here uses. */
export function activation(name: string): (x: Tensor) => Tensor {
  if (!Object.hasOwn(ACTIVATIONS, name)) {
    throw new RangeError(`activation '${name}' is not known; known are ${Object.keys(ACTIVATIONS).join(', ')}`)
  }
  return ACTIVATIONS[name as ActivationName]
}

const softmaxOp: Op<{ axis: number }> = {
  name: 'softmax',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, [x], { attributes: { axis } }) => [e.one('Softmax', [x], { axis })],
  grad: ({ outputs: [y], attributes: { axis } }, [dy]) => [dy && y.mul(dy.sub(sumKeepingAxes(dy.mul(y), [axis])))],
}

/** eˣ / Σ eˣ along an axis. */
export const softmax = (x: Tensor, axis = -1): Tensor =>
  apply(softmaxOp, [x], { axis: normalizeAxis('softmax', axis, x.rank) })

const logSoftmaxOp: Op<{ axis: number }> = {
  name: 'logSoftmax',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, [x], { attributes: { axis } }) => [e.one('LogSoftmax', [x], { axis })],
  grad: ({ outputs: [y], attributes: { axis } }, [dy]) => [dy?.sub(exp(y).mul(sumKeepingAxes(dy, [axis])))],
}

/** x − log Σ eˣ along an axis. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor =>
  apply(logSoftmaxOp, [x], { axis: normalizeAxis('logSoftmax', axis, x.rank) })
