/**
 * Deep Residual Learning for Image Recognition — ResNet
 * He, Zhang, Ren and Sun, Microsoft Research, 2015. arXiv 1512.03385.
 *
 * New here:
 * - layers learn what to add to their input: y = F(x, {W_i}) + x, with the identity as a shortcut (§3.1–3.2);
 * - where a shape changes, the shortcut is a strided 1 × 1 projection (option B) or drops pixels and pads channels with
 *   zeros (option A) (§3.3);
 * - bottleneck layers of 1 × 1, 3 × 3, 1 × 1 for depth at little cost (§4.1);
 * - batch normalisation after every convolution and before the activation, no dropout, weights drawn by fan-out (§3.4).
 *
 * Departures: the released checkpoints halve pictures in a bottleneck's 3 × 3 convolution; the paper does so in the
 * first 1 × 1 (`downsampleInBottleneck`). Inside a layer the activation is always ReLU; `activation` is that of the stem
 * and of the sums, as in those checkpoints.
 *
 * | paper                     | here                                     |
 * |---------------------------|------------------------------------------|
 * | x, F(x)                   | `x`, `residual`                          |
 * | conv2_x … conv5_x         | `stages.0` … `stages.3`                  |
 * | 6n + 2 layers (§4.2)      | `cifarConfig(n)`                         |
 */

import { type ConfigOf, classes, config, flag, listOf, oneOf, ownSetting, size, text } from '../nn/config.ts'
import { batchNorm, conv2d } from '../nn/conv.ts'
import { fanInUniform } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import { Network } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, int32, optional } from '../nn/trace.ts'
import {
  activation,
  averagePool,
  crossEntropy,
  globalAveragePool,
  maxPool,
  padAxis,
  relu,
  showShape,
  type Tensor,
} from '../tensor/index.ts'

/** A bottleneck's 3 × 3 convolution has this many times fewer channels than its result (table 1). */
const REDUCTION = 4

/** What is left out is as in the 50-layer network. */
export const ResNetConfig = config(
  'ResNet',
  ['ResNetForImageClassification', 'ResNetModel'],
  {
    /** Of the pictures. */
    nChannels: ['num_channels', size, 3],
    /** Channels after the stem. */
    embeddingSize: ['embedding_size', size, 64],
    /** Channels of each stage. */
    hiddenSizes: ['hidden_sizes', listOf(size), [256, 512, 1024, 2048]],
    /** Layers of each stage. */
    depths: ['depths', listOf(size), [3, 4, 6, 3]],
    layerType: ['layer_type', oneOf('basic', 'bottleneck'), 'bottleneck'],
    activation: ['hidden_act', text, 'relu'],
    downsampleInFirstStage: ['downsample_in_first_stage', flag, false],
    downsampleInBottleneck: ['downsample_in_bottleneck', flag, false],
    /** `imagenet`: 7 × 7 with stride 2, then 3 × 3 maximum pooling with stride 2; `cifar`: 3 × 3 (§4.2). */
    stem: ownSetting('stem', oneOf('imagenet', 'cifar'), 'imagenet'),
    /** Where a shape changes: a learned projection (option B), or zeros for the channels that are new (option A). */
    shortcut: ownSetting('shortcut', oneOf('projection', 'zeros'), 'projection'),
    /** Classes; 0 leaves the classifier out. */
    nLabels: classes('ResNetModel', 1000),
  },
  {
    architecture: (c) => (c.nLabels === 0 ? 'ResNetModel' : 'ResNetForImageClassification'),
    check(c) {
      if (c.depths.length !== c.hiddenSizes.length) return 'depths: must have as many stages as hidden_sizes'
      if (c.layerType === 'bottleneck' && c.hiddenSizes.some((channels) => channels < REDUCTION))
        return `hidden_sizes: must be at least ${REDUCTION} for bottleneck layers`
    },
  },
)
export type ResNetConfig = ConfigOf<typeof ResNetConfig>

/** The networks of table 1. */
export const RESNET_SIZES = {
  'resnet-18': { layerType: 'basic', depths: [2, 2, 2, 2], hiddenSizes: [64, 128, 256, 512] },
  'resnet-34': { layerType: 'basic', depths: [3, 4, 6, 3], hiddenSizes: [64, 128, 256, 512] },
  'resnet-50': { layerType: 'bottleneck', depths: [3, 4, 6, 3], hiddenSizes: [256, 512, 1024, 2048] },
  'resnet-101': { layerType: 'bottleneck', depths: [3, 4, 23, 3], hiddenSizes: [256, 512, 1024, 2048] },
  'resnet-152': { layerType: 'bottleneck', depths: [3, 8, 36, 3], hiddenSizes: [256, 512, 1024, 2048] },
} as const satisfies Record<string, Partial<ResNetConfig>>

/** The network of 6n + 2 layers for pictures of 32 × 32 (§4.2). */
export const cifarConfig = (n: number): Partial<ResNetConfig> => ({
  layerType: 'basic',
  depths: [n, n, n],
  embeddingSize: 16,
  hiddenSizes: [16, 32, 64],
  stem: 'cifar',
  shortcut: 'zeros',
  nLabels: 10,
})

