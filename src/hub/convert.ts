/** One stored form of a model into another: safetensors, GGUF, or a folder in the Hugging Face layout. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, extname, join, resolve } from 'node:path'
import type { Checkpoint, TensorSource } from './checkpoint.ts'
import { SIDE_FILE } from './download.ts'
import { quote } from './file.ts'
import { differenceOf, ggufName } from './gguf/architectures.ts'
import { ggufFromConfig } from './gguf/config.ts'
import { type GgufValue, openGguf } from './gguf/file.ts'
import { openGgufAsHuggingFace, reorderRotaryRows } from './gguf/names.ts'
import { quantize, type WritableType } from './gguf/quantize.ts'
import { ggufType } from './gguf/quants.ts'
import { type TokenizerFiles, tokenizerToGguf } from './gguf/tokenizer.ts'
import { writeGguf } from './gguf/write.ts'
import { openCheckpoint } from './open.ts'
import { readJsonObject, weightsFile } from './safetensors.ts'
import { writeFolderSources, writeSafetensorsSources } from './safetensors-write.ts'

export interface ConvertOptions {
  /** What floating-point tensors become; where it is left out they keep their type, and GGUF becomes F32. */
  quantize?: WritableType
  /** Called as each tensor's turn comes. */
  onTensor?: (name: string, index: number, count: number) => void
}

export interface ConvertResult {
  tensors: number
  /** What a person should know: tensors kept in another type, a tokenizer that was left out. */
  notes: string[]
}

export type SaveTokenizer = (ggufMetadata: Record<string, unknown>, folder: string) => Promise<void>

type Format = 'gguf' | 'safetensors' | 'folder'

/**
 * Converts by the names: `.gguf`, `.safetensors`, or a folder. Files keep their tensor names; between a GGUF file
 * and a folder the names, the order of rows, the configuration and the tokenizer are translated.
 *
 * @param saveTokenizer - writes the tokenizer of a GGUF file's metadata into a folder
 * @param open - opens a source that is not GGUF
 * @throws Error with one sentence where source or target is of another form, or cannot hold a tensor.
 */
export async function convertModel(
  source: string,
  target: string,
  options: ConvertOptions,
  saveTokenizer: SaveTokenizer,
  open: (path: string) => Checkpoint = openCheckpoint,
): Promise<ConvertResult> {
  const to = targetFormat(target)
  if (resolve(source) === resolve(target)) throw new Error(`${target}: source and target are the same`)
  const wanted = options.quantize
  if (to !== 'gguf' && wanted && !['F32', 'F16', 'BF16'].includes(wanted)) {
    throw new Error(`${wanted} is a type of GGUF files: name a target that ends in .gguf`)
  }
  const fromGguf = source.endsWith('.gguf')
  if (fromGguf && to === 'folder') return ggufToFolder(source, target, options, saveTokenizer)
  if (fromGguf) {
    const file = openGguf(source)
    try {
      const result: ConvertResult = { tensors: file.names().length, notes: [] }
      if (to === 'gguf') {
        const metadata = new Map(file.typedMetadata)
        if (wanted) metadata.set('general.file_type', fileType(wanted))
        await writeGguf(target, metadata, toGguf(file, options, result.notes))
      } else await writeSafetensorsSources(target, toSafetensors(file, { ...options, quantize: wanted ?? 'F32' }))
      return result
    } finally {
      file.close()
    }
  }
  const checkpoint = open(source)
  try {
    const result: ConvertResult = { tensors: checkpoint.names().length, notes: [] }
    const isFolder = statSync(source).isDirectory()
    if (to === 'gguf') await writeGguf(target, ...ggufOf(source, isFolder, checkpoint, options, result))
    else if (to === 'safetensors') await writeSafetensorsSources(target, toSafetensors(checkpoint, options))
    else {
      mkdirSync(target, { recursive: true })
      if (isFolder) copySideFiles(source, target, options.quantize)
      else if (checkpoint.config) writeJson(target, 'config.json', checkpoint.config)
      await writeFolderSources(target, toSafetensors(checkpoint, options), { file: weightsFile(checkpoint.config) })
    }
    return result
  } finally {
    checkpoint.close()
  }
}

