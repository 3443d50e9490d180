import { addDims, type Dim, floorDivDim, mulDims, sameDim, showShape, sizeOfShape } from '../dim.ts'
import { apply, applyMany, constant, type Op, type Tensor } from '../graph.ts'
import { conv2d, convTranspose2d, type Padding, type Pair, padsOf, pairOf } from './conv/conv.ts'
import { takeAlongAxis } from './index.ts'
import { repeatPixels, resampleAxis } from './interpolate.ts'
import { mean } from './reduce.ts'
import { full, reshape } from './shape.ts'

/** Pooling of pictures [batch, channels, height, width]. */

export interface PoolOptions {
  kernel: Pair
  /** Default: the kernel, so that windows do not overlap. */
  stride?: Pair
  /** Less than the kernel. Default 0. */
  padding?: Padding
}

interface PoolAttributes {
  readonly kernel: readonly [number, number]
  readonly strides: readonly [number, number]
  /** [top, left, bottom, right] */
  readonly pads: readonly [number, number, number, number]
}

function attributesOf(name: string, x: Tensor, { kernel, stride = kernel, padding = 0 }: PoolOptions): PoolAttributes {
  const attributes = { kernel: pairOf(kernel), strides: pairOf(stride), pads: padsOf(padding) }
  const { pads } = attributes
  if (x.rank !== 4 || x.dtype !== 'float32') {
    throw new RangeError(
      `${name}: x must be float32 [batch, channels, height, width], got ${x.dtype} ${showShape(x.shape)}`,
    )
  }
  const counts = [...attributes.kernel, ...attributes.strides].every((n) => Number.isInteger(n) && n > 0)
  // A window wholly in the padding would have no elements.
  if (!counts || pads.some((pad, side) => !Number.isInteger(pad) || pad < 0 || pad >= attributes.kernel[side % 2])) {
    throw new RangeError(
      `${name}: kernel [${attributes.kernel}] and stride [${attributes.strides}] must be positive integers, and padding [${pads}] less than the kernel`,
    )
  }
  return attributes
}

function pooledShape(name: string, x: Tensor, { kernel, strides, pads }: PoolAttributes): Dim[] {
  const sizes = [0, 1].map((d) => {
    const room = addDims(x.shape[d + 2], pads[d] + pads[d + 2] - kernel[d])
    if (typeof room === 'number' && room < 0) {
      throw new RangeError(`${name}: a window of [${kernel}] does not fit ${showShape(x.shape)} with padding [${pads}]`)
    }
    return addDims(floorDivDim(room, strides[d]), 1)
  })
  return [x.shape[0], x.shape[1], ...sizes]
}

const onnxAttributes = ({ kernel, strides, pads }: PoolAttributes) => ({ kernel_shape: kernel, strides, pads })

const maxPoolOp: Op<PoolAttributes> = {
  name: 'maxPool',
  infer: ([x], attributes) => {
    const shape = pooledShape('maxPool', x, attributes)
    return [
      { shape, dtype: 'float32' },
      { shape, dtype: 'int64' },
    ]
  },
  lower: (e, [x], { attributes }) => e.many('MaxPool', [x], onnxAttributes(attributes), { outputs: 2 }),
  // The second output counts through the whole of x; of equal maxima it names the first.
  grad: ({ inputs: [x], outputs: [, indices], attributes }, [dy]) => [
    dy && reshape(apply(toMaximaOp, [full([sizeOfShape(x.shape)], 0), indices, dy], attributes), x.shape),
  ],
}

/** Adds to zeros, one for every element of a picture, what came to the windows whose maximum it was. */
const toMaximaOp: Op<PoolAttributes> = {
  name: 'toMaxima',
  infer: ([zeros]) => [{ shape: zeros.shape, dtype: zeros.dtype }],
  lower: (e, [zeros, ...inputs], { attributes: { kernel, strides } }) => {
    // Windows that overlap may name one element twice, those that lie a kernel apart cannot: where sums have no order,
    // as many scatters as windows lie within one kernel, each of distinct elements, give them one.
    const apart = kernel.map((size, d) => (e.scattersInOrder ? 1 : Math.ceil(size / strides[d])))
    let sum = zeros
    for (let top = 0; top < apart[0]; top++) {
      for (let left = 0; left < apart[1]; left++) {
        const [positions, updates] = inputs.map((all) => {
          const range = [e.ints([top, left]), e.ints([2 ** 31, 2 ** 31]), e.ints([2, 3]), e.ints(apart)]
          const some = apart[0] * apart[1] === 1 ? all : e.one('Slice', [all, ...range])
          return e.one('Reshape', [some, e.ints([-1])])
        })
        sum = e.one('ScatterElements', [sum, positions, updates], { axis: 0, reduction: 'add' })
      }
    }
    return [sum]
  },
  grad: ({ inputs: [, indices, dy] }, [ddx]) => [
    undefined,
    undefined,
    ddx && reshape(takeAlongAxis(ddx, reshape(indices, [-1]), 0), dy.shape),
  ],
}

