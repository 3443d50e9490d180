import {
  addDims,
  type Dim,
  floorDivDim,
  mulDims,
  type Shape,
  sameDim,
  sameShape,
  showShape,
  subDims,
} from '../../dim.ts'
import { type Emitter, MICROSOFT } from '../../emitter.ts'
import { apply, type Op, type OpNode, type Tensor } from '../../graph.ts'
import { reshape, sumKeepingAxes } from '../shape.ts'
import { blockedConv, blockedTransposedWeight, blockedWeight, blockOf } from './blocked.ts'
import { type ConvAttributes, fastConv } from './winograd.ts'

/**
 * Convolutions of pictures. A convolution is linear in the picture and in the kernel; the gradient by either is linear
 * again, in the other and in the incoming gradient. So the three ops here — the convolution, its transpose (the
 * gradient by the picture) and its correlation (the gradient by the kernel) — are each other's gradients, to any order.
 */

/** Rows and columns added around a picture. */
export interface Sides {
  readonly top?: number
  readonly bottom?: number
  readonly left?: number
  readonly right?: number
}

/** One number for both directions, [vertical, horizontal], or every side by name. */
export type Padding = number | readonly [number, number] | Sides

export type Pair = number | readonly [number, number]

export interface ConvOptions {
  /** Default 1. */
  stride?: Pair
  /** Zeros around the picture. Default 0. */
  padding?: Padding
  /** Distance between the kernel's taps. Default 1. */
  dilation?: Pair
  /** Channels are cut into groups that do not see each other. Default 1. */
  groups?: number
}

interface TransposeAttributes extends ConvAttributes {
  /** Height and width of the result: a stride leaves several possible. */
  readonly size: readonly [Dim, Dim]
}

const DIRECTIONS = [0, 1] as const

export const pairOf = (value: Pair): readonly [number, number] => (typeof value === 'number' ? [value, value] : value)

/** [top, left, bottom, right], the order of ONNX. */
export function padsOf(padding: Padding): readonly [number, number, number, number] {
  if (typeof padding === 'number') return [padding, padding, padding, padding]
  if ('length' in padding) return [padding[0], padding[1], padding[0], padding[1]]
  return [padding.top ?? 0, padding.left ?? 0, padding.bottom ?? 0, padding.right ?? 0]
}

function attributesOf(name: string, weight: Tensor, options: ConvOptions): ConvAttributes {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = options
  const [height, width] = weight.shape.slice(2)
  if (weight.rank !== 4 || typeof height !== 'number' || typeof width !== 'number') {
    throw new RangeError(
      `${name}: the weight must be [out, in / groups, height, width] of a static kernel, got ${showShape(weight.shape)}`,
    )
  }
  const attributes: ConvAttributes = {
    strides: pairOf(stride),
    dilations: pairOf(dilation),
    pads: padsOf(padding),
    kernel: [height, width],
    groups,
  }
  const positive = [...attributes.strides, ...attributes.dilations, groups]
  const whole = [...positive, ...attributes.pads].every((n) => Number.isInteger(n) && n >= 0)
  if (!whole || positive.includes(0)) {
    throw new RangeError(
      `${name}: stride, dilation and groups must be positive integers and padding not negative, got stride [${attributes.strides}], dilation [${attributes.dilations}], groups ${groups}, padding [${attributes.pads}]`,
    )
  }
  return attributes
}

/** How many rows (0) or columns (1) the kernel covers. */
const reach = ({ kernel, dilations }: ConvAttributes, d: 0 | 1): number => dilations[d] * (kernel[d] - 1) + 1

const padding = ({ pads }: ConvAttributes, d: 0 | 1): number => pads[d] + pads[d + 2]

