import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as t from '../../src/tensor/index.ts'
import {
  booleans,
  broadcastPairs,
  checkGradient,
  checkOp,
  checkSecondGradient,
  integers,
  property,
  seeds,
  shapes,
  uniform,
} from './check.ts'
import { broadcast, erf, get, map, type Nd, nd, zip } from './reference.ts'

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const roundHalfEven = (x: number) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x))

/** [op, formula, low, high]: inputs are drawn from where the op is smooth and its slope not steep. */
const SMOOTH: Record<string, [(x: t.Tensor) => t.Tensor, (x: number) => number, number, number]> = {
  neg: [t.neg, (x) => -x, -2, 2],
  exp: [t.exp, Math.exp, -2, 2],
  log: [t.log, Math.log, 0.3, 3],
  sqrt: [t.sqrt, Math.sqrt, 0.3, 3],
  reciprocal: [t.reciprocal, (x) => 1 / x, 0.4, 3],
  rsqrt: [t.rsqrt, (x) => 1 / Math.sqrt(x), 0.4, 3],
  square: [t.square, (x) => x * x, -2, 2],
  sin: [t.sin, Math.sin, -4, 4],
  cos: [t.cos, Math.cos, -4, 4],
  tanh: [t.tanh, Math.tanh, -3, 3],
  sigmoid: [t.sigmoid, sigmoid, -4, 4],
  erf: [t.erf, erf, -2, 2],
  softplus: [t.softplus, (x) => Math.log1p(Math.exp(x)), -4, 4],
}

/** Ops with kinks or steps, drawn where a random number hits none of them. */
const PIECEWISE: typeof SMOOTH = {
  abs: [t.abs, Math.abs, -2, 2],
  sign: [t.sign, Math.sign, -2, 2],
  floor: [t.floor, Math.floor, -3, 3],
  ceil: [t.ceil, Math.ceil, -3, 3],
  round: [t.round, roundHalfEven, -3, 3],
  relu: [t.relu, (x) => Math.max(x, 0), -2, 2],
  clamp: [(x) => t.clamp(x, -1, 0.5), (x) => Math.min(Math.max(x, -1), 0.5), -2, 2],
}

describe('unary ops', () => {
  it('equal their formulas, with first and second gradients', () =>
    property(
      fc.tuple(shapes(0, 4, 16), seeds),
      ([shape, seed]) => {
        const names = Object.keys(SMOOTH)
        return checkSecondGradient({
          inputs: Object.fromEntries(names.map((name, i) => [name, uniform(shape, seed + i, ...range(SMOOTH[name]))])),
          fn: (x) => Object.fromEntries(names.map((name) => [`y ${name}`, SMOOTH[name][0](x[name])])),
          reference: (x) => Object.fromEntries(names.map((name) => [`y ${name}`, map(x[name], SMOOTH[name][1])])),
          tolerance: 2e-5,
        })
      },
      4,
    ))

  it('with kinks equal their formulas and slopes away from the kinks', () =>
    property(
      fc.tuple(shapes(0, 4, 24), seeds),
      ([shape, seed]) => {
        const names = Object.keys(PIECEWISE)
        return checkGradient({
          inputs: Object.fromEntries(
            names.map((name, i) => [name, uniform(shape, seed + i, ...range(PIECEWISE[name]))]),
          ),
          fn: (x) => Object.fromEntries(names.map((name) => [`y ${name}`, PIECEWISE[name][0](x[name])])),
          reference: (x) => Object.fromEntries(names.map((name) => [`y ${name}`, map(x[name], PIECEWISE[name][1])])),
        })
      },
      6,
    ))

  it('round takes halves to the even neighbour; isNaN finds nothing but NaN', () =>
    checkOp({
      inputs: { x: t.tensorData('float32', [7], [0.5, 1.5, 2.5, -0.5, -1.5, Number.NaN, Number.POSITIVE_INFINITY]) },
      fn: ({ x }) => ({ round: t.round(x), isNaN: t.isNaN(x) }),
      reference: ({ x }) => ({ round: map(x, roundHalfEven), isNaN: map(x, (v) => +Number.isNaN(v)) }),
    }))

  it('erf and sigmoid are accurate to a few units in the last place over their whole range', () =>
    checkOp({
      inputs: {
        x: t.tensorData(
          'float32',
          [401],
          Float32Array.from({ length: 401 }, (_, i) => (i - 200) / 20),
        ),
      },
      fn: ({ x }) => ({ erf: t.erf(x), sigmoid: t.sigmoid(x) }),
      reference: ({ x }) => ({ erf: map(x, erf), sigmoid: map(x, sigmoid) }),
      tolerance: 5e-7,
    }))
})

const range = ([, , low, high]: (typeof SMOOTH)[string]): [number, number] => [low, high]

