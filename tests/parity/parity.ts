import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { beamSearch } from '../../src/generate/beam.ts'
import { CachedDecoder, writerOf } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { loadModel } from '../../src/load/load.ts'
import { MODEL_CLASSES, modelFromConfig } from '../../src/load/registry.ts'
import { forward, gradients } from '../../src/load/run.ts'
import { readWeights } from '../../src/load/weights.ts'
import { trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { grad, type Tensor, type TensorData } from '../../src/tensor/index.ts'

/**
 * A folder with a checkpoint and the reference implementation's answers is a test: `inputs.safetensors`,
 * `outputs.safetensors`, and as far as they exist `grads.safetensors` (d loss / d parameter), `running.safetensors`
 * (buffers after a step: the answers are then those of training mode) and `generation.json` (greedy and beam search).
 */

/** Folders of reference answers, by whether there is a model for them. */
export function referenceFolders(root: string): { known: string[]; unknown: string[] } {
  const folders = existsSync(root)
    ? readdirSync(root).filter(
        (name) => existsSync(`${root}/${name}/outputs.safetensors`) && existsSync(`${root}/${name}/config.json`),
      )
    : []
  const architectures = MODEL_CLASSES.flatMap(({ table }) => table.architectures)
  const isKnown = (name: string): boolean => {
    const config = JSON.parse(readFileSync(`${root}/${name}/config.json`, 'utf8'))
    return [config.architectures, config._class_name]
      .flat()
      .some((architecture) => architectures.includes(architecture))
  }
  return { known: folders.filter(isKnown), unknown: folders.filter((name) => !isKnown(name)) }
}

/**
 * Tensors below this size count by it: of a gradient that is zero but for rounding (a key's bias, which a softmax does
 * not see) there is nothing to compare.
 */
const SMALLEST = 1e-3

/** The largest difference of any element, relative to the largest absolute value of the reference tensor. */
export function relativeError(actual: TensorData | undefined, expected: TensorData): number {
  if (!actual || `${actual.shape}` !== `${expected.shape}`) return Number.POSITIVE_INFINITY
  let [difference, largest] = [0, 0]
  for (let i = 0; i < expected.data.length; i++) {
    const reference = Number(expected.data[i])
    difference = Math.max(difference, Math.abs(Number(actual.data[i]) - reference))
    largest = Math.max(largest, Math.abs(reference))
    if (Number.isNaN(Number(actual.data[i]))) return Number.POSITIVE_INFINITY
  }
  return difference / Math.max(largest, SMALLEST)
}

/** Fp32 sums in another order differ by this much, relative to the largest value of a tensor. */
export const PARITY_TOLERANCE = 1e-4

type Named = Record<string, TensorData>

/** Tensors of a reference folder on which the model disagrees: its outputs, then its parameters' gradients. */
export async function disagreements(folder: string): Promise<string[]> {
  const references = (name: string): Named | undefined =>
    existsSync(`${folder}/${name}.safetensors`) ? readTensors(`${folder}/${name}.safetensors`) : undefined
  const inputs = readTensors(`${folder}/inputs.safetensors`)
  const [outputs, grads, running] = ['outputs', 'grads', 'running'].map(references)
  const checkpoint = openCheckpoint(folder)
  try {
    if (running) {
      const step = await trainingStep(folder, inputs)
      return [...differing('output', step.outputs, outputs), ...differing('gradient', step.grads, grads)].concat(
        differing('buffer', step.running, running),
      )
    }
    return [
      ...differing('output', await forward(checkpoint, inputs), outputs),
      ...(grads ? differing('gradient', await gradients(checkpoint, inputs), grads) : []),
    ]
  } finally {
    checkpoint.close()
  }
}

const differing = (kind: string, actual: Named, expected: Named = {}): string[] =>
  Object.entries(expected).flatMap(([name, reference]) => {
    const error = relativeError(actual[name], reference)
    return error <= PARITY_TOLERANCE ? [] : [`${kind} ${name}: ${error}`]
  })

/** One step in training mode: what it answers, its gradients, and what its buffers become. */
async function trainingStep(folder: string, reference: Named): Promise<Record<'outputs' | 'grads' | 'running', Named>> {
  const checkpoint = openCheckpoint(folder)
  const { model, modelClass } = modelFromConfig(checkpoint.config, checkpoint.names())
  const camelCase = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
  const inputs = Object.fromEntries(
    Object.entries(reference).map(([name, { dtype, shape, data }]): [string, TensorData] => [
      camelCase(name),
      dtype === 'int64' ? { dtype: 'int32', shape, data: Int32Array.from(data, Number) } : { dtype, shape, data },
    ]),
  )
  const traced = trace((scope, given) => model.forward(scope, given), inputs, { training: true })
  const parameters = [...traced.parameters.values()]
  const trained = parameters.filter(({ trainable }) => trainable)
  const tensors = grad(
    traced.outputs.loss as Tensor,
    trained.map(({ tensor }) => tensor),
  )
  const prefixed = (prefix: string, entries: Iterable<readonly [string, Tensor | undefined]>) =>
    Object.fromEntries([...entries].map(([name, tensor]) => [`${prefix}.${name}`, tensor]))
  const outputs = {
    ...prefixed('outputs', Object.entries(traced.outputs)),
    ...prefixed(
      'grads',
      trained.map(({ name }, i) => [name, tensors[i]] as const),
    ),
    ...prefixed('running', traced.updates),
  }
  const program = await compile({ ...traced, outputs }, readWeights(parameters, checkpoint, modelClass))
  const results = Object.entries(await program(inputs))
  program.release()
  checkpoint.close()
  const under = (prefix: string): Named =>
    Object.fromEntries(
      results.flatMap(([name, value]) =>
        value && name.startsWith(`${prefix}.`) ? [[name.slice(prefix.length + 1), value]] : [],
      ),
    )
  return { outputs: under('outputs'), grads: under('grads'), running: under('running') }
}

interface Run {
  num_beams: number
  length_penalty?: number
  early_stopping?: boolean | 'never'
  max_new_tokens: number
  eos_token_id: number | number[]
  output_ids: number[]
}

const readGeneration = (folder: string): { input_ids: number[]; runs: Run[] } =>
  JSON.parse(readFileSync(`${folder}/generation.json`, 'utf8'))

/** What the reference implementation answers to the folder's prompt, run by run. */
export const expectedAnswers = (folder: string): number[][] =>
  readGeneration(folder).runs.map(({ output_ids }) => output_ids)

/** The same, by our decoding over a cache. */
export async function answers(folder: string): Promise<number[][]> {
  const { input_ids: promptIds, runs } = readGeneration(folder)
  const { model, weights } = await loadModel(folder)
  const decoder = await CachedDecoder.create(writerOf(model), weights, { slots: 5 })
  const engine = new Engine(decoder)
  const prompt = decoder.promptOf(promptIds)
  const all: number[][] = []
  for (const run of runs) {
    const stopping = { maxNewTokens: run.max_new_tokens, stopTokenIds: [run.eos_token_id].flat() }
    const ids: number[] = [...decoder.restOf(prompt)]
    if (run.num_beams === 1) {
      for await (const event of engine.generate({ ...prompt, ...stopping, temperature: 0 })) {
        if (event.type === 'token') ids.push(event.id)
      }
    } else {
      const { num_beams: nBeams, length_penalty: lengthPenalty, early_stopping: earlyStopping } = run
      ids.push(...(await beamSearch(decoder, prompt, { ...stopping, nBeams, lengthPenalty, earlyStopping })))
    }
    all.push(ids)
  }
  decoder.release()
  return all
}
