import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { z } from 'zod'
import { type Tokenizer, tokenizerFromJson } from './tokenizer.ts'
import {
  isOfClip,
  isOfGpt1,
  mergesOf,
  tokenizerFromClip,
  tokenizerFromClipMerges,
  tokenizerFromGpt1,
  type Vocabulary,
} from './word-end-bpe.ts'

/**
 * Loads a tokenizer from a folder, or from its `tokenizer.json`; also from the pair of files of GPT-1, GPT-2 or CLIP
 * (`vocab.json` and `merges.txt`, or the names that they were released under), from BERT's `vocab.txt`, or from CLIP's
 * `bpe_simple_vocab_16e6.txt.gz`.
 *
 * @throws Error with one sentence on what is missing or malformed.
 */
export async function loadTokenizer(path: string): Promise<Tokenizer> {
  const info = await stat(path).catch(() => undefined)
  if (!info) throw new Error(`${path}: there is no such file or folder`)
  const folder = info.isDirectory() ? path : dirname(path)
  const file = info.isDirectory() ? join(path, 'tokenizer.json') : path
  const oldFiles = [...PAIRS.flat(), WORD_PIECES]
  if (info.isFile() && path.endsWith('.txt.gz')) return readClipMerges(path)
  const namesOld = !info.isDirectory() && oldFiles.includes(basename(path))
  const text = namesOld ? undefined : await readIfThere(file)
  if (text !== undefined) {
    // Beside any other file than `tokenizer.json` itself, a configuration may belong to something else.
    const config = basename(file) === 'tokenizer.json' ? await readConfig(folder) : {}
    return naming(file, () => tokenizerFromJson(parseJson(text), config))
  }
  const pair = await readPair(folder)
  if (pair) return pair
  const pieces = await readIfThere(join(folder, WORD_PIECES))
  if (pieces !== undefined) {
    const config = await readConfig(folder)
    return naming(join(folder, WORD_PIECES), () => tokenizerFromWordPieces(pieces, config))
  }
  if (await stat(join(folder, CLIP_MERGES)).catch(() => undefined)) return readClipMerges(join(folder, CLIP_MERGES))
  throw new Error(
    `${path}: found no tokenizer.json, nor vocab.json with merges.txt (GPT-1, GPT-2, CLIP), nor vocab.txt (BERT)`,
  )
}

/** A vocabulary and its merges, under today's names and under those of GPT-2's and of GPT-1's release. */
const PAIRS = [
  ['encoder.json', 'vocab.bpe'],
  ['vocab.json', 'merges.txt'],
  ['encoder_bpe_40000.json', 'vocab_40000.bpe'],
] as const
/** CLIP's release: merges alone. */
const CLIP_MERGES = 'bpe_simple_vocab_16e6.txt.gz'
/** BERT's vocabulary: a token a line. */
const WORD_PIECES = 'vocab.txt'

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

/** The kind is told by the vocabulary: GPT-1's and CLIP's tokens say where words end, and CLIP's begin a text. */
async function readPair(folder: string): Promise<Tokenizer | undefined> {
  for (const [vocabName, mergesName] of PAIRS) {
    const [vocabText, mergesText] = await Promise.all([
      readIfThere(join(folder, vocabName)),
      readIfThere(join(folder, mergesName)),
    ])
    if (vocabText === undefined || mergesText === undefined) continue
    const config = await readConfig(folder)
    return naming(join(folder, vocabName), () => {
      const vocab = parseJson(vocabText)
      if (typeof vocab !== 'object' || vocab === null) throw new Error('must map every token to its id')
      const own = vocab as Vocabulary
      if (isOfClip(own)) return tokenizerFromClip(own, mergesOf(mergesText), config)
      if (isOfGpt1(own)) return tokenizerFromGpt1(own, mergesOf(mergesText), config)
      return tokenizerFromGpt2(vocab, mergesText)
    })
  }
  return undefined
}

async function readClipMerges(path: string): Promise<Tokenizer> {
  const packed = await readFile(path)
  return naming(path, () => {
    const text = gunzipSync(packed, { maxOutputLength: MOST_BYTES }).toString('utf8')
    return tokenizerFromClipMerges(text)
  })
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
        merges: mergesOf(merges),
      },
    },
    id === undefined ? {} : { bos_token: endOfText, eos_token: endOfText, unk_token: endOfText },
  )
}

const wordPieceConfig = z.object({
  do_lower_case: z.boolean().nullish(),
  strip_accents: z.boolean().nullish(),
  tokenize_chinese_chars: z.boolean().nullish(),
})

/**
 * BERT's own file as a tokenizer (Devlin et al., 2018, arXiv 1810.04805).
 *
 * @param vocabulary - the text of `vocab.txt`: a token a line, the first has id 0
 * @param config - the object in `tokenizer_config.json`, where there is one: whether case counts, and what the special
 *   tokens are called
 * @throws Error where the vocabulary lacks a special token that every text needs
 */
export function tokenizerFromWordPieces(vocabulary: string, config: object = {}): Tokenizer {
  const lines = vocabulary.replace(/\r?\n$/, '').split(/\r?\n/)
  const vocab = Object.fromEntries(lines.map((token, id) => [token, id] as const))
  const named: Record<string, unknown> = {
    ...{ unk_token: '[UNK]', sep_token: '[SEP]', pad_token: '[PAD]', cls_token: '[CLS]', mask_token: '[MASK]' },
    ...Object.fromEntries(Object.entries(config).filter(([, value]) => typeof value === 'string')),
  }
  const { do_lower_case, strip_accents, tokenize_chinese_chars } = wordPieceConfig.parse(config)
  const special = (name: string) => {
    const token = String(named[name])
    if (!Object.hasOwn(vocab, token)) throw new Error(`has no line ${JSON.stringify(token)}, the ${name} of BERT`)
    return { token, id: vocab[token] }
  }
  const [cls, sep] = [special('cls_token'), special('sep_token')]
  const names = ['pad_token', 'unk_token', 'cls_token', 'sep_token', 'mask_token']
  const here = names.map((name) => String(named[name])).filter((token) => Object.hasOwn(vocab, token))
  const flags = { special: true, normalized: false, single_word: false, lstrip: false, rstrip: false }
  const around = ({ token, id }: typeof cls) => ({ id: token, ids: [id], tokens: [token] })
  return tokenizerFromJson(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [...new Set(here)].map((content) => ({ id: vocab[content], content, ...flags })),
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: tokenize_chinese_chars ?? true,
        strip_accents: strip_accents ?? null,
        lowercase: do_lower_case ?? true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: {
        type: 'TemplateProcessing',
        single: [
          { SpecialToken: { id: cls.token, type_id: 0 } },
          { Sequence: { id: 'A', type_id: 0 } },
          { SpecialToken: { id: sep.token, type_id: 0 } },
        ],
        pair: [
          { SpecialToken: { id: cls.token, type_id: 0 } },
          { Sequence: { id: 'A', type_id: 0 } },
          { SpecialToken: { id: sep.token, type_id: 0 } },
          { Sequence: { id: 'B', type_id: 1 } },
          { SpecialToken: { id: sep.token, type_id: 1 } },
        ],
        special_tokens: { [cls.token]: around(cls), [sep.token]: around(sep) },
      },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: special('unk_token').token,
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab,
      },
    },
    { ...named, ...config },
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
