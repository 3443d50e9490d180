/**
 * Checks of ops against plain references in double precision. Every check runs twice: with static shapes, and with
 * every dimension above 1 known only by name, where both must agree.
 */

import fc from 'fast-check'
import { expect } from 'vitest'
import { type Compiled, compileGraph, setBackends } from '../../src/runtime/compiled.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import { type NamedShape, shapeOf } from '../../src/tensor/dim.ts'
import { grad, input, sizeOf, type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import type { Nd } from './reference.ts'

setBackends(() => nodeBackend('cpu'))

type Tensors = Record<string, Tensor>
type Arrays = Record<string, Nd>

export interface OpCase {
  fn: (inputs: Tensors) => Tensors
  reference: (inputs: Arrays) => Arrays
  inputs: Record<string, TensorData>
  /** The largest difference allowed, relative to the largest magnitude of the array (and at least to 1). */
  tolerance?: number
  /**
   * Axes that stay static when dimensions are named, by input (`true`: all of them); `false` where the op needs static
   * shapes throughout.
   */
  named?: Readonly<Record<string, readonly number[] | true>> | false
}

/** float32 keeps 24 bits; sums of a few dozen terms lose a few of them. */
const FORWARD_TOLERANCE = 1e-5
const GRADIENT_TOLERANCE = 5e-5
/** The reference runs in doubles, so a step this small leaves errors of about 1e-9. */
const STEP = 1e-5
/** For second differences: errors of about 1e-7, from h² and from 2⁻⁵³/h². */
const SECOND_STEP = 3e-4

/** The op's values equal the reference's. */
export const checkOp = (test: OpCase): Promise<void> => check(test, 0)

/**
 * Values, and the gradient of a randomly weighted sum of the outputs by every float input, against central differences
 * of the reference.
 */
export const checkGradient = (test: OpCase): Promise<void> => check(test, 1)

/** All that, and the gradient of a random projection of that gradient, against second differences of the reference. */
export const checkSecondGradient = (test: OpCase): Promise<void> => check(test, 2)

async function check(test: OpCase, order: 0 | 1 | 2): Promise<void> {
  const { inputs, tolerance = FORWARD_TOLERANCE } = test
  const exact = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, toNd(value)]))
  const wanted = test.reference(exact)
  const floats = Object.keys(inputs).filter((name) => inputs[name].dtype === 'float32')
  const weights = randomArrays('weight of ', wanted, 11)
  const directions = randomArrays('direction of ', Object.fromEntries(floats.map((name) => [name, exact[name]])), 23)
  const weightedSum = (values: Arrays): number =>
    Object.entries(test.reference(values)).reduce((sum, [name, y]) => sum + dot(y, weights[`weight of ${name}`]), 0)

  const signatures: Record<string, NamedShape>[] = [staticShapes(inputs)]
  if (test.named !== false) signatures.push(nameDims(inputs, test.named ?? {}))
  const expected = expectations(exact, floats, weightedSum, directions, order)
  for (const shapes of signatures) {
    const compiled = await compileCase(test, shapes, floats, order)
    try {
      const got = await compiled.run({
        ...inputs,
        ...(order > 0 ? weights : {}),
        ...(order > 1 ? directions : {}),
      })
      const context = `${showSignature(inputs, shapes)}`
      for (const [name, want] of Object.entries(wanted))
        expectClose(got[name], want, tolerance, `${name} of ${context}`)
      const slack = Math.max(GRADIENT_TOLERANCE, tolerance)
      for (const [name, want] of Object.entries(expected)) expectClose(got[name], want, slack, `${name} of ${context}`)
    } finally {
      compiled.release()
    }
  }
}

function compileCase(
  test: OpCase,
  shapes: Record<string, NamedShape>,
  floats: readonly string[],
  order: number,
): Promise<Compiled> {
  const leaves: Tensors = Object.fromEntries(
    Object.entries(test.inputs).map(([name, { dtype }]) => [name, input(name, shapeOf(shapes[name]), dtype)]),
  )
  const outputs = { ...test.fn(leaves) }
  const extra: Tensor[] = []
  const project = (prefix: string, tensors: Tensors): Tensor => {
    const sums = Object.entries(tensors).map(([name, y]) => {
      const weight = input(`${prefix}${name}`, y.shape)
      extra.push(weight)
      return y.mul(weight).sum()
    })
    return sums.reduce((a, b) => a.add(b))
  }
  const wrt = floats.map((name) => leaves[name])
  if (order > 0) {
    const first = grad(project('weight of ', outputs), wrt)
    floats.forEach((name, i) => {
      outputs[`gradient by ${name}`] = first[i]
    })
    if (order > 1) {
      const byName = Object.fromEntries(floats.map((name, i) => [name, first[i]]))
      grad(project('direction of ', byName), wrt).forEach((tensor, i) => {
        outputs[`second gradient by ${floats[i]}`] = tensor
      })
    }
  }
  return compileGraph({ inputs: [...Object.values(leaves), ...extra], outputs })
}

