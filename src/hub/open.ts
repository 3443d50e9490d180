/** From what a user calls a model to files on this machine, and from files to a checkpoint. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Checkpoint } from './checkpoint.ts'
import { isPipelineFolder, pipelineSentence } from './diffusers.ts'
import { type DownloadOptions, downloadModel, parseHubReference } from './download.ts'
import { quote } from './file.ts'
import { openGgufAsHuggingFace } from './gguf/names.ts'
import { openIndex, openSafetensors, openSafetensorsFolder } from './safetensors.ts'

/**
 * Opens a model: a folder in the Hugging Face layout, a `.gguf` file (under Hugging Face names), a `.safetensors`
 * file, or an index of shards.
 *
 * @throws Error with one sentence where it is none of these, or damaged.
 */
export function openCheckpoint(path: string): Checkpoint {
  if (!existsSync(path)) throw new Error(`${path}: there is no such file or folder`)
  if (statSync(path).isDirectory()) {
    // The oldest pipelines keep their one network beside the index.
    if (isPipelineFolder(path) && !existsSync(join(path, 'config.json'))) throw new Error(pipelineSentence(path))
    return openSafetensorsFolder(path)
  }
  if (path.endsWith('.gguf')) return openGgufAsHuggingFace(path)
  if (path.endsWith('.safetensors')) return openSafetensors(path)
  if (path.endsWith('.safetensors.index.json')) return openIndex(path)
  throw new Error(`${path}: is neither a model folder nor a .gguf or .safetensors file`)
}

export interface ModelFiles {
  kind: 'folder' | 'gguf'
  /** Absolute. */
  path: string
}

/**
 * Finds a model: a folder, `hf:owner/name[@revision]` (downloaded or from the cache), `gguf:FILE` or a path that ends
 * in `.gguf`, or the name of a model shipped under `weights/`.
 *
 * @throws Error with one sentence where there is no such model, or it cannot be fetched.
 */
export async function resolveModelRef(ref: string, options: DownloadOptions = {}): Promise<ModelFiles> {
  if (ref.includes('\0')) throw new Error('a model reference cannot have a NUL in it')
  if (ref.startsWith('hf:')) {
    return { kind: 'folder', path: await downloadModel(parseHubReference(ref.slice(3)), options) }
  }
  const isGguf = ref.startsWith('gguf:') || ref.endsWith('.gguf')
  const path = resolve(ref.startsWith('gguf:') ? ref.slice(5) : ref)
  if (existsSync(path)) {
    const isFolder = statSync(path).isDirectory()
    if (isGguf && !isFolder) return { kind: 'gguf', path }
    if (isFolder && !isGguf) return { kind: 'folder', path }
    throw new Error(`${path}: is a ${isFolder ? 'folder' : 'file'}; a model is a folder or a .gguf file`)
  }
  if (isGguf) throw new Error(`${path}: there is no such file`)
  if (/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(ref)) {
    const shipped = join(packageRoot(), 'weights', ref)
    if (existsSync(join(shipped, 'config.json'))) return { kind: 'folder', path: shipped }
  }
  const shipped = shippedModels().join(', ')
  throw new Error(
    `${quote(ref)} is no folder here, no shipped model (${shipped}), and does not begin with hf: or gguf:`,
  )
}

/** The names of the models under `weights/`. */
export function shippedModels(): string[] {
  const weights = join(packageRoot(), 'weights')
  if (!existsSync(weights)) return []
  return readdirSync(weights).filter((name) => existsSync(join(weights, name, 'config.json')))
}

/** The folder that holds the package's own `package.json`, from the sources as from what is built of them. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  for (;;) {
    const manifest = join(folder, 'package.json')
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'jackdaw') return folder
    const parent = dirname(folder)
    if (parent === folder) throw new Error('internal: package.json of jackdaw was not found')
    folder = parent
  }
}
