/** Pipelines, as diffusers stores them: several models in one folder. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { quote } from './file.ts'
import { readJsonObject } from './safetensors.ts'

export type ComponentKind = 'network' | 'scheduler' | 'tokenizer' | 'processor'

/** A part of a pipeline. */
export interface PipelineComponent {
  readonly kind: ComponentKind
  /** The Python library whose class it is: `diffusers`, `transformers`, … */
  readonly library: string
  readonly className: string
  /** The folder that it lies in: its own, or in the oldest pipelines the pipeline's. */
  readonly path: string
}

/** What `model_index.json` says. */
export interface PipelineIndex {
  readonly path: string
  /** `StableDiffusionPipeline`, … */
  readonly className: string
  /** The parts that are there, by name. */
  readonly components: ReadonlyMap<string, PipelineComponent>
  /** The rest: `requires_safety_checker`, … */
  readonly settings: ReadonlyMap<string, unknown>
}

export const isPipelineFolder = (folder: string): boolean => existsSync(join(folder, 'model_index.json'))

/** The file that a part of this kind cannot be without, and how its class is known. */
const KINDS: readonly { kind: ComponentKind; className: RegExp; files: readonly string[] }[] = [
  { kind: 'scheduler', className: /Scheduler/, files: ['scheduler_config.json'] },
  { kind: 'tokenizer', className: /Tokenizer/, files: ['tokenizer.json', 'vocab.json', 'tokenizer_config.json'] },
  { kind: 'processor', className: /Processor|FeatureExtractor/, files: ['preprocessor_config.json'] },
  { kind: 'network', className: /(?:)/, files: ['config.json'] },
]

/**
 * Reads which parts a pipeline has, without opening them.
 *
 * @throws Error with one sentence where the index is damaged, or a part is missing
 */
export function openPipeline(folder: string): PipelineIndex {
  if (!isPipelineFolder(folder)) throw new Error(`${folder}: has no model_index.json, so it is no pipeline`)
  const indexPath = join(folder, 'model_index.json')
  const { _class_name: className, ...rest } = readJsonObject(indexPath)
  if (typeof className !== 'string') throw new Error(`${indexPath}: has no "_class_name"`)
  const components = new Map<string, PipelineComponent>()
  const settings = new Map<string, unknown>()
  for (const [name, value] of Object.entries(rest)) {
    if (name.startsWith('_')) continue
    const part = asPart(value)
    if (part === 'absent') continue
    if (part) components.set(name, findPart(folder, indexPath, name, part))
    else settings.set(name, value)
  }
  if (components.size === 0) throw new Error(`${indexPath}: names no parts`)
  return { path: folder, className, components, settings }
}

/** [library, class] names a part, and [null, null] one that was left out. */
function asPart(value: unknown): readonly [string, string] | 'absent' | undefined {
  if (!Array.isArray(value) || value.length !== 2) return undefined
  const [library, className]: unknown[] = value
  if (className === null) return 'absent'
  return typeof library === 'string' && typeof className === 'string' ? [library, className] : undefined
}

function findPart(
  folder: string,
  indexPath: string,
  name: string,
  [library, className]: readonly [string, string],
): PipelineComponent {
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(name)) {
    throw new Error(`${indexPath}: ${quote(name)} cannot be the name of a part`)
  }
  const { kind, files } = KINDS.find((entry) => entry.className.test(className)) as (typeof KINDS)[number]
  const path = [join(folder, name), folder].find((place) => files.some((file) => existsSync(join(place, file))))
  if (!path) throw new Error(`${indexPath}: names ${name} (${quote(className)}), but ${name}/${files[0]} is not there`)
  return { kind, library, className, path }
}

/** One sentence for whoever takes a pipeline for a model. */
export function pipelineSentence(folder: string): string {
  const { className, components } = openPipeline(folder)
  const networks = [...components].filter(([, { kind }]) => kind === 'network').map(([name]) => name)
  const one = networks.find((name) => name === 'unet') ?? networks[0]
  return networks.length === 0
    ? `${folder}: is a pipeline (${quote(className)}) without networks`
    : `${folder}: is a pipeline (${quote(className)}) of ${networks.join(', ')}: name one of these networks, ${join(folder, one)}`
}
