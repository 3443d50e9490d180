import type { Backend, Binding } from '../runtime/backend.ts'
import type { Comm } from '../runtime/comm.ts'
import { type Compiled, compileGraph } from '../runtime/compiled.ts'
import { inputName } from '../runtime/lower.ts'
import { type DType, newArray, sizeOf, type TensorData } from '../tensor/index.ts'
import type { FlatName, HostTensor, TrainingState } from './flat-parameters.ts'
import {
  type Batch,
  type OptimizerSettings,
  prefixed,
  type RunnerOptions,
  type StepRunner,
  type UpdateOptions,
} from './runner.ts'

/** Trains in flat arrays on the host, which the compiled step reads and writes where they lie. */
export class HostRunner implements StepRunner {
  private constructor(
    private readonly state: TrainingState,
    private readonly optimizer: OptimizerSettings,
    private readonly compiled: Compiled,
    private readonly binding: Binding,
    private readonly arrays: {
      gradients: Float32Array
      /** Of the step's micro-batches; the gradients themselves where there is only one. */
      summed: Float32Array
      inputs: ReadonlyMap<string, TensorData>
      scalars: ReadonlyMap<string, TensorData>
      updates: ReadonlyMap<string, TensorData>
    },
  ) {}

  /** Flat arrays that an runner needs in the state's arena: gradients, and their sum over micro-batches. */
  static scratch(accumulate: number): number {
    return accumulate > 1 ? 2 : 1
  }

  static async create(backend: Backend, options: RunnerOptions): Promise<HostRunner> {
    const { step, state, optimizer, accumulate, memoryPattern } = options
    const { layout } = step
    const gradients = state.arena.alloc(layout.length)
    const summed = accumulate > 1 ? state.arena.alloc(layout.length) : gradients
    const compiled = await compileGraph(
      {
        inputs: [...step.inputs, ...step.parameters, ...step.random.leaves],
        outputs: {
          ...step.scalars,
          ...Object.fromEntries(layout.trained.map(({ name }, i) => [`grad.${name}`, step.gradients[i]])),
          ...prefixed('next.', step.updates),
        },
      },
      { on: backend, memoryPattern },
    )
    const inputs = new Map(
      step.inputs.map((leaf) => [inputName(leaf), zeroTensor(leaf.dtype, leaf.shape as readonly number[])]),
    )
    const scalars = new Map(Object.keys(step.scalars).map((name) => [name, zeroTensor('float32', [])]))
    const updates = new Map(
      [...step.updates].map(([name, { shape }]) => [name, zeroTensor('float32', shape as readonly number[])]),
    )
    const binding = compiled.bind(
      { ...Object.fromEntries(inputs), ...Object.fromEntries(state.tensors()), ...step.random.feeds },
      {
        ...Object.fromEntries(scalars),
        ...prefixed('grad.', layout.views(gradients)),
        ...prefixed('next.', updates),
      },
    )
    return new HostRunner(state, optimizer, compiled, binding, { gradients, summed, inputs, scalars, updates })
  }

  async backward(batch: Batch, { add }: { add: boolean }): Promise<Record<string, number>> {
    const { gradients, summed, inputs, scalars, updates } = this.arrays
    for (const [name, { data }] of inputs) (data as Float32Array).set(batch[name] as Float32Array)
    await this.binding.run()
    for (const [name, { data }] of updates) {
      const buffer = this.state.fixed.get(name) as HostTensor
      buffer.data.set(data as Float32Array)
    }
    if (add) this.state.arena.axpy(summed, gradients, 1)
    else if (summed !== gradients) summed.set(gradients)
    return Object.fromEntries([...scalars].map(([name, { data }]) => [name, Number(data[0])]))
  }

  allReduce(comm: Comm): Promise<void> {
    return comm.allReduce(this.arrays.summed)
  }

  gradientSquares(): number {
    return this.state.arena.sumOfSquares(this.arrays.summed)
  }

  async update({ step, learningRate, gradScale }: UpdateOptions): Promise<void> {
    const { state, optimizer } = this
    const { beta1, beta2, epsilon, emaDecay } = optimizer
    const flat = [
      state.array('parameters'),
      this.arrays.summed,
      state.array('firstMoment'),
      state.array('secondMoment'),
    ]
    for (const { start, length, weightDecay, learningRateScale } of state.layout.ranges) {
      const [parameters, gradients, m, v] = flat.map((array) => array.subarray(start, start + length))
      const lr = learningRate * learningRateScale
      state.arena.adamw(parameters, gradients, m, v, { lr, beta1, beta2, eps: epsilon, weightDecay, step, gradScale })
    }
    if (emaDecay > 0) state.arena.lerp(state.array('ema'), state.array('parameters'), 1 - emaDecay)
  }

  values(name: 'parameters' | 'ema'): Record<string, TensorData> {
    return Object.fromEntries(this.state.tensors(name))
  }

  async download(_names: readonly FlatName[]): Promise<void> {}

  upload(): void {}

  release(): void {
    this.binding.release()
    this.compiled.release()
    this.state.arena.release()
  }
}

const zeroTensor = (dtype: DType, shape: readonly number[]): TensorData => ({
  dtype,
  shape,
  data: newArray(dtype, sizeOf(shape)),
})
