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
  const stored = new Set(checkpoint.names())
  const weights = new Map<string, TensorData>()
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
    const data = checkpoint.read(found, new Float32Array(sizeOf(shape)))
    weights.set(name, { dtype: 'float32', shape, data })
  }
  return weights
}
