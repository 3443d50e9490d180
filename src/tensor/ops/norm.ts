import { sameShape, showShape } from '../dim.ts'
import { applyMany, constant, type Op, scalar, type Tensor } from '../graph.ts'
import { flattenRows, matmul } from './matmul.ts'
import { mean, variance } from './reduce.ts'
import { reshape, sumKeepingAxes } from './shape.ts'

/** Normalisation over features, groups and batches. */

function requireFeatures(name: string, x: Tensor, weight: Tensor): void {
  if (typeof x.shape[x.rank - 1] !== 'number') {
    throw new RangeError(`${name}: the number of features must be static, got ${showShape(x.shape)}`)
  }
  if (!sameShape(weight.shape, [x.shape[x.rank - 1]])) {
    throw new RangeError(
      `${name}: the weight must be [${x.shape[x.rank - 1]}], got ${showShape(weight.shape)} (input ${showShape(x.shape)})`,
    )
  }
}

const featuresOf = (x: Tensor): number => x.shape[x.rank - 1] as number

/** What the gradient of 1/σ (or 1/rms) gives to x: −x̂/(nσ²) of it. */
const slopeOfInverse = (dInverse: Tensor, inverse: Tensor, xHat: Tensor): Tensor =>
  xHat.mul(
    dInverse
      .mul(inverse)
      .mul(inverse)
      .mul(-1 / featuresOf(xHat)),
  )

/** Σ over the last axis of rows × weight, divided by its length: a matrix-vector product is the fastest way to it. */
function weightedRowMean(rows: Tensor, weight: Tensor): Tensor {
  const features = featuresOf(rows)
  return matmul(rows, reshape(weight, [features, 1]), { alpha: 1 / features })
}

const layerNormOp: Op<{ epsilon: number }> = {
  name: 'layerNorm',
  infer: ([x]) => {
    const rowwise = [...x.shape.slice(0, -1), 1]
    return [
      { shape: x.shape, dtype: 'float32' },
      { shape: rowwise, dtype: 'float32' },
      { shape: rowwise, dtype: 'float32' },
    ]
  },
  lower: (e, inputs, { attributes: { epsilon } }) =>
    e.many('LayerNormalization', inputs, { axis: -1, epsilon: { float: epsilon } }, { outputs: 3 }),
  grad: ({ inputs: [x, weight, bias], outputs: [, mu, invStd] }, [dy, dMu, dInvStd]) => {
    // Only gradients of gradients come through the mean and 1/σ.
    const xHatRow = x.sub(mu).mul(invStd)
    const parts = [dMu && dMu.mul(1 / featuresOf(x)), dInvStd && slopeOfInverse(dInvStd, invStd, xHatRow)]
    const dxOfRows = parts.reduce((a, b) => (a && b ? a.add(b) : (a ?? b)))
    if (!dy) return [dxOfRows]
    const [rowsX, rowsDy] = [flattenRows(x), flattenRows(dy)]
    const [rowsMu, rowsInvStd] = [flattenRows(mu), flattenRows(invStd)]
    const xHat = rowsX.sub(rowsMu).mul(rowsInvStd)
    const weighted = rowsDy.mul(xHat)
    const dx = rowsInvStd.mul(
      rowsDy
        .mul(weight)
        .sub(weightedRowMean(rowsDy, weight))
        .sub(xHat.mul(weightedRowMean(weighted, weight))),
    )
    const dxAll = reshape(dx, x.shape)
    return [
      dxOfRows ? dxAll.add(dxOfRows) : dxAll,
      reshape(sumKeepingAxes(weighted, [0]), weight.shape),
      bias && reshape(sumKeepingAxes(rowsDy, [0]), bias.shape),
    ]
  },
}

/**
 * (x − mean) / √(variance + ε) · weight + bias over the last axis (Ba et al., 2016, arXiv 1607.06450).
 *
 * @param x - [..., features]
 * @param weight - [features]
 * @param bias - [features]; zeros where left out
 */
export function layerNorm(x: Tensor, weight: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  requireFeatures('layerNorm', x, weight)
  const features = featuresOf(x)
  const zeros = () => constant({ dtype: 'float32', shape: [features], data: new Float32Array(features) })
  return applyMany(layerNormOp, [x, weight, bias ?? zeros()], { epsilon })[0]
}

