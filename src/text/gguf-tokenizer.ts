import { byteTokens } from './byte-level.ts'
import { type Tokenizer, tokenizerFromJson } from './tokenizer.ts'
import { quote } from './unicode.ts'
import { GPT2_WORDS, GPT4O_WORDS, LLAMA3_WORDS, QWEN2_WORDS, TEKKEN_WORDS } from './word-patterns.ts'

interface WordRules {
  /** Regular expressions applied one after the other, each isolating its matches. */
  patterns: readonly string[]
  /** A word that is in the vocabulary is taken whole, whatever the merges say. */
  ignoreMerges?: boolean
  /** Whether a beginning-of-text token is added where the file does not say. */
  addsBos?: boolean
}

const GPT2: WordRules = { patterns: [GPT2_WORDS] }
const SINGLE_DIGITS: WordRules = { patterns: ['\\p{N}', GPT2_WORDS] }
const LLAMA3: WordRules = { patterns: [LLAMA3_WORDS], ignoreMerges: true, addsBos: true }
const QWEN2: WordRules = { patterns: [QWEN2_WORDS] }
const GPT4O: WordRules = { patterns: [GPT4O_WORDS] }

/** By the value of `tokenizer.ggml.pre`, whose meaning is defined by llama.cpp's table of pre-tokenizers. */
const WORD_RULES = new Map<string, WordRules>([
  ['default', { patterns: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2_WORDS, '\\p{N}+', '[0-9][0-9][0-9]'] }],
  ['falcon', { patterns: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', GPT2_WORDS, '[0-9][0-9][0-9]'] }],
  ['tekken', { patterns: [TEKKEN_WORDS], ignoreMerges: true, addsBos: true }],
  ['dbrx', { patterns: LLAMA3.patterns }],
  ['smaug-bpe', { patterns: LLAMA3.patterns }],
  ...['gpt-2', 'mpt', 'olmo', 'jais', 'phi-2', 'roberta-bpe'].map((pre) => [pre, GPT2] as const),
  ...['smollm', 'starcoder', 'refact', 'command-r', 'codeshell', 'exaone'].map((pre) => [pre, SINGLE_DIGITS] as const),
  ...['llama-bpe', 'llama3', 'llama-v3'].map((pre) => [pre, LLAMA3] as const),
  ...['qwen2', 'deepseek-r1-qwen', 'stablelm2'].map((pre) => [pre, QWEN2] as const),
  ...['gpt-4o', 'llama4'].map((pre) => [pre, GPT4O] as const),
])

/** `tokenizer.ggml.token_type`. */
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4

/**
 * The tokenizer in a GGUF file's metadata, by way of the `tokenizer.json` that says the same.
 *
 * @throws Error with one sentence where the metadata lack a part or name a kind that we do not know.
 */
export function tokenizerFromGguf(metadata: Readonly<Record<string, unknown>>): Tokenizer {
  const read = reader(metadata)
  const kind = read.string('model')
  const tokens = read.strings('tokens')
  if (!kind || !tokens) throw new Error('the GGUF file has no tokenizer: it lacks "tokenizer.ggml.model" or ".tokens"')
  if (kind !== 'gpt2' && kind !== 'llama') {
    throw new Error(`the GGUF file's tokenizer is of the kind ${quote(kind)}; we know "gpt2" and "llama"`)
  }
  const types = read.numbers('token_type')
  if (types && types.length !== tokens.length) {
    throw new Error(
      `the GGUF file has ${tokens.length} tokens but ${types.length} entries in "tokenizer.ggml.token_type"`,
    )
  }
  const added = tokens.flatMap((content, id) => {
    const type = types?.[id]
    if (type !== UNKNOWN && type !== CONTROL && type !== USER_DEFINED) return []
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false }
    return [{ id, content, ...flags, special: type !== USER_DEFINED }]
  })
  // The first of equal tokens is the one that text becomes; a Map's last would win otherwise.
  const vocab: Record<string, number> = Object.create(null)
  for (let id = tokens.length - 1; id >= 0; id--) vocab[tokens[id]] = id
  const parts = kind === 'gpt2' ? byteLevelParts(read, vocab) : sentencePieceParts(read, tokens, vocab)

  const name = (key: string): string | undefined => {
    const id = read.number(`${key}_token_id`)
    if (id === undefined) return undefined
    const token = tokens[id]
    if (token !== undefined) return token
    throw new Error(`the GGUF file's "tokenizer.ggml.${key}_token_id" is ${id}, but it has ${tokens.length} tokens`)
  }
  const bos = name('bos')
  const eos = name('eos')
  const around = (token: string) => ({ SpecialToken: { id: token, type_id: 0 } })
  const before = bos !== undefined && (read.boolean('add_bos_token') ?? parts.addsBos) ? [bos] : []
  const after = eos !== undefined && read.boolean('add_eos_token') ? [eos] : []
  const template = {
    type: 'TemplateProcessing',
    single: [...before.map(around), { Sequence: { id: 'A', type_id: 0 } }, ...after.map(around)],
    pair: [
      ...before.map(around),
      { Sequence: { id: 'A', type_id: 0 } },
      { Sequence: { id: 'B', type_id: 1 } },
      ...after.map(around),
    ],
    special_tokens: Object.fromEntries(
      [...before, ...after].map((token) => [token, { id: token, ids: [vocab[token]], tokens: [token] }]),
    ),
  }
  const chatTemplate = metadata['tokenizer.chat_template']
  const config = {
    bos_token: bos,
    eos_token: eos,
    unk_token: name('unknown'),
    pad_token: name('padding'),
    ...(typeof chatTemplate === 'string' ? { chat_template: chatTemplate } : {}),
  }
  const tokenizer = tokenizerFromJson(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: parts.normalizer,
      pre_tokenizer: parts.preTokenizer,
      post_processor: before.length + after.length > 0 ? template : null,
      decoder: parts.decoder,
      model: parts.model,
    },
    config,
  )
  return { ...tokenizer, toJSON: () => withPairs(tokenizer.toJSON() as { model: { merges: (string | string[])[] } }) }
}

