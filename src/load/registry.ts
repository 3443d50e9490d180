import type { Checkpoint } from '../hub/checkpoint.ts'
import { ActorCritic } from '../models/actor-critic.ts'
import { Bert } from '../models/bert.ts'
import { CodeGen } from '../models/codegen.ts'
import { UNet2D } from '../models/ddpm.ts'
import { Gemma3 } from '../models/gemma3.ts'
import { GLM } from '../models/glm.ts'
import { GPT1 } from '../models/gpt1.ts'
import { GPT2 } from '../models/gpt2.ts'
import { GPT3 } from '../models/gpt3.ts'
import { Llama } from '../models/llama.ts'
import { Mistral } from '../models/mistral.ts'
import { Mqan } from '../models/mqan.ts'
import { Palm } from '../models/palm.ts'
import { Qwen2 } from '../models/qwen2.ts'
import { Qwen3 } from '../models/qwen3.ts'
import { ResNet } from '../models/resnet.ts'
import { T5 } from '../models/t5.ts'
import { Transformer } from '../models/transformer.ts'
import type { Model, ModelClass } from '../nn/model.ts'
import { settleHead } from './tied-head.ts'

/** Every model class that a checkpoint's config.json may name. A new paper adds itself here. */
export const MODEL_CLASSES: readonly ModelClass[] = [
  ActorCritic,
  Bert,
  CodeGen,
  Gemma3,
  GLM,
  GPT1,
  GPT2,
  GPT3,
  Llama,
  Mistral,
  Mqan,
  Palm,
  Qwen2,
  Qwen3,
  ResNet,
  T5,
  Transformer,
  UNet2D,
]

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
  const { modelClass, config: settings } = classOf(config)
  const read = modelClass.table.read(settings, stored && new Set(stored))
  return { model: new modelClass(read), modelClass }
}

/**
 * The model of a checkpoint, without its weights: the same, where whether it has a head of its own may depend on values.
 *
 * @param config - default: its config.json
 */
export function modelFromCheckpoint(
  checkpoint: Checkpoint,
  config: Record<string, unknown> | undefined = checkpoint.config,
): { model: Model; modelClass: ModelClass } {
  const { modelClass, config: given } = classOf(config)
  const settled = settleHead(given, checkpoint, modelClass)
  return { model: new modelClass(modelClass.table.read(settled.config, settled.names)), modelClass }
}

function classOf(config: Record<string, unknown> | undefined) {
  if (!config) throw new Error('the checkpoint has no config.json, so nothing says which model it is')
  // transformers writes a list of `architectures`, diffusers one `_class_name`.
  const { architectures, _class_name: className } = config
  const names = [architectures, className].flat().filter((name) => typeof name === 'string')
  const modelClass = MODEL_CLASSES.find(({ table }) => table.architectures.some((name) => names.includes(name)))
  if (!modelClass) {
    const known = MODEL_CLASSES.flatMap(({ table }) => table.architectures).join(', ')
    const key = className === undefined ? 'architectures' : '_class_name'
    const named = names.slice(0, 3).map((name) => JSON.stringify(name.slice(0, 60)))
    throw new Error(`config.json: ${key} names ${named.join(', ') || 'no model'}; known are ${known}`)
  }
  return { modelClass, config }
}