/** Height or width after the convolution. */
function convolvedSize(name: string, x: Tensor, attributes: ConvAttributes, d: 0 | 1): Dim {
  const room = addDims(x.shape[d + 2], padding(attributes, d) - reach(attributes, d))
  if (typeof room === 'number' && room < 0) {
    throw new RangeError(
      `${name}: a kernel reaching over ${reach(attributes, 0)} × ${reach(attributes, 1)} does not fit ${showShape(x.shape)} with padding [${attributes.pads}]`,
    )
  }
  return addDims(floorDivDim(room, attributes.strides[d]), 1)
}

const convOp: Op<ConvAttributes> = {
  name: 'conv2d',
  infer: ([x, weight, bias], attributes) => {
    const [out, inPerGroup] = weight.shape
    const { groups } = attributes
    const fits = x.rank === 4 && sameDim(x.shape[1], mulDims(inPerGroup, groups))
    if (!fits || (out as number) % groups !== 0 || (bias && !sameShape(bias.shape, [out]))) {
      throw new RangeError(
        `conv2d: needs x [batch, in, height, width], weight [out, in / groups, kernelHeight, kernelWidth] and bias [out], got ${[x, weight, bias].flatMap((t) => (t ? [showShape(t.shape)] : [])).join(', ')} with ${groups} groups`,
      )
    }
    const size = DIRECTIONS.map((d) => convolvedSize('conv2d', x, attributes, d))
    return [{ shape: [x.shape[0], out, ...size], dtype: 'float32' }]
  },
  lower: (e, names, { inputs: [x, weight], outputs: [y], attributes }) => {
    const fast = fastConv(e, weight, x.shape, y.shape, attributes)
    if (fast) {
      const product = fast.convolve(names[0], names[1])
      return [names[2] ? e.one('Add', [product, e.one('Reshape', [names[2], e.ints([-1, 1, 1])])]) : product]
    }
    const block = blockOf(e, weight, attributes.groups, y.shape)
    if (block === 0) return [e.one('Conv', names, onnxAttributes(attributes))]
    const shape = weight.shape as readonly number[]
    const blocks = blockedWeight(e, names[1], shape, block)
    return [blockedConv(e, names[0], blocks, names[2], shape[0], onnxAttributes(attributes))]
  },
  grad: ({ inputs: [x, weight, bias], attributes }, [dy]) => {
    if (!dy) return []
    const size = [x.shape[2], x.shape[3]] as const
    return [
      apply(transposedOp, [dy, weight], { ...attributes, size }),
      apply(correlationOp, [x, dy], attributes),
      bias && reshape(sumKeepingAxes(dy, [0, 2, 3]), bias.shape),
    ]
  },
}

const onnxAttributes = ({ strides, dilations, pads, kernel, groups }: ConvAttributes) => ({
  kernel_shape: kernel,
  strides,
  dilations,
  pads,
  group: groups,
})

/**
 * Cross-correlation with a kernel, which the field calls convolution: y[b, o, i, j] = bias[o] +
 * Σ x[b, c, stride · i + dilation · u − top, stride · j + dilation · v − left] · weight[o, c, u, v].
 *
 * @param x - [batch, in, height, width]
 * @param weight - [out, in / groups, kernelHeight, kernelWidth]
 * @param bias - [out]
 * @returns [batch, out, ⌊(height + padding − dilation · (kernelHeight − 1) − 1) / stride⌋ + 1, likewise]
 */
export function conv2d(x: Tensor, weight: Tensor, bias?: Tensor, options: ConvOptions = {}): Tensor {
  return apply(convOp, bias ? [x, weight, bias] : [x, weight], attributesOf('conv2d', weight, options))
}

