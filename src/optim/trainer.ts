import { Scope } from '../nn/scope.ts'
import type { Provider } from '../runtime/backend.ts'
import { backendFor, compile, type NamedShape, shapeOf } from '../runtime/compile.ts'
import { RandomFeeds } from '../runtime/random-feeds.ts'
import { type DType, grad, input, RandomStreams, sizeOf, type Tensor, type TensorData } from '../tensor/index.ts'
import { DeviceRunner } from './device-runner.ts'
import { decayMatrices, FlatLayout, type HostTensor, type ParameterGroup, TrainingState } from './flat-parameters.ts'
import { HostRunner } from './host-runner.ts'
import type { Batch, StepRunner, TracedStep } from './runner.ts'
import type { Schedule } from './schedule.ts'

export type { Batch } from './runner.ts'

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
  /** AdamW (Loshchilov and Hutter, 2017, arXiv 1711.05101). Defaults 0.9, 0.95, 1e-8. */
  readonly beta1?: number
  readonly beta2?: number
  readonly epsilon?: number
  /** On matrices; gains and biases do not decay. Default 0.1. */
  readonly weightDecay?: number
  /** Instead of `weightDecay`: which parameters are trained, and how. */
  readonly groups?: readonly ParameterGroup[]
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
  /** Steps done, this one included. */
  readonly step: number
  /** The mean over micro-batches. */
  readonly loss: number
  /** Before clipping. */
  readonly gradNorm: number
  readonly learningRate: number
  /** What else the objective answers with. */
  readonly metrics: Readonly<Record<string, number>>
}

/** One model in training: its parameters, the optimiser's state and the compiled step. */
export class Trainer {
  /** Steps done. */
  step = 0
  /** Ends when nobody reads the state any more. */
  private readers: Promise<unknown> = Promise.resolve()

  private constructor(
    readonly options: TrainerOptions,
    readonly layout: FlatLayout,
    private readonly state: TrainingState,
    private readonly runner: StepRunner,
    private readonly random: RandomFeeds,
  ) {}

  /** Traces and compiles the objective, and gives the parameters their first values. */
  static async create(options: TrainerOptions): Promise<Trainer> {
    const { beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weightDecay = 0.1 } = options
    const { accumulate = 1, emaDecay = 0, seed = 1337, groups = decayMatrices(weightDecay) } = options
    if (!Number.isInteger(accumulate) || accumulate < 1) {
      throw new RangeError(`accumulate must be an integer of at least 1, got ${accumulate}`)
    }
    const backend = await backendFor(options.provider)
    const onDevice = backend.provider === 'webgpu' || backend.provider === 'cuda'
    const { scope, step } = traceStep(options, groups)
    const scratch = onDevice ? 0 : HostRunner.scratch(accumulate)
    const state = new TrainingState(step.layout, { averaged: emaDecay > 0, scratch })
    state.initialize(scope.parameters.values(), seed, options.weights)
    const optimizer = { beta1, beta2, epsilon, emaDecay }
    const runner = await (onDevice ? DeviceRunner : HostRunner).create(backend, { step, state, optimizer, accumulate })
    return new Trainer(options, step.layout, state, runner, step.random)
  }

