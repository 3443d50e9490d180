import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { convertModel } from '../src/hub/convert.ts'
import { ggufName } from '../src/hub/gguf/architectures.ts'
import { ggufFromConfig } from '../src/hub/gguf/config.ts'
import { quantize } from '../src/hub/gguf/quantize.ts'
import { writeGguf } from '../src/hub/gguf/write.ts'
import { resolveModelRef } from '../src/hub/open.ts'
import { Llama } from '../src/models/llama.ts'
import { type Model, traceModel } from '../src/nn/model.ts'
import type { Weights } from '../src/runtime/compile.ts'
import { sizeOf, tensorData } from '../src/tensor/index.ts'
import { tokenizerFromGguf } from '../src/text/gguf-tokenizer.ts'
import { saveTokenizer } from '../src/text/load.ts'

/** Model files that contestants load, made once and kept in a folder. */

/** A model of the size of TinyLlama's first half with made-up weights: speed does not depend on their values. */
const MADE_UP = new Llama({
  vocabSize: 49152,
  maxPositions: 2048,
  dModel: 2048,
  nLayers: 12,
  nHeads: 32,
  nKvHeads: 4,
  dInner: 5632,
  tieWordEmbeddings: true,
})

/** A GGUF file in Q4_0 of a model reference, for llama.cpp. */
export async function q4Gguf(reference: string, folder: string): Promise<string> {
  const target = join(folder, `${reference.replace(/[^\w.-]+/g, '_')}.Q4_0.gguf`)
  if (existsSync(target)) return target
  mkdirSync(folder, { recursive: true })
  const { path } = await resolveModelRef(reference)
  await convertModel(path, target, { quantize: 'Q4_0' }, async () => {})
  return target
}

/** A folder in the Hugging Face layout: a model reference's own, or a GGUF file's, in fp32. */
export async function modelFolder(reference: string, folder: string): Promise<string> {
  const { kind, path } = await resolveModelRef(reference)
  if (kind === 'folder') return path
  const target = join(folder, `${basename(path, '.gguf').replace(/\W+/g, '-')}-fp32`)
  if (existsSync(target)) return target
  mkdirSync(folder, { recursive: true })
  await convertModel(path, target, {}, (metadata, into) => saveTokenizer(tokenizerFromGguf(metadata), into))
  return target
}

const THINGS = ['a kettle', 'an umbrella', 'a violin', 'a ladder', 'a pillow', 'a compass', 'a shovel', 'a lantern']
const PLACES = [
  'the kitchen',
  'a garden shed',
  'the concert hall',
  'the bedroom',
  'an attic',
  'the harbour',
  'a library',
]
const PEOPLE = ['Anna', 'Boris', 'Chiara', 'David', 'Elif', 'Farid']

/** Made-up questions with five choices, as an evaluation has them: some thirty tokens, answers of two or three. */
export function questionsFile(folder: string, count = 18): string {
  const target = join(folder, 'questions.jsonl')
  mkdirSync(folder, { recursive: true })
  const lines = Array.from({ length: count }, (_, i) => {
    const [thing, other] = [THINGS[i % THINGS.length], THINGS[(3 * i + 1) % THINGS.length]]
    const person = PEOPLE[i % PEOPLE.length]
    const question = `${person} has lent ${thing} to a friend on day ${i + 1}, and wants it back before ${other} is needed. Where would ${person} look for it first?`
    const choices = Array.from({ length: 5 }, (_, j) => PLACES[(i + j) % PLACES.length])
    return JSON.stringify({ question, choices, answer: i % 5 })
  })
  writeFileSync(target, `${lines.join('\n')}\n`)
  return target
}

/** The same for the made-up model of 0.6B parameters. */
export async function madeUpGguf(folder: string): Promise<string> {
  const target = join(folder, 'made-up-0.6B-distinct.Q4_0.gguf')
  if (existsSync(target)) return target
  mkdirSync(folder, { recursive: true })
  const { parameters } = traceModel(MADE_UP)
  const { metadata } = ggufFromConfig(MADE_UP.toConfig())
  metadata.set('general.file_type', { type: 'uint32', value: 2 })
  metadata.set('tokenizer.ggml.model', { type: 'string', value: 'no_vocab' })
  const tensors = [...parameters.values()].map(({ name, shape }, index) => {
    const type = shape.length === 1 ? ('F32' as const) : ('Q4_0' as const)
    return { name: ggufName(name) as string, type, shape, bytes: () => quantize(type, madeUpValues(shape, index)) }
  })
  await writeGguf(target, metadata, tensors)
  return target
}

/**
 * Ones for a norm; for a matrix, noise of a standard deviation that keeps the sizes of activations. Each tensor has its
 * own: ONNX Runtime keeps equal weights once, and a model whose layers are equal decodes out of the processor's cache.
 */
function madeUpValues(shape: readonly number[], seed: number): Float32Array {
  const values = new Float32Array(sizeOf(shape))
  if (shape.length === 1) return values.fill(1)
  const scale = Math.sqrt(3 / (shape.at(-1) as number))
  let state = Math.imul(seed + 1, 0x9e3779b1)
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    values[i] = (state / 2 ** 31) * scale
  }
  return values
}

/** Weights in fp32: speed does not depend on their values. */
export const madeUpWeights = (model: Model): Weights =>
  new Map(
    Array.from(traceModel(model).parameters.values(), ({ name, shape }, index) => [
      name,
      tensorData('float32', shape, madeUpValues(shape, index)),
    ]),
  )

/** The ONNX file that jackdaw exports of a model, made in a process of its own so that its memory goes with it. */
export async function exportedOnnx(model: string, folder: string): Promise<string> {
  const target = join(folder, `${basename(model, '.gguf')}.onnx`)
  if (existsSync(target)) return target
  const script = new URL(`jackdaw/export-onnx${extname(import.meta.url)}`, import.meta.url)
  await promisify(execFile)(process.execPath, [fileURLToPath(script), model, target])
  return target
}
