import { activation, averagePool, interpolate, sameDim, split, type Tensor } from '../tensor/index.ts'
import { attention } from './attention.ts'
import { conv2d, groupNorm } from './conv.ts'
import { fanAverageUniform, type Initializer, zeros } from './initializers.ts'
import { linear } from './layers.ts'
import type { Scope } from './scope.ts'

/**
 * What diffusion's U-Nets and autoencoders are built of, under the names of their checkpoints. Pictures are
 * [batch, channels, height, width]; the last layer of each residual path starts at zero, so a new block is the identity.
 */

/** A 3 × 3 convolution that keeps the picture's size. */
export const conv3x3 = (scope: Scope, x: Tensor, channels: number, init: Initializer = fanAverageUniform): Tensor =>
  conv2d(scope, x, channels, { kernel: 3, padding: 1, init })

/**
 * Half the size, by a 3 × 3 convolution with stride 2.
 *
 * @param padding - 1 pixel on every side, or 0: then there is one at the right and the bottom
 */
export function downsample(scope: Scope, x: Tensor, { padding = 1 }: { padding?: number } = {}): Tensor {
  const sides = padding === 0 ? { right: 1, bottom: 1 } : padding
  const options = { kernel: 3, stride: 2, padding: sides, init: fanAverageUniform }
  return conv2d(scope.at('conv'), x, x.shape[1] as number, options)
}

/** The mean of every four pixels. */
export const halve = (x: Tensor): Tensor => averagePool(x, { kernel: 2, stride: 2 })

/**
 * Every pixel four times.
 *
 * @param like - a picture whose height and width the result is cut to: half of an odd size, doubled, has one too many
 */
export const double = (x: Tensor, like: Tensor): Tensor =>
  [2, 3].reduce(
    (y, axis) => {
      const end = like.shape[axis]
      return sameDim(y.shape[axis], end) ? y : y.slice({ axis, end })
    },
    interpolate(x, { scale: 2 }),
  )

/** Twice the size, that of `like`: every pixel four times, then a 3 × 3 convolution. */
export const upsample = (scope: Scope, x: Tensor, like: Tensor): Tensor =>
  conv3x3(scope.at('conv'), double(x, like), x.shape[1] as number)

export interface ResidualBlockOptions {
  /** Of the group normalisations. */
  groups: number
  /** Default 1e-5. */
  epsilon?: number
  /** Default `silu`. */
  activation?: string
  /**
   * What the time does: `default` is added to every pixel; `scale_shift` scales and shifts what is normalised
   * (Dhariwal and Nichol, 2021, arXiv 2105.05233, §3.1).
   */
  timeScaleShift?: 'default' | 'scale_shift'
  /** Default 0. */
  dropout?: number
  /** Divides the sum with the shortcut. Default 1. */
  outputScale?: number
  /** Halves or doubles the picture before the first convolution, and in the shortcut. Default: leaves it. */
  resample?: (x: Tensor) => Tensor
}

/**
 * conv(dropout(act(norm(conv(act(norm(x))) + time)))) + shortcut(x): a wide residual block with group normalisation.
 *
 * @param x - [batch, inChannels, height, width]
 * @param time - [batch, dim], or nothing: an autoencoder knows no time
 * @returns [batch, channels, height, width], or half or twice the size
 */
export function residualBlock(
  scope: Scope,
  x: Tensor,
  channels: number,
  time: Tensor | undefined,
  options: ResidualBlockOptions,
): Tensor {
  const { groups, epsilon = 1e-5, timeScaleShift = 'default', dropout = 0, outputScale = 1 } = options
  const { resample = (x: Tensor): Tensor => x } = options
  const act = activation(options.activation ?? 'silu')
  const norm = (name: string, x: Tensor): Tensor => groupNorm(scope.at(name), x, groups, epsilon)
  /** What the time says, a number a channel: [batch, size, 1, 1]. */
  const project = (time: Tensor, size: number): Tensor =>
    linear(scope.at('time_emb_proj'), act(time), size, { init: fanAverageUniform }).reshape([x.shape[0], size, 1, 1])

  let hidden = conv3x3(scope.at('conv1'), resample(act(norm('norm1', x))), channels)
  if (time && timeScaleShift === 'scale_shift') {
    const [scale, shift] = split(project(time, 2 * channels), 2, 1)
    hidden = norm('norm2', hidden).mul(scale.add(1)).add(shift)
  } else {
    hidden = norm('norm2', time ? hidden.add(project(time, channels)) : hidden)
  }
  hidden = conv3x3(scope.at('conv2'), scope.dropout(act(hidden), dropout), channels, zeros)

  const source = resample(x)
  const shortcut =
    x.shape[1] === channels
      ? source
      : conv2d(scope.at('conv_shortcut'), source, channels, { kernel: 1, init: fanAverageUniform })
  return divided(shortcut.add(hidden), outputScale)
}

export interface PixelAttentionOptions {
  /** Channels of a head; there are as many heads as fit. */
  headDim: number
  /** Of the normalisation before; without it where left out. */
  groups?: number
  /** Default 1e-5. */
  epsilon?: number
  /** Divides the sum with the input. Default 1. */
  outputScale?: number
}

/**
 * Every pixel attends to all others: x + W_o attention(norm(x)), as non-local networks do (Wang et al., 2017, arXiv
 * 1711.07971).
 *
 * @param x - [batch, channels, height, width]
 */
export function pixelAttention(scope: Scope, x: Tensor, options: PixelAttentionOptions): Tensor {
  const { headDim, groups, epsilon = 1e-5, outputScale = 1 } = options
  const [batch, channels] = x.shape
  const nHeads = Math.floor((channels as number) / headDim)
  if (nHeads < 1) throw new RangeError(`pixelAttention: a head of ${headDim} channels does not fit into ${channels}`)
  const normal = groups ? groupNorm(scope.at('group_norm'), x, groups, epsilon) : x
  const pixels = normal.reshape([batch, channels, -1]).swapAxes(1, 2) // [batch, height · width, channels]
  const project = (name: string): Tensor =>
    linear(scope.at(name), pixels, nHeads * headDim, { init: fanAverageUniform })
  const attended = attention(project('to_q'), project('to_k'), project('to_v'), { nHeads })
  const output = linear(scope.at('to_out', 0), attended, channels as number, { init: zeros })
  return divided(output.swapAxes(1, 2).reshape(x.shape).add(x), outputScale)
}

const divided = (x: Tensor, by: number): Tensor => (by === 1 ? x : x.div(by))
