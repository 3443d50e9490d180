import { mulDims, sameShape, showShape, sizeOfShape } from '../dim.ts'
import { scalar, Tensor } from '../graph.ts'
import { logSoftmax } from './activation.ts'
import { customGradient } from './custom.ts'
import { exp, indicator, maximum } from './elementwise.ts'
import { scatterAddAlongAxis, takeAlongAxis } from './index.ts'
import { mean, sum } from './reduce.ts'
import { cast, dimTensor, full, reshape, sumKeepingAxes } from './shape.ts'

/** Losses: what they sum, and over how much. Some have a cheaper gradient than their formula's. */

/**
 * A mean that is not divided yet, so that means over parts of a batch add up to that of the whole, whatever is masked in
 * each. Both are float32 scalars.
 */
export interface SumAndCount {
  readonly sum: Tensor
  readonly count: Tensor
}

export const isSumAndCount = (value: SumAndCount | Tensor): value is SumAndCount => !(value instanceof Tensor)

/** sum / count */
export const meanOf = ({ sum, count }: SumAndCount): Tensor => sum.div(count)

export interface CrossEntropyOptions {
  /** Rows with this label do not count. Default −100. */
  ignoreIndex?: number
  /** Mass spread evenly over all classes (Szegedy et al., 2015, arXiv 1512.00567, §7). Default 0. */
  labelSmoothing?: number
}

/**
 * −log softmax(logits)[label]: the mean over rows that count, their sum, or one loss a row.
 *
 * @param logits - [...rows, classes]
 * @param labels - int32 [...rows]
 * @returns a scalar, or [...rows] where `reduction` is `none`
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  { reduction = 'mean', ...options }: CrossEntropyOptions & { reduction?: 'mean' | 'sum' | 'none' } = {},
): Tensor {
  if (reduction === 'none') return reshape(rowLosses(logits, labels, options).losses, labels.shape)
  const total = crossEntropySum(logits, labels, options)
  return reduction === 'sum' ? total.sum : meanOf(total)
}

/** The same as the sum over rows that count, and how many they are: what an objective answers with. */
export function crossEntropySum(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): SumAndCount {
  const { losses, valid } = rowLosses(logits, labels, options)
  return { sum: sum(losses), count: reshape(sumKeepingAxes(valid, [0, 1]), []) }
}

/** @returns losses [rows, 1], 0 where a row does not count, and which rows do: 1 or 0, [rows, 1] */
function rowLosses(
  logits: Tensor,
  labels: Tensor,
  { ignoreIndex = -100, labelSmoothing = 0 }: CrossEntropyOptions,
): { losses: Tensor; valid: Tensor } {
  if (!sameShape(labels.shape, logits.shape.slice(0, -1))) {
    throw new RangeError(
      `crossEntropy: labels must be ${showShape(logits.shape.slice(0, -1))}, got ${showShape(labels.shape)}`,
    )
  }
  const classes = logits.shape[logits.rank - 1]
  const rowCount = labels.shape.reduce(mulDims, 1)
  const rows = reshape(logits, [rowCount, classes])
  const column = reshape(cast(labels, 'int32'), [rowCount, 1])
  const valid = indicator(column.equal(ignoreIndex).not())
  const safe = maximum(column, 0)
  const logProbs = logSoftmax(rows)
  const picked = takeAlongAxis(logProbs, safe, 1)
  const likelihood =
    labelSmoothing === 0
      ? picked
      : picked.mul(1 - labelSmoothing).add(mean(logProbs, { axis: 1, keepDims: true }).mul(labelSmoothing))
  const losses = customGradient(likelihood.neg().mul(valid), [rows], (dy) => [logitsGradient(dy.mul(valid))])
  return { losses, valid }

  /** softmax − target, without ever writing the one-hot target out. */
  function logitsGradient(perRow: Tensor): Tensor {
    const hit = full([rowCount, 1], labelSmoothing - 1)
    const difference = scatterAddAlongAxis(exp(logProbs), safe, hit, 1)
    const smooth = labelSmoothing === 0 ? difference : difference.sub(scalar(labelSmoothing).div(classCount(rows)))
    return smooth.mul(perRow)
  }
}

function classCount(rows: Tensor): number {
  const classes = rows.shape[1]
  if (typeof classes !== 'number')
    throw new RangeError('crossEntropy: label smoothing needs a static number of classes')
  return classes
}

/** Σ (a − b)², and over how many elements: what an objective answers with. */
export function squaredError(a: Tensor, b: Tensor): SumAndCount {
  const difference = a.sub(b)
  return { sum: sum(difference.mul(difference)), count: cast(dimTensor(sizeOfShape(a.shape)), 'float32') }
}
