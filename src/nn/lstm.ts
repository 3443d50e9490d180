import { at, concat, constant, expandDims, indicator, lstm as run, type Tensor } from '../tensor/index.ts'
import { type Initializer, uniform } from './initializers.ts'
import type { Scope } from './scope.ts'

/** Recurrent layers over texts of several lengths, which are filled up at their ends. */

export interface LstmState {
  /** [batch, hidden] */
  readonly h: Tensor
  readonly c: Tensor
}

export interface LstmOptions {
  /** Read from the end. Default false. */
  readonly reverse?: boolean
  /** [batch, seq], 1 for tokens and 0 for padding, which leaves the state as it is. Default: all are tokens. */
  readonly mask?: Tensor
  readonly initial?: LstmState
}

/** Enough to shut a gate, or to hold it open, whatever else goes into it. */
const SHUT = 1e4

/**
 * One layer in one direction, with PyTorch's parameters: `weight_ih_l0`, …; those of the other direction end in `_reverse`.
 *
 * @param x - [batch, seq, features]
 * @returns outputs [batch, seq, hidden], and the state after the last token of each text
 */
export function lstm(
  scope: Scope,
  x: Tensor,
  hidden: number,
  { reverse = false, mask, initial }: LstmOptions = {},
): LstmState & { outputs: Tensor } {
  const features = x.shape[2] as number
  const suffix = reverse ? '_l0_reverse' : '_l0'
  const init: Initializer = uniform(1 / Math.sqrt(hidden))
  const param = (name: string, ...shape: number[]) => scope.param(`${name}${suffix}`, shape, init)
  const weights = {
    wIh: param('weight_ih', 4 * hidden, features),
    wHh: param('weight_hh', 4 * hidden, hidden),
    bIh: param('bias_ih', 4 * hidden),
    bHh: param('bias_hh', 4 * hidden),
  }
  if (mask && reverse && initial) throw new Error('lstm: padded texts read from their ends take no initial state')
  if (!mask) return run(x, weights, { reverse, initial })
  // One more feature says where padding is: there nothing enters the cell, and nothing leaves it.
  const isToken = expandDims(indicator(mask.equal(1)), 2)
  const column = Float32Array.from({ length: 4 * hidden }, (_, row) =>
    row < hidden ? -SHUT : row < 2 * hidden ? SHUT : 0,
  )
  const shut = constant({ dtype: 'float32', shape: [4 * hidden, 1], data: column })
  const padded = concat([x, isToken.neg().add(1)], 2)
  const { outputs, h, c } = run(padded, { ...weights, wIh: concat([weights.wIh, shut], 1) }, { reverse, initial })
  // The output gate still moves at padding, so that h is that of the last token. Read from its end, a text ends with
  // its first token; what comes before it then is padding, at which the cell is empty.
  const last = reverse ? h : outputs.mul(lastOf(isToken)).sum({ axis: 1 })
  return { outputs: outputs.mul(isToken), h: last, c }
}

/** 1 at the last token of each text: [batch, seq, 1]. */
function lastOf(isToken: Tensor): Tensor {
  const next = concat(
    [isToken.slice({ axis: 1, start: 1 }), at(isToken, 1, 0).mul(0).reshape([isToken.shape[0], 1, 1])],
    1,
  )
  return isToken.mul(next.neg().add(1))
}

/**
 * Two layers side by side, one in each direction, each half as wide.
 *
 * @returns outputs [batch, seq, width], and the states of both side by side, [batch, width]
 */
export function biLstm(scope: Scope, x: Tensor, width: number, mask?: Tensor): LstmState & { outputs: Tensor } {
  const [forward, backward] = [false, true].map((reverse) => lstm(scope, x, width / 2, { reverse, mask }))
  return {
    outputs: concat([forward.outputs, backward.outputs], 2),
    h: concat([forward.h, backward.h], 1),
    c: concat([forward.c, backward.c], 1),
  }
}