const rmsNormOp: Op<{ epsilon: number }> = {
  name: 'rmsNorm',
  infer: ([x, weight]) => {
    requireFeatures('rmsNorm', x, weight)
    return [
      { shape: x.shape, dtype: 'float32' },
      { shape: [...x.shape.slice(0, -1), 1], dtype: 'float32' },
    ]
  },
  lower: (e, inputs, { attributes: { epsilon } }) =>
    e.many('SimplifiedLayerNormalization', inputs, { axis: -1, epsilon: { float: epsilon } }, { outputs: 2 }),
  grad: ({ inputs: [x, weight], outputs: [, invRms] }, [dy, dInvRms]) => {
    const dxOfRows = dInvRms && slopeOfInverse(dInvRms, invRms, x.mul(invRms))
    if (!dy) return [dxOfRows]
    const [rowsX, rowsDy, rowsInvRms] = [flattenRows(x), flattenRows(dy), flattenRows(invRms)]
    const xHat = rowsX.mul(rowsInvRms)
    const weighted = rowsDy.mul(xHat)
    const dx = rowsInvRms.mul(rowsDy.mul(weight).sub(xHat.mul(weightedRowMean(weighted, weight))))
    const dxAll = reshape(dx, x.shape)
    return [dxOfRows ? dxAll.add(dxOfRows) : dxAll, reshape(sumKeepingAxes(weighted, [0]), weight.shape)]
  },
}

/** x / √(mean x² + ε) · weight over the last axis (Zhang and Sennrich, 2019, arXiv 1910.07467). */
export const rmsNorm = (x: Tensor, weight: Tensor, epsilon = 1e-6): Tensor =>
  applyMany(rmsNormOp, [x, weight], { epsilon })[0]

const perChannel = (v: Tensor, rank: number): Tensor =>
  reshape(v, [1, v.shape[0], ...new Array<number>(rank - 2).fill(1)])

/**
 * Group normalisation (Wu and He, 2018, arXiv 1803.08494): channels are cut into groups, each normalised with its own
 * mean and variance over group and space.
 *
 * @param x - [batch, channels, ...space]
 */
export function groupNorm(x: Tensor, groups: number, weight?: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  const channels = x.shape[1]
  if (typeof channels !== 'number' || channels % groups !== 0) {
    throw new RangeError(
      `groupNorm: ${channels} channels do not cut into ${groups} groups (input ${showShape(x.shape)})`,
    )
  }
  const perGroup = reshape(x, [x.shape[0], groups, -1])
  const ones = constant({ dtype: 'float32', shape: [1], data: Float32Array.of(1) })
  const normal = reshape(normalizeRows(perGroup, epsilon, ones), x.shape)
  const scaled = weight ? normal.mul(perChannel(weight, x.rank)) : normal
  return bias ? scaled.add(perChannel(bias, x.rank)) : scaled
}

/** Each row of the last axis with mean 0 and variance 1. */
function normalizeRows(x: Tensor, epsilon: number, one: Tensor): Tensor {
  const centred = x.sub(mean(x, { axis: -1, keepDims: true }))
  const spread = mean(centred.mul(centred), { axis: -1, keepDims: true })
  return centred.mul(one.div(spread.add(epsilon).sqrt()))
}

export interface BatchNormState {
  /** [channels] */
  runningMean: Tensor
  /** [channels] */
  runningVar: Tensor
}

/**
 * Batch normalisation (Ioffe and Szegedy, 2015, arXiv 1502.03167) with the running statistics: what inference uses.
 *
 * @param x - [batch, channels, ...space]
 */
export function batchNorm(x: Tensor, weight: Tensor, bias: Tensor, state: BatchNormState, epsilon = 1e-5): Tensor {
  const scale = weight.div(state.runningVar.add(epsilon).sqrt())
  return x.mul(perChannel(scale, x.rank)).add(perChannel(bias.sub(state.runningMean.mul(scale)), x.rank))
}

/**
 * Batch normalisation with the batch's own statistics: what training uses.
 *
 * @returns the normalised batch, and the running statistics moved by `momentum` towards the batch's (the variance with
 *   Bessel's correction, as PyTorch keeps it)
 */
export function batchNormTraining(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  state: BatchNormState,
  { epsilon = 1e-5, momentum = 0.1 } = {},
): { y: Tensor; state: BatchNormState } {
  const axes = x.shape.flatMap((_, i) => (i === 1 ? [] : [i]))
  const mu = mean(x, { axis: axes, keepDims: true })
  const centred = x.sub(mu)
  const spread = mean(centred.mul(centred), { axis: axes, keepDims: true })
  const y = centred.mul(perChannel(weight, x.rank).div(spread.add(epsilon).sqrt())).add(perChannel(bias, x.rank))
  const blend = (old: Tensor, now: Tensor) => old.mul(1 - momentum).add(reshape(now, old.shape).mul(momentum))
  return {
    y,
    state: {
      runningMean: blend(state.runningMean, mu),
      runningVar: blend(state.runningVar, variance(x, { axis: axes, correction: 1 })),
    },
  }
}

/** Scales each row of an axis to unit length, with a floor under the norm. */
export function l2Normalize(x: Tensor, axis = -1, epsilon = 1e-12): Tensor {
  const norm = x.mul(x).sum({ axis, keepDims: true }).sqrt()
  return x.div(norm.add(scalar(epsilon)))
}