const transposedOp: Op<TransposeAttributes> = {
  name: 'convTranspose2d',
  infer: ([y, weight], { groups, size }) => {
    const [out, inPerGroup] = weight.shape
    if (y.rank !== 4 || !sameDim(y.shape[1], out) || (out as number) % groups !== 0) {
      throw new RangeError(
        `convTranspose2d: needs x [batch, in, height, width] and weight [in, out / groups, kernelHeight, kernelWidth], got ${showShape(y.shape)} and ${showShape(weight.shape)} with ${groups} groups`,
      )
    }
    return [{ shape: [y.shape[0], mulDims(inPerGroup, groups), ...size], dtype: 'float32' }]
  },
  lower: (e, inputs, node) => {
    const { strides, kernel, dilations, pads } = node.attributes
    const fast = fastConv(e, node.inputs[1], node.outputs[0].shape, node.inputs[0].shape, node.attributes)
    if (fast) return [fast.transpose(inputs[0], inputs[1])]
    const unit = strides[0] === 1 && strides[1] === 1
    const inside = DIRECTIONS.every((d) => Math.max(pads[d], pads[d + 2]) <= dilations[d] * (kernel[d] - 1))
    return [unit && inside ? transposedAsConv(e, inputs, node) : transposedInFull(e, inputs, node)]
  },
  grad: ({ inputs: [y, weight], attributes }, [dx]) => {
    if (!dx) return []
    const { size: _size, ...shared } = attributes
    return [apply(convOp, [dx, weight], shared), apply(correlationOp, [dx, y], shared)]
  },
}

/** Without strides: a convolution with the flipped kernel, in and out exchanged. Twice as fast as ConvTranspose. */
function transposedAsConv(e: Emitter, [y, weight]: readonly string[], node: OpNode<TransposeAttributes>): string {
  const { kernel, dilations, pads, groups } = node.attributes
  const shape = node.inputs[1].shape as readonly number[]
  const [out, inPerGroup] = shape
  const border = pads.map((pad, side) => dilations[side % 2] * (kernel[side % 2] - 1) - pad)
  const attributes = { kernel_shape: kernel, strides: [1, 1], dilations, pads: border, group: groups }
  const block = blockOf(e, node.inputs[1], groups, node.outputs[0].shape)
  if (block > 0) {
    return blockedConv(e, y, blockedTransposedWeight(e, weight, shape, block), undefined, inPerGroup, attributes)
  }
  // Taps first, where flipping moves whole kernels; transpositions of two axes at a time are the fast ones.
  const taps = kernel[0] * kernel[1]
  const permute = (x: string, from: readonly number[], perm: readonly number[]): string =>
    e.one('Transpose', [e.one('Reshape', [x, e.ints(from)])], { perm })
  const tapsFirst = taps === 1 ? weight : permute(weight, [out * inPerGroup, taps], [1, 0])
  const turned = permute(tapsFirst, [taps * groups, out / groups, inPerGroup], [0, 2, 1])
  const rows = e.one('Reshape', [turned, e.ints([taps, out * inPerGroup])])
  const backwards = Array.from({ length: taps }, (_, i) => taps - 1 - i)
  const tapsLast =
    taps === 1 ? rows : permute(e.one('Gather', [rows, e.ints(backwards)]), [taps, out * inPerGroup], [1, 0])
  const exchanged = e.one('Reshape', [tapsLast, e.ints([groups * inPerGroup, out / groups, ...kernel])])
  return e.one('Conv', [y, exchanged], attributes)
}

/** Any stride: everything the kernel can reach, zeros for rows that no output saw, then the padding cut away. */
function transposedInFull(e: Emitter, [y, weight]: readonly string[], node: OpNode<TransposeAttributes>): string {
  const { kernel, strides, dilations, pads, groups, size } = node.attributes
  const shared = { kernel_shape: kernel, strides, dilations, group: groups }
  const full = DIRECTIONS.map((d) =>
    addDims(mulDims(subDims(node.inputs[0].shape[d + 2], 1), strides[d]), reach(node.attributes, d)),
  )
  /** Rows or columns that the kernel's reach falls short of the picture with its leading padding. */
  const missing = DIRECTIONS.map((d) => subDims(addDims(size[d], pads[d]), full[d]))
  if (missing.every((rows, d) => typeof rows === 'number' && rows >= -pads[d + 2] && rows < strides[d])) {
    const short = missing as number[]
    // ONNX counts the cut at the end and the rows added there apart.
    const cut = short.map((rows) => Math.max(-rows, 0))
    const added = short.map((rows) => Math.max(rows, 0))
    const attributes = { ...shared, pads: [pads[0], pads[1], ...cut], output_padding: added }
    return e.one('ConvTranspose', [y, weight], attributes)
  }
  const reached = e.one('ConvTranspose', [y, weight], shared)
  const border = DIRECTIONS.map((d) => (typeof missing[d] === 'number' ? Math.max(missing[d], 0) : strides[d]))
  const padded = border.some((rows) => rows > 0)
    ? e.one('Pad', [reached, e.ints([0, 0, 0, 0, 0, 0, ...border])])
    : reached
  const ends = e.shape(DIRECTIONS.map((d) => addDims(size[d], pads[d])))
  return e.one('Slice', [padded, e.ints([pads[0], pads[1]]), ends, e.ints([2, 3])])
}

