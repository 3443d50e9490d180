import { activation as named, type Tensor } from '../tensor/index.ts'
import type { Initializer } from './initializers.ts'
import { linear } from './layers.ts'
import type { Scope } from './scope.ts'

export interface GatedOptions {
  /** Hidden features. */
  readonly dInner: number
  /** Of the gate. Default `silu`: then this is SwiGLU. */
  readonly activation?: string
  readonly bias?: boolean
  readonly init?: Initializer
}

/**
 * W₂(act(W₁x) ⊙ W₃x): a feed-forward layer with a gate (Shazeer, 2020, arXiv 2002.05202, eq. 6).
 *
 * @param x - [..., dModel]
 * @returns the same shape
 */
export function gatedMlp(scope: Scope, x: Tensor, { dInner, activation = 'silu', ...options }: GatedOptions): Tensor {
  const gate = named(activation)(linear(scope.at('gate_proj'), x, dInner, options))
  const up = linear(scope.at('up_proj'), x, dInner, options)
  return linear(scope.at('down_proj'), gate.mul(up), x.shape[x.rank - 1] as number, options)
}
