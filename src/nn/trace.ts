import { type DType, input, type NamedShape, RandomStreams, shapeOf, type Tensor } from '../tensor/index.ts'
import type { RandomDraw } from '../tensor/ops/random.ts'
import { type ParameterSpec, Scope, type ScopeOptions } from './scope.ts'

/**
 * The first half of the door from a function to something that runs: calling the function once records its graph, and
 * what it asks of its scope on the way are its parameters. `compile` of `runtime/` is the other half.
 */

/** What a function reads: a dtype, and a shape whose named dimensions may differ from run to run. */
export interface InputSpec {
  readonly dtype: DType
  readonly shape: NamedShape
  /** May be left out. Default false. */
  readonly optional?: boolean
  /** May be left out where that other input is given. */
  readonly unless?: string
  /** The shape is the plainest of several that the function takes and checks itself. Default false. */
  readonly flexible?: boolean
}

export const float32 = (...shape: NamedShape): InputSpec => ({ dtype: 'float32', shape })
export const int32 = (...shape: NamedShape): InputSpec => ({ dtype: 'int32', shape })
/** An input that may be left out. */
export const optional = (spec: InputSpec): InputSpec => ({ ...spec, optional: true })

/** An input whose shape is the plainest of several. */
export const flexible = (spec: InputSpec): InputSpec => ({ ...spec, flexible: true })

export type InputSpecs = Readonly<Record<string, InputSpec>>

/** Named tensors; what is optional may be undefined. */
export type Tensors = Readonly<Record<string, Tensor | undefined>>

export interface TraceOptions extends ScopeOptions {
  /** Begins the sentences about wrong inputs. Default: the function's name, or `the graph`. */
  readonly name?: string
  /** Names of the inputs that will be fed. Default: all that are not optional. */
  readonly given?: readonly string[]
}

/** A function that was called once, on leaves. */
export interface Traced<Outputs extends Tensors = Tensors> {
  readonly name: string
  /** Its leaves, by name. */
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly outputs: Outputs
  /** Parameters and buffers, in order of first use. */
  readonly parameters: ReadonlyMap<string, ParameterSpec>
  /** New values of buffers, by name. */
  readonly updates: ReadonlyMap<string, Tensor>
  /** Noise and dropout masks, in the order they were drawn. Complete once gradients are taken, too. */
  readonly draws: readonly RandomDraw[]
}

/**
 * Records a function: the first half of running it.
 *
 * ```ts
 * const traced = trace((scope, { x }) => ({ y: linear(scope.at('fc'), x, 2) }), { x: float32('batch', 3) })
 * const run = await compile(traced, weights)
 * const { y } = await run({ x: tensorData('float32', [1, 3], [1, 2, 3]) })
 * ```
 *
 * @throws Error with one sentence where an input that is needed is not given, or one that is given is not known
 */
export function trace<Outputs extends Tensors>(
  fn: (scope: Scope, inputs: Record<string, Tensor>) => Outputs,
  inputs: InputSpecs,
  options: TraceOptions = {},
): Traced<Outputs> {
  const { name = fn.name || 'the graph', given, random = new RandomStreams(), ...scopeOptions } = options
  if (given) checkInputs(name, inputs, given)
  const present = Object.entries(inputs).filter(([input, { optional }]) => given?.includes(input) ?? !optional)
  const leaves = Object.fromEntries(
    present.map(([leaf, { dtype, shape }]) => [leaf, input(leaf, shapeOf(shape), dtype)]),
  )
  const scope = Scope.root({ ...scopeOptions, random })
  const outputs = fn(scope, leaves)
  return { name, inputs: leaves, outputs, parameters: scope.parameters, updates: scope.updates, draws: random.draws }
}

/**
 * @param spell - writes an input's name as the reader of the sentence knows it
 * @throws Error with one sentence where an input that is needed is not given, or one that is given is not known
 */
export function checkInputs(
  name: string,
  inputs: InputSpecs,
  given: readonly string[],
  spell: (name: string) => string = (same) => same,
): void {
  const list = (names: readonly string[]): string => joined(names.map(spell))
  const isGiven = (input: string | undefined): boolean => input !== undefined && given.includes(input)
  const needed = Object.entries(inputs).filter(([, { optional }]) => !optional)
  if (needed.some(([input, { unless }]) => !isGiven(input) && !isGiven(unless))) {
    const words = needed.map(([input, { unless }]) => `${spell(input)}${unless ? ` (or ${spell(unless)})` : ''}`)
    throw new Error(`${name} needs ${joined(words)}, got ${list(given) || 'nothing'}`)
  }
  const unknown = given.filter((input) => !(input in inputs))
  if (unknown.length > 0) {
    throw new Error(`${name} does not take ${list(unknown)}; it takes ${list(Object.keys(inputs))}`)
  }
}

const joined = (words: readonly string[]): string =>
  words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`
