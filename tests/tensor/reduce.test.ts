import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as t from '../../src/tensor/index.ts'
import {
  checkGradient,
  checkOp,
  checkSecondGradient,
  integers,
  property,
  seeds,
  shapes,
  shapesWithAxis,
  uniform,
} from './check.ts'
import { fold, line, map, mapLines, type Nd, nd, replaceAt, total } from './reference.ts'

/** A shape, and some of its axes (written from either end), or all of them by leaving them out. */
const shapeWithAxes = shapes(0, 4, 36).chain((shape) =>
  fc
    .record({
      axes: fc.subarray(shape.map((_, i) => i)),
      fromEnd: fc.boolean(),
      all: fc.boolean(),
      keepDims: fc.boolean(),
    })
    .map(({ axes, fromEnd, all, keepDims }) => ({
      shape,
      keepDims,
      axes: all ? shape.map((_, i) => i) : axes,
      axis: all ? undefined : fromEnd ? axes.map((a) => a - shape.length) : axes.length === 1 ? axes[0] : axes,
    })),
)

const meanOf = (values: readonly number[]): number => total(values) / values.length
const varianceOf =
  (correction: number) =>
  (values: readonly number[]): number =>
    total(values.map((v) => (v - meanOf(values)) ** 2)) / (values.length - correction)
const logSumExpOf = (values: readonly number[]): number => Math.log(total(values.map(Math.exp)))
const prodOf = (values: readonly number[]): number => values.reduce((a, b) => a * b, 1)

describe('reductions', () => {
  it('over any axes equal their formulas, with first and second gradients', () =>
    property(
      fc.tuple(shapeWithAxes, seeds),
      ([{ shape, axes, axis, keepDims }, seed]) => {
        const options = { axis, keepDims }
        return checkSecondGradient({
          inputs: { x: uniform(shape, seed, 0.5, 2) },
          fn: ({ x }) => ({
            sum: t.sum(x.mul(x), options),
            mean: t.mean(x.mul(x), options),
            variance: t.variance(x, options),
            logSumExp: t.logSumExp(x, options),
            l2Norm: t.l2Norm(x, options),
            prod: t.prod(t.sin(x), options),
          }),
          reference: ({ x }) => {
            const squares = map(x, (v) => v * v)
            return {
              sum: fold(squares, axes, keepDims, total),
              mean: fold(squares, axes, keepDims, meanOf),
              variance: fold(x, axes, keepDims, varianceOf(0)),
              logSumExp: fold(x, axes, keepDims, logSumExpOf),
              l2Norm: fold(squares, axes, keepDims, (values) => Math.sqrt(total(values))),
              prod: fold(map(x, Math.sin), axes, keepDims, prodOf),
            }
          },
          tolerance: 2e-5,
        })
      },
      25,
    ))

  it('max and min send the gradient to the extreme element', () =>
    property(fc.tuple(shapeWithAxes, seeds), ([{ shape, axes, axis, keepDims }, seed]) =>
      checkGradient({
        inputs: { x: uniform(shape, seed) },
        fn: ({ x }) => ({ max: t.max(x, { axis, keepDims }), min: t.min(x, { axis, keepDims }) }),
        reference: ({ x }) => ({
          max: fold(x, axes, keepDims, (values) => Math.max(...values)),
          min: fold(x, axes, keepDims, (values) => Math.min(...values)),
        }),
      }),
    ))

  it('variance divides by n − correction', () =>
    checkGradient({
      inputs: { x: uniform([4, 5], 8) },
      fn: ({ x }) => ({ y: t.variance(x, { axis: 1, correction: 1 }) }),
      reference: ({ x }) => ({ y: fold(x, [1], false, varianceOf(1)) }),
    }))

  it('work on integers', () =>
    checkOp({
      inputs: { x: integers([3, 4], 4, -20, 20) },
      fn: ({ x }) => ({
        sum: x.sum(),
        max: x.max({ axis: 0 }),
        min: x.min({ axis: -1 }),
        prod: t.prod(x, { axis: 0 }),
      }),
      reference: ({ x }) => ({
        sum: fold(x, [0, 1], false, total),
        max: fold(x, [0], false, (values) => Math.max(...values)),
        min: fold(x, [1], false, (values) => Math.min(...values)),
        prod: fold(x, [0], false, prodOf),
      }),
    }))

  it('equal extremes share the gradient evenly', () =>
    checkShared({ inputs: [1, 3, 3, 0], fn: (x) => t.max(x), gradient: [0, 0.5, 0.5, 0] }))

  it('the gradient of a product is right where elements are zero', async () => {
    for (const values of [
      [2, 0, 3, -1],
      [0, 5, 0, 2],
      [0, 0, 0, 0],
      [1, 2, 3, 4],
    ]) {
      await checkSecondGradient({
        inputs: { x: t.tensorData('float32', [4], values), y: t.tensorData('float32', [2, 2], values) },
        fn: ({ x, y }) => ({ prod: t.prod(x), rows: t.prod(y, { axis: 1 }) }),
        reference: ({ x, y }) => ({ prod: fold(x, [0], false, prodOf), rows: fold(y, [1], false, prodOf) }),
      })
    }
  })

  it('the norm of zeros has gradient zero', () =>
    checkShared({ inputs: [0, 0], fn: (x) => t.l2Norm(x), gradient: [0, 0] }))

  it('logSumExp neither overflows nor loses what is small', () =>
    checkOp({
      inputs: { x: t.tensorData('float32', [3, 2], [1e4, 1e4, -1e4, -1e4, 88, -1e30]) },
      fn: ({ x }) => ({ y: t.logSumExp(x, { axis: 1 }) }),
      reference: () => ({ y: nd([3], ([i]) => [1e4 + Math.LN2, -1e4 + Math.LN2, 88][i]) }),
      tolerance: 1e-7,
    }))

  it('arg-extremes answer with the first of equals', () =>
    property(fc.tuple(shapesWithAxis(), seeds), ([{ shape, axis, at }, seed]) => {
      const first = (x: Nd, pick: (...values: number[]) => number) =>
        fold(x, [at], false, (values) => values.indexOf(pick(...values)))
      return checkOp({
        inputs: { x: integers(shape, seed, -2, 2), f: uniform(shape, seed) },
        fn: ({ x, f }) => ({
          argMax: t.argMax(x, axis),
          argMin: t.argMin(x, axis),
          floats: t.argMax(f, axis),
          kept: t.argMax(f, axis, true),
        }),
        reference: ({ x, f }) => ({
          argMax: first(x, Math.max),
          argMin: first(x, Math.min),
          floats: first(f, Math.max),
          kept: { ...first(f, Math.max), shape: replaceAt(shape, at, 1) },
        }),
      })
    }))
})

