/**
 * Denoising Diffusion Probabilistic Models — DDPM
 * Ho, Jain and Abbeel, UC Berkeley, 2020. arXiv 2006.11239.
 *
 * New here:
 * - a network ε_θ(x_t, t) predicts the noise in a picture; one network serves all noise levels (§3.2, §3.4);
 * - its body is a U-Net of wide residual blocks with group normalisation, on four or more sizes of the picture, each
 *   size's maps handed across to the way up (appendix B);
 * - the noise level enters every residual block, as the Transformer's sinusoids and two layers (appendix B);
 * - pixels attend to each other where the picture is 16 × 16 (appendix B).
 *
 * The process that adds noise is in nn/noise-schedule.ts, training (algorithm 1) in train/diffusion.ts, sampling
 * (algorithm 2) in generate/samplers.ts.
 *
 * Departures: none in the network; times are counted from 0, as checkpoints count them. A condition on a class is an
 * embedding added to the time's, as in later work (Dhariwal and Nichol, 2021).
 *
 * | paper                | here                                         |
 * |----------------------|----------------------------------------------|
 * | x_t, t               | `sample`, `timestep` (t − 1)                 |
 * | ε_θ(x_t, t)          | the output `sample`                          |
 * | ε                    | `target`                                     |
 * | L_simple (eq. 14)    | `loss`, from a target                        |
 */

import {
  between,
  type ConfigOf,
  count,
  diffusersConfig,
  either,
  flag,
  listOf,
  maybe,
  nullMeans,
  number,
  oneOf,
  positive,
  rate,
  size,
  text,
} from '../nn/config.ts'
import { groupNorm } from '../nn/conv.ts'
import { zeros } from '../nn/initializers.ts'
import { embedding } from '../nn/layers.ts'
import { Network } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { sinusoids, timeEmbedding } from '../nn/time-embedding.ts'
import { flexible, float32, type InputSpecs, int32, optional } from '../nn/trace.ts'
import {
  conv3x3,
  double,
  downsample,
  halve,
  pixelAttention,
  type ResidualBlockOptions,
  residualBlock,
  upsample,
} from '../nn/unet.ts'
import { broadcastTo, concat, showShape, silu, square, type Tensor } from '../tensor/index.ts'

const sampler = oneOf('conv', 'resnet')

