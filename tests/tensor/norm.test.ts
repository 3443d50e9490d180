import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jit } from '../../src/runtime/compiled.ts'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, checkSecondGradient, property, seeds, shapes, uniform } from './check.ts'
import { fold, get, line, type Nd, nd, total } from './reference.ts'

const meanOf = (values: readonly number[]): number => total(values) / values.length
const varianceOf = (values: readonly number[], correction = 0): number =>
  total(values.map((v) => (v - meanOf(values)) ** 2)) / (values.length - correction)

const wide = shapes(0, 3, 12).chain((lead) => fc.integer({ min: 2, max: 5 }).map((features) => [...lead, features]))

describe('layerNorm and rmsNorm', () => {
  it('normalise the last axis, with and without bias, at any epsilon, and can be differentiated twice', () =>
    property(
      fc.tuple(wide, fc.constantFrom(0.05, 1), seeds),
      ([shape, epsilon, seed]) => {
        const last = shape.length - 1
        const features = [shape[last]]
        return checkSecondGradient({
          inputs: {
            x: uniform(shape, seed),
            weight: uniform(features, seed + 1, 0.5, 1.5),
            bias: uniform(features, seed + 2),
          },
          fn: ({ x, weight, bias }) => ({
            layer: t.layerNorm(x, weight, bias, epsilon),
            plain: t.layerNorm(x, weight, undefined, epsilon),
            rms: t.rmsNorm(x, weight, epsilon),
          }),
          reference: ({ x, weight, bias }) => {
            const layer = (withBias: boolean) =>
              nd(shape, (i) => {
                const values = line(x, i, last)
                const normal = (get(x, i) - meanOf(values)) / Math.sqrt(varianceOf(values) + epsilon)
                return normal * weight.data[i[last]] + (withBias ? bias.data[i[last]] : 0)
              })
            const rms = nd(shape, (i) => {
              const squares = line(x, i, last).map((v) => v * v)
              return (get(x, i) / Math.sqrt(meanOf(squares) + epsilon)) * weight.data[i[last]]
            })
            return { layer: layer(true), plain: layer(false), rms }
          },
          named: { x: [last], weight: true, bias: true },
          tolerance: 1e-4,
        })
      },
      20,
    ))

  it('add the epsilon of the papers inside the root', () =>
    checkGradient({
      inputs: { x: t.tensorData('float32', [2, 2], [0.001, 0.003, -0.002, 0.001]), weight: uniform([2], 1) },
      fn: ({ x, weight }) => ({ layer: t.layerNorm(x, weight), rms: t.rmsNorm(x, weight) }),
      reference: ({ x, weight }) => ({
        layer: nd([2, 2], (i) => {
          const values = line(x, i, 1)
          return ((get(x, i) - meanOf(values)) / Math.sqrt(varianceOf(values) + 1e-5)) * weight.data[i[1]]
        }),
        rms: nd([2, 2], (i) => {
          const squares = line(x, i, 1).map((v) => v * v)
          return (get(x, i) / Math.sqrt(meanOf(squares) + 1e-6)) * weight.data[i[1]]
        }),
      }),
      named: { x: [1], weight: true },
      // Differences by the reference's step of 1e-5 are 1e-5 of slopes that bend within 1e-3.
      tolerance: 1e-3,
    }))

  it('refuse a weight of another width, and widths known only when the graph runs', () => {
    const x = t.input('x', [2, 3])
    expect(() => t.layerNorm(x, t.input('w', [2]))).toThrow('layerNorm: the weight must be [3], got [2] (input [2, 3])')
    const open = t.input('y', [2, t.symbol('width')])
    expect(() => t.rmsNorm(open, t.input('w', [t.symbol('width')]))).toThrow(
      'rmsNorm: the number of features must be static, got [2, width]',
    )
  })
})

const images = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  groups: fc.integer({ min: 1, max: 2 }),
  perGroup: fc.integer({ min: 1, max: 2 }),
  space: fc.array(fc.integer({ min: 2, max: 3 }), { minLength: 1, maxLength: 2 }),
  seed: seeds,
})

