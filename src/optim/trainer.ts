import type { MissingWeights } from '../load/weights.ts'
import type { ParameterSpec, Scope } from '../nn/scope.ts'
import { type InputSpecs, type Traced, trace } from '../nn/trace.ts'
import type { DeviceTensor, Provider } from '../runtime/backend.ts'
import { ALONE, type Comm } from '../runtime/comm.ts'
import { compile, type LiveWeights } from '../runtime/compile.ts'
import { backendFor } from '../runtime/compiled.ts'
import { RandomFeeds } from '../runtime/random-feeds.ts'
import {
  grad,
  isSumAndCount,
  type RandomStreams,
  type SumAndCount,
  scalar,
  showShape,
  sizeOf,
  type Tensor,
  type TensorData,
} from '../tensor/index.ts'
import { DeviceRunner } from './device-runner.ts'
import { decayMatrices, FlatLayout, type HostTensor, type ParameterGroup, TrainingState } from './flat-parameters.ts'
import { HostRunner } from './host-runner.ts'
import type { Batch, StepRunner, TracedStep } from './runner.ts'
import type { Schedule } from './schedule.ts'

export type { Batch } from './runner.ts'

/**
 * What is minimised: a function of named inputs that answers with a `loss`, and numbers to watch. Each is a sum with its
 * count, which a step adds up over micro-batches and divides once, or a scalar that counts once.
 */
export type Objective = (scope: Scope, inputs: Record<string, Tensor>) => { loss: Watched } & Record<string, Watched>

export type Watched = SumAndCount | Tensor

export interface TrainerOptions {
  readonly objective: Objective
  /** What one micro-batch holds: static shapes. */
  readonly inputs: InputSpecs
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
  /** Of the first values, of dropout and of noise. Default 1337. */
  readonly seed?: number
  /** First values from elsewhere, by name: a checkpoint to train on. */
  readonly weights?: ReadonlyMap<string, TensorData>
  /** Parameters that `weights` lack start as a fresh model's (`init`: a value head, a classifier). Default: an error. */
  readonly missing?: MissingWeights
  /** What `weights` hold beyond the objective's parameters is left out (`ignore`: a head not used). Default: an error. */
  readonly unused?: 'error' | 'ignore'
  /** Compute the activations of blocks again in the backward pass: less memory, a third more time. Default false. */
  readonly recompute?: boolean
  /**
   * Let ONNX Runtime plan the memory of a step ahead: faster by up to a tenth in large models, for a third to three
   * quarters more memory. Default: for models of 50 million parameters and more.
   */
  readonly memoryPattern?: boolean
  /** Processes that train together: each takes batches of its own. Default: this one alone. */
  readonly comm?: Comm
  readonly provider?: Provider
}

export interface StepResult {
  /** Steps done, this one included. */
  readonly step: number
  /** The mean over all that counts in the step's micro-batches. */
  readonly loss: number
  /** Before clipping. */
  readonly gradNorm: number
  readonly learningRate: number
  /** What else the objective answers with. */
  readonly metrics: Readonly<Record<string, number>>
}

const LARGE_PARAMETERS = 50e6

/** One model in training: its parameters, the optimiser's state and the compiled step. */
export class Trainer implements LiveWeights {
  /** Steps done. */
  step = 0
  /** Ends when nobody reads the state any more. */
  private readers: Promise<unknown> = Promise.resolve()

  private constructor(
    readonly options: TrainerOptions,
    readonly layout: FlatLayout,
    /** Parameters that `weights` lacked, where they may. */
    readonly initialized: readonly string[],
    private readonly state: TrainingState,
    private readonly runner: StepRunner,
    private readonly random: RandomFeeds,
  ) {}

