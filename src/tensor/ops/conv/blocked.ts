import type { Shape } from '../../dim.ts'
import type { AttributeValue, Emitter } from '../../emitter.ts'
import type { Tensor } from '../../graph.ts'

/**
 * ONNX Runtime's convolution over channels in blocks (NCHWc): 1.3 to 2 times as fast on a CPU as the one over whole
 * planes. It arranges constant weights for it by itself; weights that training changes have to be arranged here, at
 * every run.
 */

const NCHWC = 'com.microsoft.nchwc'

/** [out, in, height, width]: the sizes of a weight. */
type KernelShape = readonly number[]

/** On planes of 4 × 4 the border, which is done apart, is most of the plane. */
const SMALLEST_PLANE = 32

/** Positions in a batch below which arranging the weight costs more than it saves. Measured: they break even at 1,000. */
const FEWEST_POSITIONS = 2048

/** Channels a block for a convolution with this result, or 0 where blocks cannot be had or do not pay. */
export function blockOf(e: Emitter, weight: Tensor, groups: number, [batch, , height, width]: Shape): number {
  const block = groups === 1 ? e.convolutionBlock(weight) : 0
  const [out, channels] = weight.shape as KernelShape
  const [plane, positions] = [
    [height, width],
    [batch, height, width],
  ].map((dims) => dims.reduce<number>((n, dim) => n * (typeof dim === 'number' ? dim : Number.POSITIVE_INFINITY), 1))
  const pays = plane >= SMALLEST_PLANE && positions >= FEWEST_POSITIONS
  return pays && block > 0 && out % block === 0 && channels % block === 0 ? block : 0
}

/** A convolution of `x` [batch, in, height, width] with a weight in blocks. */
export function blockedConv(
  e: Emitter,
  x: string,
  weight: string,
  bias: string | undefined,
  out: number,
  attributes: Record<string, AttributeValue>,
): string {
  const blocks = e.one('ReorderInput', [x], {}, NCHWC)
  const inputs = bias ? [blocks, weight, bias] : [blocks, weight]
  return e.one('ReorderOutput', [e.one('Conv', inputs, attributes, NCHWC)], { channels: out }, NCHWC)
}

/** [out / block, in / block, height * width, block (in), block (out)] under the weight's own shape. */
export function blockedWeight(e: Emitter, weight: string, shape: KernelShape, block: number): string {
  const [out, channels, height, width] = shape
  const taps = height * width
  // Two moves of one axis each are several times as fast as one transposition of five.
  const outLast = permute(e, weight, [out / block, block, channels * taps], [0, 2, 1])
  const inInside = permute(e, outLast, [(out * channels) / block ** 2, block, taps, block], [0, 2, 1, 3])
  return e.one('Reshape', [inInside, e.ints(shape)])
}

/** The same of the flipped weight with in and out exchanged: what the gradient by the picture convolves with. */
export function blockedTransposedWeight(e: Emitter, weight: string, shape: KernelShape, block: number): string {
  const [out, channels, height, width] = shape
  const [taps, square] = [height * width, block ** 2]
  const forward = blockedWeight(e, weight, shape, block)
  const blocks = permute(e, forward, [(out * channels * taps) / square, block, block], [0, 2, 1])
  const exchanged = permute(e, blocks, [out / block, channels / block, taps * square], [1, 0, 2])
  const apart = e.one('Reshape', [exchanged, e.ints([(out * channels) / square, taps, square])])
  const backwards = Array.from({ length: taps }, (_, i) => taps - 1 - i)
  const flipped = taps === 1 ? apart : e.one('Gather', [apart, e.ints(backwards)], { axis: 1 })
  return e.one('Reshape', [flipped, e.ints([channels, out, height, width])])
}

const permute = (e: Emitter, x: string, shape: readonly number[], perm: readonly number[]): string =>
  e.one('Transpose', [e.one('Reshape', [x, e.ints(shape)])], { perm })
