import type { TensorData } from '../tensor/data.ts'
import type { QuantizedWeight } from '../tensor/emitter.ts'
import type { Tensor } from '../tensor/graph.ts'
import type { RandomDraw } from '../tensor/ops/random.ts'
import type { Binding, DeviceTensor, Feeds, RunOptions } from './backend.ts'
import { type CompileOptions, compileGraph } from './compiled.ts'
import { type Graph, lower } from './lower.ts'
import { NoiseFeeds } from './random-feeds.ts'

/** The door from a recorded function and its weights to something that runs. `trace` of `nn/` records. */

/** Values of parameters by name, compiled in as constants: packed once for the kernels. */
export type Weights = ReadonlyMap<string, TensorData | QuantizedWeight>

/** Weights that change, read where they lie at every call: a trainer's. */
export interface LiveWeights {
  /** Current parameters and buffers by name: host arrays, or tensors that stay on the device. */
  liveWeights(): Readonly<Record<string, TensorData | DeviceTensor>>
}

/** A function that was recorded (`trace` of `nn/`), as far as running it goes. */
export interface Runnable<Outputs extends Readonly<Record<string, Tensor | undefined>>> {
  /** Begins the sentences about wrong inputs. */
  readonly name: string
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly outputs: Outputs
  readonly parameters: ReadonlyMap<
    string,
    { readonly name: string; readonly plainName: string; readonly tensor: Tensor }
  >
  readonly draws: readonly RandomDraw[]
}

export interface CallOptions extends RunOptions {
  /** Of the noise that the function draws. Default 1337. */
  seed?: number
  /** Noise is a pure function of seed and step. Default: how many calls there were before. */
  step?: number
}

/** Every output's numbers, by name. */
export type Results<Outputs> = {
  [Name in keyof Outputs as undefined extends Outputs[Name] ? never : Name]: TensorData
} & {
  [Name in keyof Outputs as undefined extends Outputs[Name] ? Name : never]?: TensorData
}

/** A recorded function on its weights: arrays in, arrays out. */
export interface Program<Outputs = Record<string, unknown>> {
  (feeds: Feeds, options?: CallOptions): Promise<Results<Outputs>>
  /** The same call with arrays that are fixed, for many runs in place; weights and noise are not to be named. */
  bind(inputs: Readonly<Record<string, TensorData>>, outputs: Readonly<Record<string, TensorData>>): Binding
  /** The model as an ONNX file, weights inside; see `Compiled`. */
  toOnnx(): Uint8Array
  release(): void
}

/**
 * Makes a recorded function run: the second half of the door.
 *
 * @param weights - constants by name, or what holds them in training: those are read in place at every call
 * @throws Error with one sentence where the weights lack parameters
 */
export async function compile<Outputs extends Readonly<Record<string, Tensor | undefined>>>(
  traced: Runnable<Outputs>,
  weights: Weights | LiveWeights = new Map(),
  options: CompileOptions = {},
): Promise<Program<Outputs>> {
  const { name, draws } = traced
  const isLive = 'liveWeights' in weights
  const compiled = await compileGraph(isLive ? liveGraph(traced, weights) : constantGraph(traced, weights), options)
  const live = isLive ? liveFeeds(traced, weights) : () => ({})
  const noise = new NoiseFeeds(Object.values(traced.inputs), draws)
  let calls = 0
  const run = async (feeds: Feeds, { seed = 1337, step = calls, signal }: CallOptions = {}) => {
    checkFed(name, Object.keys(traced.inputs), feeds)
    calls++
    return compiled.run({ ...feeds, ...noise.fill(feeds, seed, step), ...live() }, { signal })
  }
  return Object.assign(run as Program<Outputs>, {
    bind: (feeds: Record<string, TensorData>, results: Record<string, TensorData>) =>
      compiled.bind({ ...feeds, ...(live() as Record<string, TensorData>) }, results),
    toOnnx: () => compiled.toOnnx(),
    release: () => compiled.release(),
  })
}

/**
 * A recorded function as an ONNX file that ONNX Runtime and Netron open, its weights inside. At most 2 GB.
 *
 * @throws Error with one sentence where the weights lack parameters
 */
export const toOnnx = (traced: Runnable<Readonly<Record<string, Tensor | undefined>>>, weights: Weights): Uint8Array =>
  lower(constantGraph(traced, weights), { inlineWeights: true }).model

/**
 * What every run reads of live weights. A function of its own: a closure in `compile` would keep constant weights in
 * memory that the session has copied.
 */
const liveFeeds = (traced: AnyRunnable, weights: LiveWeights) => (): Record<string, TensorData | DeviceTensor> => {
  const current = weights.liveWeights()
  return Object.fromEntries([...traced.parameters.keys()].map((parameter) => [parameter, current[parameter]]))
}

type AnyRunnable = Runnable<Readonly<Record<string, Tensor | undefined>>>

/** A graph whose weights are compiled in. A frozen part finds its own under the names that it has alone, too. */
function constantGraph(traced: AnyRunnable, weights: Weights): Graph {
  const parameters = [...traced.parameters.values()]
  const weightOf = ({ name, plainName }: { name: string; plainName: string }) =>
    weights.get(name) ?? weights.get(plainName)
  requireAll(
    traced,
    parameters.filter((parameter) => !weightOf(parameter)),
  )
  const values = parameters.map((spec) => [spec.tensor, weightOf(spec) as TensorData | QuantizedWeight] as const)
  return { ...leavesAndOutputs(traced), weights: new Map(values) }
}

/**
 * A graph that reads its weights at every run. A frozen part must not follow weights that train under the names that it
 * has alone: here the full names count.
 */
function liveGraph(traced: AnyRunnable, weights: LiveWeights): Graph {
  const parameters = [...traced.parameters.values()]
  const values = weights.liveWeights()
  requireAll(
    traced,
    parameters.filter(({ name }) => !values[name]),
  )
  const { inputs, outputs } = leavesAndOutputs(traced)
  return { inputs: [...inputs, ...parameters.map(({ tensor }) => tensor)], outputs }
}

function leavesAndOutputs({ inputs, outputs, draws }: AnyRunnable): Graph {
  const given = Object.entries(outputs).filter((entry): entry is [string, Tensor] => entry[1] !== undefined)
  return { inputs: [...Object.values(inputs), ...draws.map(({ leaf }) => leaf)], outputs: Object.fromEntries(given) }
}

function requireAll({ name }: AnyRunnable, lacking: readonly { readonly name: string }[]): void {
  if (lacking.length === 0) return
  const names = lacking.map((parameter) => parameter.name)
  throw new Error(lacks(name, names))
}

const MOST_NAMES = 3

const lacks = (name: string, lacking: readonly string[]): string =>
  lacking.length === 1
    ? `the weights lack parameter ${lacking[0]}, which ${name} needs`
    : `the weights lack ${lacking.length} parameters that ${name} needs: ${lacking.slice(0, MOST_NAMES).join(', ')}${lacking.length > MOST_NAMES ? ', …' : ''}`

/** @throws Error with one sentence where an input is missing, or a feed is none of the inputs */
function checkFed(name: string, inputs: readonly string[], feeds: Feeds): void {
  const given = Object.keys(feeds)
  const fits = inputs.every((input) => feeds[input]) && given.every((input) => inputs.includes(input))
  if (!fits) throw new Error(`${name} needs ${listed(inputs)}, got ${listed(given)}`)
}

const listed = (names: readonly string[]): string =>
  names.length < 2 ? (names[0] ?? 'nothing') : `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}`
