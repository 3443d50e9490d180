import { type Dim, mulDims, sameShape, showShape, sizeOfShape } from '../dim.ts'
import { apply, applyMany, constant, type Op, scalar, type Tensor } from '../graph.ts'
import { add, maximum, rsqrt } from './elementwise.ts'
import { flattenRows, matmul } from './matmul.ts'
import { l2Norm, mean } from './reduce.ts'
import { broadcastTo, cast, dimTensor, full, reshape, sumKeepingAxes } from './shape.ts'

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
    const parts = [dMu?.mul(1 / featuresOf(x)), dInvStd && slopeOfInverse(dInvStd, invStd, xHatRow)]
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

/** How many elements share a statistic, as a number or, where that is known only at the run, a scalar. */
function countOf(dims: readonly Dim[]): Tensor | number {
  const count = sizeOfShape(dims)
  return typeof count === 'number' ? count : cast(dimTensor(count), 'float32')
}

const standardizeOp: Op<{ epsilon: number }> = {
  name: 'standardize',
  infer: ([x]) => [
    { shape: x.shape, dtype: 'float32' },
    { shape: [x.shape[0], 1], dtype: 'float32' },
    { shape: [x.shape[0], 1], dtype: 'float32' },
  ],
  lower: (e, [x], { inputs, attributes: { epsilon } }) => {
    const ones = e.one('Expand', [e.float(1), e.shape([inputs[0].shape[1]])])
    return e.many('LayerNormalization', [x, ones], { axis: -1, epsilon: { float: epsilon } }, { outputs: 3 })
  },
  grad: ({ inputs: [x], outputs: [xHat, , invStd] }, [dy, dMu, dInvStd]) => {
    const count = countOf([x.shape[1]])
    let shift = dMu?.div(count)
    let slope = dInvStd?.mul(invStd).mul(invStd).div(count).neg()
    if (dy) {
      const towardsMean = mean(dy, { axis: 1, keepDims: true }).mul(invStd).neg()
      const towardsX = mean(dy.mul(xHat), { axis: 1, keepDims: true }).mul(invStd).neg()
      shift = shift ? shift.add(towardsMean) : towardsMean
      slope = slope ? slope.add(towardsX) : towardsX
    }
    const terms = [dy?.mul(invStd), slope && xHat.mul(slope), shift].filter((term) => term !== undefined)
    return [broadcastTo(terms.reduce(add), x.shape)]
  },
}

/**
 * Group normalisation (Wu and He, 2018, arXiv 1803.08494): channels are cut into groups, each normalised with its own
 * mean and variance over group and space.
 *
 * @param x - [batch, channels, ...space]
 * @param weight - [channels]; ones where left out
 * @param bias - [channels]; zeros where left out
 */
export function groupNorm(x: Tensor, groups: number, weight?: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  const channels = x.shape[1]
  if (x.rank < 2 || typeof channels !== 'number' || channels % groups !== 0) {
    throw new RangeError(
      `groupNorm: ${channels} channels do not cut into ${groups} groups (input ${showShape(x.shape)})`,
    )
  }
  requireChannels('groupNorm', x, weight, bias)
  const rows = reshape(x, [mulDims(x.shape[0], groups), mulDims(channels / groups, sizeOfShape(x.shape.slice(2)))])
  const normal = reshape(applyMany(standardizeOp, [rows], { epsilon })[0], x.shape)
  if (!weight && !bias) return normal
  return scaleChannels(normal, weight ?? full([channels], 1), bias ?? full([channels], 0))
}

function requireChannels(name: string, x: Tensor, ...vectors: (Tensor | undefined)[]): void {
  for (const vector of vectors) {
    if (vector && !sameShape(vector.shape, [x.shape[1]])) {
      throw new RangeError(
        `${name}: weight, bias and statistics must be [${x.shape[1]}], got ${showShape(vector.shape)} (input ${showShape(x.shape)})`,
      )
    }
  }
}

export interface BatchNormState {
  /** [channels] */
  runningMean: Tensor
  /** [channels] */
  runningVar: Tensor
}

/** Every axis but the channels'. */
const besideChannels = (x: Tensor): number[] => x.shape.flatMap((_, i) => (i === 1 ? [] : [i]))

/** Sums over everything but the channels: [channels]. Three axes are what ONNX Runtime sums fastest. */
function channelSums(x: Tensor): Tensor {
  const [batch, channels, ...space] = x.shape
  return reshape(sumKeepingAxes(reshape(x, [batch, channels, sizeOfShape(space)]), [0, 2]), [channels])
}

const batchNormOp: Op<{ epsilon: number }> = {
  name: 'batchNorm',
  infer: ([x]) => [{ shape: x.shape, dtype: 'float32' }],
  lower: (e, inputs, { attributes: { epsilon } }) => [
    e.one('BatchNormalization', inputs, { epsilon: { float: epsilon } }),
  ],
  grad: ({ inputs: [x, weight, , mu, spread], attributes: { epsilon } }, [dy]) => {
    if (!dy) return []
    const invStd = rsqrt(spread.add(epsilon))
    const slope = weight.mul(invStd)
    const sum = channelSums(dy)
    const sumWithX = sumWithNormalized(dy, sum, x, mu, invStd)
    return [
      dy.mul(perChannel(slope, x.rank)),
      sumWithX,
      sum,
      sum.mul(slope).neg(),
      sumWithX.mul(slope).mul(invStd).mul(-0.5),
    ]
  },
}

