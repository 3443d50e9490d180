import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { adapterBase, isAdapterFolder, mergedCheckpoint, readAdapter } from '../hub/adapter.ts'
import type { Checkpoint } from '../hub/checkpoint.ts'
import type { DownloadOptions } from '../hub/download.ts'
import { type ModelFiles, openCheckpoint, resolveModelRef } from '../hub/open.ts'
import { readJsonObject } from '../hub/safetensors.ts'
import { type Model, traceModel } from '../nn/model.ts'
import { separateLargeArrays } from '../runtime/memory.ts'
import type { QuantizedWeight, TensorData } from '../tensor/index.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { ggufTokenizer, openTokenizer } from './load-tokenizer.ts'
import { type Quantization, quantizers } from './quantize.ts'
import { modelFromCheckpoint } from './registry.ts'
import { finder, type MissingWeights, mapWeights, readWeights } from './weights.ts'

export interface LoadedModel {
  /** The folder's, file's or repository's name. */
  readonly name: string
  /** The folder or file that it was read from, and which of them it is. */
  readonly path: string
  readonly kind: ModelFiles['kind']
  readonly model: Model
  /** By checkpoint name, in fp32 unless quantisation was asked for. Not to be written to where they are mapped. */
  readonly weights: Map<string, TensorData | QuantizedWeight>
  /** Deletes the temporary files of mapped weights: to be called once sessions have them. They stay readable. */
  readonly releaseFiles: () => void
  readonly tokenizer?: Tokenizer
  /** Tokens that end an answer. */
  readonly stopTokenIds: readonly number[]
  /** The checkpoint's config.json. */
  readonly config: Record<string, unknown>
}

export interface LoadOptions extends DownloadOptions {
  /** Store matrices in blocks of 4 or 8 bits. Default: fp32. */
  quantize?: Quantization
  /**
   * Parameters that the checkpoint lacks: an error, which is the default, or left out of `weights`, for a trainer that
   * is told the same.
   */
  missing?: MissingWeights
  /**
   * Leave the weights in files and map them, for serving: they take no memory of their own, and are read-only. Blocks
   * always are.
   */
  mapped?: boolean
}

/**
 * Loads a model: a folder in the Hugging Face layout, `hf:owner/name[@revision]`, `gguf:FILE`, or the name of a shipped
 * one.
 *
 * @throws Error with one sentence where there is no such model, or it is damaged or of an unknown kind
 */
export async function loadModel(reference: string, options: LoadOptions = {}): Promise<LoadedModel> {
  if (options.missing === 'init' && (options.mapped || options.quantize)) {
    throw new Error('a model that serves has all of its weights: missing can only be init for training')
  }
  if (options.mapped) separateLargeArrays()
  const files = await resolveModelRef(reference, options)
  if (isAdapterFolder(files.path)) return loadAdapted(reference, files.path, options)
  return loadFiles(reference, files, options, openCheckpoint(files.path))
}

/** A model's base with an adapter merged into it, under the adapter's name and, where it has one, with its tokenizer. */
async function loadAdapted(reference: string, folder: string, options: LoadOptions): Promise<LoadedModel> {
  const { files, open } = await openAdapted(folder, options)
  const loaded = await loadFiles(reference, files, options, open())
  const tokenizer = await openTokenizer({ kind: 'folder', path: folder })
  const name = reference.startsWith('hf:') ? reference.slice(3) : basename(folder)
  return { ...loaded, name, tokenizer: tokenizer ?? loaded.tokenizer }
}

/** Where an adapter's base is, and what opens it with the adapter merged. */
export async function openAdapted(
  folder: string,
  options: DownloadOptions = {},
): Promise<{ files: ModelFiles; open: () => Checkpoint }> {
  const adapter = readAdapter(folder)
  const files = await resolveModelRef(adapterBase(folder, adapter), options)
  return { files, open: () => mergedCheckpoint(openCheckpoint(files.path), adapter) }
}

async function loadFiles(
  reference: string,
  { kind, path }: ModelFiles,
  options: LoadOptions,
  checkpoint: Checkpoint,
): Promise<LoadedModel> {
  try {
    const folder = kind === 'folder' ? path : undefined
    const config = withGenerationConfig(checkpoint.config, folder)
    const { model, modelClass } = modelFromCheckpoint(checkpoint, config)
    const traced = traceModel(model, { onDeclare: finder(checkpoint, modelClass, options.missing) })
    const outputs = Object.values(traced.outputs).filter((tensor) => tensor !== undefined)
    const parameters = [...traced.parameters.values()]
    const blocks = options.quantize ? quantizers(options.quantize, { outputs, parameters }) : undefined
    const tokenizer = kind === 'gguf' ? ggufTokenizer(checkpoint.metadata) : await openTokenizer({ kind, path })
    const name = reference.startsWith('hf:') ? reference.slice(3) : basename(path, '.gguf')
    const stopTokenIds = stopTokens(checkpoint, folder, tokenizer)
    const { weights, release: releaseFiles } =
      blocks || options.mapped
        ? mapWeights(parameters, checkpoint, modelClass, blocks)
        : { weights: readWeights(parameters, checkpoint, modelClass, options.missing), release: () => {} }
    return { name, path, kind, model, weights, releaseFiles, tokenizer, stopTokenIds, config: checkpoint.config ?? {} }
  } finally {
    checkpoint.close()
  }
}

/** What a model says of its answers: newer checkpoints have it in a file of its own. */
const ANSWER_FIELDS = ['forced_eos_token_id', 'bad_words_ids', 'decoder_start_token_id']

/** config.json, and of generation_config.json what belongs to the model and is not there. */
function withGenerationConfig(config: Checkpoint['config'], folder: string | undefined): Checkpoint['config'] {
  const file = folder && join(folder, 'generation_config.json')
  if (!config || !file || !existsSync(file)) return config
  const lacking = Object.entries(readJsonObject(file)).filter(
    ([name]) => ANSWER_FIELDS.includes(name) && (config[name] ?? undefined) === undefined,
  )
  return { ...config, ...Object.fromEntries(lacking) }
}

/** Every token that any of the model's files calls the end of a text. */
function stopTokens({ config }: Checkpoint, folder: string | undefined, tokenizer: Tokenizer | undefined): number[] {
  const generationFile = folder && join(folder, 'generation_config.json')
  const generation = generationFile && existsSync(generationFile) ? readJsonObject(generationFile) : {}
  const named = generation.eos_token_id ?? config?.eos_token_id
  const ids = [named, tokenizer?.eosTokenId].flat().filter((id): id is number => Number.isInteger(id))
  return [...new Set(ids)]
}
