import { Scope } from '../nn/scope.ts'
import type { Binding, Provider } from '../runtime/backend.ts'
import { type Compiled, compile, type NamedShape, shapeOf } from '../runtime/compile.ts'
import { Arena, paddedLength } from '../runtime/kernels.ts'
import { RandomFeeds } from '../runtime/random-feeds.ts'
import { type DType, grad, input, newArray, sizeOf, type Tensor, type TensorData } from '../tensor/index.ts'
import { RandomStreams } from '../tensor/ops/random.ts'
import { FlatLayout, initialize } from './flat-parameters.ts'
import type { Schedule } from './schedule.ts'

/** What is minimised: a function of the model's inputs that answers with a scalar `loss`, and scalars to watch. */
export type Objective = (scope: Scope, inputs: Record<string, Tensor>) => { loss: Tensor } & Record<string, Tensor>

export interface InputSpec {
  readonly dtype: DType
  readonly shape: readonly number[]
}

export interface TrainerOptions {
  readonly objective: Objective
  /** What one micro-batch holds. */
  readonly inputs: Readonly<Record<string, InputSpec>>
  readonly learningRate: Schedule
  /** AdamW (Loshchilov and Hutter, 2017, arXiv 1711.05101). */
  readonly beta1?: number
  readonly beta2?: number
  readonly epsilon?: number
  /** On matrices; gains and biases do not decay. Default 0.1. */
  readonly weightDecay?: number
  /** Gradients longer than this are scaled down to it. Default 1; Infinity turns it off. */
  readonly clipNorm?: number
  /** Micro-batches to a step. Default 1. */
  readonly accumulate?: number
  /** Keep an exponential moving average of the parameters with this decay. Default 0: none. */
  readonly emaDecay?: number
  /** Of the first values and of dropout. Default 1337. */
  readonly seed?: number
  /** First values from elsewhere, by name: a checkpoint to train on. */
  readonly weights?: ReadonlyMap<string, TensorData>
  readonly provider?: Provider
}

export interface StepResult {
  readonly step: number
  readonly loss: number
  /** Before clipping. */
  readonly gradNorm: number
  readonly learningRate: number
  /** What else the objective answers with. */
  readonly metrics: Readonly<Record<string, number>>
}

export type Batch = Readonly<Record<string, TensorData['data']>>

/**
 * One model in training: its parameters, the optimiser's state and the compiled step, in flat arrays that ONNX Runtime
 * reads and writes in place.
 */
export class Trainer {
  /** Steps done. */
  step = 0
  readonly layout: FlatLayout
  readonly parameters: Float32Array
  /** First and second moments of the gradient. */
  readonly firstMoment: Float32Array
  readonly secondMoment: Float32Array
  /** The averaged parameters, where an average is kept. */
  readonly ema?: Float32Array
  readonly buffers: ReadonlyMap<string, TensorData>
  private readonly gradients: Float32Array
  private readonly accumulated?: Float32Array
  private readonly scalars: Readonly<Record<string, TensorData>>
  private readonly feeds: Readonly<Record<string, TensorData>>
  private readonly bufferUpdates: ReadonlyMap<string, TensorData>

  private constructor(
    readonly options: TrainerOptions,
    private readonly compiled: Compiled,
    private readonly binding: Binding,
    private readonly random: RandomFeeds,
    private readonly arena: Arena,
    state: Pick<Trainer, 'layout' | 'parameters' | 'firstMoment' | 'secondMoment' | 'ema' | 'buffers'> & {
      gradients: Float32Array
      accumulated?: Float32Array
      scalars: Record<string, TensorData>
      feeds: Record<string, TensorData>
      bufferUpdates: Map<string, TensorData>
    },
  ) {
    this.layout = state.layout
    this.parameters = state.parameters
    this.firstMoment = state.firstMoment
    this.secondMoment = state.secondMoment
    this.ema = state.ema
    this.buffers = state.buffers
    this.gradients = state.gradients
    this.accumulated = state.accumulated
    this.scalars = state.scalars
    this.feeds = state.feeds
    this.bufferUpdates = state.bufferUpdates
  }