function targetFormat(target: string): Format {
  const extension = extname(target)
  if (extension === '.gguf') return 'gguf'
  if (extension === '.safetensors') return 'safetensors'
  if (extension === '.onnx')
    throw new Error(`${target}: an ONNX file holds a whole computation, so exportOnnx (or jackdaw convert) writes it`)
  if (existsSync(target) && !statSync(target).isDirectory()) throw new Error(`${target}: is a file of an unknown kind`)
  // Names of models have dots too: the ending of SmolLM2-1.7B is none.
  if (/^\.[a-z]\w*$/i.test(extension) && !/[\\/]$/.test(target) && !existsSync(target)) {
    throw new Error(
      `${target}: cannot write ${extension} files; a target ends in .gguf, .safetensors or .onnx, or is a folder (then end it with /)`,
    )
  }
  return 'folder'
}

const FLOAT_TYPES = new Set(['F64', 'F32', 'F16', 'BF16'])
const isInteger = (type: string): boolean => /^(I|U)\d|^BOOL$/.test(type)

function* toSafetensors(
  checkpoint: Checkpoint,
  { quantize: wanted, onTensor }: ConvertOptions,
): Generator<TensorSource> {
  const names = checkpoint.names()
  for (const [i, name] of names.entries()) {
    const { type, shape } = checkpoint.info(name)
    const keeps = isInteger(type) || (wanted ?? type) === type || (!FLOAT_TYPES.has(type) && type.startsWith('F8'))
    const target = keeps ? type : (wanted as WritableType)
    const bytes = () => {
      onTensor?.(name, i, names.length)
      return keeps ? checkpoint.readRaw(name) : quantize(target as WritableType, checkpoint.read(name))
    }
    yield { name, type: target, shape, bytes }
  }
}

function* toGguf(
  checkpoint: Checkpoint,
  { quantize: wanted, onTensor }: ConvertOptions,
  notes: string[],
  rename = (name: string): string | undefined => name,
  config: Record<string, unknown> = {},
): Generator<TensorSource> {
  const names = checkpoint.names().filter((name) => rename(name) !== undefined)
  let odd = 0
  for (const [i, name] of names.entries()) {
    const { type, shape } = checkpoint.info(name)
    let target = type
    if (!isInteger(type)) {
      // Vectors are small and sensitive: norms and biases stay in full precision.
      if (shape.length < 2) target = 'F32'
      else target = wanted ?? (type === 'F64' ? 'F32' : type)
      if ((shape.at(-1) ?? 1) % ggufType(target).blockElements !== 0) {
        target = 'F16'
        odd++
      }
    } else ggufType(type)
    const { heads, offset } = rename(name) === name ? { heads: 0, offset: 0 } : differenceOf(name, config)
    const bytes = () => {
      onTensor?.(name, i, names.length)
      if (offset !== 0) {
        const around = checkpoint.read(name).map((value) => value + offset)
        return quantize(target as WritableType, around)
      }
      if (target === type) {
        const raw = checkpoint.readRaw(name)
        return heads > 0 ? reorderRotaryRows(raw, shape[0], heads, 'gguf') : raw
      }
      const values = checkpoint.read(name)
      return quantize(target as WritableType, heads > 0 ? reorderRotaryRows(values, shape[0], heads, 'gguf') : values)
    }
    yield { name: rename(name) as string, type: target, shape, bytes }
  }
  if (odd > 0) notes.push(`${odd} tensors are in F16: their rows are no multiple of ${wanted}'s block`)
}

const FILE_TYPES: Readonly<Record<WritableType, number>> = { F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 7, BF16: 32 }
const fileType = (type: WritableType): GgufValue => ({ type: 'uint32', value: FILE_TYPES[type] })