/** Merges as pairs, as newer files have them. In memory 50,000 pairs would be megabytes more than strings. */
const withPairs = ({ model, ...rest }: { model: { merges: (string | string[])[] } }): object => ({
  ...rest,
  model: { ...model, merges: model.merges.map((merge) => (typeof merge === 'string' ? splitMerge(merge) : merge)) },
})

interface Parts {
  normalizer: object | null
  preTokenizer: object | null
  decoder: object
  model: object
  addsBos: boolean
}

function byteLevelParts(read: Reader, vocab: Record<string, number>): Parts {
  const pre = read.string('pre')
  if (pre === undefined) {
    throw new Error('the GGUF file does not say how its tokenizer splits words: it lacks "tokenizer.ggml.pre"')
  }
  const rules = WORD_RULES.get(pre)
  if (!rules) {
    const known = [...WORD_RULES.keys()].join(', ')
    throw new Error(`the GGUF file's pre-tokenizer ${quote(pre)} is not one we know (${known})`)
  }
  const merges = read.strings('merges')
  if (!merges) throw new Error('the GGUF file has no tokenizer merges: it lacks "tokenizer.ggml.merges"')
  return {
    normalizer: null,
    preTokenizer: {
      type: 'Sequence',
      pretokenizers: [
        ...rules.patterns.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...bpeModel(
        vocab,
        merges.every((merge) => /^[^ ]+ [^ ]+$/.test(merge)) ? merges : merges.map((merge) => splitMerge(merge)),
      ),
      ignore_merges: rules.ignoreMerges ?? false,
    },
    addsBos: rules.addsBos ?? false,
  }
}

/** A space may be part of a token only at the very beginning: spelled bytes have none. */
const splitMerge = (merge: string): string[] => {
  const at = merge.indexOf(' ', 1)
  return [merge.slice(0, at), merge.slice(at + 1)]
}

/** SentencePiece's BPE: pieces are joined in the order of their scores, and unknown characters fall back to bytes. */
function sentencePieceParts(read: Reader, tokens: readonly string[], vocab: Record<string, number>): Parts {
  const scores = read.numbers('scores')
  if (scores?.length !== tokens.length) {
    throw new Error(`the GGUF file needs a score for each of its ${tokens.length} tokens in "tokenizer.ggml.scores"`)
  }
  const addsSpace = read.boolean('add_space_prefix') ?? true
  const unk = read.number('unknown_token_id') ?? 0
  const toMarks = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  return {
    normalizer: addsSpace ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, toMarks] } : toMarks,
    preTokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addsSpace ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...bpeModel(vocab, mergesFromScores(tokens, scores, vocab)),
      unk_token: tokens[unk] ?? null,
      fuse_unk: true,
      byte_fallback: byteTokens(new Map(Object.entries(vocab))) !== undefined,
    },
    addsBos: true,
  }
}

