import { normalizeAxis } from '../dim.ts'
import { MICROSOFT } from '../emitter.ts'
import { apply, type Op, scalar, type Tensor } from '../graph.ts'
import { customGradient } from './custom.ts'
import { erf, exp, maximum, minimum, relu, sigmoid, tanh, where } from './elementwise.ts'
import { sumKeepingAxes } from './shape.ts'

/** Activation functions in every variant that the papers use, and softmax. */

/** x Φ(x) with the exact Gaussian distribution function (Hendrycks and Gimpel, 2016, arXiv 1606.08415). */
export function gelu(x: Tensor): Tensor {
  const phi = erf(x.mul(Math.SQRT1_2)).add(1).mul(0.5)
  // Φ is kept from the forward pass: d/dx xΦ(x) = Φ(x) + x φ(x).
  return customGradient(x.mul(phi), [x], (dy) => [
    dy.mul(phi.add(x.mul(exp(x.mul(x).mul(-0.5))).mul(1 / Math.sqrt(2 * Math.PI)))),
  ])
}

/** The tanh approximation of GELU: `gelu_new`, `gelu_pytorch_tanh`. */
export function geluTanh(x: Tensor): Tensor {
  const [c, a] = [Math.sqrt(2 / Math.PI), 0.044715]
  const square = x.mul(x)
  const t = tanh(x.mul(square.mul(c * a).add(c)))
  const half = t.add(1).mul(0.5)
  return customGradient(x.mul(half), [x], (dy) => {
    const slope = square.mul(3 * c * a).add(c)
    return [
      dy.mul(
        half.add(
          x
            .mul(0.5)
            .mul(scalar(1).sub(t.mul(t)))
            .mul(slope),
        ),
      ),
    ]
  })
}

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