function ggufOf(
  source: string,
  isFolder: boolean,
  checkpoint: Checkpoint,
  options: ConvertOptions,
  result: ConvertResult,
): [Map<string, GgufValue>, TensorSource[]] {
  if (!isFolder) {
    // Bare tensors: no architecture is claimed, names stay.
    const metadata = new Map<string, GgufValue>([['general.architecture', { type: 'string', value: 'unknown' }]])
    return [metadata, [...toGguf(checkpoint, options, result.notes)]]
  }
  const { config } = checkpoint
  if (!config) throw new Error(`${source}: has no config.json, without which no GGUF model can be made`)
  const { architecture, metadata, ropeFactors, notes } = ggufFromConfig(config)
  result.notes.push(...notes)
  metadata.set('general.name', { type: 'string', value: basename(resolve(source)) })
  if (options.quantize) metadata.set('general.file_type', fileType(options.quantize))
  try {
    const files = tokenizerFiles(source, config)
    if (!files) {
      result.notes.push('there is no tokenizer.json, so the GGUF file has no tokenizer')
      for (const [key, id] of tokenIdsOf(config)) metadata.set(`tokenizer.ggml.${key}_token_id`, id)
    } else for (const [key, value] of tokenizerToGguf(files)) metadata.set(key, value)
  } catch (error) {
    result.notes.push(`${(error as Error).message}, so the GGUF file has none`)
  }
  const isTied = config.tie_word_embeddings ?? architecture.tied
  // A head that is another one counts, whatever the configuration says.
  const isCopy = isTied === true && areSame(checkpoint, 'lm_head.weight', 'model.embed_tokens.weight')
  const rename = (name: string): string | undefined => {
    // Neither is a weight: a copy of the embedding, and a table that the positions give.
    if (name === 'lm_head.weight' && isCopy) return undefined
    if (name.endsWith('.rotary_emb.inv_freq')) return undefined
    const renamed = ggufName(name, architecture)
    if (!renamed) {
      throw new Error(`${source}: ${quote(name)} is no tensor of a model of architecture ${architecture.name}`)
    }
    return renamed
  }
  // A tied head that the configuration does not speak of is what transformers takes as untied.
  const complete = { ...config, num_key_value_heads: config.num_key_value_heads ?? config.num_attention_heads }
  const tensors = [...toGguf(checkpoint, options, result.notes, rename, complete)]
  result.tensors = tensors.length
  if (ropeFactors) {
    const bytes = () => quantize('F32', ropeFactors)
    tensors.push({ name: 'rope_freqs.weight', type: 'F32', shape: [ropeFactors.length], bytes })
  }
  return [metadata, tensors]
}

function tokenizerFiles(folder: string, config: Record<string, unknown>): TokenizerFiles | undefined {
  const path = (name: string) => join(folder, name)
  if (!existsSync(path('tokenizer.json'))) return undefined
  const settings = existsSync(path('tokenizer_config.json')) ? readJsonObject(path('tokenizer_config.json')) : {}
  const templateFile = path('chat_template.jinja')
  const inSettings = typeof settings.chat_template === 'string' ? settings.chat_template : undefined
  const chatTemplate = existsSync(templateFile) ? readFileSync(templateFile, 'utf8') : inSettings
  return { tokenizer: readJsonObject(path('tokenizer.json')), settings, config, chatTemplate }
}

async function ggufToFolder(
  source: string,
  target: string,
  options: ConvertOptions,
  saveTokenizer: SaveTokenizer,
): Promise<ConvertResult> {
  const model = openGgufAsHuggingFace(source)
  try {
    const dtype = options.quantize ?? 'F32'
    const notes: string[] = []
    mkdirSync(target, { recursive: true })
    await writeFolderSources(target, toSafetensors(model, { ...options, quantize: dtype }))
    writeJson(target, 'config.json', { ...model.config, torch_dtype: TORCH_TYPES[dtype] })
    if (model.metadata['tokenizer.ggml.tokens']) await saveTokenizer(model.metadata, target)
    else notes.push('the GGUF file has no tokenizer')
    return { tensors: model.names().length, notes }
  } finally {
    model.close()
  }
}

const TORCH_TYPES: Readonly<Record<string, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }

function copySideFiles(source: string, target: string, dtype: WritableType | undefined): void {
  for (const name of readdirSync(source)) {
    if (SIDE_FILE.test(name) && name !== 'config.json') copyFileSync(join(source, name), join(target, name))
  }
  if (!existsSync(join(source, 'config.json'))) return
  const config = readJsonObject(join(source, 'config.json'))
  // Newer configurations call it `dtype`.
  if (dtype) config['dtype' in config ? 'dtype' : 'torch_dtype'] = TORCH_TYPES[dtype]
  writeJson(target, 'config.json', config)
}

const writeJson = (folder: string, name: string, value: unknown): void =>
  writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`)

/** What the tokenizer would say of the ids that mean something to the model. */
function tokenIdsOf(config: Record<string, unknown>): [string, GgufValue][] {
  const ids = { bos: config.bos_token_id, eos: [config.eos_token_id].flat()[0], padding: config.pad_token_id }
  return Object.entries(ids).flatMap(([key, id]): [string, GgufValue][] =>
    typeof id === 'number' && Number.isInteger(id) && id >= 0 ? [[key, { type: 'uint32', value: id }]] : [],
  )
}

/** Whether two tensors, one of which may not be there, are stored alike. */
function areSame(checkpoint: Checkpoint, a: string, b: string): boolean {
  const names = checkpoint.names()
  if (!names.includes(a) || !names.includes(b)) return true
  const [one, other] = [a, b].map((name) => checkpoint.readRaw(name))
  return Buffer.compare(one, other) === 0
}
