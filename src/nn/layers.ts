import type { Tensor } from '../tensor/index.ts'
import {
  embedding as lookup,
  layerNorm as normalizeLayer,
  rmsNorm as normalizeRms,
  linear as project,
} from '../tensor/index.ts'
import { type Initializer, normal, ones, zeros } from './initializers.ts'
import type { Scope } from './scope.ts'

/** Layers: an op with parameters of its own, named `weight` and `bias` under the scope. */

const features = (x: Tensor): number => {
  const size = x.shape[x.rank - 1]
  if (typeof size !== 'number') throw new RangeError(`a layer needs a static number of features, got '${size}'`)
  return size
}

export interface LinearOptions {
  /** Default true. */
  bias?: boolean
  init?: Initializer
  /** Keep the weight as [in, out], as GPT's `Conv1D` does. Default [out, in]. */
  inFirst?: boolean
}

/**
 * x Wᵀ + b.
 *
 * @param x - [..., inFeatures]
 * @returns [..., outFeatures]
 */
export function linear(scope: Scope, x: Tensor, outFeatures: number, options: LinearOptions = {}): Tensor {
  const { bias = true, init = normal(0.02), inFirst = false } = options
  const inFeatures = features(x)
  const weight = scope.param('weight', inFirst ? [inFeatures, outFeatures] : [outFeatures, inFeatures], init)
  const y = project(x, weight, bias ? scope.param('bias', [outFeatures], zeros) : undefined, { inFirst })
  return scope.added(x, y, { inFeatures, outFeatures, inFirst })
}

/**
 * Rows of a learned table.
 *
 * @param ids - int32, any shape
 * @returns [...ids, dim]
 */
export const embedding = (
  scope: Scope,
  ids: Tensor,
  count: number,
  dim: number,
  init: Initializer = normal(0.02),
): Tensor => lookup(scope.param('weight', [count, dim], init), ids)

/** Layer normalisation with a learned scale and, unless `bias` is false, a learned shift. */
export const layerNorm = (scope: Scope, x: Tensor, epsilon = 1e-5, { bias = true } = {}): Tensor =>
  normalizeLayer(
    x,
    scope.param('weight', [features(x)], ones),
    bias ? scope.param('bias', [features(x)], zeros) : undefined,
    epsilon,
  )

/**
 * Root-mean-square normalisation with a learned scale.
 *
 * @param options.aroundOne - the scale is 1 + `weight`, which starts at 0
 */
export function rmsNorm(scope: Scope, x: Tensor, epsilon = 1e-6, { aroundOne = false } = {}): Tensor {
  const weight = scope.param('weight', [features(x)], aroundOne ? zeros : ones)
  return normalizeRms(x, aroundOne ? weight.add(1) : weight, epsilon)
}

/**
 * The same for every head by itself, over one scale for all heads (Henry et al., 2020, arXiv 2010.04245).
 *
 * @param x - [batch, seq, nHeads * headDim]
 */
export function rmsNormHeads(scope: Scope, x: Tensor, nHeads: number, epsilon = 1e-6, options = {}): Tensor {
  const [batch, seq] = x.shape
  const heads = x.reshape([batch, seq, nHeads, features(x) / nHeads])
  return rmsNorm(scope, heads, epsilon, options).reshape(x.shape)
}
