/**
 * Training of Denoising Diffusion Probabilistic Models
 * Ho, Jain and Abbeel, UC Berkeley, 2020. arXiv 2006.11239.
 *
 * New here: instead of the variational bound, the plain mean square of the error of the predicted noise, at a noise
 * level drawn evenly (§3.4, algorithm 1).
 */

import type { UNet2D } from '../models/ddpm.ts'
import { type NoiseSchedule, qSample } from '../nn/noise-schedule.ts'
import type { Scope } from '../nn/scope.ts'
import { cast, type Dim, type SumAndCount, squaredError, type Tensor } from '../tensor/index.ts'

/** t ~ Uniform({0, …, T − 1}), one a picture: int32 [batch]. Counted from 0, where the paper counts from 1. */
export const uniformTimesteps = (scope: Scope, batch: Dim, { steps }: NoiseSchedule): Tensor =>
  cast(scope.uniform([batch]).mul(steps), 'int32')

/**
 * L_simple: ‖ε − ε_θ(√ᾱ_t x₀ + √(1 − ᾱ_t) ε, t)‖² (eq. 14).
 *
 * @param x0 - [batch, channels, height, width], in [−1, 1]
 * @param t - int32 [batch]
 * @param classLabels - int32 [batch], where the network has classes
 */
export function ddpmLoss(
  scope: Scope,
  model: UNet2D,
  x0: Tensor,
  t: Tensor,
  schedule: NoiseSchedule,
  classLabels?: Tensor,
): SumAndCount {
  const noise = scope.normal(x0)
  const xt = qSample(x0, t, noise, schedule)
  return squaredError(model.forward(scope, { sample: xt, timestep: t, classLabels }).sample, noise)
}
