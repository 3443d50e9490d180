/**
 * Offsite-Tuning: Transfer Learning without Full Model
 * Xiao, Lin and Han, Massachusetts Institute of Technology, 2023. arXiv 2302.04870
 *
 * New over fine-tuning where the model lies, with its weights or with the data given away (§3):
 * - the owner of the model sends its first and last layers (adapters) and a middle that was made small (the emulator);
 * - the owner of the data tunes the adapters around the frozen emulator, and sends nothing else back;
 * - the adapters are plugged into the whole model, which nobody but its owner has seen;
 * - the emulator keeps every so-and-so-many-th layer, and is taught by the whole middle what it does (§3.3).
 *
 * Departures: layers are dropped; quantising or pruning the middle instead (§4.4) is not here. Embeddings, the last
 * normalisation and the head go with the emulator and stay as they are, as in the authors' code, whose loss is also this one.
 *
 * | paper                     | here                        |
 * |---------------------------|-----------------------------|
 * | M = [A, E], A             | `first` and `last` layers   |
 * | E, E*                     | middle layers, those `kept` |
 * | M′ (tuned), M′ plugged in | `tuned`, `plugIn`           |
 */

import { roundHalfToEven } from '../data/round.ts'
import type { CausalLm } from '../nn/model.ts'
import type { ParameterSpec, Scope } from '../nn/scope.ts'
import { int32, trace } from '../nn/trace.ts'
import type { ParameterGroup } from '../optim/flat-parameters.ts'
import type { Objective } from '../optim/trainer.ts'
import { crossEntropySum, mean, type SumAndCount, type Tensor, type TensorData } from '../tensor/index.ts'

/** Which layers of a model of so many are adapters: the owner of the data needs to know no more. */
export interface Adapters {
  readonly first: number
  readonly last: number
}

export interface OffsitePlan extends Adapters {
  /** Layers of the middle that the emulator keeps. */
  readonly kept: number
}

/** A class whose models differ in their number of layers. */
type Layered = CausalLm & { readonly config: { readonly nLayers: number } }

type Weights = ReadonlyMap<string, TensorData>

/** Of `n` layers the `m` that are kept: evenly apart, the outermost among them (§3.3). Halves go to the even one. */
export function uniformLayers(n: number, m: number): number[] {
  if (!(Number.isInteger(m) && m >= 1 && m <= n))
    throw new Error(`of ${n} middle layers 1 to ${n} can be kept, not ${m}`)
  return Array.from({ length: m }, (_, i) => (m === 1 ? 0 : roundHalfToEven((i * (n - 1)) / (m - 1))))
}

/** What the owner of a model makes of it: a smaller model of the same kind, to be sent away. */
export class Offsite<Model extends Layered> {
  /** Adapters around the kept layers: a model like any other. */
  readonly emulator: Model
  /** For each layer of the emulator the one of the whole model that it was. */
  private readonly origins: readonly number[]
  private readonly names: readonly string[]

  /** @throws Error where the layers are not enough */
  constructor(
    readonly model: Model,
    readonly plan: OffsitePlan,
  ) {
    const { first, last, kept } = plan
    this.names = layerNames(model)
    const middle = this.names.length - first - last
    if (!(first >= 0 && last >= 0 && first + last >= 1 && middle >= 1)) {
      throw new Error(`${this.names.length} layers are too few for ${first} and ${last} as adapters and a middle`)
    }
    this.origins = [
      ...Array.from({ length: first }, (_, i) => i),
      ...uniformLayers(middle, kept).map((i) => first + i),
      ...Array.from({ length: last }, (_, i) => first + middle + i),
    ]
    const make = model.constructor as new (config: object) => Model
    this.emulator = new make({ ...model.config, nLayers: this.origins.length })
  }

  /** The weights that go with the emulator: of the layers in between there is none. */
  emulatorWeights(weights: Weights): Map<string, TensorData> {
    const names = layerNames(this.emulator)
    return new Map(
      [...parametersOf(this.emulator)].map(({ name }) => {
        const layer = layerOf(names, name)
        const origin = layer < 0 ? name : this.names[this.origins[layer]] + name.slice(names[layer].length)
        return [name, found(weights, origin)]
      }),
    )
  }

  /**
   * How the emulator is taught (§3.3): its next tokens, and 30 times how far its middle is from the whole one on the same
   * inputs, ‖h* − h‖² over ‖h‖².
   *
   * @param options.teacher - the part of the scope where the whole model lies, frozen
   */
  distillation({ languageWeight = 1, stateWeight = 30, teacher = 'teacher' } = {}): Objective {
    const { first } = this.plan
    const { kept } = this.plan
    const whole = this.names.length - first - this.plan.last
    return (scope, { inputIds, shiftLabels }) => {
      const theirs = stateAfter(this.model, scope.at(teacher).frozen(), first + whole - 1, inputIds)
      const ours = stateAfter(this.emulator, scope, first + kept - 1, inputIds)
      const language: SumAndCount = crossEntropySum(ours.logits, shiftLabels)
      const off = ours.state.sub(theirs.state)
      const distance = mean(off.mul(off)).div(mean(theirs.state.mul(theirs.state)))
      const { sum, count } = language
      // The distance is a mean; as a sum it counts as often as there are tokens to predict.
      const loss = sum.mul(languageWeight).add(distance.mul(count).mul(stateWeight))
      return { loss: { sum: loss, count }, language, distance }
    }
  }