export interface ConvTransposeOptions extends ConvOptions {
  /** Rows and columns added at the bottom and the right of the result, where the stride leaves its size open. */
  outputPadding?: Pair
  /** The same said otherwise: height and width of the result, such that a convolution of it has the size of `x`. */
  size?: readonly [Dim, Dim]
}

/**
 * The transpose of a convolution, as PyTorch has it: every element of `x` adds the kernel, scaled, at its place.
 *
 * @param x - [batch, in, height, width]
 * @param weight - [in, out / groups, kernelHeight, kernelWidth]
 * @param bias - [out]
 * @returns [batch, out, (height − 1) · stride − padding + dilation · (kernelHeight − 1) + outputPadding + 1, likewise]
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias?: Tensor,
  { outputPadding = 0, size, ...options }: ConvTransposeOptions = {},
): Tensor {
  const attributes = attributesOf('convTranspose2d', weight, options)
  const extra = pairOf(outputPadding)
  if (DIRECTIONS.some((d) => !Number.isInteger(extra[d]) || extra[d] < 0 || extra[d] >= attributes.strides[d])) {
    throw new RangeError(
      `convTranspose2d: outputPadding [${extra}] must be less than the stride [${attributes.strides}]`,
    )
  }
  if (x.rank !== 4) {
    throw new RangeError(`convTranspose2d: x must be [batch, in, height, width], got ${showShape(x.shape)}`)
  }
  const [height, width] = DIRECTIONS.map((d) => {
    if (size) return size[d]
    const spread = mulDims(subDims(x.shape[d + 2], 1), attributes.strides[d])
    return addDims(spread, reach(attributes, d) - padding(attributes, d) + extra[d])
  })
  if ([height, width].some((size) => typeof size === 'number' && size < 1)) {
    throw new RangeError(`convTranspose2d: padding [${attributes.pads}] leaves nothing of ${showShape(x.shape)}`)
  }
  const y = apply(transposedOp, [x, weight], { ...attributes, size: [height, width] })
  return bias ? y.add(reshape(bias, [1, bias.shape[0], 1, 1])) : y
}

const correlationOp: Op<ConvAttributes> = {
  name: 'convWeightGradient',
  infer: ([x, dy], { groups, kernel }) => {
    const [channels, out] = [x.shape[1], dy.shape[1]]
    if (typeof channels !== 'number') throw new RangeError(`conv2d: channels must be static, got ${showShape(x.shape)}`)
    return [{ shape: [out, channels / groups, ...kernel], dtype: 'float32' }]
  },
  lower: (e, inputs, node) => {
    const fast = fastConv(e, node.inputs[0], node.inputs[0].shape, node.inputs[1].shape, node.attributes)
    if (fast) return [fast.correlate(inputs[0], inputs[1])]
    const [, , height, width] = node.inputs[1].shape
    const small = typeof height === 'number' && typeof width === 'number' && height * width <= SMALL_PLANE
    return [node.attributes.groups === 1 && small ? correlateAll(e, inputs, node) : correlateEach(e, inputs, node)]
  },
  grad: ({ inputs: [x, dy], attributes }, [dWeight]) => {
    if (!dWeight) return []
    const size = [x.shape[2], x.shape[3]] as const
    return [apply(transposedOp, [dy, dWeight], { ...attributes, size }), apply(convOp, [x, dWeight], attributes)]
  },
}

/** Up to this many positions a picture, one product over all pictures beats one a picture. Measured: 8 × 8 yes, 16 × 16 no. */
const SMALL_PLANE = 128

