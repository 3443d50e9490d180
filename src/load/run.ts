import type { Checkpoint } from '../hub/checkpoint.ts'
import type { Model } from '../nn/model.ts'
import { checkInputs, type InputSpecs, type Tensors, type Traced, trace } from '../nn/trace.ts'
import { compile } from '../runtime/compile.ts'
import type { CompileOptions } from '../runtime/compiled.ts'
import { grad, type TensorData } from '../tensor/index.ts'
import { modelFromCheckpoint } from './registry.ts'
import { finder, readWeights } from './weights.ts'

/** Runs a checkpoint once on named inputs, in the reference implementation's words: what parity is checked with. */

type Named = Record<string, TensorData>

const camelCase = (name: string): string => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** Positions, ids and masks are int32 inside; a reference writes them as int64, and masks as bytes too. */
function narrow({ dtype, shape, data }: TensorData): TensorData {
  if (dtype !== 'int64' && dtype !== 'bool' && dtype !== 'uint8') return { dtype, shape, data }
  return { dtype: 'int32', shape, data: Int32Array.from(data, Number) }
}

/**
 * The forward pass in fp32.
 *
 * @param inputs - under the reference's names: `input_ids`, `attention_mask`, `labels`, `pixel_values`, …
 * @returns outputs under the reference's names: `logits`, `loss`, `last_hidden_state`, …
 * @throws Error with one sentence where the inputs are not those of the model
 */
export async function forward(
  checkpoint: Checkpoint,
  inputs: Readonly<Named>,
  options?: CompileOptions,
): Promise<Named> {
  const results = await runOnce(checkpoint, inputs, (_model, { outputs }) => outputs, options)
  return Object.fromEntries(Object.entries(results).map(([name, value]) => [snakeCase(name), value]))
}

/**
 * d loss / d parameter, for every parameter, under its checkpoint name.
 *
 * @throws Error where the inputs give the model no loss
 */
export const gradients = (checkpoint: Checkpoint, inputs: Readonly<Named>, options?: CompileOptions): Promise<Named> =>
  runOnce(checkpoint, inputs, gradientsOf, options)

function gradientsOf(model: Model, { inputs, outputs: { loss }, parameters }: Traced): Tensors {
  if (!loss) {
    const named = Object.keys(inputs).map(snakeCase).join(', ')
    const labels = Object.keys(model.inputs).filter((name) => /labels|target/i.test(name) && !(name in inputs))
    throw new Error(`${model.constructor.name} has no loss on ${named}: give it ${labels.map(snakeCase).join(' or ')}`)
  }
  const trained = [...parameters.values()].filter(({ trainable }) => trainable)
  const tensors = grad(
    loss,
    trained.map(({ tensor }) => tensor),
  )
  return Object.fromEntries(trained.map(({ name }, i) => [name, tensors[i]]))
}

/** @param wanted - picks or makes what is computed out of the traced forward pass */
async function runOnce(
  checkpoint: Checkpoint,
  inputs: Readonly<Named>,
  wanted: (model: Model, traced: Traced) => Tensors,
  options?: CompileOptions,
): Promise<Named> {
  const { model, modelClass } = modelFromCheckpoint(checkpoint)
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [camelCase(name), narrow(value)]))
  checkFeeds(model, feeds)
  // On the sizes that are given: graphs of known sizes compute less.
  const traced = trace((scope, given) => model.forward(scope, given), feeds as InputSpecs, {
    onDeclare: finder(checkpoint, modelClass),
  })
  const outputs = wanted(model, traced)
  const weights = readWeights(traced.parameters.values(), checkpoint, modelClass)
  const run = await compile({ ...traced, outputs }, weights, { prepack: false, ...options })
  try {
    return (await run(feeds)) as Named
  } finally {
    run.release()
  }
}

function checkFeeds(model: Model, feeds: Readonly<Named>): void {
  const { name } = model.constructor
  checkInputs(name, model.inputs, Object.keys(feeds), snakeCase)
  for (const [input, { dtype, shape }] of Object.entries(feeds)) {
    const spec = model.inputs[input]
    const fits =
      spec.flexible ||
      (spec.shape.length === shape.length && spec.shape.every((dim, i) => typeof dim === 'string' || dim === shape[i]))
    const isNumber =
      dtype === spec.dtype ||
      (spec.dtype === 'float32' && dtype === 'int32') ||
      (spec.dtype === 'int32' && dtype === 'float32')
    if (!fits || !isNumber) {
      throw new Error(
        `${name}: ${snakeCase(input)} must be ${spec.dtype} [${spec.shape.join(', ')}], got ${dtype} [${shape.join(', ')}]`,
      )
    }
  }
}