function expectations(
  exact: Arrays,
  floats: readonly string[],
  weightedSum: (values: Arrays) => number,
  directions: Record<string, TensorData>,
  order: number,
): Arrays {
  const result: Arrays = {}
  /** f at the inputs with element i of one moved by `step`, and all moved along the directions by `along`. */
  const moved = (name: string, i: number, step: number, along = 0): number => {
    const values = { ...exact }
    if (along !== 0) {
      for (const other of floats) {
        const { data } = directions[`direction of ${other}`]
        values[other] = { ...exact[other], data: exact[other].data.map((x, k) => x + along * Number(data[k])) }
      }
    }
    const data = Float64Array.from(values[name].data)
    data[i] += step
    return weightedSum({ ...values, [name]: { ...values[name], data } })
  }
  for (const name of floats) {
    const { shape, data } = exact[name]
    if (order > 0) {
      const slope = data.map((_, i) => (moved(name, i, STEP) - moved(name, i, -STEP)) / (2 * STEP))
      result[`gradient by ${name}`] = { shape, data: slope }
    }
    if (order > 1) {
      const h = SECOND_STEP
      const bend = data.map(
        (_, i) =>
          (moved(name, i, h, h) - moved(name, i, -h, h) - moved(name, i, h, -h) + moved(name, i, -h, -h)) / (4 * h * h),
      )
      result[`second gradient by ${name}`] = { shape, data: bend }
    }
  }
  return result
}

const toNd = ({ shape, data }: TensorData): Nd => ({ shape, data: Float64Array.from(data as Float32Array, Number) })

const dot = (y: Nd, { data }: TensorData): number => y.data.reduce((sum, value, i) => sum + value * Number(data[i]), 0)

const randomArrays = (prefix: string, like: Arrays, seed: number): Record<string, TensorData> =>
  Object.fromEntries(
    Object.entries(like).map(([name, { shape }], i) => [`${prefix}${name}`, uniform(shape, seed + i, -1, 1)]),
  )

const staticShapes = (inputs: Record<string, TensorData>): Record<string, NamedShape> =>
  Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]))

/** Equal sizes get one name, so whatever had to match still does; 1 stays 1, as broadcasting needs. */
const nameDims = (
  inputs: Record<string, TensorData>,
  keep: Readonly<Record<string, readonly number[] | true>>,
): Record<string, NamedShape> =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, { shape }]) => {
      const kept = keep[name] ?? []
      return [name, shape.map((dim, axis) => (dim === 1 || kept === true || kept.includes(axis) ? dim : `n${dim}`))]
    }),
  )

const showSignature = (inputs: Record<string, TensorData>, shapes: Record<string, NamedShape>): string =>
  Object.keys(inputs)
    .map((name) => `${name} [${shapes[name]}] = [${inputs[name].shape}]`)
    .join(', ')

/** @param tolerance relative to the largest magnitude of `want`, and at least to 1 */
export function expectClose(got: TensorData, want: Nd, tolerance: number, what = 'value'): void {
  expect(got.shape, `shape of ${what}`).toEqual([...want.shape])
  const largest = want.data.reduce((most, x) => (Number.isFinite(x) ? Math.max(most, Math.abs(x)) : most), 1)
  want.data.forEach((x, i) => {
    const y = Number(got.data[i])
    if (Object.is(x, y) || x === y || Math.abs(x - y) <= tolerance * largest) return
    expect.fail(`${what}, element ${i}: got ${y}, the reference has ${x} (allowed ${tolerance * largest})`)
  })
}

/** A generator of fractions in [0, 1) from a seed (mulberry32). */
export function fractions(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export function uniform(shape: readonly number[], seed: number, low = -2, high = 2): TensorData {
  const next = fractions(seed * 7919 + 1)
  return tensorData(
    'float32',
    shape,
    Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * next()),
  )
}

/** int32 from `low` to `high`, both included. */
export function integers(shape: readonly number[], seed: number, low: number, high: number): TensorData {
  const next = fractions(seed * 104729 + 5)
  const draw = () => low + Math.floor((high - low + 1) * next())
  return tensorData('int32', shape, Int32Array.from({ length: sizeOf(shape) }, draw))
}

export const booleans = (shape: readonly number[], seed: number): TensorData =>
  tensorData('bool', shape, Uint8Array.from(integers(shape, seed, 0, 1).data as Int32Array))

export const seeds: fc.Arbitrary<number> = fc.nat({ max: 1_000_000 })

/** Shapes of few elements, so that differences by every element stay cheap. */
export const shapes = (minRank: number, maxRank: number, maxSize = 48): fc.Arbitrary<number[]> =>
  fc
    .array(fc.constantFrom(1, 2, 3, 4, 5), { minLength: minRank, maxLength: maxRank })
    .filter((shape) => sizeOf(shape) <= maxSize)

/** A shape with an axis of it, written from either end. */
export const shapesWithAxis = (minRank = 1, maxRank = 4): fc.Arbitrary<{ shape: number[]; axis: number; at: number }> =>
  shapes(minRank, maxRank).chain((shape) =>
    fc
      .integer({ min: -shape.length, max: shape.length - 1 })
      .map((axis) => ({ shape, axis, at: axis < 0 ? axis + shape.length : axis })),
  )

/** Pairs that broadcast: some axes of either are 1, and either may lack leading axes. */
export const broadcastPairs: fc.Arbitrary<[number[], number[]]> = shapes(0, 4, 32).chain((shape) => {
  const part = fc
    .tuple(fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), fc.nat({ max: shape.length }))
    .map(([ones, lead]) => shape.map((dim, i) => (ones[i] ? 1 : dim)).slice(lead))
  return fc.tuple(part, part)
})

/** Runs an asynchronous property over generated values. */
export const property = <T>(
  values: fc.Arbitrary<T>,
  predicate: (value: T) => Promise<void>,
  numRuns = 12,
): Promise<void> => fc.assert(fc.asyncProperty(values, predicate), { numRuns })
