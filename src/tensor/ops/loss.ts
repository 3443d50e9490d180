import { mulDims, sameShape, showShape } from '../dim.ts'
import { scalar, type Tensor } from '../graph.ts'
import { logSoftmax } from './activation.ts'
import { customGradient } from './custom.ts'
import { exp, indicator, maximum } from './elementwise.ts'
import { scatterAddAlongAxis, takeAlongAxis } from './index.ts'
import { mean, sum } from './reduce.ts'
import { cast, full, reshape, sumKeepingAxes } from './shape.ts'

/** Losses that have a cheaper gradient than their formula's. */

export interface CrossEntropyOptions {
  /** Rows with this label do not count. Default −100. */
  ignoreIndex?: number
  /** Mass spread evenly over all classes (Szegedy et al., 2015, arXiv 1512.00567, §7). Default 0. */
  labelSmoothing?: number
  /** The mean over rows that count, their sum, or one loss a row. Default `mean`. */
  reduction?: 'mean' | 'sum' | 'none'
}

/**
 * −log softmax(logits)[label].
 *
 * @param logits - [...rows, classes]
 * @param labels - int32 [...rows]
 * @returns a scalar, or [...rows] where `reduction` is `none`
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  { ignoreIndex = -100, labelSmoothing = 0, reduction = 'mean' }: CrossEntropyOptions = {},
): Tensor {
  if (!sameShape(labels.shape, logits.shape.slice(0, -1))) {
    throw new RangeError(
      `crossEntropy: labels must be ${showShape(logits.shape.slice(0, -1))}, got ${showShape(labels.shape)}`,
    )
  }
  const classes = logits.shape[logits.rank - 1]
  const rowCount = labels.shape.reduce(mulDims, 1)
  const rows = reshape(logits, [rowCount, classes])
  const column = reshape(cast(labels, 'int32'), [rowCount, 1])
  const valid = indicator(column.equal(ignoreIndex).not()) // [rows, 1]
  const safe = maximum(column, 0)
  const logProbs = logSoftmax(rows)
  const picked = takeAlongAxis(logProbs, safe, 1)
  const likelihood =
    labelSmoothing === 0
      ? picked
      : picked.mul(1 - labelSmoothing).add(mean(logProbs, { axis: 1, keepDims: true }).mul(labelSmoothing))
  const losses = customGradient(likelihood.neg().mul(valid), [rows], (dy) => [logitsGradient(dy.mul(valid))])

  /** softmax − target, without ever writing the one-hot target out. */
  function logitsGradient(perRow: Tensor): Tensor {
    const hit = full([rowCount, 1], labelSmoothing - 1)
    const difference = scatterAddAlongAxis(exp(logProbs), safe, hit, 1)
    const smooth = labelSmoothing === 0 ? difference : difference.sub(scalar(labelSmoothing).div(classCount(rows)))
    return smooth.mul(perRow)
  }

  if (reduction === 'none') return reshape(losses, labels.shape)
  const total = sum(losses)
  return reduction === 'sum' ? total : total.div(reshape(sumKeepingAxes(valid, [0, 1]), []))
}

function classCount(rows: Tensor): number {
  const classes = rows.shape[1]
  if (typeof classes !== 'number')
    throw new RangeError('crossEntropy: label smoothing needs a static number of classes')
  return classes
}
