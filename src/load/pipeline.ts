import { basename, join } from 'node:path'
import { type ComponentKind, openPipeline, type PipelineComponent, type PipelineIndex } from '../hub/diffusers.ts'
import { resolveModelRef } from '../hub/open.ts'
import { readJsonObject } from '../hub/safetensors.ts'
import { loadTokenizer } from '../text/load.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { type LoadedModel, type LoadOptions, loadModel } from './load.ts'

/** Several networks, a sampler's settings and a tokenizer under one reference. Each part is opened when it is asked for. */
export interface Pipeline extends PipelineIndex {
  /** The folder's or repository's name. */
  readonly name: string
  /** @throws Error with one sentence where there is no such network, or it is damaged or of an unknown kind */
  network(part: string): Promise<LoadedModel>
  /** What scheduler_config.json says; `samplerFromConfig` makes a sampler of it. Default part: `scheduler`. */
  scheduler(part?: string): Record<string, unknown>
  /** Default part: `tokenizer`. */
  tokenizer(part?: string): Promise<Tokenizer>
}

/**
 * Opens a pipeline: a folder with a model_index.json, or `hf:owner/name[@revision]`.
 *
 * @throws Error with one sentence where there is no such pipeline, or its index is damaged
 */
export async function loadPipeline(reference: string, options: LoadOptions = {}): Promise<Pipeline> {
  const { path } = await resolveModelRef(reference, options)
  const index = openPipeline(path)
  const find = (kind: ComponentKind, part: string): PipelineComponent => {
    const component = index.components.get(part)
    if (component?.kind === kind) return component
    const parts = [...index.components].filter(([, other]) => other.kind === kind).map(([name]) => name)
    throw new Error(`${path}: has no ${kind} '${part}'; it has ${parts.join(', ') || 'none'}`)
  }
  return {
    ...index,
    name: reference.startsWith('hf:') ? reference.slice(3) : basename(path),
    network: async (part) => loadModel(find('network', part).path, options),
    scheduler: (part = 'scheduler') => readJsonObject(join(find('scheduler', part).path, 'scheduler_config.json')),
    tokenizer: async (part = 'tokenizer') => loadTokenizer(find('tokenizer', part).path),
  }
}
