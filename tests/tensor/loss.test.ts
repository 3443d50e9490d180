import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, checkOp, fractions, property, seeds, shapes, uniform } from './check.ts'
import { get, type Nd, nd, total } from './reference.ts'

const IGNORED = -100

/** Labels of which some are to be ignored, and at least one is not. */
function labelsOf(shape: readonly number[], classes: number, seed: number, ignored: number): t.TensorData {
  const draw = fractions(seed)
  const labels = Int32Array.from({ length: t.sizeOf(shape) }, () =>
    draw() < 0.3 ? ignored : Math.floor(draw() * classes),
  )
  labels[0] = 0
  return t.tensorData('int32', shape, labels)
}

function crossEntropyOf(logits: Nd, labels: Nd, ignored: number, smoothing: number): Nd {
  const classes = logits.shape[logits.shape.length - 1]
  return nd(labels.shape, (i) => {
    const label = get(labels, i)
    if (label === ignored) return 0
    const row = Array.from({ length: classes }, (_, c) => get(logits, [...i, c]))
    const top = Math.max(...row)
    const logSum = top + Math.log(total(row.map((v) => Math.exp(v - top))))
    return total(row.map((v, c) => (logSum - v) * ((c === label ? 1 - smoothing : 0) + smoothing / classes)))
  })
}

describe('crossEntropy', () => {
  it('is its formula and gradient, with labels to ignore, smoothing and every reduction', () =>
    property(
      fc.record({
        lead: shapes(0, 3, 12),
        classes: fc.integer({ min: 2, max: 5 }),
        smoothing: fc.constantFrom(0, 0.1),
        ignored: fc.constantFrom(IGNORED, 1),
        seed: seeds,
      }),
      ({ lead, classes, smoothing, ignored, seed }) =>
        checkGradient({
          inputs: { logits: uniform([...lead, classes], seed, -3, 3), labels: labelsOf(lead, classes, seed, ignored) },
          fn: ({ logits, labels }) => {
            const options = { ignoreIndex: ignored, labelSmoothing: smoothing }
            return {
              mean: t.crossEntropy(logits, labels, options),
              sum: t.crossEntropy(logits, labels, { ...options, reduction: 'sum' }),
              none: t.crossEntropy(logits, labels, { ...options, reduction: 'none' }),
            }
          },
          reference: ({ logits, labels }) => {
            const none = crossEntropyOf(logits, labels, ignored, smoothing)
            const sum = total([...none.data])
            const counted = labels.data.filter((label) => label !== ignored).length
            return { mean: nd([], () => sum / counted), sum: nd([], () => sum), none }
          },
          named: { logits: [lead.length] },
        }),
      25,
    ))

  it('does not overflow, and its gradient is the softmax less one', () =>
    checkOp({
      inputs: {
        logits: t.tensorData('float32', [2, 2], [1e4, -1e4, 300, 299]),
        labels: t.tensorData('int32', [2], [1, 0]),
      },
      fn: ({ logits, labels }) => {
        const loss = t.crossEntropy(logits, labels)
        return { loss, gradient: t.grad(loss, [logits])[0] }
      },
      reference: () => {
        const p = 1 / (1 + Math.exp(-1))
        return {
          loss: nd([], () => (2e4 - Math.log(p)) / 2),
          gradient: nd([2, 2], ([i, j]) => [0.5, -0.5, (p - 1) / 2, (1 - p) / 2][2 * i + j]),
        }
      },
      tolerance: 1e-6,
    }))

  it('can be differentiated twice', () =>
    checkGradient({
      inputs: { logits: uniform([3, 4], 5), labels: t.tensorData('int32', [3], [0, 3, IGNORED]) },
      fn: ({ logits, labels }) => {
        const [slope] = t.grad(t.crossEntropy(logits, labels, { reduction: 'sum' }), [logits])
        return { penalty: slope.mul(slope).sum() }
      },
      reference: ({ logits, labels }) => ({
        penalty: nd([], () => {
          const squares = nd([3, 4], ([i, j]) => {
            if (labels.data[i] === IGNORED) return 0
            const row = [...logits.data.slice(4 * i, 4 * i + 4)].map(Math.exp)
            return (row[j] / total(row) - +(labels.data[i] === j)) ** 2
          })
          return total([...squares.data])
        }),
      }),
      named: { logits: [1] },
    }))

  it('refuses labels of another shape in one sentence', () => {
    const logits = t.input('logits', [2, 3, 5])
    expect(() => t.crossEntropy(logits, t.input('labels', [6], 'int32'))).toThrow(
      'crossEntropy: labels must be [2, 3], got [6]',
    )
  })
})