export const UNet2DConfig = diffusersConfig(
  'UNet2DModel',
  {
    /** Height and width of the pictures, or both at once. */
    sampleSize: ['sample_size', maybe(either(size, listOf(size))), undefined],
    inChannels: ['in_channels', size, 3],
    outChannels: ['out_channels', size, 3],
    /** Pictures come in [0, 1] and are brought to [−1, 1]. */
    centerInput: ['center_input_sample', flag, false],
    /** Channels at each size of the picture. */
    channels: ['block_out_channels', listOf(size), [224, 448, 672, 896]],
    /** Residual blocks at each size, on the way down; one more on the way up. */
    layersPerBlock: ['layers_per_block', between(1, 1000), 2],
    downBlocks: [
      'down_block_types',
      listOf(oneOf('DownBlock2D', 'AttnDownBlock2D', 'ResnetDownsampleBlock2D')),
      ['DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D'],
    ],
    midBlock: nullMeans('none', 'mid_block_type', oneOf('UNetMidBlock2D'), 'UNetMidBlock2D'),
    upBlocks: [
      'up_block_types',
      listOf(oneOf('UpBlock2D', 'AttnUpBlock2D', 'ResnetUpsampleBlock2D')),
      ['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
    ],
    /** How blocks with attention change the size: a convolution, or a residual block that does so. */
    downsampler: ['downsample_type', sampler, 'conv'],
    upsampler: ['upsample_type', sampler, 'conv'],
    downsamplePadding: ['downsample_padding', count, 1],
    /** Channels of an attention head; `channels` for one head. */
    headDim: nullMeans('channels', 'attention_head_dim', size, 8),
    /** In the middle of the network. */
    midAttention: ['add_attention', flag, true],
    midScale: ['mid_block_scale_factor', positive, 1],
    normGroups: ['norm_num_groups', size, 32],
    midAttentionGroups: ['attn_norm_num_groups', maybe(size), undefined],
    normEpsilon: ['norm_eps', positive, 1e-5],
    activation: ['act_fn', text, 'silu'],
    dropout: ['dropout', rate, 0],
    timeEmbedding: ['time_embedding_type', oneOf('positional'), 'positional'],
    timeDim: ['time_embedding_dim', size, (c) => 4 * c.channels[0]],
    freqShift: ['freq_shift', number, 0],
    flipSinToCos: ['flip_sin_to_cos', flag, true],
    timeScaleShift: ['resnet_time_scale_shift', oneOf('default', 'scale_shift'), 'default'],
    /** Classes to condition on. */
    nClasses: ['num_class_embeds', maybe(size), undefined],
    /** What class labels are in place of places in a table: times, or vectors that are added as they are. */
    classLabels: ['class_embed_type', maybe(oneOf('timestep', 'identity')), undefined],
  },
  {
    check: ({ channels, downBlocks, upBlocks }) =>
      downBlocks.length !== channels.length
        ? 'down_block_types: there must be as many as block_out_channels'
        : upBlocks.length !== channels.length
          ? 'up_block_types: there must be as many as block_out_channels'
          : undefined,
  },
)
export type UNet2DConfig = ConfigOf<typeof UNet2DConfig>

/** The networks of appendix B: for CIFAR10 at 32 × 32, and for pictures of 256 × 256. */
export const DDPM_SIZES = {
  'ddpm-cifar10': {
    sampleSize: 32,
    channels: [128, 256, 256, 256],
    downBlocks: ['DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'],
    upBlocks: ['UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
    headDim: 'channels',
    dropout: 0.1,
    freqShift: 1,
    flipSinToCos: false,
    downsamplePadding: 0,
    normEpsilon: 1e-6,
  },
  'ddpm-256': {
    sampleSize: 256,
    channels: [128, 128, 256, 256, 512, 512],
    downBlocks: ['DownBlock2D', 'DownBlock2D', 'DownBlock2D', 'DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D'],
    upBlocks: ['UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D', 'UpBlock2D', 'UpBlock2D', 'UpBlock2D'],
    headDim: 'channels',
    freqShift: 1,
    flipSinToCos: false,
    downsamplePadding: 0,
    normEpsilon: 1e-6,
  },
} as const satisfies Record<string, Partial<UNet2DConfig>>

/** A residual block as all of them are in a network. */
const residual = (
  scope: Scope,
  x: Tensor,
  channels: number,
  time: Tensor,
  c: UNet2DConfig,
  options: Partial<ResidualBlockOptions> = {},
): Tensor =>
  scope.block(residualBlock, scope, x, channels, time, {
    groups: c.normGroups,
    epsilon: c.normEpsilon,
    activation: c.activation,
    timeScaleShift: c.timeScaleShift,
    dropout: c.dropout,
    ...options,
  })

/** Pixels attend to each other, in heads of `headDim` channels. */
const selfAttention = (scope: Scope, x: Tensor, c: UNet2DConfig, options: { groups?: number; outputScale?: number }) =>
  pixelAttention(scope, x, {
    headDim: c.headDim === 'channels' ? (x.shape[1] as number) : c.headDim,
    epsilon: c.normEpsilon,
    ...options,
  })

/**
 * One size of the picture on the way down, then half of it, but for the smallest.
 *
 * @returns every map that the way up will see again, the last of which goes on
 */
export function downBlock(scope: Scope, x: Tensor, time: Tensor, c: UNet2DConfig, level: number): Tensor[] {
  const [type, channels] = [c.downBlocks[level], c.channels[level]]
  const maps: Tensor[] = []
  for (let layer = 0; layer < c.layersPerBlock; layer++) {
    x = residual(scope.at('resnets', layer), x, channels, time, c)
    if (type === 'AttnDownBlock2D') x = selfAttention(scope.at('attentions', layer), x, c, { groups: c.normGroups })
    maps.push(x)
  }
  if (level === c.channels.length - 1) return maps
  const sampler = scope.at('downsamplers', 0)
  const byBlock = type === 'ResnetDownsampleBlock2D' || (type === 'AttnDownBlock2D' && c.downsampler === 'resnet')
  x = byBlock
    ? residual(sampler, x, channels, time, c, { resample: halve })
    : downsample(sampler, x, { padding: c.downsamplePadding })
  return [...maps, x]
}

/** The smallest size: a residual block, attention, a residual block. */
export function midBlock(scope: Scope, x: Tensor, time: Tensor, c: UNet2DConfig): Tensor {
  const channels = x.shape[1] as number
  const outputScale = c.midScale
  // Checkpoints with scaled and shifted norms leave the attention's out.
  const groups = c.midAttentionGroups ?? (c.timeScaleShift === 'default' ? c.normGroups : undefined)
  x = residual(scope.at('resnets', 0), x, channels, time, c, { outputScale })
  if (c.midAttention) x = selfAttention(scope.at('attentions', 0), x, c, { groups, outputScale })
  return residual(scope.at('resnets', 1), x, channels, time, c, { outputScale })
}

/**
 * One size on the way up: each residual block sees a map of the way down beside its input. Then twice the size, but for
 * the largest.
 *
 * @param maps - of this size, the last first to be seen
 * @param larger - a map of the next size
 */
export function upBlock(
  scope: Scope,
  x: Tensor,
  maps: readonly Tensor[],
  time: Tensor,
  c: UNet2DConfig,
  level: number,
  larger: Tensor | undefined,
): Tensor {
  const [type, channels] = [c.upBlocks[level], c.channels[c.channels.length - 1 - level]]
  maps.toReversed().forEach((map, layer) => {
    x = residual(scope.at('resnets', layer), concat([x, map], 1), channels, time, c)
    if (type === 'AttnUpBlock2D') x = selfAttention(scope.at('attentions', layer), x, c, { groups: c.normGroups })
  })
  if (!larger) return x
  const sampler = scope.at('upsamplers', 0)
  const byBlock = type === 'ResnetUpsampleBlock2D' || (type === 'AttnUpBlock2D' && c.upsampler === 'resnet')
  return byBlock
    ? residual(sampler, x, channels, time, c, { resample: (x) => double(x, larger) })
    : upsample(sampler, x, larger)
}

export class UNet2D extends Network<UNet2DConfig> {
  static readonly table = UNet2DConfig

  readonly kind = 'diffusion'

  get inputs(): InputSpecs {
    const { inChannels, outChannels, timeDim, classLabels } = this.config
    return {
      sample: float32('batch', inChannels, 'height', 'width'),
      // One time serves a whole batch, too.
      timestep: flexible(int32('batch')),
      ...(this.hasClasses
        ? { classLabels: classLabels === 'identity' ? float32('batch', timeDim) : int32('batch') }
        : {}),
      target: optional(float32('batch', outChannels, 'height', 'width')),
    }
  }

  /**
   * @param inputs.sample - [batch, inChannels, height, width]: x_t
   * @param inputs.timestep - [batch], [1] or a scalar: the noise level, from 0 (little); fractions lie between levels
   * @param inputs.classLabels - int32 [batch], or [batch, timeDim], where the network has classes
   * @param inputs.target - [batch, outChannels, height, width]: what the output should be, for a loss
   * @returns sample [batch, outChannels, height, width]: ε_θ(x_t, t), and the mean square of its difference to `target`
   */
  forward(scope: Scope, { sample, timestep, classLabels, target }: UNet2DInputs): UNet2DOutputs {
    const c = this.config
    this.check(sample)
    const time = this.condition(scope, sample, timestep, classLabels)
    let x = conv3x3(scope.at('conv_in'), c.centerInput ? sample.mul(2).sub(1) : sample, c.channels[0])
    const maps = [x]
    c.channels.forEach((_, level) => {
      maps.push(...downBlock(scope.at('down_blocks', level), x, time, c, level))
      x = maps[maps.length - 1]
    })
    if (c.midBlock !== 'none') x = midBlock(scope.at('mid_block'), x, time, c)
    c.channels.forEach((_, level) => {
      const seen = maps.splice(-(c.layersPerBlock + 1))
      x = upBlock(scope.at('up_blocks', level), x, seen, time, c, level, maps.at(-1))
    })
    x = silu(groupNorm(scope.at('conv_norm_out'), x, c.normGroups, c.normEpsilon))
    const noise = conv3x3(scope.at('conv_out'), x, c.outChannels, zeros)
    return { sample: noise, loss: target && square(noise.sub(target)).mean() }
  }

  /** What every residual block hears: the noise level, and the class where there are classes. [batch, timeDim] */
  private condition(scope: Scope, sample: Tensor, timestep: Tensor, classLabels: Tensor | undefined): Tensor {
    const { timeDim, classLabels: kind, nClasses } = this.config
    const waves = (t: Tensor): Tensor => sinusoids(t, this.config.channels[0], this.config)
    const t = broadcastTo(timestep.rank === 0 ? timestep.reshape([1]) : timestep, [sample.shape[0]])
    const time = timeEmbedding(scope.at('time_embedding'), waves(t), timeDim)
    if (this.hasClasses !== (classLabels !== undefined)) {
      throw new Error(
        `UNet2D: ${this.hasClasses ? 'classLabels are missing' : 'classLabels are given, but it knows no classes'}`,
      )
    }
    if (!classLabels) return time
    if (kind === 'identity') return time.add(classLabels)
    const part = scope.at('class_embedding')
    return time.add(
      kind === 'timestep'
        ? timeEmbedding(part, waves(classLabels), timeDim)
        : embedding(part, classLabels, nClasses as number, timeDim),
    )
  }

  private get hasClasses(): boolean {
    return this.config.nClasses !== undefined || this.config.classLabels !== undefined
  }

  private check({ rank, shape }: Tensor): void {
    const { inChannels, channels } = this.config
    if (rank !== 4 || shape[1] !== inChannels) {
      throw new RangeError(`UNet2D: sample must be [batch, ${inChannels}, height, width], got ${showShape(shape)}`)
    }
    const multiple = 2 ** (channels.length - 1)
    if (shape.slice(2).some((side) => typeof side === 'number' && side % multiple !== 0)) {
      throw new RangeError(`UNet2D: height and width must be multiples of ${multiple}, got ${showShape(shape)}`)
    }
  }
}

export type UNet2DInputs = {
  sample: Tensor
  timestep: Tensor
  classLabels?: Tensor
  target?: Tensor
}

export type UNet2DOutputs = {
  sample: Tensor
  loss?: Tensor
}