const bpeModel = (vocab: Record<string, number>, merges: readonly (string | string[])[]) => ({
  type: 'BPE',
  dropout: null,
  unk_token: null as string | null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
  vocab,
  merges,
})

const LONGEST_MERGED = 256

/** Every way to put a piece together from two others, pieces of the highest score first. */
function mergesFromScores(
  tokens: readonly string[],
  scores: ArrayLike<number>,
  vocab: Record<string, number>,
): string[][] {
  const merges: { pair: [string, string]; score: number }[] = []
  const lengths = new Set(tokens.map((token) => token.length))
  tokens.forEach((token, id) => {
    // Every part of a token of a megabyte would take hours. Pieces that were trained have up to 16 characters.
    if (vocab[token] !== id || token.length > LONGEST_MERGED) return
    const ways: [string, string][] = []
    for (let at = 1; at < token.length; at++) {
      if (!lengths.has(at) || !lengths.has(token.length - at)) continue
      const pair: [string, string] = [token.slice(0, at), token.slice(at)]
      if (pair[0] in vocab && pair[1] in vocab) ways.push(pair)
    }
    ways.sort((a, b) => vocab[a[0]] - vocab[b[0]] || vocab[a[1]] - vocab[b[1]])
    for (const pair of ways) merges.push({ pair, score: scores[id] })
  })
  return merges.sort((a, b) => b.score - a.score).map(({ pair }) => pair)
}

type Reader = ReturnType<typeof reader>

/** Reads keys below `tokenizer.ggml.`, holding each value against the type it must have. */
function reader(metadata: Readonly<Record<string, unknown>>) {
  const read = <T>(key: string, expected: string, isRight: (value: unknown) => value is T): T | undefined => {
    const name = `tokenizer.ggml.${key}`
    const value = Object.hasOwn(metadata, name) ? metadata[name] : undefined
    if (value === undefined || value === null) return undefined
    if (isRight(value)) return value
    throw new Error(`the GGUF file's "${name}" must be ${expected}`)
  }
  const isArray = (value: unknown): value is ArrayLike<unknown> => Array.isArray(value) || ArrayBuffer.isView(value)
  return {
    string: (key: string) => read(key, 'a string', (value) => typeof value === 'string'),
    number: (key: string) => read(key, 'a number', (value) => typeof value === 'number'),
    boolean: (key: string) => read(key, 'true or false', (value) => typeof value === 'boolean'),
    strings: (key: string) =>
      read(
        key,
        'an array of strings',
        (value): value is string[] => Array.isArray(value) && value.every((item) => typeof item === 'string'),
      ),
    numbers: (key: string) =>
      read(
        key,
        'an array of numbers',
        (value): value is ArrayLike<number> =>
          isArray(value) && Array.from(value).every((item) => typeof item === 'number'),
      ),
  }
}
