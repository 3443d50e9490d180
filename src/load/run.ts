import type { Checkpoint } from '../hub/checkpoint.ts'
import { Scope } from '../nn/scope.ts'
import type { Tensors } from '../nn/trace.ts'
import { type CompileOptions, compileGraph } from '../runtime/compiled.ts'
import { grad, input, type Tensor, type TensorData } from '../tensor/index.ts'
import { modelFromConfig } from './registry.ts'
import { readWeights } from './weights.ts'

/** Runs a checkpoint once on named inputs, in the reference implementation's words: what parity is checked with. */

const camelCase = (name: string): string => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Positions and ids are int32 inside; a reference writes them as int64. */
function narrow({ dtype, shape, data }: TensorData): TensorData {
  if (dtype !== 'int64') return { dtype, shape, data }
  return { dtype: 'int32', shape, data: Int32Array.from(data as BigInt64Array, Number) }
}

interface Traced {
  scope: Scope
  outputs: Tensors
  leaves: Tensor[]
  feeds: Record<string, TensorData>
}

function trace(checkpoint: Checkpoint, inputs: Readonly<Record<string, TensorData>>): Traced {
  const { model, modelClass } = modelFromConfig(checkpoint.config, checkpoint.names())
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [camelCase(name), narrow(value)]))
  const leaves = Object.entries(feeds).map(([name, { dtype, shape }]) => input(name, shape, dtype))
  const scope = Scope.root()
  const outputs = model.forward(scope, Object.fromEntries(leaves.map((leaf, i) => [Object.keys(feeds)[i], leaf])))
  const weights = readWeights(scope.parameters.values(), checkpoint, modelClass)
  return { scope, outputs, leaves, feeds: { ...feeds, ...Object.fromEntries(weights) } }
}

async function evaluate({ scope, leaves, feeds }: Traced, outputs: Record<string, Tensor>, options?: CompileOptions) {
  const parameters = [...scope.parameters.values()].map(({ tensor }) => tensor)
  const compiled = await compileGraph({ inputs: [...leaves, ...parameters], outputs }, options)
  try {
    return await compiled.run(feeds)
  } finally {
    compiled.release()
  }
}

/**
 * The forward pass in fp32.
 *
 * @param inputs - under the reference's names: `input_ids`, `attention_mask`, `labels`, `pixel_values`, …
 * @returns outputs under the reference's names: `logits`, `loss`, `last_hidden_state`, …
 */
export async function forward(
  checkpoint: Checkpoint,
  inputs: Readonly<Record<string, TensorData>>,
  options?: CompileOptions,
): Promise<Record<string, TensorData>> {
  const traced = trace(checkpoint, inputs)
  const outputs = Object.entries(traced.outputs).flatMap(([name, tensor]) => (tensor ? [[name, tensor] as const] : []))
  const results = await evaluate(traced, Object.fromEntries(outputs), options)
  return Object.fromEntries(Object.entries(results).map(([name, value]) => [snakeCase(name), value]))
}

/**
 * d loss / d parameter, for every parameter, under its checkpoint name.
 *
 * @throws Error where the inputs give the model no loss
 */
export async function gradients(
  checkpoint: Checkpoint,
  inputs: Readonly<Record<string, TensorData>>,
  options?: CompileOptions,
): Promise<Record<string, TensorData>> {
  const traced = trace(checkpoint, inputs)
  const { loss } = traced.outputs
  if (!loss) throw new Error(`the model has no loss on inputs ${Object.keys(inputs).join(', ')}: give it labels`)
  const trained = [...traced.scope.parameters.values()].filter(({ trainable }) => trainable)
  const tensors = grad(
    loss,
    trained.map(({ tensor }) => tensor),
  )
  // A graph's outputs may not be called like its inputs.
  const outputs = Object.fromEntries(trained.map(({ name }, i) => [`grad.${name}`, tensors[i]]))
  const results = await evaluate(traced, outputs, options)
  return Object.fromEntries(trained.map(({ name }) => [name, results[`grad.${name}`]]))
}