  /** Traces and compiles the objective, and gives the parameters their first values. */
  static async create(options: TrainerOptions): Promise<Trainer> {
    const { beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weightDecay = 0.1, comm = ALONE } = options
    const { accumulate = 1, emaDecay = 0, seed = 1337, groups = decayMatrices(weightDecay) } = options
    if (!Number.isInteger(accumulate) || accumulate < 1) {
      throw new RangeError(`accumulate must be an integer of at least 1, got ${accumulate}`)
    }
    const backend = await backendFor(options.provider)
    const onDevice = backend.provider === 'webgpu' || backend.provider === 'cuda'
    if (onDevice && comm.size > 1) throw new Error(`training over ${comm.size} processes runs on the cpu`)
    const { parameters, step } = traceStep(options, groups)
    const scratch = onDevice ? 0 : HostRunner.scratch(accumulate)
    const state = new TrainingState(step.layout, { averaged: emaDecay > 0, scratch })
    const initialized = state.initialize(parameters, seed, options)
    const optimizer = { beta1, beta2, epsilon, emaDecay }
    const { memoryPattern = step.layout.parameterCount >= LARGE_PARAMETERS } = options
    const runnerOptions = { step, state, optimizer, accumulate, memoryPattern }
    const runner = await (onDevice ? DeviceRunner : HostRunner).create(backend, runnerOptions)
    return new Trainer(options, step.layout, initialized, state, runner, step.random)
  }

  /**
   * Forward, backward, clipping and AdamW on one micro-batch, or on as many as are accumulated.
   *
   * @param batches - read one after the other, so a loader may fill the same arrays again
   * @throws Error where the loss or the gradient is no finite number; the parameters are then as before
   */
  async train(batches: Batch | Iterable<Batch>): Promise<StepResult> {
    const { accumulate = 1, clipNorm = 1, seed = 1337, comm = ALONE } = this.options
    const watched = new Tally()
    let taken = 0
    for (const batch of isMany(batches) ? batches : [batches]) {
      if (taken === accumulate) throw new RangeError(`train: needs ${accumulate} micro-batches, got more`)
      this.check(batch)
      // Every process draws noise of its own.
      this.random.fill(seed, (this.step * accumulate + taken) * comm.size + comm.rank)
      watched.add(await this.runner.backward(batch, { add: taken > 0 }))
      taken++
    }
    if (taken < accumulate) throw new RangeError(`train: needs ${accumulate} micro-batches, got ${taken}`)
    if (comm.size > 1) {
      await this.runner.allReduce(comm)
      await watched.allReduce(comm)
    }
    const count = watched.countOf('loss')
    const { loss, ...metrics } = watched.means() as { loss: number } & Record<string, number>
    if (count === 0) throw new Error(`nothing counts in step ${this.step + 1}: all of its labels are left out`)
    const gradNorm = Math.sqrt(this.runner.gradientSquares()) / count
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
      throw new Error(
        `the loss is ${loss} and the norm of the gradient ${gradNorm} at step ${this.step + 1}: ` +
          'start again with a lower learning rate or a longer warm-up',
      )
    }
    const learningRate = this.options.learningRate(this.step)
    const gradScale = Math.min(1, clipNorm / (gradNorm + 1e-6)) / count
    await this.readersDone()
    await this.runner.update({ step: this.step + 1, learningRate, gradScale })
    this.step++
    return { step: this.step, loss, gradNorm, learningRate, metrics }
  }

  private check(batch: Batch): void {
    for (const [name, { shape }] of Object.entries(this.options.inputs)) {
      const length = sizeOf(shape as readonly number[])
      if (batch[name]?.length !== length) {
        throw new RangeError(`train: input '${name}' needs ${length} numbers, got ${batch[name]?.length ?? 'none'}`)
      }
    }
  }

  /** What `compile` reads at every call: the weights as they are in training. */
  liveWeights(): Readonly<Record<string, TensorData | DeviceTensor>> {
    return this.runner.values('parameters')
  }

  /** The averaged parameters, for `compile`. */
  get averaged(): LiveWeights {
    return { liveWeights: () => this.runner.values('ema') }
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
   * The objective without dropout on the current parameters, for evaluation: compiled once.
   *
   * @param inputs - the shapes to evaluate on, where they are not those of training
   */
  async evaluator(inputs: InputSpecs = this.options.inputs, { averaged = false } = {}): Promise<Evaluator> {
    const { objective, seed, provider } = this.options
    const traced = traceObjective(objective, inputs, {})
    const run = await compile(traced, averaged ? this.averaged : this, { on: provider })
    return {
      mean: async (batches) => {
        const watched = new Tally()
        let step = 0
        for (const batch of batches) {
          const results = await run(batch, { seed, step: step++ })
          watched.add(
            Object.fromEntries(Object.entries(results).map(([name, value]) => [name, Number(value?.data[0])])),
          )
        }
        return watched.means()
      },
      release: () => run.release(),
    }
  }

  release(): void {
    this.runner.release()
  }
}