/** Convolution and batch normalisation (§3.4); a kernel of k pixels with ⌊k / 2⌋ zeros around the picture. */
export function convNorm(scope: Scope, x: Tensor, channels: number, kernel: number, stride = 1): Tensor {
  const options = { kernel, stride, padding: Math.floor(kernel / 2), bias: false }
  return batchNorm(scope.at('normalization'), conv2d(scope.at('convolution'), x, channels, options))
}

/** Two 3 × 3 convolutions (figure 5, left). */
export function basic(scope: Scope, x: Tensor, channels: number, stride: number): Tensor {
  return convNorm(scope.at(1), relu(convNorm(scope.at(0), x, channels, 3, stride)), channels, 3)
}

/**
 * 1 × 1 to fewer channels, 3 × 3, 1 × 1 back (figure 5, right).
 *
 * @param strides - of the first two convolutions
 */
export function bottleneck(scope: Scope, x: Tensor, channels: number, strides: readonly [number, number]): Tensor {
  const reduced = Math.floor(channels / REDUCTION)
  const narrow = relu(convNorm(scope.at(0), x, reduced, 1, strides[0]))
  return convNorm(scope.at(2), relu(convNorm(scope.at(1), narrow, reduced, 3, strides[1])), channels, 1)
}

/** The identity where shapes allow it, else option A or B (§3.3). */
export function shortcut(scope: Scope, x: Tensor, channels: number, stride: number, c: ResNetConfig): Tensor {
  const inChannels = x.shape[1] as number
  if (inChannels === channels && stride === 1) return x
  if (c.shortcut === 'projection') return convNorm(scope, x, channels, 1, stride)
  if (channels < inChannels) throw new RangeError(`ResNet: zeros cannot bring ${inChannels} channels to ${channels}`)
  // A window of one pixel: pooling takes every stride-th.
  const kept = stride === 1 ? x : averagePool(x, { kernel: 1, stride })
  return padAxis(kept, 1, 0, channels - inChannels)
}

/** The activation of F(x) + x (eq. 1). */
export function resnetLayer(scope: Scope, x: Tensor, channels: number, stride: number, c: ResNetConfig): Tensor {
  const residual =
    c.layerType === 'basic'
      ? basic(scope.at('layer'), x, channels, stride)
      : bottleneck(scope.at('layer'), x, channels, c.downsampleInBottleneck ? [stride, 1] : [1, stride])
  return activation(c.activation)(residual.add(shortcut(scope.at('shortcut'), x, channels, stride, c)))
}

/** conv1 and the pooling before conv2_x (table 1). */
export function resnetStem(scope: Scope, pixelValues: Tensor, c: ResNetConfig): Tensor {
  const act = activation(c.activation)
  if (c.stem === 'cifar') return act(convNorm(scope, pixelValues, c.embeddingSize, 3))
  return maxPool(act(convNorm(scope, pixelValues, c.embeddingSize, 7, 2)), { kernel: 3, stride: 2, padding: 1 })
}

/**
 * Everything below the classifier.
 *
 * @returns [batch, channels, height / 32, width / 32]
 */
export function resnetFeatures(scope: Scope, pixelValues: Tensor, c: ResNetConfig): Tensor {
  let x = resnetStem(scope.at('embedder', 'embedder'), pixelValues, c)
  c.hiddenSizes.forEach((channels, stage) => {
    for (let i = 0; i < c.depths[stage]; i++) {
      const halves = i === 0 && (stage > 0 || c.downsampleInFirstStage)
      const part = scope.at('encoder', 'stages', stage, 'layers', i)
      x = scope.block(resnetLayer, part, x, channels, halves ? 2 : 1, c)
    }
  })
  return x
}

export type ResNetOutputs = {
  /** [batch, nLabels] */
  readonly logits?: Tensor
  readonly loss?: Tensor
  /** [batch, channels, height / 32, width / 32] */
  readonly lastHiddenState?: Tensor
  /** Its mean over each picture: [batch, channels, 1, 1]. */
  readonly poolerOutput?: Tensor
}

export class ResNet extends Network<ResNetConfig> {
  static readonly table = ResNetConfig
  static override readonly baseModelPrefix = 'resnet.'

  readonly kind = 'vision'
  readonly inputs = {
    pixelValues: float32('batch', this.config.nChannels, 'height', 'width'),
    labels: optional(int32('batch')),
  }

  /** @returns logits, and their mean cross-entropy where there are labels; without a classifier the features instead */
  forward(scope: Scope, { pixelValues, labels }: { pixelValues: Tensor; labels?: Tensor }): ResNetOutputs {
    const { config: c } = this
    if (pixelValues.rank !== 4 || pixelValues.shape[1] !== c.nChannels) {
      throw new RangeError(
        `ResNet: pixelValues must be [batch, ${c.nChannels}, height, width], got ${showShape(pixelValues.shape)}`,
      )
    }
    // Checkpoints of the features alone have no prefix; loading finds either.
    const lastHiddenState = resnetFeatures(scope.at('resnet'), pixelValues, c)
    const poolerOutput = globalAveragePool(lastHiddenState)
    if (c.nLabels === 0) return { lastHiddenState, poolerOutput }
    const pooled = poolerOutput.reshape(lastHiddenState.shape.slice(0, 2))
    const logits = linear(scope.at('classifier', 1), pooled, c.nLabels, { init: fanInUniform })
    return { logits, loss: labels && crossEntropy(logits, labels) }
  }
}