/** Values and gradient of a scalar function at one point, where differences would straddle a kink. */
async function checkShared(test: { inputs: number[]; fn: (x: t.Tensor) => t.Tensor; gradient: number[] }) {
  await checkOp({
    inputs: { x: t.tensorData('float32', [test.inputs.length], test.inputs) },
    fn: ({ x }) => ({ gradient: t.grad(test.fn(x), [x])[0] }),
    reference: () => ({ gradient: nd([test.gradient.length], ([i]) => test.gradient[i]) }),
  })
}

describe('running sums and products', () => {
  it('cumSum forwards and backwards, with and without the element itself', () =>
    property(
      fc.tuple(shapesWithAxis(), fc.boolean(), fc.boolean(), seeds),
      ([{ shape, axis, at }, reverse, exclusive, seed]) =>
        checkSecondGradient({
          inputs: { x: uniform(shape, seed, 0.5, 2) },
          fn: ({ x }) => ({ sum: t.cumSum(x.mul(x), axis, { reverse, exclusive }), prod: t.cumProd(x, axis) }),
          reference: ({ x }) => ({
            sum: nd(shape, (index) => {
              const values = line(x, index, at).map((v) => v * v)
              const i = index[at]
              const own = exclusive ? 0 : 1
              return total(reverse ? values.slice(i + 1 - own) : values.slice(0, i + own))
            }),
            prod: nd(shape, (index) => prodOf(line(x, index, at).slice(0, index[at] + 1))),
          }),
          tolerance: 2e-5,
        }),
    ))
})

describe('softmax and its logarithm', () => {
  const softmaxOf = (values: readonly number[]) => {
    const top = Math.max(...values)
    const sum = total(values.map((v) => Math.exp(v - top)))
    return values.map((v) => Math.exp(v - top) / sum)
  }
  const logSoftmaxOf = (values: readonly number[]) => {
    const top = Math.max(...values)
    const sum = Math.log(total(values.map((v) => Math.exp(v - top))))
    return values.map((v) => v - top - sum)
  }
  it('along any axis equal their formulas, with first and second gradients', () =>
    property(fc.tuple(shapesWithAxis(), seeds), ([{ shape, axis, at }, seed]) =>
      checkSecondGradient({
        inputs: { x: uniform(shape, seed) },
        fn: ({ x }) => ({ softmax: t.softmax(x, axis), logSoftmax: t.logSoftmax(x, axis) }),
        reference: ({ x }) => ({
          softmax: mapLines(x, at, shape[at], softmaxOf),
          logSoftmax: mapLines(x, at, shape[at], logSoftmaxOf),
        }),
      }),
    ))

  it('do not overflow', () =>
    checkOp({
      inputs: { x: t.tensorData('float32', [3, 3], [1e4, 0, -1e4, -1e4, -1e4, -1e4, 200, 199, 198]) },
      fn: ({ x }) => ({ softmax: t.softmax(x), logSoftmax: t.logSoftmax(x) }),
      reference: ({ x }) => ({
        softmax: mapLines(x, 1, 3, softmaxOf),
        logSoftmax: mapLines(x, 1, 3, logSoftmaxOf),
      }),
      tolerance: 1e-6,
    }))
})

describe('the rules of reductions', () => {
  const x = t.input('x', [2, 3])
  it.each<[string, () => unknown, string]>([
    ['an axis too far', () => x.sum({ axis: 2 }), 'sum: axis 2 is outside a tensor of 2 dimensions'],
    ['an axis twice', () => x.mean({ axis: [0, -2] }), 'mean: axis 0 is named twice'],
    ['no axis to search', () => t.argMax(t.scalar(1)), 'argMax: axis -1 is outside a tensor of 0 dimensions'],
    ['a half axis', () => t.softmax(x, 0.5), 'softmax: axis 0.5 is outside a tensor of 2 dimensions'],
    ['conditions', () => t.sum(x.greater(0)), 'sum: needs numbers, got bool [2, 3]'],
  ])('refuse %s in one sentence', (_name, call, message) => {
    expect(call).toThrow(message)
  })
})
