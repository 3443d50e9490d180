import type { Backend, DeviceTensor } from '../runtime/backend.ts'
import type { Comm } from '../runtime/comm.ts'
import { type Compiled, compileGraph } from '../runtime/compiled.ts'
import { inputName } from '../runtime/lower.ts'
import { input, sqrt, square, sum, type Tensor, type TensorData, tensorData, where } from '../tensor/index.ts'
import type { FlatLayout, FlatName, TrainingState } from './flat-parameters.ts'
import {
  type Batch,
  type OptimizerSettings,
  prefixed,
  type RunnerOptions,
  type StepRunner,
  type TracedStep,
  type UpdateOptions,
} from './runner.ts'

type Value = TensorData | DeviceTensor
type Values = Map<string, Value>

/** Outputs of a graph that are called like its inputs are called so. */
const NEXT = 'next.'
const SUM = 'sum.'
const SQUARES = 'sum of squares'
const ADD = 'add'

/**
 * Trains on a device: parameters, gradients and the optimiser's state never leave it. Two graphs take turns: one gives
 * the gradients and their norm, the other is AdamW. Batches, random draws and a few scalars cross the bus.
 */
export class DeviceRunner implements StepRunner {
  /** By flat array and parameter. What was not computed on the device yet is still on the host. */
  private readonly flat = new Map<FlatName, Values>()
  private fixed: Values = new Map()
  private gradients: Values = new Map()
  private squares = 0

  private constructor(
    private readonly step: TracedStep,
    private readonly state: TrainingState,
    private readonly optimizer: OptimizerSettings,
    private readonly accumulates: boolean,
    private readonly backwardGraph: Compiled,
    private readonly updateGraph: Compiled,
  ) {
    this.upload()
  }

  static async create(backend: Backend, { step, state, optimizer, accumulate }: RunnerOptions): Promise<DeviceRunner> {
    const accumulates = accumulate > 1
    const backward = await compileBackward(backend, step, accumulates)
    const update = await compileUpdate(backend, step.layout, optimizer)
    return new DeviceRunner(step, state, optimizer, accumulates, backward, update)
  }

  async backward(batch: Batch, { add }: { add: boolean }): Promise<Record<string, number>> {
    const { inputs, random, updates, layout } = this.step
    if (this.accumulates && this.gradients.size === 0) this.gradients = zerosOf(layout)
    const { scalars, onDevice } = await runStaying(this.backwardGraph, {
      ...Object.fromEntries(
        inputs.map((leaf) => {
          const name = inputName(leaf)
          return [name, tensorData(leaf.dtype, leaf.shape as readonly number[], batch[name])]
        }),
      ),
      ...random.feeds,
      ...this.values('parameters'),
      ...(this.accumulates ? { ...prefixed(SUM, this.gradients), [ADD]: tensorData('bool', [], [add ? 1 : 0]) } : {}),
    })
    for (const { name } of layout.trained) replace(this.gradients, name, onDevice[NEXT + SUM + name])
    for (const name of updates.keys()) replace(this.fixed, name, onDevice[NEXT + name])
    const { [SQUARES]: squares, ...watched } = scalars
    this.squares = squares
    return watched
  }

  async allReduce(comm: Comm): Promise<void> {
    throw new Error(`internal: gradients on a device are not added up over ${comm.size} processes`)
  }

  gradientSquares(): number {
    return this.squares
  }

  async update({ step, learningRate, gradScale }: UpdateOptions): Promise<void> {
    const { beta1, beta2 } = this.optimizer
    const scalars: Record<string, number> = {
      gradScale,
      squareScale: gradScale * gradScale,
      correction: 1 / Math.sqrt(1 - beta2 ** step),
    }
    for (const [i, { learningRateScale, weightDecay }] of this.state.layout.ranges.entries()) {
      const lr = learningRate * learningRateScale
      scalars[`shrink.${i}`] = 1 - lr * weightDecay
      scalars[`rate.${i}`] = lr / (1 - beta1 ** step)
    }
    const { onDevice } = await runStaying(this.updateGraph, {
      ...Object.fromEntries(
        this.updateGraph.session.inputNames
          .filter((name) => name in scalars)
          .map((name) => [name, tensorData('float32', [], [scalars[name]])]),
      ),
      ...prefixed('gradients.', this.gradients),
      ...Object.fromEntries([...this.flat].flatMap(([flat, values]) => Object.entries(prefixed(`${flat}.`, values)))),
    })
    for (const [flat, values] of this.flat) {
      for (const name of values.keys()) replace(values, name, onDevice[`${NEXT}${flat}.${name}`])
    }
  }

  values(name: 'parameters' | 'ema'): Record<string, Value> {
    const values = this.flat.get(name)
    if (!values) throw new Error(`this run keeps no ${name}`)
    return Object.fromEntries([...values, ...this.fixed])
  }

  async download(names: readonly FlatName[]): Promise<void> {
    const { layout } = this.state
    for (const name of names) await readInto(layout.views(this.state.array(name)), this.flat.get(name) as Values)
    await readInto(this.state.fixed, this.fixed)
  }