describe('groupNorm and batchNorm', () => {
  const overAllButChannels = (x: Nd, f: (values: number[]) => number): Float64Array =>
    fold(
      x,
      x.shape.flatMap((_, i) => (i === 1 ? [] : [i])),
      false,
      f,
    ).data

  it('groupNorm normalises groups of channels over space', () =>
    property(images, ({ batch, groups, perGroup, space, seed }) => {
      const channels = groups * perGroup
      const shape = [batch, channels, ...space]
      return checkGradient({
        inputs: { x: uniform(shape, seed), weight: uniform([channels], seed + 1), bias: uniform([channels], seed + 2) },
        fn: ({ x, weight, bias }) => ({
          y: t.groupNorm(x, groups, weight, bias, 0.1),
          plain: t.groupNorm(x, groups, undefined, undefined, 0.1),
        }),
        reference: ({ x, weight, bias }) => {
          const plain = nd(shape, (i) => {
            const values: number[] = []
            nd([perGroup, ...space], ([c, ...at]) => {
              values.push(get(x, [i[0], Math.floor(i[1] / perGroup) * perGroup + c, ...at]))
              return 0
            })
            return (get(x, i) - meanOf(values)) / Math.sqrt(varianceOf(values) + 0.1)
          })
          return { plain, y: nd(shape, (i) => get(plain, i) * weight.data[i[1]] + bias.data[i[1]]) }
        },
        named: { x: [1], weight: true, bias: true },
        tolerance: 1e-4,
      })
    }))

  it("batchNorm uses the running statistics, and in training the batch's, moving the running ones", () =>
    property(images, ({ batch, perGroup: channels, space, seed }) => {
      const shape = [batch + 1, channels, ...space]
      const vector = (at: number, low = -1, high = 1) => uniform([channels], seed + at, low, high)
      return checkGradient({
        inputs: {
          x: uniform(shape, seed),
          weight: vector(1),
          bias: vector(2),
          runningMean: vector(3),
          runningVar: vector(4, 0.5, 2),
        },
        fn: ({ x, weight, bias, runningMean, runningVar }) => {
          const state = { runningMean, runningVar }
          const trained = t.batchNormTraining(x, weight, bias, state, { epsilon: 0.1, momentum: 0.3 })
          return {
            inference: t.batchNorm(x, weight, bias, state, 0.1),
            training: trained.y,
            nextMean: trained.state.runningMean,
            nextVar: trained.state.runningVar,
          }
        },
        reference: ({ x, weight, bias, runningMean, runningVar }) => {
          const mu = overAllButChannels(x, meanOf)
          const spread = overAllButChannels(x, varianceOf)
          const unbiased = overAllButChannels(x, (values) => varianceOf(values, 1))
          const scaled = (m: Float64Array, v: Float64Array) =>
            nd(shape, (i) => ((get(x, i) - m[i[1]]) / Math.sqrt(v[i[1]] + 0.1)) * weight.data[i[1]] + bias.data[i[1]])
          return {
            inference: scaled(runningMean.data, runningVar.data),
            training: scaled(mu, spread),
            nextMean: nd([channels], ([c]) => 0.7 * runningMean.data[c] + 0.3 * mu[c]),
            nextVar: nd([channels], ([c]) => 0.7 * runningVar.data[c] + 0.3 * unbiased[c]),
          }
        },
        named: { x: [1], weight: true, bias: true, runningMean: true, runningVar: true },
        tolerance: 1e-4,
      })
    }))

  it('l2Normalize leaves zeros alone, with a gradient that is a number', async () => {
    const zeros = t.tensorData('float32', [1, 2], [0, 0])
    const model = jit(({ x }) => ({ y: t.l2Normalize(x), dx: t.grad(t.l2Normalize(x, -1, 0.5).sum(), [x])[0] }))
    const { y, dx } = await model({ x: zeros })
    expect([...y.data, ...dx.data]).toEqual([0, 0, 2, 2])
  })

  it('l2Normalize gives unit length', () =>
    checkGradient({
      inputs: { x: uniform([3, 4], 2) },
      fn: ({ x }) => ({ rows: t.l2Normalize(x), columns: t.l2Normalize(x, 0) }),
      reference: ({ x }) => {
        const along = (axis: number) =>
          nd(x.shape, (i) => get(x, i) / Math.sqrt(total(line(x, i, axis).map((v) => v * v))))
        return { rows: along(1), columns: along(0) }
      },
    }))
})
