import type { TensorData } from '../tensor/data.ts'
import type { QuantizedWeight } from '../tensor/emitter.ts'
import type { Tensor } from '../tensor/graph.ts'
import type { RandomDraw } from '../tensor/ops/random.ts'
import type { Binding, DeviceTensor, Feeds, RunOptions } from './backend.ts'
import { type CompileOptions, compileGraph } from './compiled.ts'
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
  const parameters = [...traced.parameters.values()]
  const leaves = Object.values(traced.inputs)
  const outputs = Object.fromEntries(
    Object.entries(traced.outputs).filter((entry): entry is [string, Tensor] => entry[1] !== undefined),
  )
  const isLive = 'liveWeights' in weights
  const values = isLive ? weights.liveWeights() : Object.fromEntries(weights)
  // Where weights change, a frozen part must not follow those that are called like its own without the part's name.
  const weightOf = ({ name, plainName }: { name: string; plainName: string }) =>
    values[name] ?? (isLive ? undefined : values[plainName])
  const lacking = parameters.filter((parameter) => !weightOf(parameter)).map((parameter) => parameter.name)
  if (lacking.length > 0) throw new Error(lacks(name, lacking))
  const inputs = [...leaves, ...draws.map(({ leaf }) => leaf)]
  const compiled = await compileGraph(
    isLive
      ? { inputs: [...inputs, ...parameters.map(({ tensor }) => tensor)], outputs }
      : {
          inputs,
          outputs,
          weights: new Map(parameters.map((spec) => [spec.tensor, weightOf(spec) as TensorData | QuantizedWeight])),
        },
    options,
  )
  const live = (): Record<string, TensorData | DeviceTensor> => {
    if (!isLive) return {}
    const current = weights.liveWeights()
    return Object.fromEntries(parameters.map(({ name }) => [name, current[name]]))
  }
  const noise = new NoiseFeeds(leaves, draws)
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