  /**
   * Forward, backward, clipping and AdamW on one micro-batch, or on as many as are accumulated.
   *
   * @param batches - read one after the other, so a loader may fill the same arrays again
   * @throws Error where the loss or the gradient is no finite number; the parameters are then as before
   */
  async train(batches: Batch | Iterable<Batch>): Promise<StepResult> {
    const { accumulate = 1, clipNorm = 1, seed = 1337 } = this.options
    const sums: Record<string, number> = {}
    let count = 0
    for (const batch of isMany(batches) ? batches : [batches]) {
      if (count === accumulate) throw new RangeError(`train: needs ${accumulate} micro-batches, got more`)
      this.check(batch)
      this.random.fill(seed, this.step * accumulate + count)
      const scalars = await this.runner.backward(batch, { add: count > 0 })
      for (const [name, value] of Object.entries(scalars)) sums[name] = (sums[name] ?? 0) + value
      count++
    }
    if (count < accumulate) throw new RangeError(`train: needs ${accumulate} micro-batches, got ${count}`)
    const means = Object.entries(sums).map(([name, sum]) => [name, sum / accumulate])
    const { loss, ...metrics } = Object.fromEntries(means) as Record<string, number>
    const gradNorm = Math.sqrt(this.runner.gradientSquares()) / accumulate
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
      throw new Error(
        `the loss is ${loss} and the norm of the gradient ${gradNorm} at step ${this.step + 1}: ` +
          'start again with a lower learning rate or a longer warm-up',
      )
    }
    const learningRate = this.options.learningRate(this.step)
    const gradScale = Math.min(1, clipNorm / (gradNorm + 1e-6)) / accumulate
    await this.readersDone()
    await this.runner.update({ step: this.step + 1, learningRate, gradScale })
    this.step++
    return { step: this.step, loss, gradNorm, learningRate, metrics }
  }

  private check(batch: Batch): void {
    for (const [name, { shape }] of Object.entries(this.options.inputs)) {
      const length = sizeOf(shape)
      if (batch[name]?.length !== length) {
        throw new RangeError(`train: input '${name}' needs ${length} numbers, got ${batch[name]?.length ?? 'none'}`)
      }
    }
  }

  /**
   * The current parameters and buffers by checkpoint name, or the averaged parameters. They are views: on the CPU they
   * change as training goes on; from a device they are read at every call, into the same arrays.
   */
  async weights({ averaged = false } = {}): Promise<Map<string, HostTensor>> {
    const name = averaged ? 'ema' : 'parameters'
    const tensors = this.state.tensors(name)
    await this.runner.download([name])
    return tensors
  }

  /** All that a run goes on from, on the host, as it is now. */
  async snapshot(): Promise<TrainingState> {
    await this.readersDone()
    await this.runner.download([...this.state.flat.keys()])
    return this.state
  }

  /**
   * Leaves the flat arrays of a `snapshot` as they are until `reading` ends: the next step's forward and backward pass
   * run meanwhile, its update waits. Where `reading` fails, so does that step.
   */
  holdState(reading: Promise<unknown>): void {
    this.readers = Promise.all([this.readers, reading])
    this.readers.catch(() => {}) // reported by the next step, not as an error that nobody awaits
  }

  private async readersDone(): Promise<void> {
    const { readers } = this
    this.readers = Promise.resolve()
    await readers
  }

  /** Goes on after `step` steps with what was written into the arrays of a `snapshot`. */
  restore(step: number): void {
    this.runner.upload()
    this.step = step
  }

  /**
   * A forward pass without dropout on the current parameters, for evaluation: compiled once.
   *
   * @param inputs - the shapes to evaluate on, where they are not those of training
   */
  async evaluator(
    inputs: Readonly<Record<string, { dtype: DType; shape: NamedShape }>> = this.options.inputs,
    { averaged = false } = {},
  ): Promise<Evaluator> {
    const scope = Scope.root()
    const { leaves, results } = record(this.options.objective, scope, inputs)
    const parameters = [...scope.parameters.values()]
    const compiled = await compile(
      { inputs: [...leaves, ...parameters.map(({ tensor }) => tensor)], outputs: results },
      { on: this.options.provider },
    )
    return {
      run: async (feeds) => {
        const values = this.runner.values(averaged ? 'ema' : 'parameters')
        const weights = Object.fromEntries(parameters.map(({ name }) => [name, values[name]]))
        const outputs = Object.entries(await compiled.run({ ...feeds, ...weights }))
        return Object.fromEntries(outputs.map(([name, { data }]) => [name, Number(data[0])])) as { loss: number }
      },
      release: () => compiled.release(),
    }
  }

  release(): void {
    this.runner.release()
  }
}

export interface Evaluator {
  run(feeds: Readonly<Record<string, TensorData>>): Promise<{ loss: number } & Record<string, number>>
  release(): void
}

const isMany = (batches: Batch | Iterable<Batch>): batches is Iterable<Batch> => Symbol.iterator in batches

/** Records the objective on leaves called like its inputs. */
function record(
  objective: Objective,
  scope: Scope,
  inputs: Readonly<Record<string, { dtype: DType; shape: NamedShape }>>,
): { leaves: Tensor[]; results: ReturnType<Objective> } {
  const leaves = Object.entries(inputs).map(([name, { dtype, shape }]) => input(name, shapeOf(shape), dtype))
  const named = Object.fromEntries(Object.keys(inputs).map((name, i) => [name, leaves[i]]))
  return { leaves, results: objective(scope, named) }
}

/** Records the objective as it is trained, and its gradients. */
function traceStep(
  { objective, inputs }: TrainerOptions,
  groups: readonly ParameterGroup[],
): { scope: Scope; step: TracedStep } {
  const streams = new RandomStreams()
  const scope = Scope.root({ training: true, random: streams })
  const { leaves, results } = record(objective, scope, inputs)
  const layout = new FlatLayout(scope.parameters.values(), groups)
  const gradients = grad(
    results.loss,
    layout.trained.map(({ tensor }) => tensor),
  )
  // After `grad`: a checkpointed block may draw once more while it is traced again.
  const random = new RandomFeeds(streams.draws)
  const parameters = [...scope.parameters.values()].map(({ tensor }) => tensor)
  return {
    scope,
    step: { inputs: leaves, parameters, random, scalars: results, layout, gradients, updates: scope.updates },
  }
}