export interface Evaluator {
  /** What the objective answers with, each the mean over all that counts in all batches. */
  mean(batches: Iterable<Readonly<Record<string, TensorData>>>): Promise<Record<string, number>>
  release(): void
}

const isMany = (batches: Batch | Iterable<Batch>): batches is Iterable<Batch> => Symbol.iterator in batches

/** The outputs of a traced objective: sums under their names, and beside them what they are divided by. */
const COUNT = 'count of '

/** Adds sums and counts up over micro-batches. */
class Tally {
  private readonly totals = new Map<string, number>()

  add(scalars: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(scalars)) this.totals.set(name, (this.totals.get(name) ?? 0) + value)
  }

  countOf(name: string): number {
    return this.totals.get(COUNT + name) ?? Number.NaN
  }

  means(): Record<string, number> {
    const sums = [...this.totals].filter(([name]) => !name.startsWith(COUNT))
    return Object.fromEntries(sums.map(([name, sum]) => [name, sum / this.countOf(name)]))
  }

  async allReduce(comm: Comm): Promise<void> {
    const values = Float64Array.from(this.totals.values())
    await comm.allReduce(values)
    for (const [i, name] of [...this.totals.keys()].entries()) this.totals.set(name, values[i])
  }
}

/** Records an objective: every answer as a sum and a count. */
function traceObjective(
  objective: Objective,
  inputs: InputSpecs,
  options: { training?: boolean; recompute?: boolean; random?: RandomStreams },
): Traced<Record<string, Tensor>> {
  return trace(
    function objectiveOf(scope, leaves) {
      const watched = Object.entries(objective(scope, leaves)).map(([name, value]): [string, SumAndCount] => [
        name,
        isSumAndCount(value) ? value : { sum: value, count: scalar(1) },
      ])
      for (const [name, { sum, count }] of watched) {
        const vector = [sum, count].find(({ rank }) => rank > 0)
        if (vector) {
          throw new RangeError(`the objective's ${name} must be a scalar, got ${showShape(vector.shape)}: sum it first`)
        }
      }
      return Object.fromEntries(
        watched.flatMap(([name, { sum, count }]) => [
          [name, sum],
          [COUNT + name, count],
        ]),
      )
    },
    inputs,
    { name: 'the objective', ...options },
  )
}

/** Records the objective as it is trained, and its gradients. */
function traceStep(
  { objective, inputs, recompute }: TrainerOptions,
  groups: readonly ParameterGroup[],
): { parameters: Iterable<ParameterSpec>; step: TracedStep } {
  const dynamic = Object.entries(inputs).find(([, { shape }]) => shape.some((dim) => typeof dim === 'string'))
  if (dynamic) throw new RangeError(`training needs static shapes, input '${dynamic[0]}' is [${dynamic[1].shape}]`)
  const traced = traceObjective(objective, inputs, { training: true, recompute })
  const layout = new FlatLayout(traced.parameters.values(), groups)
  const gradients = grad(
    traced.outputs.loss,
    layout.trained.map(({ tensor }) => tensor),
  )
  return {
    parameters: traced.parameters.values(),
    step: {
      inputs: Object.values(traced.inputs),
      parameters: [...traced.parameters.values()].map(({ tensor }) => tensor),
      // After `grad`: a block that is computed again may draw once more.
      random: new RandomFeeds(traced.draws),
      scalars: traced.outputs,
      layout,
      gradients,
      updates: traced.updates,
    },
  }
}