/** The largest element of every window; padding counts as −∞. */
export const maxPool = (x: Tensor, options: PoolOptions): Tensor =>
  applyMany(maxPoolOp, [x], attributesOf('maxPool', x, options))[0]

interface AveragePoolAttributes extends PoolAttributes {
  readonly countIncludePad: boolean
}

const averagePoolOp: Op<AveragePoolAttributes> = {
  name: 'averagePool',
  infer: ([x], attributes) => [{ shape: pooledShape('averagePool', x, attributes), dtype: 'float32' }],
  lower: (e, [x], { attributes }) => [
    e.one('AveragePool', [x], { ...onnxAttributes(attributes), count_include_pad: +attributes.countIncludePad }),
  ],
  // Pooling is a convolution of every channel alone with a constant kernel, so its gradient is that one's transpose.
  grad: ({ inputs: [x], attributes }, [dy]) => {
    if (!dy) return [undefined]
    const { kernel, strides: stride, pads, countIncludePad } = attributes
    const [batch, channels, height, width] = x.shape
    const area = kernel[0] * kernel[1]
    const tiles = [0, 1].every(
      (d) =>
        stride[d] === kernel[d] &&
        pads[d] + pads[d + 2] === 0 &&
        sameDim(mulDims(dy.shape[d + 2], kernel[d]), x.shape[d + 2]),
    )
    if (tiles) return [repeatPixels(dy.mul(1 / area), kernel)]
    const padding = { top: pads[0], left: pads[1], bottom: pads[2], right: pads[3] }
    const box = (value: number): Tensor => {
      const data = new Float32Array(kernel[0] * kernel[1]).fill(value)
      return constant({ dtype: 'float32', shape: [1, 1, ...kernel], data })
    }
    const everyWindowFull = countIncludePad || pads.every((pad) => pad === 0)
    const share = everyWindowFull
      ? dy
      : dy.div(conv2d(full([1, 1, height, width], 1), box(1), undefined, { stride, padding }))
    const planes = reshape(share, [mulDims(batch, channels), 1, dy.shape[2], dy.shape[3]])
    const spread = convTranspose2d(planes, box(everyWindowFull ? 1 / area : 1), undefined, {
      stride,
      padding,
      size: [height, width],
    })
    return [reshape(spread, [batch, channels, height, width])]
  },
}

/**
 * The mean of every window.
 *
 * @param options.countIncludePad - divide by the window's size, padding included, as PyTorch does by default; otherwise
 *   by the elements that it covers. Default true.
 */
export const averagePool = (x: Tensor, options: PoolOptions & { countIncludePad?: boolean }): Tensor =>
  apply(averagePoolOp, [x], {
    ...attributesOf('averagePool', x, options),
    countIncludePad: options.countIncludePad ?? true,
  })

/** The mean over height and width: [batch, channels, 1, 1]. */
export const globalAveragePool = (x: Tensor): Tensor => mean(x, { axis: [2, 3], keepDims: true })

/** Means over as many windows as asked for, of nearly equal size; neighbours may share a row or column. */
export function adaptiveAveragePool(x: Tensor, size: Pair): Tensor {
  const target = pairOf(size)
  if (x.rank !== 4) throw new RangeError(`adaptiveAveragePool: x must have 4 axes, got ${showShape(x.shape)}`)
  if (target[0] === 1 && target[1] === 1) return globalAveragePool(x)
  const [height, width] = x.shape.slice(2)
  if (typeof height !== 'number' || typeof width !== 'number') {
    throw new RangeError(`adaptiveAveragePool: height and width must be static, got ${showShape(x.shape)}`)
  }
  if (height % target[0] === 0 && width % target[1] === 0) {
    return averagePool(x, { kernel: [height / target[0], width / target[1]] })
  }
  return [2, 3].reduce((y, axis, d) => {
    const from = x.shape[axis] as number
    const windows = Array.from({ length: target[d] }, (_, i) => {
      const start = Math.floor((i * from) / target[d])
      const end = Math.ceil(((i + 1) * from) / target[d])
      return Array.from({ length: end - start }, (_, k) => [start + k, 1 / (end - start)] as const)
    })
    return resampleAxis(y, axis, windows)
  }, x)
}
