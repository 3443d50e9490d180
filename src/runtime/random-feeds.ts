import { isStatic, showShape, sizeOf, type Tensor, type TensorData } from '../tensor/index.ts'
import type { RandomDraw } from '../tensor/ops/random.ts'
import { Arena, paddedLength } from './kernels.ts'

/** The stream of numbers drawn inside a graph, apart from that of first values. */
const STREAM = 0xd40

/** Fills the random leaves of a graph: number k of a draw is a pure function of the seed, the step and the draw. */
export class RandomFeeds {
  readonly leaves: readonly Tensor[]
  /** One array a draw, to be bound to its leaf; `fill` writes them in place. */
  readonly feeds: Readonly<Record<string, TensorData>>
  private readonly arena: Arena
  private readonly arrays: readonly Float32Array[]

  constructor(private readonly draws: readonly RandomDraw[]) {
    this.leaves = draws.map(({ leaf }) => leaf)
    const shapes = this.leaves.map(({ shape }) => {
      if (!isStatic(shape)) throw new RangeError(`random numbers need a static shape, got ${showShape(shape)}`)
      return shape
    })
    this.arena = new Arena(shapes.reduce((sum, shape) => sum + paddedLength(sizeOf(shape)), 0))
    this.arrays = shapes.map((shape) => this.arena.alloc(sizeOf(shape)))
    this.feeds = Object.fromEntries(
      this.leaves.map((leaf, i) => [
        (leaf.node.attributes as { name: string }).name,
        { dtype: 'float32', shape: shapes[i], data: this.arrays[i] },
      ]),
    )
  }

  fill(seed: number, step: number): void {
    this.draws.forEach(({ kind }, i) => {
      const array = this.arrays[i]
      const position = { key: [seed, step], counter: [0, 0, i, STREAM] } as const
      if (kind.kind === 'normal') {
        this.arena.philoxNormal(array, position)
        return
      }
      this.arena.philoxUniform(array, position)
      if (kind.kind === 'bernoulli')
        for (let j = 0; j < array.length; j++) array[j] = array[j] < kind.p ? kind.value : 0
    })
  }
}
