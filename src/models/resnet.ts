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

import { z } from 'zod'
import { parseConfig } from '../nn/config.ts'
import { batchNorm, conv2d } from '../nn/conv.ts'
import { fanInUniform } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import type { Scope } from '../nn/scope.ts'
import {
  activation,
  averagePool,
  crossEntropy,
  globalAveragePool,
  input,
  maxPool,
  padAxis,
  relu,
  showShape,
  symbol,
  type Tensor,
} from '../tensor/index.ts'

export interface ResNetConfig {
  /** Of the pictures. */
  nChannels: number
  /** Channels after the stem. */
  embeddingSize: number
  /** Channels of each stage. */
  hiddenSizes: readonly number[]
  /** Layers of each stage. */
  depths: readonly number[]
  layerType: 'basic' | 'bottleneck'
  activation: string
  downsampleInFirstStage: boolean
  downsampleInBottleneck: boolean
  /** `imagenet`: 7 × 7 with stride 2, then 3 × 3 maximum pooling with stride 2; `cifar`: 3 × 3 (§4.2). */
  stem: 'imagenet' | 'cifar'
  /** Where a shape changes: a learned projection (option B), or zeros for the channels that are new (option A). */
  shortcut: 'projection' | 'zeros'
  /** Classes; 0 leaves the classifier out. */
  nLabels: number
}

/** A bottleneck's 3 × 3 convolution has this many times fewer channels than its result (table 1). */
const REDUCTION = 4

const sizes = z.array(z.int().positive()).min(1)

const CONFIG = z
  .object({
    architectures: z.array(z.string()).optional(),
    num_channels: z.int().positive().default(3),
    embedding_size: z.int().positive().default(64),
    hidden_sizes: sizes.default([256, 512, 1024, 2048]),
    depths: sizes.default([3, 4, 6, 3]),
    layer_type: z.enum(['basic', 'bottleneck']).default('bottleneck'),
    hidden_act: z.string().default('relu'),
    downsample_in_first_stage: z.boolean().default(false),
    downsample_in_bottleneck: z.boolean().default(false),
    stem: z.enum(['imagenet', 'cifar']).default('imagenet'),
    shortcut: z.enum(['projection', 'zeros']).default('projection'),
    num_labels: z.int().nonnegative().optional(),
    id2label: z.record(z.string(), z.string()).optional(),
    problem_type: z.literal('single_label_classification').nullish(),
  })
  .refine((c) => c.depths.length === c.hidden_sizes.length, {
    path: ['depths'],
    error: 'must have as many stages as hidden_sizes',
  })
  .refine((c) => c.layer_type === 'basic' || c.hidden_sizes.every((size) => size >= REDUCTION), {
    path: ['hidden_sizes'],
    error: `must be at least ${REDUCTION} for bottleneck layers`,
  })

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
function convNorm(scope: Scope, x: Tensor, channels: number, kernel: number, stride = 1): Tensor {
  const options = { kernel, stride, padding: Math.floor(kernel / 2), bias: false }
  return batchNorm(scope.at('normalization'), conv2d(scope.at('convolution'), x, channels, options))
}

export class ResNet {
  static readonly architectures = ['ResNetForImageClassification', 'ResNetModel']
  static readonly baseModelPrefix = 'resnet.'

  readonly config: ResNetConfig

  /** What is left out is as in the 50-layer network. */
  constructor(config: Partial<ResNetConfig> = {}) {
    this.config = {
      nChannels: 3,
      embeddingSize: 64,
      ...RESNET_SIZES['resnet-50'],
      activation: 'relu',
      downsampleInFirstStage: false,
      downsampleInBottleneck: false,
      stem: 'imagenet',
      shortcut: 'projection',
      nLabels: 1000,
      ...config,
    }
  }

  static fromConfig(json: Record<string, unknown>): ResNet {
    const c = parseConfig('ResNet', CONFIG, json)
    const headless = c.architectures?.includes('ResNetModel')
    return new ResNet({
      nChannels: c.num_channels,
      embeddingSize: c.embedding_size,
      hiddenSizes: c.hidden_sizes,
      depths: c.depths,
      layerType: c.layer_type,
      activation: c.hidden_act,
      downsampleInFirstStage: c.downsample_in_first_stage,
      downsampleInBottleneck: c.downsample_in_bottleneck,
      stem: c.stem,
      shortcut: c.shortcut,
      // Two is what the reference implementation assumes where a configuration does not say.
      nLabels: headless ? 0 : c.id2label ? Object.keys(c.id2label).length : (c.num_labels ?? 2),
    })
  }

  toConfig(): Record<string, unknown> {
    const { config } = this
    const labels = Array.from({ length: config.nLabels }, (_, i) => [i, `LABEL_${i}`] as const)
    return {
      architectures: [ResNet.architectures[config.nLabels === 0 ? 1 : 0]],
      model_type: 'resnet',
      num_channels: config.nChannels,
      embedding_size: config.embeddingSize,
      hidden_sizes: config.hiddenSizes,
      depths: config.depths,
      layer_type: config.layerType,
      hidden_act: config.activation,
      downsample_in_first_stage: config.downsampleInFirstStage,
      downsample_in_bottleneck: config.downsampleInBottleneck,
      // Not among the reference implementation's settings, which knows the other choice alone.
      ...(config.stem === 'cifar' ? { stem: config.stem } : {}),
      ...(config.shortcut === 'zeros' ? { shortcut: config.shortcut } : {}),
      ...(config.nLabels > 0
        ? { id2label: Object.fromEntries(labels), label2id: Object.fromEntries(labels.map(([i, name]) => [name, i])) }
        : {}),
    }
  }

