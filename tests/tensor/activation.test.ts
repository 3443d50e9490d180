import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, checkOp, checkSecondGradient, property, seeds, shapes, uniform } from './check.ts'
import { erf, map } from './reference.ts'

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const geluOf = (x: number) => (x / 2) * (1 + erf(x * Math.SQRT1_2))
const geluTanhOf = (x: number) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

const SMOOTH: Record<string, [(x: t.Tensor) => t.Tensor, (x: number) => number]> = {
  gelu: [t.gelu, geluOf],
  geluTanh: [t.geluTanh, geluTanhOf],
  silu: [t.silu, (x) => x * sigmoid(x)],
  quickGelu: [t.quickGelu, (x) => x * sigmoid(1.702 * x)],
}

const KINKED: typeof SMOOTH = {
  leakyRelu: [t.leakyRelu, (x) => (x > 0 ? x : 0.01 * x)],
  steep: [(x) => t.leakyRelu(x, 0.2), (x) => (x > 0 ? x : 0.2 * x)],
  elu: [t.elu, (x) => (x > 0 ? x : Math.expm1(x))],
  relu6: [t.relu6, (x) => Math.min(Math.max(x, 0), 6)],
}

describe('activations', () => {
  it('equal their formulas, with first and second gradients', () =>
    property(fc.tuple(shapes(0, 3, 24), seeds), ([shape, seed]) =>
      checkSecondGradient({
        inputs: { x: uniform(shape, seed, -4, 4) },
        fn: ({ x }) => Object.fromEntries(Object.entries(SMOOTH).map(([name, [op]]) => [name, op(x)])),
        reference: ({ x }) => Object.fromEntries(Object.entries(SMOOTH).map(([name, [, f]]) => [name, map(x, f)])),
      }),
    ))

  it('with kinks equal their formulas and slopes', () =>
    property(fc.tuple(shapes(0, 3, 24), seeds), ([shape, seed]) =>
      checkGradient({
        inputs: { x: uniform(shape, seed, -3, 9) },
        fn: ({ x }) => Object.fromEntries(Object.entries(KINKED).map(([name, [op]]) => [name, op(x)])),
        reference: ({ x }) => Object.fromEntries(Object.entries(KINKED).map(([name, [, f]]) => [name, map(x, f)])),
      }),
    ))

  it('gelu is exact to 1e-6, and its approximation is the one the papers print', () =>
    checkOp({
      inputs: {
        x: t.tensorData(
          'float32',
          [2001],
          Float32Array.from({ length: 2001 }, (_, i) => (i - 1000) / 125),
        ),
      },
      fn: ({ x }) => ({ gelu: t.gelu(x).sub(t.relu(x)), tanh: t.geluTanh(x).sub(t.relu(x)) }),
      reference: ({ x }) => ({
        gelu: map(x, (v) => geluOf(v) - Math.max(v, 0)),
        tanh: map(x, (v) => geluTanhOf(v) - Math.max(v, 0)),
      }),
      tolerance: 1e-6,
    }))

  it('are found by the names of configurations', () => {
    for (const [name, op] of Object.entries(t.ACTIVATIONS)) expect(t.activation(name)).toBe(op)
    expect(() => t.activation('toString')).toThrow("activation 'toString' is not known; known are relu, relu6, gelu,")
  })
})