describe('binary ops', () => {
  it('broadcast as NumPy does, with gradients summed over what was repeated', () =>
    property(fc.tuple(broadcastPairs, seeds), ([[a, b], seed]) =>
      checkSecondGradient({
        inputs: { a: uniform(a, seed), b: uniform(b, seed + 1), positive: uniform(b, seed + 2, 0.5, 2) },
        fn: ({ a, b, positive }) => ({
          add: a.add(b).mul(a),
          sub: a.sub(b).mul(b),
          mul: a.mul(b),
          div: a.div(positive),
          pow: t.pow(positive, a),
          power: a.pow(3),
        }),
        reference: ({ a, b, positive }) => ({
          add: zip(a, b, (x, y) => (x + y) * x),
          sub: zip(a, b, (x, y) => (x - y) * y),
          mul: zip(a, b, (x, y) => x * y),
          div: zip(a, positive, (x, y) => x / y),
          pow: zip(positive, a, (x, y) => x ** y),
          power: map(a, (x) => x ** 3),
        }),
        tolerance: 2e-5,
      }),
    ))

  it('maximum, minimum and where send the gradient to the operand that was taken', () =>
    property(fc.tuple(broadcastPairs, seeds), ([[a, b], seed]) =>
      checkGradient({
        inputs: { a: uniform(a, seed), b: uniform(b, seed + 1), c: booleans(b, seed + 2) },
        fn: ({ a, b, c }) => ({
          maximum: t.maximum(a, b),
          minimum: t.minimum(a, b),
          where: t.where(c, a, b),
          masked: t.where(c, a, -5),
          filled: t.where(c, 7, b),
        }),
        reference: ({ a, b, c }) => ({
          maximum: zip(a, b, Math.max),
          minimum: zip(a, b, Math.min),
          where: choose(c, a, b),
          masked: zip(c, a, (on, x) => (on ? x : -5)),
          filled: zip(c, b, (on, y) => (on ? 7 : y)),
        }),
      }),
    ))

  it('compare and combine conditions', () =>
    property(fc.tuple(broadcastPairs, seeds), ([[a, b], seed]) =>
      checkOp({
        inputs: {
          a: integers(a, seed, -2, 2),
          b: integers(b, seed + 1, -2, 2),
          p: booleans(a, seed + 2),
          q: booleans(b, seed + 3),
        },
        fn: ({ a, b, p, q }) => {
          const [x, y] = [a.cast('float32'), b.cast('float32')]
          return {
            equal: a.equal(b),
            same: p.equal(q),
            less: x.less(y),
            lessOrEqual: a.lessOrEqual(b),
            greater: a.greater(b),
            greaterOrEqual: x.greaterOrEqual(y),
            nonNegative: a.greaterOrEqual(0),
            and: p.and(q),
            or: p.or(q),
            not: p.not(),
            indicator: t.indicator(p),
          }
        },
        reference: ({ a, b, p, q }) => ({
          equal: zip(a, b, (x, y) => +(x === y)),
          same: zip(p, q, (x, y) => +(x === y)),
          less: zip(a, b, (x, y) => +(x < y)),
          lessOrEqual: zip(a, b, (x, y) => +(x <= y)),
          greater: zip(a, b, (x, y) => +(x > y)),
          greaterOrEqual: zip(a, b, (x, y) => +(x >= y)),
          nonNegative: map(a, (x) => +(x >= 0)),
          and: zip(p, q, (x, y) => x & y),
          or: zip(p, q, (x, y) => x | y),
          not: map(p, (x) => 1 - x),
          indicator: p,
        }),
      }),
    ))

  it('work on integers: mod takes the sign of the divisor, division drops the fraction', () =>
    property(fc.tuple(broadcastPairs, seeds), ([[a, b], seed]) =>
      checkOp({
        inputs: { a: integers(a, seed, -9, 9), b: integers(b, seed + 1, 1, 5), c: integers(b, seed + 1, -5, -1) },
        fn: ({ a, b, c }) => ({
          mod: t.mod(a, b),
          negative: t.mod(a, c),
          three: t.mod(a, 3),
          div: a.div(b),
          sum: a.add(2).sub(b).mul(c),
          largest: t.maximum(a, b),
          abs: t.abs(a),
          neg: a.neg(),
        }),
        reference: ({ a, b, c }) => ({
          mod: zip(a, b, floorMod),
          negative: zip(a, c, floorMod),
          three: map(a, (x) => floorMod(x, 3)),
          div: zip(a, b, (x, y) => Math.trunc(x / y) + 0),
          sum: nd(broadcast(a.shape, b.shape, c.shape), (i) => (get(a, i) + 2 - get(b, i)) * get(c, i)),
          largest: zip(a, b, Math.max),
          abs: map(a, Math.abs),
          neg: map(a, (x) => 0 - x),
        }),
      }),
    ))
})

const floorMod = (x: number, y: number) => x - y * Math.floor(x / y) + 0

const choose = (c: Nd, a: Nd, b: Nd): Nd =>
  nd(broadcast(c.shape, a.shape, b.shape), (i) => (get(c, i) ? get(a, i) : get(b, i)))

describe('the rules of elementwise ops', () => {
  const [f, i, b] = [t.input('f', [2, 3]), t.input('i', [2], 'int32'), t.input('b', [2], 'bool')]
  it.each<[string, () => unknown, string]>([
    ['add', () => f.add(t.input('g', [4])), 'add: cannot combine float32 [2, 3] with float32 [4]'],
    ['mul', () => f.mul(i), 'mul: cannot combine float32 [2, 3] with int32 [2]'],
    ['where', () => t.where(i, 1, 2), 'where: the condition must be bool and broadcast to [], got int32 [2]'],
  ])('%s says in one sentence what it expects and what it got', (_name, call, message) => {
    expect(call).toThrow(message)
  })
  it.each<[string, () => unknown, RegExp]>([
    ['exp of integers', () => t.exp(i), /^exp: needs float32, got int32 \[2\]$/],
    ['a sum of conditions', () => b.add(b), /^add: needs numbers, got bool \[2\]$/],
    ['mod of fractions', () => t.mod(f, 2), /^mod: needs integers, got float32 \[2, 3\]$/],
    ['and of numbers', () => i.and(i), /^logicalAnd: needs bool, got int32 \[2\]$/],
    ['a fraction times integers', () => i.mul(0.5), /^scalar: 0\.5 is not an int32/],
  ])('%s is refused, not left to fail in the runtime', (_name, call, message) => {
    expect(call).toThrow(message)
  })
})
