import fc from 'fast-check'
import onnxProto from 'onnx-proto'
import { describe, expect, it } from 'vitest'
import { lower } from '../../src/runtime/lower.ts'
import { apply, type Op } from '../../src/tensor/graph.ts'
import { conv2d, grad, input } from '../../src/tensor/index.ts'
import { type Axis, FastConv } from '../../src/tensor/ops/conv/winograd.ts'
import { checkOp, property, seeds, uniform } from './check.ts'
import { get, type Nd, nd } from './reference.ts'

interface Geometry {
  batch: number
  channels: number
  out: number
  height: Axis
  width: Axis
}

const planeOf = ({ height, width }: Geometry, side: 'size' | 'outSize' | 'kernel') => [height[side], width[side]]

/** Calls `visit` with every product of the definition: y[b, o, i, j] += x[b, c, row, column] · w[o, c, u, v]. */
function everyProduct(
  geometry: Geometry,
  visit: (y: readonly number[], x: readonly number[], w: readonly number[]) => void,
): void {
  const { batch, channels, out, height, width } = geometry
  nd([batch, out, height.outSize, width.outSize], ([b, o, i, j]) => {
    nd([channels, height.kernel, width.kernel], ([c, u, v]) => {
      const [row, column] = [i * height.stride + u - height.before, j * width.stride + v - width.before]
      if (row >= 0 && row < height.size && column >= 0 && column < width.size) {
        visit([b, o, i, j], [b, c, row, column], [o, c, u, v])
      }
      return 0
    })
    return 0
  })
}

const offset = ({ shape }: Nd, index: readonly number[]): number =>
  index.reduce((at, position, axis) => at * shape[axis] + position, 0)

/** An op that is one of the scheme's three maps. */
const mapOp = (
  geometry: Geometry,
  outputs: number,
  map: 'convolve' | 'transpose' | 'correlate',
  shape: readonly number[],
): Op<null> => ({
  name: map,
  infer: () => [{ shape: [...shape], dtype: 'float32' }],
  lower: (e, [a, b]) => [new FastConv(e, geometry, outputs)[map](a, b)],
})

const axes = fc
  .record({
    size: fc.integer({ min: 1, max: 11 }),
    kernel: fc.integer({ min: 1, max: 3 }),
    stride: fc.integer({ min: 1, max: 2 }),
    before: fc.nat(2),
    after: fc.nat(2),
  })
  .filter(({ size, kernel, before, after }) => size + before + after >= kernel)
  .map(
    ({ after, ...axis }): Axis => ({
      ...axis,
      outSize: Math.floor((axis.size + axis.before + after - axis.kernel) / axis.stride) + 1,
    }),
  )

describe('FastConv', () => {
  it('is the cross-correlation and both its transposes, for every size, padding, stride and tile', () =>
    property(
      fc.record({
        seed: seeds,
        outputs: fc.constantFrom(2, 3, 4),
        geometry: fc.record({
          batch: fc.integer({ min: 1, max: 3 }),
          channels: fc.integer({ min: 1, max: 3 }),
          out: fc.integer({ min: 1, max: 3 }),
          height: axes,
          width: axes,
        }),
      }),
      async ({ seed, outputs, geometry }) => {
        const { batch, channels, out } = geometry
        const shapes = {
          x: [batch, channels, ...planeOf(geometry, 'size')],
          w: [out, channels, ...planeOf(geometry, 'kernel')],
          dy: [batch, out, ...planeOf(geometry, 'outSize')],
        }
        const op = (map: 'convolve' | 'transpose' | 'correlate', shape: readonly number[]) =>
          mapOp(geometry, outputs, map, shape)
        await checkOp({
          inputs: { x: uniform(shapes.x, seed), w: uniform(shapes.w, seed + 1), dy: uniform(shapes.dy, seed + 2) },
          named: false,
          tolerance: 2e-5,
          fn: ({ x, w, dy }) => ({
            y: apply(op('convolve', shapes.dy), [x, w], null),
            dx: apply(op('transpose', shapes.x), [dy, w], null),
            dw: apply(op('correlate', shapes.w), [x, dy], null),
          }),
          reference: ({ x, w, dy }) => {
            const zeros = (shape: readonly number[]) => nd(shape, () => 0)
            const [y, dx, dw] = [zeros(shapes.dy), zeros(shapes.x), zeros(shapes.w)]
            everyProduct(geometry, (atY, atX, atW) => {
              y.data[offset(y, atY)] += get(x, atX) * get(w, atW)
              dx.data[offset(dx, atX)] += get(dy, atY) * get(w, atW)
              dw.data[offset(dw, atW)] += get(dy, atY) * get(x, atX)
            })
            return { y, dx, dw }
          },
        })
      },
      60,
    ))

  const opTypes = (channelBlock: number, [batch, channels, side]: readonly number[], stride = 1): Set<string> => {
    const [x, w] = [input('x', [batch, channels, side, side]), input('w', [channels, channels, 3, 3])]
    const y = conv2d(x, w, undefined, { padding: 1, stride })
    const dy = input('dy', y.shape)
    const [dx, dw] = grad(y, [x, w], dy)
    const { model } = lower({ inputs: [x, w, dy], outputs: { y, dx, dw } }, { channelBlock })
    const nodes = onnxProto.onnx.ModelProto.decode(model).graph?.node ?? []
    return new Set(nodes.map((node) => node.opType as string))
  }

  it('is what training on a processor convolves with where channels are many and the batch is not small', () => {
    for (const size of [
      [64, 64, 32],
      [64, 128, 16],
      [64, 512, 4],
    ]) {
      expect(opTypes(16, size)).not.toContain('Conv')
      expect(opTypes(0, size), 'a model that runs anywhere').toContain('Conv')
    }
    expect(opTypes(16, [64, 256, 16], 2)).not.toContain('ConvTranspose')
    expect(opTypes(16, [1, 64, 32]), 'one picture').toContain('Conv')
    expect(opTypes(16, [64, 16, 32]), 'few channels').toContain('Conv')
  })
})