  exampleInputs(): { pixelValues: Tensor } {
    const [batch, height, width] = ['batch', 'height', 'width'].map(symbol)
    return { pixelValues: input('pixelValues', [batch, this.config.nChannels, height, width]) }
  }

  /**
   * @param inputs.pixelValues - [batch, nChannels, height, width]
   * @param inputs.labels - int32 [batch]
   * @returns logits [batch, nLabels] and their mean cross-entropy. Without a classifier the logits are the features,
   *   which come as `lastHiddenState` [batch, channels, height / 32, width / 32] and `poolerOutput`, their mean, too.
   */
  forward(scope: Scope, { pixelValues, labels }: { pixelValues: Tensor; labels?: Tensor }): ResNetOutputs {
    const { config } = this
    if (pixelValues.rank !== 4 || pixelValues.shape[1] !== config.nChannels) {
      throw new RangeError(
        `ResNet: pixelValues must be [batch, ${config.nChannels}, height, width], got ${showShape(pixelValues.shape)}`,
      )
    }
    // Checkpoints of the features alone have no prefix; loading finds either.
    const lastHiddenState = this.features(scope.at('resnet'), pixelValues)
    const poolerOutput = globalAveragePool(lastHiddenState) // [batch, channels, 1, 1]
    const pooled = poolerOutput.reshape(lastHiddenState.shape.slice(0, 2))
    if (config.nLabels === 0) return { logits: pooled, lastHiddenState, poolerOutput }
    const logits = linear(scope.at('classifier', 1), pooled, config.nLabels, { init: fanInUniform })
    return { logits, loss: labels && crossEntropy(logits, labels) }
  }

  private features(scope: Scope, pixelValues: Tensor): Tensor {
    const { config } = this
    let x = this.stem(scope.at('embedder', 'embedder'), pixelValues)
    config.hiddenSizes.forEach((channels, stage) => {
      for (let layer = 0; layer < config.depths[stage]; layer++) {
        const downsamples = layer === 0 && (stage > 0 || config.downsampleInFirstStage)
        x = this.layer(scope.at('encoder', 'stages', stage, 'layers', layer), x, channels, downsamples ? 2 : 1)
      }
    })
    return x
  }

  /** conv1 and the pooling before conv2_x (table 1). */
  private stem(scope: Scope, pixelValues: Tensor): Tensor {
    const { embeddingSize, stem } = this.config
    const act = activation(this.config.activation)
    if (stem === 'cifar') return act(convNorm(scope, pixelValues, embeddingSize, 3))
    return maxPool(act(convNorm(scope, pixelValues, embeddingSize, 7, 2)), { kernel: 3, stride: 2, padding: 1 })
  }

  /** The activation of F(x) + x (eq. 1). */
  private layer(scope: Scope, x: Tensor, channels: number, stride: number): Tensor {
    const inner = scope.at('layer')
    const residual =
      this.config.layerType === 'basic'
        ? this.basic(inner, x, channels, stride)
        : this.bottleneck(inner, x, channels, stride)
    return activation(this.config.activation)(residual.add(this.shortcut(scope.at('shortcut'), x, channels, stride)))
  }

  /** Two 3 × 3 convolutions (figure 5, left). */
  private basic(scope: Scope, x: Tensor, channels: number, stride: number): Tensor {
    return convNorm(scope.at(1), relu(convNorm(scope.at(0), x, channels, 3, stride)), channels, 3)
  }

  /** 1 × 1 to fewer channels, 3 × 3, 1 × 1 back (figure 5, right). */
  private bottleneck(scope: Scope, x: Tensor, channels: number, stride: number): Tensor {
    const reduced = Math.floor(channels / REDUCTION)
    const [first, second] = this.config.downsampleInBottleneck ? [stride, 1] : [1, stride]
    const narrow = relu(convNorm(scope.at(0), x, reduced, 1, first))
    return convNorm(scope.at(2), relu(convNorm(scope.at(1), narrow, reduced, 3, second)), channels, 1)
  }

  /** The identity where shapes allow it, else option A or B (§3.3). */
  private shortcut(scope: Scope, x: Tensor, channels: number, stride: number): Tensor {
    const inChannels = x.shape[1] as number
    if (inChannels === channels && stride === 1) return x
    if (this.config.shortcut === 'projection') return convNorm(scope, x, channels, 1, stride)
    if (channels < inChannels) throw new RangeError(`ResNet: zeros cannot bring ${inChannels} channels to ${channels}`)
    // A window of one pixel: pooling takes every stride-th.
    const kept = stride === 1 ? x : averagePool(x, { kernel: 1, stride })
    return padAxis(kept, 1, 0, channels - inChannels)
  }
}

export interface ResNetOutputs extends Record<string, Tensor | undefined> {
  logits: Tensor
  loss?: Tensor
  lastHiddenState?: Tensor
  poolerOutput?: Tensor
}