  /** Traces and compiles the objective, and gives the parameters their first values. */
  static async create(options: TrainerOptions): Promise<Trainer> {
    const { objective, inputs, accumulate = 1, emaDecay = 0, seed = 1337, provider } = options
    const streams = new RandomStreams()
    const scope = Scope.root({ training: true, random: streams })
    const leaves = Object.entries(inputs).map(([name, { dtype, shape }]) => input(name, shape, dtype))
    const results = objective(scope, Object.fromEntries(leaves.map((leaf, i) => [Object.keys(inputs)[i], leaf])))
    const layout = new FlatLayout(scope.parameters.values())
    const gradientTensors = grad(
      results.loss,
      layout.trained.map(({ tensor }) => tensor),
    )
    const outputs: Record<string, Tensor> = { ...results }
    layout.trained.forEach(({ name }, i) => {
      outputs[`grad.${name}`] = gradientTensors[i]
    })
    for (const [name, tensor] of scope.updates) outputs[`next.${name}`] = tensor

    const copies = 4 + (accumulate > 1 ? 1 : 0) + (emaDecay > 0 ? 1 : 0)
    const bufferFloats = layout.buffers.reduce((sum, { shape }) => sum + paddedLength(sizeOf(shape)), 0)
    const arena = new Arena(copies * layout.length + bufferFloats)
    const [parameters, gradients, firstMoment, secondMoment] = Array.from({ length: 4 }, () =>
      arena.alloc(layout.length),
    )
    const accumulated = accumulate > 1 ? arena.alloc(layout.length) : undefined
    const ema = emaDecay > 0 ? arena.alloc(layout.length) : undefined

    const values = layout.views(parameters)
    const buffers = new Map<string, TensorData>(
      layout.buffers.map(({ name, shape }) => [name, { dtype: 'float32', shape, data: arena.alloc(sizeOf(shape)) }]),
    )
    ;[...layout.trained, ...layout.buffers].forEach((spec, index) => {
      const target = (values.get(spec.name) ?? buffers.get(spec.name)) as TensorData & { data: Float32Array }
      const given = options.weights?.get(spec.name)
      if (given) target.data.set(given.data as Float32Array)
      else initialize(arena, spec, target.data, seed, index)
    })
    if (ema) ema.set(parameters)

    const random = new RandomFeeds(streams.draws)
    const graphInputs = [...leaves, ...[...scope.parameters.values()].map(({ tensor }) => tensor), ...random.leaves]
    const compiled = await compile({ inputs: graphInputs, outputs }, { on: provider })
    const feeds = Object.fromEntries(
      Object.entries(inputs).map(([name, { dtype, shape }]) => [name, zeroTensor(dtype, shape)]),
    )
    const scalars = Object.fromEntries(Object.keys(results).map((name) => [name, zeroTensor('float32', [])]))
    const bufferUpdates = new Map(
      [...scope.updates.keys()].map((name) => [name, zeroTensor('float32', (buffers.get(name) as TensorData).shape)]),
    )
    const gradientViews = layout.views(gradients)
    const binding = compiled.bind(
      { ...feeds, ...Object.fromEntries(values), ...Object.fromEntries(buffers), ...random.feeds },
      {
        ...scalars,
        ...Object.fromEntries([...gradientViews].map(([name, value]) => [`grad.${name}`, value])),
        ...Object.fromEntries([...bufferUpdates].map(([name, value]) => [`next.${name}`, value])),
      },
    )
    return new Trainer(options, compiled, binding, random, arena, {
      layout,
      parameters,
      firstMoment,
      secondMoment,
      ema,
      buffers,
      gradients,
      accumulated,
      scalars,
      feeds,
      bufferUpdates,
    })
  }

