import type { Checkpoint } from '../hub/checkpoint.ts'
import type { ModelClass } from '../nn/model.ts'
import type { ParameterSpec } from '../nn/scope.ts'
import { sizeOf, type TensorData } from '../tensor/data.ts'

/**
 * Reads the values of a model's parameters from a checkpoint, in fp32. Checkpoints of a model without its head leave
 * the base model's prefix out of the names; both spellings are found.
 *
 * @throws Error that names the first parameter which is missing or has another shape
 */
export function readWeights(
  parameters: Iterable<ParameterSpec>,
  checkpoint: Checkpoint,
  { baseModelPrefix }: Pick<ModelClass, 'baseModelPrefix'>,
): Map<string, TensorData> {
  const weights = new Map<string, TensorData>()
  for (const { name, shape, read } of findWeights(parameters, checkpoint, baseModelPrefix)) {
    weights.set(name, { dtype: 'float32', shape, data: read(new Float32Array(sizeOf(shape))) })
  }
  return weights
}

/**
 * The same with some parameters converted as they are read: of those only one is in memory in fp32 at a time.
 *
 * @param convert - by parameter name; its tensor is overwritten after it returns
 */
export function readWeightsConverted<Converted>(
  parameters: Iterable<ParameterSpec>,
  checkpoint: Checkpoint,
  { baseModelPrefix }: Pick<ModelClass, 'baseModelPrefix'>,
  convert: ReadonlyMap<string, (value: TensorData) => Converted> = new Map(),
): Map<string, TensorData | Converted> {
  const specs = [...parameters]
  const scratch = new Float32Array(
    Math.max(0, ...specs.flatMap(({ name, shape }) => (convert.has(name) ? [sizeOf(shape)] : []))),
  )
  const weights = new Map<string, TensorData | Converted>()
  for (const { name, shape, read } of findWeights(specs, checkpoint, baseModelPrefix)) {
    const converter = convert.get(name)
    const size = sizeOf(shape)
    const value: TensorData = {
      dtype: 'float32',
      shape,
      data: read(converter ? scratch.subarray(0, size) : new Float32Array(size)),
    }
    weights.set(name, converter ? converter(value) : value)
  }
  return weights
}

interface StoredWeight {
  readonly name: string
  readonly shape: readonly number[]
  read(into: Float32Array): Float32Array
}

function* findWeights(
  parameters: Iterable<ParameterSpec>,
  checkpoint: Checkpoint,
  baseModelPrefix: string,
): Generator<StoredWeight> {
  const stored = new Set(checkpoint.names())
  for (const { name, shape } of parameters) {
    const short = name.startsWith(baseModelPrefix) ? name.slice(baseModelPrefix.length) : name
    const found = [name, short].find((candidate) => stored.has(candidate))
    if (!found) throw new Error(`the checkpoint has no parameter ${name}, which its config.json calls for`)
    const info = checkpoint.info(found)
    if (`${info.shape}` !== `${shape}`) {
      throw new Error(
        `parameter ${found} is [${info.shape.join(', ')}] in the checkpoint; its config.json makes it [${shape.join(', ')}]`,
      )
    }
    yield { name, shape, read: (into) => checkpoint.read(found, into) }
  }
}