/** x · scale + shift by channel in one pass. */
function scaleChannels(x: Tensor, scale: Tensor, shift: Tensor): Tensor {
  const channels = x.shape[1]
  return apply(batchNormOp, [x, scale, shift, full([channels], 0), full([channels], 1)], { epsilon: 0 })
}

/** Σ dy · (x − μ)/σ by channel without the normalised x, which would be one more pass over memory: (Σ dy · x − μ Σ dy)/σ. */
const sumWithNormalized = (dy: Tensor, sum: Tensor, x: Tensor, mu: Tensor, invStd: Tensor): Tensor =>
  channelSums(dy.mul(x)).sub(mu.mul(sum)).mul(invStd)

/**
 * Batch normalisation (Ioffe and Szegedy, 2015, arXiv 1502.03167) with the running statistics: what inference uses.
 *
 * @param x - [batch, channels, ...space]
 * @param weight - [channels]
 * @param bias - [channels]
 */
export function batchNorm(x: Tensor, weight: Tensor, bias: Tensor, state: BatchNormState, epsilon = 1e-5): Tensor {
  requireChannels('batchNorm', x, weight, bias, state.runningMean, state.runningVar)
  return apply(batchNormOp, [x, weight, bias, state.runningMean, state.runningVar], { epsilon })
}

const batchNormTrainingOp: Op<{ epsilon: number }> = {
  name: 'batchNormTraining',
  infer: ([x, weight]) => [
    { shape: x.shape, dtype: 'float32' },
    { shape: weight.shape, dtype: 'float32' },
    { shape: weight.shape, dtype: 'float32' },
  ],
  lower: (e, [x, weight, bias], { inputs, attributes: { epsilon } }) => {
    // With a momentum of 0 the running statistics that come out are the batch's own, whatever goes in. But the kernel
    // writes them over those that went in, so each needs a buffer that nothing else reads: cut out of x, which equal
    // nodes that ONNX Runtime merges have in common.
    const axes = besideChannels(inputs[0])
    const corner = e.one('Slice', [x, e.ints(axes.map(() => 0)), e.ints(axes.map(() => 1)), e.ints(axes)])
    const first = e.one('Reshape', [corner, e.ints([-1])])
    const second = e.one('Neg', [first])
    const attributes = { training_mode: 1, momentum: { float: 0 }, epsilon: { float: epsilon } }
    return e.many('BatchNormalization', [x, weight, bias, e.one('Abs', [first]), second], attributes, { outputs: 3 })
  },
  // dx = weight / σ · (dy − mean dy − x̂ · mean(dy · x̂)), and what reaches x through the statistics themselves.
  grad: ({ inputs: [x, weight], outputs: [, mu, spread], attributes: { epsilon } }, [dy, dMu, dSpread]) => {
    const count = countOf(besideChannels(x).map((axis) => x.shape[axis]))
    const deviation = spread.add(epsilon).sqrt()
    let shift = dMu?.div(count) // [channels]
    let slope = dSpread?.mul(deviation).mul(2).div(count)
    const passThrough = dy && weight.div(deviation)
    const sum = dy && channelSums(dy)
    const sumWithX = dy && sum && sumWithNormalized(dy, sum, x, mu, scalar(1).div(deviation))
    if (passThrough && sum && sumWithX) {
      const [towardsMean, towardsX] = [sum, sumWithX].map((s) => s.mul(passThrough).div(count).neg())
      shift = shift ? shift.add(towardsMean) : towardsMean
      slope = slope ? slope.add(towardsX) : towardsX
    }
    const zeros = full(weight.shape, 0)
    const correction = apply(batchNormOp, [x, slope ?? zeros, shift ?? zeros, mu, spread], { epsilon })
    const dx = passThrough ? dy.mul(perChannel(passThrough, x.rank)).add(correction) : correction
    return [dx, sumWithX, sum]
  },
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
  requireChannels('batchNorm', x, weight, bias, state.runningMean, state.runningVar)
  const [y, mu, spread] = applyMany(batchNormTrainingOp, [x, weight, bias], { epsilon })
  const count = countOf(besideChannels(x).map((axis) => x.shape[axis]))
  const bessel = typeof count === 'number' ? count / Math.max(count - 1, 1) : count.div(maximum(count.sub(1), 1))
  const blend = (old: Tensor, now: Tensor) => old.mul(1 - momentum).add(now.mul(momentum))
  return {
    y,
    state: { runningMean: blend(state.runningMean, mu), runningVar: blend(state.runningVar, spread.mul(bessel)) },
  }
}

/** Scales each row of an axis to unit length, with a floor under the norm. */
export function l2Normalize(x: Tensor, axis = -1, epsilon = 1e-12): Tensor {
  return x.div(maximum(l2Norm(x, { axis, keepDims: true }), epsilon))
}