  upload(): void {
    const { layout } = this.state
    for (const [name, array] of this.state.flat) {
      const values = this.flat.get(name)
      this.flat.set(name, new Map(layout.views(array)))
      if (values) releaseAll(values)
    }
    releaseAll(this.fixed)
    this.fixed = new Map(this.state.fixed)
  }

  release(): void {
    for (const values of [...this.flat.values(), this.fixed, this.gradients]) releaseAll(values)
    this.backwardGraph.release()
    this.updateGraph.release()
  }
}

/** The objective, its gradients (added to those of micro-batches before), their norm and new values of buffers. */
function compileBackward(backend: Backend, step: TracedStep, accumulates: boolean): Promise<Compiled> {
  const { trained } = step.layout
  const add = input(ADD, [], 'bool')
  const sums = accumulates ? trained.map(({ name, shape }) => input(SUM + name, shape)) : []
  const gradients = step.gradients.map((gradient, i) =>
    accumulates ? where(add, sums[i].add(gradient), gradient) : gradient,
  )
  return compileGraph(
    {
      inputs: [...step.inputs, ...step.parameters, ...step.random.leaves, ...(accumulates ? [add, ...sums] : [])],
      outputs: {
        ...step.scalars,
        [SQUARES]: gradients.map((gradient) => sum(square(gradient))).reduce((a, b) => a.add(b)),
        ...prefixed(NEXT + SUM, new Map(trained.map(({ name }, i) => [name, gradients[i]]))),
        ...prefixed(NEXT, step.updates),
      },
    },
    { on: backend },
  )
}

/** AdamW and the moving average, as `Arena.adamw` computes them. */
function compileUpdate(backend: Backend, layout: FlatLayout, optimizer: OptimizerSettings): Promise<Compiled> {
  const { beta1, beta2, epsilon, emaDecay } = optimizer
  const [gradScale, squareScale, correction] = ['gradScale', 'squareScale', 'correction'].map((name) => input(name, []))
  const inputs = [gradScale, squareScale, correction]
  const outputs: Record<string, Tensor> = {}
  const leaf = (name: string, shape: readonly number[]): Tensor => {
    const tensor = input(name, shape)
    inputs.push(tensor)
    return tensor
  }
  for (const [i, { specs }] of layout.ranges.entries()) {
    if (specs.length === 0) continue
    const [shrink, rate] = [leaf(`shrink.${i}`, []), leaf(`rate.${i}`, [])]
    for (const { name, shape } of specs) {
      const g = leaf(`gradients.${name}`, shape)
      const m = leaf(`firstMoment.${name}`, shape)
        .mul(beta1)
        .add(g.mul(gradScale).mul(1 - beta1))
      const v = leaf(`secondMoment.${name}`, shape)
        .mul(beta2)
        .add(
          square(g)
            .mul(squareScale)
            .mul(1 - beta2),
        )
      const denominator = sqrt(v).mul(correction).add(epsilon)
      const p = leaf(`parameters.${name}`, shape).mul(shrink).sub(m.div(denominator).mul(rate))
      outputs[`${NEXT}parameters.${name}`] = p
      outputs[`${NEXT}firstMoment.${name}`] = m
      outputs[`${NEXT}secondMoment.${name}`] = v
      if (emaDecay > 0) {
        const ema = leaf(`ema.${name}`, shape)
        outputs[`${NEXT}ema.${name}`] = ema.add(p.sub(ema).mul(1 - emaDecay))
      }
    }
  }
  return compileGraph({ inputs, outputs }, { on: backend })
}

/** One run whose scalars come to the host and whose other outputs stay. */
async function runStaying(
  compiled: Compiled,
  feeds: Record<string, Value>,
): Promise<{ scalars: Record<string, number>; onDevice: Record<string, DeviceTensor> }> {
  const staying = compiled.session.outputNames.filter((name) => name.startsWith(NEXT))
  const results = await compiled.runOnDevice(feeds, staying)
  const scalars: Record<string, number> = {}
  const onDevice: Record<string, DeviceTensor> = {}
  for (const [name, value] of Object.entries(results)) {
    if ('data' in value) scalars[name] = Number(value.data[0])
    else onDevice[name] = value
  }
  return { scalars, onDevice }
}

/** Puts a new value in the place of an old one, whose memory is given back. */
function replace(values: Values, name: string, next: DeviceTensor): void {
  const old = values.get(name)
  values.set(name, next)
  if (old && 'release' in old) old.release()
}

function releaseAll(values: Values): void {
  for (const value of values.values()) if ('release' in value) value.release()
}

async function readInto(
  targets: ReadonlyMap<string, TensorData & { data: Float32Array }>,
  from: Values,
): Promise<void> {
  for (const [name, { data }] of targets) {
    const value = from.get(name) as Value
    if ('read' in value) data.set((await value.read()).data as Float32Array)
  }
}

const zerosOf = ({ trained }: FlatLayout): Values =>
  new Map(trained.map(({ name, shape }) => [name, tensorData('float32', shape)]))