  /** First values for {@link distillation}: the emulator's, and the whole model's beside them. */
  distillationWeights(weights: Weights, teacher = 'teacher'): Map<string, TensorData> {
    const whole = [...weights].map(([name, value]) => [`${teacher}.${name}`, value] as const)
    return new Map([...this.emulatorWeights(weights), ...whole])
  }

  /** What distillation moves: the kept layers, and nothing around them. */
  middleGroups(weightDecay = 0.1): ParameterGroup[] {
    const { first, kept } = this.plan
    return layerGroups(this.emulator, (layer) => layer >= first && layer < first + kept, weightDecay)
  }

  /**
   * The whole model with the adapters that came back.
   *
   * @throws Error where they are not exactly the adapters that were sent: other names, other shapes
   */
  plugIn(weights: Weights, adapters: Weights): Map<string, TensorData> {
    const expected = new Set(adapterNames(this.emulator, this.plan))
    const foreign = [...adapters.keys()].find((name) => !expected.has(name))
    if (foreign !== undefined) throw new Error(`${foreign} is no parameter of an adapter, and is not plugged in`)
    const names = layerNames(this.emulator)
    const result = new Map(weights)
    for (const name of expected) {
      const layer = layerOf(names, name)
      const target = this.names[this.origins[layer]] + name.slice(names[layer].length)
      const [given, before] = [found(adapters, name), found(weights, target)]
      if (`${given.shape}` !== `${before.shape}`) {
        throw new Error(`${name} came back as [${given.shape}], and was sent as [${before.shape}]`)
      }
      result.set(target, given)
    }
    return result
  }
}

/** What the owner of the data tunes, in the model that was sent: its first and its last layers. */
export function adapterGroups(emulator: Layered, adapters: Adapters, weightDecay = 0.1): ParameterGroup[] {
  const count = emulator.config.nLayers
  return layerGroups(emulator, (layer) => isAdapter(layer, count, adapters), weightDecay)
}

/** What the owner of the data sends back: the tuned adapters, by the emulator's names, and nothing else. */
export const tunedAdapters = (emulator: Layered, adapters: Adapters, tuned: Weights): Map<string, TensorData> =>
  new Map(adapterNames(emulator, adapters).map((name) => [name, found(tuned, name)]))

const isAdapter = (layer: number, count: number, { first, last }: Adapters): boolean =>
  layer >= 0 && (layer < first || layer >= count - last)

function adapterNames(emulator: Layered, adapters: Adapters): string[] {
  const names = layerNames(emulator)
  return [...parametersOf(emulator)]
    .map(({ name }) => name)
    .filter((name) => isAdapter(layerOf(names, name), names.length, adapters))
}

/** Matrices of some layers decay, their gains and biases do not; what is not in them stays as it is. */
function layerGroups(model: CausalLm, takes: (layer: number) => boolean, weightDecay: number): ParameterGroup[] {
  const names = layerNames(model)
  const isTaken = ({ name }: ParameterSpec): boolean => takes(layerOf(names, name))
  return [{ takes: (spec) => isTaken(spec) && spec.shape.length >= 2, weightDecay }, { takes: (spec) => isTaken(spec) }]
}

/** The model's blocks in order, as checkpoints call them: `model.layers.0`. */
function layerNames(model: CausalLm): string[] {
  const names: string[] = []
  traceWatching(model, (name) => names.push(name))
  return names
}

const parametersOf = (model: CausalLm): Iterable<ParameterSpec> => traceWatching(model, () => {}).parameters.values()

function traceWatching(model: CausalLm, seen: (name: string) => void) {
  return trace((scope, { inputIds }) => ({ logits: model.forward(scope.watching(seen), { inputIds }).logits }), {
    inputIds: int32(1, 'seq'),
  })
}

/** Which layer a parameter is of; −1 where it is of none. */
const layerOf = (layers: readonly string[], name: string): number =>
  layers.findIndex((layer) => name.startsWith(`${layer}.`))

/** The state after a layer, and the logits. */
function stateAfter(model: CausalLm, scope: Scope, layer: number, inputIds: Tensor): { state: Tensor; logits: Tensor } {
  const states: Tensor[] = []
  const watched = scope.watching((_, output) => states.push(output))
  const { logits } = model.forward(watched, { inputIds })
  return { state: states[layer], logits }
}

function found(weights: Weights, name: string): TensorData {
  const value = weights.get(name)
  if (!value) throw new Error(`the weights lack ${name}`)
  return value
}
