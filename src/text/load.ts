import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type Tokenizer, tokenizerFromJson } from './tokenizer.ts'

/**
 * Loads a tokenizer from a folder, or from its `tokenizer.json`; also from GPT-2's own pair of files (`encoder.json`
 * and `vocab.bpe`, or `vocab.json` and `merges.txt`).
 *
 * @throws Error with one sentence on what is missing or malformed.
 */
export async function loadTokenizer(path: string): Promise<Tokenizer> {
  const info = await stat(path).catch(() => undefined)
  if (!info) throw new Error(`${path}: there is no such file or folder`)
  const folder = info.isDirectory() ? path : dirname(path)
  const file = info.isDirectory() ? join(path, 'tokenizer.json') : path
  const gpt2Files = ['encoder.json', 'vocab.bpe', 'vocab.json', 'merges.txt']
  const namesGpt2 = !info.isDirectory() && gpt2Files.includes(basename(path))
  const text = namesGpt2 ? undefined : await readIfThere(file)
  if (text !== undefined) {
    // Beside any other file than `tokenizer.json` itself, a configuration may belong to something else.
    const config = basename(file) === 'tokenizer.json' ? await readConfig(folder) : {}
    return naming(file, () => tokenizerFromJson(parseJson(text), config))
  }
  const gpt2 = await readGpt2Files(folder)
  if (gpt2) return gpt2
  throw new Error(`${path}: found neither tokenizer.json nor GPT-2's vocab.json with merges.txt`)
}

/** Writes `tokenizer.json` and `tokenizer_config.json` into a folder, as Python's `transformers` reads them. */
export async function saveTokenizer(tokenizer: Tokenizer, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer.toJSON()))
  await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(tokenizer.toConfigJSON(), null, 2)}\n`)
}

async function readConfig(folder: string): Promise<object> {
  const configFile = join(folder, 'tokenizer_config.json')
  const specialFile = join(folder, 'special_tokens_map.json')
  const [config, special, template] = await Promise.all([
    readIfThere(configFile),
    readIfThere(specialFile),
    readIfThere(join(folder, 'chat_template.jinja')),
  ])
  const parsed = (file: string, text: string | undefined): object => {
    const value = text === undefined ? {} : naming(file, () => parseJson(text))
    if (typeof value !== 'object' || value === null) throw new Error(`${file}: must hold an object`)
    return value
  }
  return {
    ...parsed(specialFile, special),
    ...parsed(configFile, config),
    ...(template === undefined ? {} : { chat_template: template }),
  }
}

async function readGpt2Files(folder: string): Promise<Tokenizer | undefined> {
  for (const [vocabName, mergesName] of [
    ['encoder.json', 'vocab.bpe'],
    ['vocab.json', 'merges.txt'],
  ]) {
    const [vocab, merges] = await Promise.all([
      readIfThere(join(folder, vocabName)),
      readIfThere(join(folder, mergesName)),
    ])
    if (vocab === undefined || merges === undefined) continue
    return naming(join(folder, vocabName), () => tokenizerFromGpt2(parseJson(vocab), merges))
  }
  return undefined
}

/**
 * GPT-2's own files as a tokenizer.
 *
 * @param vocab - the object in `encoder.json`: token to id.
 * @param merges - the text of `vocab.bpe`: a line of version, then a pair of tokens a line, first merged first.
 */
export function tokenizerFromGpt2(vocab: unknown, merges: string): Tokenizer {
  const endOfText = '<|endoftext|>'
  const isRecord = typeof vocab === 'object' && vocab !== null && Object.hasOwn(vocab, endOfText)
  const id = isRecord ? (vocab as Record<string, unknown>)[endOfText] : undefined
  const token = {
    content: endOfText,
    special: true,
    normalized: false,
    single_word: false,
    lstrip: false,
    rstrip: false,
  }
  return tokenizerFromJson(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: id === undefined ? [] : [{ id, ...token }],
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      post_processor: null,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        vocab,
        merges: merges
          .split(/\r?\n/)
          .filter((line) => line.trim() !== '' && !line.startsWith('#version'))
          .map((line) => line.split(' ')),
      },
    },
    id === undefined ? {} : { bos_token: endOfText, eos_token: endOfText, unk_token: endOfText },
  )
}

/** Three times the largest of those that there are, of a quarter of a million tokens. */
const MOST_BYTES = 100_000_000

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path)
    if (size <= MOST_BYTES) return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`${path}: cannot be read (${(error as Error).message})`)
  }
  throw new Error(`${path}: has more than ${MOST_BYTES} bytes, too many for a tokenizer`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error('not a JSON document')
  }
}

/** Runs, and puts the file's name before the message of an error. */
function naming<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`)
  }
}
