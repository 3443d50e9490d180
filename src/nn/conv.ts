import {
  batchNormTraining,
  conv2d as convolve,
  groupNorm as normalizeGroups,
  batchNorm as normalizeWithRunning,
  type Padding,
  type Pair,
  type Tensor,
} from '../tensor/index.ts'
import { type Initializer, kaimingFanOut, ones, zeros } from './initializers.ts'
import type { Scope } from './scope.ts'

/** Layers over pictures [batch, channels, height, width], with parameters of their own under the scope. */

function channelsOf(x: Tensor): number {
  const channels = x.shape[1]
  if (typeof channels !== 'number') throw new RangeError(`a layer needs a static number of channels, got '${channels}'`)
  return channels
}

export interface ConvLayerOptions {
  /** Height and width of the kernel, or both at once. */
  kernel: Pair
  /** Default 1. */
  stride?: Pair
  /** Zeros around the picture. Default 0. */
  padding?: Padding
  /** Default 1. */
  dilation?: Pair
  /** Default 1. */
  groups?: number
  /** Default true. */
  bias?: boolean
  init?: Initializer
}

/**
 * A convolution with parameters `weight` [outChannels, inChannels / groups, height, width] and `bias` [outChannels].
 *
 * @param x - [batch, inChannels, height, width]
 * @returns [batch, outChannels, newHeight, newWidth]
 */
export function conv2d(scope: Scope, x: Tensor, outChannels: number, options: ConvLayerOptions): Tensor {
  const { kernel, bias = true, init = kaimingFanOut, groups = 1, ...rest } = options
  const [height, width] = typeof kernel === 'number' ? [kernel, kernel] : kernel
  const inChannels = channelsOf(x)
  if (inChannels % groups !== 0 || outChannels % groups !== 0) {
    throw new RangeError(`conv2d: ${inChannels} channels to ${outChannels} do not cut into ${groups} groups`)
  }
  const weight = scope.param('weight', [outChannels, inChannels / groups, height, width], init)
  return convolve(x, weight, bias ? scope.param('bias', [outChannels], zeros) : undefined, { groups, ...rest })
}

export interface BatchNormOptions {
  /** Default 1e-5. */
  epsilon?: number
  /** How far a training step moves the running statistics towards the batch's. Default 0.1. */
  momentum?: number
}

/**
 * Batch normalisation with a learned scale and shift. In training it uses the batch's statistics and moves the buffers
 * `running_mean` and `running_var` towards them; otherwise it uses the buffers.
 *
 * @param x - [batch, channels, ...space]
 */
export function batchNorm(scope: Scope, x: Tensor, { epsilon = 1e-5, momentum = 0.1 }: BatchNormOptions = {}): Tensor {
  const shape = [channelsOf(x)]
  const [weight, bias] = [scope.param('weight', shape, ones), scope.param('bias', shape, zeros)]
  const running = {
    runningMean: scope.buffer('running_mean', shape, zeros),
    runningVar: scope.buffer('running_var', shape, ones),
  }
  if (!scope.training) return normalizeWithRunning(x, weight, bias, running, epsilon)
  const { y, state } = batchNormTraining(x, weight, bias, running, { epsilon, momentum })
  scope.updateBuffer('running_mean', state.runningMean)
  scope.updateBuffer('running_var', state.runningVar)
  return y
}

/**
 * Group normalisation with a learned scale and shift.
 *
 * @param x - [batch, channels, ...space]
 */
export function groupNorm(scope: Scope, x: Tensor, groups: number, epsilon = 1e-5): Tensor {
  const shape = [channelsOf(x)]
  return normalizeGroups(x, groups, scope.param('weight', shape, ones), scope.param('bias', shape, zeros), epsilon)
}
