import { type Shape, showShape } from '../dim.ts'
import { input, type Tensor } from '../graph.ts'

/**
 * Random numbers as inputs of the graph: what is drawn is a leaf, and whoever runs the graph fills it from (seed, step,
 * number of the draw). So a run can be repeated, resumed and recomputed number for number.
 */

export type RandomKind =
  /** Even over [0, 1). */
  | { readonly kind: 'uniform' }
  /** Mean 0, variance 1. */
  | { readonly kind: 'normal' }
  /** `value` with probability `p`, 0 otherwise. */
  | { readonly kind: 'bernoulli'; readonly p: number; readonly value: number }

export interface RandomDraw {
  readonly leaf: Tensor
  readonly kind: RandomKind
}

export class RandomStreams {
  /** Everything drawn so far. The place in this list is the number of the draw. */
  readonly draws: RandomDraw[] = []
  private next = 0

  /** float32, even over [0, 1). */
  uniform(shape: Shape): Tensor {
    return this.draw(shape, { kind: 'uniform' })
  }

  /** float32 with mean 0 and variance 1. */
  normal(shape: Shape): Tensor {
    return this.draw(shape, { kind: 'normal' })
  }

  /** `value` with probability `p`, 0 otherwise. */
  bernoulli(p: number, shape: Shape, value = 1): Tensor {
    if (!(p >= 0 && p <= 1)) throw new RangeError(`bernoulli: the probability must lie between 0 and 1, got ${p}`)
    return this.draw(shape, { kind: 'bernoulli', p, value })
  }

  /** 0 with probability `rate`, 1 / (1 − rate) otherwise, so that the mean is 1; in the shape of `x`. */
  dropoutMask(x: Tensor, rate: number): Tensor {
    if (!(rate >= 0 && rate < 1)) throw new RangeError(`dropout: the rate must be at least 0 and below 1, got ${rate}`)
    return this.bernoulli(1 - rate, x.shape, 1 / (1 - rate))
  }

  /** The number of the next draw. */
  mark(): number {
    return this.next
  }

  /** Draws from `mark` on give the same leaves again: a block that is traced once more drops what it dropped before. */
  rewind(mark: number): void {
    if (!Number.isInteger(mark) || mark < 0 || mark > this.draws.length) {
      throw new RangeError(`rewind: ${mark} is not a mark among ${this.draws.length} draws`)
    }
    this.next = mark
  }

  private draw(shape: Shape, kind: RandomKind): Tensor {
    const index = this.next++
    const known = this.draws[index]
    if (!known) {
      const leaf = input(`random.${kind.kind}.${index}`, shape)
      this.draws.push({ leaf, kind })
      return leaf
    }
    const [before, now] = [describe(known.kind, known.leaf.shape), describe(kind, shape)]
    if (before !== now) throw new Error(`random draw ${index} was ${before} and is ${now} when traced again`)
    return known.leaf
  }
}

const describe = (kind: RandomKind, shape: Shape): string =>
  `${kind.kind}${kind.kind === 'bernoulli' ? `(${kind.p}, ${kind.value})` : ''} ${showShape(shape)}`

/** Zeroes elements with probability `rate` and scales up the rest (Srivastava et al., 2014). */
export const dropout = (x: Tensor, rate: number, random: RandomStreams): Tensor =>
  rate === 0 ? x : x.mul(random.dropoutMask(x, rate))
