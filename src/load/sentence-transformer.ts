import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { readJson, readJsonObject } from '../hub/safetensors.ts'

/**
 * How a folder of sentence-transformers (Reimers and Gurevych, 2019, arXiv 1908.10084) says that one vector is made of an
 * encoder's states: `modules.json` names the steps, and `1_Pooling/config.json` which states count.
 */

/** What becomes of the states of a text's tokens; several are put one behind the other. */
export type Pooling = 'cls' | 'max' | 'mean' | 'mean-sqrt-length' | 'weighted-mean' | 'last'

export interface SentenceEncoding {
  readonly pooling: readonly Pooling[]
  /** Whether vectors are brought to unit length. */
  readonly normalize: boolean
  /** Tokens of the longest text, special ones included; the rest is cut off. */
  readonly maxLength?: number
  /** Whether texts are read in small letters, whatever the tokenizer does. */
  readonly lowerCase: boolean
}

/** Their names in the file, in the order of their parts of the vector. */
const MODES: Readonly<Record<string, Pooling>> = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_mean_sqrt_len_tokens: 'mean-sqrt-length',
  pooling_mode_weightedmean_tokens: 'weighted-mean',
  pooling_mode_lasttoken: 'last',
}

/** Names of the same in one word. */
const WORDS: Readonly<Record<string, Pooling>> = {
  cls: 'cls',
  max: 'max',
  mean: 'mean',
  mean_sqrt_len_tokens: 'mean-sqrt-length',
  weightedmean: 'weighted-mean',
  lasttoken: 'last',
}

const modulesSchema = z.array(z.object({ path: z.string().regex(/^(\d+_\w+)?$/), type: z.string() }))
const lengthSchema = z.int().positive()

/**
 * @param folder - a model's folder; without `modules.json` the mean of all states is taken, at unit length
 * @throws Error with one sentence where the folder asks for a step that is not here
 */
export function readSentenceEncoding(folder: string): SentenceEncoding {
  const read = (name: string): Record<string, unknown> => {
    const path = join(folder, name)
    return existsSync(path) ? readJsonObject(path) : {}
  }
  const settings = read('sentence_bert_config.json')
  const limits = [settings.max_seq_length, read('tokenizer_config.json').model_max_length]
  const maxLength = limits.find((limit): limit is number => lengthSchema.safeParse(limit).success)
  const common = { maxLength, lowerCase: settings.do_lower_case === true }
  const file = join(folder, 'modules.json')
  if (!existsSync(file)) return { ...common, pooling: ['mean'], normalize: true }

  const modules = modulesSchema.safeParse(readJson(file))
  if (!modules.success) throw new Error(`${file}: is not a list of modules, each with a path and a type`)
  let pooling: readonly Pooling[] = ['mean']
  let normalize = false
  for (const { type, path } of modules.data) {
    const kind = type.split('.').at(-1)
    if (kind === 'Pooling') pooling = poolingOf(read(join(path, 'config.json')), join(folder, path))
    else if (kind === 'Normalize') normalize = true
    else if (kind !== 'Transformer')
      throw new Error(`${file}: has a module ${kind}; known are Transformer, Pooling and Normalize`)
  }
  return { ...common, pooling, normalize }
}

function poolingOf(config: Record<string, unknown>, folder: string): readonly Pooling[] {
  const words = [config.pooling_mode ?? []].flat()
  const named = words.map((word) => (typeof word === 'string' && Object.hasOwn(WORDS, word) ? WORDS[word] : undefined))
  const flagged = Object.entries(MODES).flatMap(([name, mode]) => (config[name] === true ? [mode] : []))
  const all = words.length > 0 ? named : flagged
  // The folder may be missing: the library's own default is the mean.
  if (Object.keys(config).length === 0) return ['mean']
  const known = all.filter((mode) => mode !== undefined)
  if (known.length === all.length && known.length > 0) return known
  throw new Error(
    `${folder}/config.json: names a pooling that is not known; known are ${Object.keys(WORDS).join(', ')}`,
  )
}