  /** Forward, backward, clipping and AdamW on one micro-batch, or on as many as are accumulated. */
  async train(batches: Batch | readonly Batch[]): Promise<StepResult> {
    const { accumulate = 1, clipNorm = 1, seed = 1337 } = this.options
    const micro = (Array.isArray(batches) ? batches : [batches]) as readonly Batch[]
    if (micro.length !== accumulate)
      throw new RangeError(`train: needs ${accumulate} micro-batches, got ${micro.length}`)
    const sums: Record<string, number> = {}
    for (const [i, batch] of micro.entries()) {
      for (const [name, target] of Object.entries(this.feeds)) copyInto(name, target.data, batch[name])
      this.random.fill(seed, this.step * accumulate + i)
      await this.binding.run()
      for (const [name, { data }] of Object.entries(this.scalars)) sums[name] = (sums[name] ?? 0) + Number(data[0])
      for (const [name, { data }] of this.bufferUpdates) {
        const buffer = this.buffers.get(name) as TensorData & { data: Float32Array }
        buffer.data.set(data as Float32Array)
      }
      if (this.accumulated) this.accumulate(this.accumulated, i === 0)
    }
    const source = this.accumulated ?? this.gradients
    const gradNorm = Math.sqrt(this.arena.sumOfSquares(source)) / accumulate
    const learningRate = this.options.learningRate(this.step)
    if (!Number.isFinite(gradNorm)) {
      throw new Error(
        `the gradient is ${gradNorm} at step ${this.step} (loss ${sums.loss / accumulate}); lower the learning rate, or resume from the last checkpoint`,
      )
    }
    this.update(source, Math.min(1, clipNorm / (gradNorm + 1e-6)) / accumulate, learningRate)
    this.step++
    const { loss, ...metrics } = Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / accumulate]))
    return { step: this.step, loss, gradNorm, learningRate, metrics }
  }

  private accumulate(total: Float32Array, first: boolean): void {
    if (first) total.set(this.gradients)
    else this.arena.axpy(total, this.gradients, 1)
  }

  private update(gradients: Float32Array, gradScale: number, learningRate: number): void {
    const { beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weightDecay = 0.1, emaDecay = 0 } = this.options
    const settings = { lr: learningRate, beta1, beta2, eps: epsilon, step: this.step + 1, gradScale }
    for (const { start, length, decays } of this.layout.ranges) {
      if (length === 0) continue
      const [p, g, m, v] = [this.parameters, gradients, this.firstMoment, this.secondMoment].map((a) =>
        a.subarray(start, start + length),
      )
      this.arena.adamw(p, g, m, v, { ...settings, weightDecay: decays ? weightDecay : 0 })
    }
    if (this.ema) this.arena.lerp(this.ema, this.parameters, 1 - emaDecay)
  }

  /** The current parameters and buffers by checkpoint name, as views: they change as training goes on. */
  weights({ averaged = false } = {}): Map<string, TensorData> {
    const source = averaged && this.ema ? this.ema : this.parameters
    return new Map([...this.layout.views(source), ...this.buffers])
  }

  /** A forward pass without dropout on the current parameters, for evaluation: compiled once. */
  async evaluator(
    inputs: Readonly<Record<string, { dtype: DType; shape: NamedShape }>> = this.options.inputs,
  ): Promise<Evaluator> {
    const scope = Scope.root()
    const leaves = Object.entries(inputs).map(([name, { dtype, shape }]) => input(name, shapeOf(shape), dtype))
    const outputs = this.options.objective(
      scope,
      Object.fromEntries(leaves.map((leaf, i) => [Object.keys(inputs)[i], leaf])),
    )
    const parameters = [...scope.parameters.values()]
    const compiled = await compile(
      { inputs: [...leaves, ...parameters.map(({ tensor }) => tensor)], outputs },
      { on: this.options.provider },
    )
    const weights = this.weights()
    const fixed = Object.fromEntries(parameters.map(({ name }) => [name, weights.get(name) as TensorData]))
    return {
      run: async (feeds) => {
        const results = await compiled.run({ ...feeds, ...fixed })
        return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, Number(data[0])])) as {
          loss: number
        }
      },
      release: () => compiled.release(),
    }
  }

  release(): void {
    this.binding.release()
    this.compiled.release()
  }
}

export interface Evaluator {
  run(feeds: Readonly<Record<string, TensorData>>): Promise<{ loss: number } & Record<string, number>>
  release(): void
}

const zeroTensor = (dtype: DType, shape: readonly number[]): TensorData => ({
  dtype,
  shape,
  data: newArray(dtype, sizeOf(shape)),
})

function copyInto(name: string, target: TensorData['data'], source: TensorData['data'] | undefined): void {
  if (!source || source.length !== target.length) {
    throw new RangeError(`train: input '${name}' needs ${target.length} numbers, got ${source?.length ?? 'none'}`)
  }
  ;(target as Float32Array).set(source as Float32Array)
}
