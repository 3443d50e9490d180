import type { ParameterSpec } from '../nn/scope.ts'
import { type Arena, paddedLength } from '../runtime/kernels.ts'
import { sizeOf, type TensorData } from '../tensor/data.ts'

/** A run of parameters in the flat array that the optimiser treats alike. */
export interface ParameterRange {
  /** In floats, from the start of the flat array. */
  readonly start: number
  readonly length: number
  readonly decays: boolean
}

/**
 * All parameters of a model in one array, so that clipping, the optimiser, averaging and checkpoints are each one pass.
 * Those that weight decay shrinks (matrices) come first, the rest (gains, biases) after them. Buffers lie apart: they
 * have no gradient.
 */
export class FlatLayout {
  readonly offsets = new Map<string, number>()
  readonly ranges: readonly ParameterRange[]
  /** In floats. */
  readonly length: number
  readonly trained: readonly ParameterSpec[]
  readonly buffers: readonly ParameterSpec[]

  constructor(
    parameters: Iterable<ParameterSpec>,
    decays: (spec: ParameterSpec) => boolean = ({ shape }) => shape.length >= 2,
  ) {
    const all = [...parameters]
    this.buffers = all.filter(({ trainable }) => !trainable)
    const groups = [true, false].map((wanted) => all.filter((spec) => spec.trainable && decays(spec) === wanted))
    this.trained = groups.flat()
    let at = 0
    this.ranges = groups.map((group, i) => {
      const start = at
      for (const { name, shape } of group) {
        this.offsets.set(name, at)
        at += paddedLength(sizeOf(shape))
      }
      return { start, length: at - start, decays: i === 0 }
    })
    this.length = at
  }

  /** How many numbers training moves, padding not counted. */
  get parameterCount(): number {
    return this.trained.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  }

  /** The tensors of a flat array, by name, as views into it. */
  views(array: Float32Array): Map<string, TensorData> {
    return new Map(
      this.trained.map(({ name, shape }) => {
        const offset = this.offsets.get(name) as number
        return [name, { dtype: 'float32', shape, data: array.subarray(offset, offset + sizeOf(shape)) }]
      }),
    )
  }
}

/** First values of a parameter: a pure function of the seed and of the parameter's place in the model. */
export function initialize(arena: Arena, spec: ParameterSpec, values: Float32Array, seed: number, index: number): void {
  const position = { key: [seed, 0], counter: [0, 0, index, INITIALIZATION] } as const
  spec.init(values, spec.shape, {
    normal: (array) => arena.philoxNormal(array, position),
    uniform: (array) => arena.philoxUniform(array, position),
  })
}

/** The random stream of first values, apart from those of dropout. */
const INITIALIZATION = 0x1417
