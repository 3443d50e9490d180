import type { MissingWeights } from '../load/weights.ts'
import type { ParameterSpec } from '../nn/scope.ts'
import { Arena, paddedLength } from '../runtime/kernels.ts'
import { showShape, sizeOf, type TensorData } from '../tensor/index.ts'

/** Parameters that the optimiser treats alike. */
export interface ParameterGroup {
  /** A parameter belongs to the first group that takes it; one that no group takes stays as it is. */
  takes(spec: ParameterSpec): boolean
  /** AdamW's decoupled decay. Default 0. */
  readonly weightDecay?: number
  /** What the schedule's learning rate is multiplied by. Default 1. */
  readonly learningRateScale?: number
}

/** Matrices decay; gains and biases do not. */
export const decayMatrices = (weightDecay: number): readonly ParameterGroup[] => [
  { takes: ({ shape }) => shape.length >= 2, weightDecay },
  { takes: () => true },
]

/** Where a group's parameters lie in a flat array. */
export interface ParameterRange {
  /** In floats, from the start of the flat array. */
  readonly start: number
  readonly length: number
  readonly weightDecay: number
  readonly learningRateScale: number
  readonly specs: readonly ParameterSpec[]
}

/**
 * All parameters that training moves, in one array, group after group, so that clipping, the optimiser, averaging and
 * checkpoints are each one pass. What gradients leave alone lies apart: buffers and frozen parameters.
 */
export class FlatLayout {
  /** Where each parameter begins, in floats. */
  readonly offsets: ReadonlyMap<string, number>
  readonly ranges: readonly ParameterRange[]
  /** In floats. */
  readonly length: number
  /** In the order of the flat array. */
  readonly trained: readonly ParameterSpec[]
  readonly fixed: readonly ParameterSpec[]

  /** @throws RangeError where no group takes a parameter */
  constructor(parameters: Iterable<ParameterSpec>, groups: readonly ParameterGroup[]) {
    const all = [...parameters]
    const groupOf = new Map(
      all.map((spec) => [spec, spec.trainable ? groups.find((group) => group.takes(spec)) : undefined]),
    )
    const offsets = new Map<string, number>()
    let at = 0
    this.ranges = groups.map((group) => {
      const start = at
      const specs = all.filter((spec) => groupOf.get(spec) === group)
      for (const { name, shape } of specs) {
        offsets.set(name, at)
        at += paddedLength(sizeOf(shape))
      }
      const { weightDecay = 0, learningRateScale = 1 } = group
      return { start, length: at - start, weightDecay, learningRateScale, specs }
    })
    this.offsets = offsets
    this.length = at
    this.trained = this.ranges.flatMap(({ specs }) => specs)
    this.fixed = all.filter((spec) => !groupOf.get(spec))
    if (this.trained.length === 0) throw new RangeError('no group takes any parameter: there is nothing to train')
  }

  /** How many numbers training moves, padding not counted. */
  get parameterCount(): number {
    return this.trained.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  }

  /** The tensors of a flat array, by name, as views into it. */
  views(array: Float32Array): Map<string, HostTensor> {
    return new Map(
      this.trained.map(({ name, shape }) => {
        const offset = this.offsets.get(name) as number
        return [name, { dtype: 'float32', shape, data: array.subarray(offset, offset + sizeOf(shape)) }]
      }),
    )
  }
}

/** A tensor of float32 on the host. */
export type HostTensor = TensorData & { readonly data: Float32Array }

/** The flat arrays that a run goes on from, by what a checkpoint calls them. */
export type FlatName = 'parameters' | 'firstMoment' | 'secondMoment' | 'ema'

/** All that training moves, on the host: what a checkpoint holds. */
export class TrainingState {
  readonly arena: Arena
  /** `ema` only where an average is kept. */
  readonly flat: ReadonlyMap<FlatName, Float32Array>
  /** Buffers and frozen parameters, by name. */
  readonly fixed: ReadonlyMap<string, HostTensor>

  /** @param scratch - flat arrays that the arena keeps room for beside these */
  constructor(
    readonly layout: FlatLayout,
    { averaged, scratch }: { averaged: boolean; scratch: number },
  ) {
    const names: FlatName[] = ['parameters', 'firstMoment', 'secondMoment', ...(averaged ? (['ema'] as const) : [])]
    const fixedFloats = layout.fixed.reduce((sum, { shape }) => sum + paddedLength(sizeOf(shape)), 0)
    this.arena = new Arena((names.length + scratch) * layout.length + fixedFloats)
    this.flat = new Map(names.map((name) => [name, this.arena.alloc(layout.length)]))
    this.fixed = new Map(
      layout.fixed.map(({ name, shape }) => [name, { dtype: 'float32', shape, data: this.arena.alloc(sizeOf(shape)) }]),
    )
  }

  array(name: FlatName): Float32Array {
    const array = this.flat.get(name)
    if (!array) throw new Error(`this run keeps no ${name}`)
    return array
  }

  /** Parameters, buffers and frozen parameters by checkpoint name, as views. */
  tensors(name: FlatName = 'parameters'): Map<string, HostTensor> {
    return new Map([...this.layout.views(this.array(name)), ...this.fixed])
  }

  /**
   * Gives every tensor its first values: those of `weights`, or else a pure function of the seed and of the parameter's
   * place in the model. A frozen part takes the weights under its own names, or those of a checkpoint of the part alone.
   *
   * @param parameters - in the model's order
   * @returns names of the parameters that `weights` lack
   * @throws Error where weights are missing, left over or of another shape, unless that is wanted
   */
  initialize(parameters: Iterable<ParameterSpec>, seed: number, options: FirstValues = {}): string[] {
    const { weights, missing = 'error', unused = 'error' } = options
    const targets = this.tensors()
    const lacking: string[] = []
    const used = new Set<string>()
    ;[...parameters].forEach((spec, index) => {
      const { data } = targets.get(spec.name) as HostTensor
      const name = weights?.has(spec.name) ? spec.name : spec.plainName
      const given = weights?.get(name)
      used.add(name)
      if (given && `${given.shape}` !== `${spec.shape}`) {
        throw new RangeError(
          `parameter ${spec.name} is ${showShape(spec.shape)} in the model and ${showShape(given.shape)} in the weights`,
        )
      }
      if (given) {
        data.set(given.data as Float32Array)
        return
      }
      if (weights) lacking.push(spec.name)
      const position = { key: [seed, 0], counter: [0, 0, index, INITIALIZATION] } as const
      spec.init(data, spec.shape, {
        normal: (array) => this.arena.philoxNormal(array, position),
        uniform: (array) => this.arena.philoxUniform(array, position),
      })
    })
    if (missing === 'error' && lacking.length > 0) {
      throw new Error(`the weights lack ${someOf(lacking)}: say missing: 'init' where they are to start afresh`)
    }
    const left = [...(weights?.keys() ?? [])].filter((name) => !used.has(name))
    if (unused === 'error' && left.length > 0) {
      throw new Error(`the objective has no ${someOf(left)}: say unused: 'ignore' where these weights are not wanted`)
    }
    this.flat.get('ema')?.set(this.array('parameters'))
    return lacking
  }
}

/** Where first values come from, see `TrainerOptions`. */
export interface FirstValues {
  readonly weights?: ReadonlyMap<string, TensorData>
  readonly missing?: MissingWeights
  readonly unused?: 'error' | 'ignore'
}

const someOf = (names: readonly string[]): string =>
  `parameter${names.length > 1 ? 's' : ''} ${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`

/** The random stream of first values, apart from those of dropout. */
const INITIALIZATION = 0x1417
