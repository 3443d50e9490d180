import { GPT2 } from '../models/gpt2.ts'
import { Llama } from '../models/llama.ts'
import { ResNet } from '../models/resnet.ts'
import { T5 } from '../models/t5.ts'
import type { Model, ModelClass } from '../nn/model.ts'

/** Every model class that a checkpoint's `architectures` may name. A new paper adds itself here. */
export const MODEL_CLASSES: readonly ModelClass[] = [GPT2, Llama, ResNet, T5]

/**
 * The model that a checkpoint's config.json describes, without its weights.
 *
 * @param stored - names of the parameters in the checkpoint, where there is one
 * @throws Error for an architecture that is not among `MODEL_CLASSES`
 */
export function modelFromConfig(
  config: Record<string, unknown> | undefined,
  stored?: Iterable<string>,
): { model: Model; modelClass: ModelClass } {
  if (!config) throw new Error('the checkpoint has no config.json, so nothing says which model it is')
  const names = Array.isArray(config.architectures) ? config.architectures.filter((n) => typeof n === 'string') : []
  const modelClass = MODEL_CLASSES.find(({ architectures }) => architectures.some((name) => names.includes(name)))
  if (!modelClass) {
    const known = MODEL_CLASSES.flatMap(({ architectures }) => architectures).join(', ')
    throw new Error(`config.json: architectures is ${JSON.stringify(config.architectures)}; known are ${known}`)
  }
  return { model: modelClass.fromConfig(config, stored && new Set(stored)), modelClass }
}
