import { evaluateDim, isStatic, type Shape, showShape, sizeOf, type Tensor, type TensorData } from '../tensor/index.ts'
import type { RandomDraw } from '../tensor/ops/random.ts'
import type { Feeds } from './backend.ts'
import { Arena, paddedLength } from './kernels.ts'
import { inputName } from './lower.ts'

/** The stream of numbers drawn inside a graph, apart from that of first values. */
const STREAM = 0xd40

/** Fills the random leaves of a graph: number k of a draw is a pure function of the seed, the step and the draw. */
export class RandomFeeds {
  readonly leaves: readonly Tensor[]
  /** One array a draw, to be bound to its leaf; `fill` writes them in place. */
  readonly feeds: Readonly<Record<string, TensorData>>
  private readonly arena: Arena
  private readonly arrays: readonly Float32Array[]

  /** @param shapes - of the draws, where their own have named dimensions */
  constructor(
    private readonly draws: readonly RandomDraw[],
    shapes: readonly (readonly number[])[] = draws.map(({ leaf }) => staticShape(leaf.shape)),
  ) {
    this.leaves = draws.map(({ leaf }) => leaf)
    this.arena = new Arena(shapes.reduce((sum, shape) => sum + paddedLength(sizeOf(shape)), 0))
    this.arrays = shapes.map((shape) => this.arena.alloc(sizeOf(shape)))
    this.feeds = Object.fromEntries(
      this.leaves.map((leaf, i) => [inputName(leaf), { dtype: 'float32', shape: shapes[i], data: this.arrays[i] }]),
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

function staticShape(shape: Shape): readonly number[] {
  if (!isStatic(shape)) throw new RangeError(`random numbers need a static shape, got ${showShape(shape)}`)
  return shape
}

/** The same for a graph whose draws take their sizes from what is fed. */
export class NoiseFeeds {
  private sizes = ''
  private feeds: RandomFeeds | undefined

  constructor(
    private readonly inputs: readonly Tensor[],
    private readonly draws: readonly RandomDraw[],
  ) {}

  fill(fed: Feeds, seed: number, step: number): Readonly<Record<string, TensorData>> {
    if (this.draws.length === 0) return {}
    const sizes = new Map<string, number>()
    for (const leaf of this.inputs) {
      leaf.shape.forEach((dim, axis) => {
        if (typeof dim !== 'number') sizes.set(`${dim}`, fed[inputName(leaf)].shape[axis])
      })
    }
    const shapes = this.draws.map(({ leaf }) => leaf.shape.map((dim) => evaluateDim(dim, sizes)))
    if (`${shapes.join(';')}` !== this.sizes) {
      this.sizes = shapes.join(';')
      this.feeds = new RandomFeeds(this.draws, shapes)
    }
    const feeds = this.feeds as RandomFeeds
    feeds.fill(seed, step)
    return feeds.feeds
  }
}