/** What each tap of the kernel saw: `x`, padded, from the tap's place on, every stride-th row and column. */
function tapViews(
  e: Emitter,
  x: string,
  { kernel, strides, dilations, pads }: ConvAttributes,
  dyShape: Shape,
  axes: readonly [number, number],
): string[] {
  const around = (side: 0 | 2): number[] => {
    const amounts = [0, 0, 0, 0]
    for (const d of DIRECTIONS) amounts[axes[d]] = pads[d + side]
    return amounts
  }
  const padded = pads.some((pad) => pad > 0) ? e.one('Pad', [x, e.ints([...around(0), ...around(2)])]) : x
  const views: string[] = []
  for (let row = 0; row < kernel[0]; row++) {
    for (let column = 0; column < kernel[1]; column++) {
      const starts = [row * dilations[0], column * dilations[1]]
      const ends = DIRECTIONS.map((d) => addDims(mulDims(subDims(dyShape[d + 2], 1), strides[d]), starts[d] + 1))
      views.push(e.one('Slice', [padded, e.ints(starts), e.shape(ends), e.ints(axes), e.ints(strides)]))
    }
  }
  return views
}

/** The taps' gradients, each [out, in / groups], as one kernel. */
function kernelOf(e: Emitter, taps: readonly string[], node: OpNode<ConvAttributes>): string {
  const shape = node.outputs[0].shape as readonly number[]
  if (taps.length === 1) return e.one('Reshape', [taps[0], e.ints(shape)])
  const rows = taps.map((tap) => e.one('Reshape', [tap, e.ints([1, shape[0] * shape[1]])]))
  return e.one('Reshape', [e.one('Transpose', [e.one('Concat', rows, { axis: 0 })], { perm: [1, 0] }), e.ints(shape)])
}

/** For small planes: channels last, and one product a tap over every position of every picture. */
function correlateAll(e: Emitter, [x, dy]: readonly string[], node: OpNode<ConvAttributes>): string {
  const [picture, outgoing] = node.inputs
  const rows = (name: string, channels: Dim): string => e.one('Reshape', [name, e.ints([-1, channels as number])])
  const channelsLast = (name: string): string => e.one('Transpose', [name], { perm: [0, 2, 3, 1] })
  const dyRows = rows(channelsLast(dy), outgoing.shape[1])
  const taps = tapViews(e, channelsLast(x), node.attributes, outgoing.shape, [1, 2]).map((view) =>
    e.one('Gemm', [dyRows, rows(view, picture.shape[1])], { transA: 1 }),
  )
  return kernelOf(e, taps, node)
}

/** For large planes, and for groups: a product a tap and picture, summed over the pictures. */
function correlateEach(e: Emitter, [x, dy]: readonly string[], node: OpNode<ConvAttributes>): string {
  const [picture, outgoing] = node.inputs
  const { groups } = node.attributes
  const planes = (name: string, channels: Dim): string =>
    e.one('Reshape', [name, e.ints([0, groups, (channels as number) / groups, -1])])
  const dyPlanes = planes(dy, outgoing.shape[1])
  const taps = tapViews(e, x, node.attributes, outgoing.shape, [2, 3]).map((view) => {
    const products = e.one('FusedMatMul', [dyPlanes, planes(view, picture.shape[1])], { transB: 1 }, MICROSOFT)
    return e.one('ReduceSum', [products, e.ints([0])], { keepdims: 0 }) // [groups, out / groups, in / groups]
  })
  return kernelOf(e, taps, node)
}
