/**
 * Proximal Policy Optimization Algorithms — the networks of the control tasks
 * Schulman, Wolski, Dhariwal, Radford and Klimov, OpenAI, 2017. arXiv 1707.06347
 *
 * New here: nothing; a policy as plain as can be, which the paper compares algorithms on (§6.1):
 * - two hidden layers of 64 units with tanh, a policy that does not share them with the value;
 * - of several things to do, a logit each; of numbers, the mean of a Gaussian whose deviations do not depend on the state.
 *
 * Departures: weights start at right angles to each other, those of the policy's last layer a hundredth as long, as in
 * the paper's code.
 *
 * | paper        | here           |
 * |--------------|----------------|
 * | π_θ(a | s)   | `distribution` |
 * | V_θ(s)       | `values`       |
 */

import { type ConfigOf, config, flag, size } from '../nn/config.ts'
import { orthogonal, zeros } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import { Network } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32 } from '../nn/trace.ts'
import { broadcastTo, concat, type Tensor, tanh } from '../tensor/index.ts'

export const ActorCriticConfig = config('ActorCritic', ['ActorCritic'], {
  nObservations: ['num_observations', size, 4],
  /** What can be done; of a continuous policy, how many numbers an action is. */
  nActions: ['num_actions', size, 2],
  continuous: ['continuous', flag, false],
  dHidden: ['hidden_size', size, 64],
})
export type ActorCriticConfig = ConfigOf<typeof ActorCriticConfig>

/**
 * Two hidden layers with tanh, and what is read from them.
 *
 * @param gain - of the last layer's first weights
 */
function perceptron(scope: Scope, x: Tensor, { dHidden }: ActorCriticConfig, outputs: number, gain: number): Tensor {
  for (const layer of [0, 1]) x = tanh(linear(scope.at(layer), x, dHidden, { init: orthogonal(Math.SQRT2) }))
  return linear(scope.at(2), x, outputs, { init: orthogonal(gain) })
}

export class ActorCritic extends Network<ActorCriticConfig> {
  static readonly table = ActorCriticConfig
  readonly kind = 'policy'
  readonly inputs = { observations: float32('batch', this.config.nObservations) }

  /**
   * @returns `distribution` - [batch, nActions] of logits, or [batch, 2 · nActions] of means and then the logarithms of
   *   standard deviations; `values` - [batch]
   */
  forward(scope: Scope, { observations }: { observations: Tensor }): { distribution: Tensor; values: Tensor } {
    const { nActions, continuous } = this.config
    const [batch] = observations.shape
    const actor = perceptron(scope.at('actor'), observations, this.config, nActions, 0.01)
    const values = perceptron(scope.at('critic'), observations, this.config, 1, 1).reshape([batch])
    if (!continuous) return { distribution: actor, values }
    const logStd = broadcastTo(scope.param('log_std', [1, nActions], zeros), [batch, nActions])
    return { distribution: concat([actor, logStd]), values }
  }
}
