/** What `tokenizer.json` says, in the words of a GGUF file's metadata: byte-level BPE, or BPE with byte fallback. */
import { z } from 'zod'
import type { GgufValue } from './file.ts'

const tokenizerSchema = z.object({
  model: z.object({
    type: z.literal('BPE'),
    vocab: z.record(z.string(), z.number().int().nonnegative().max(1e7)),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
    byte_fallback: z.boolean().nullish(),
  }),
  added_tokens: z
    .array(z.object({ id: z.number().int().nonnegative().max(1e7), content: z.string(), special: z.boolean() }))
    .default([]),
  normalizer: z.unknown().optional(),
  pre_tokenizer: z.unknown().optional(),
  post_processor: z.unknown().optional(),
})

// Token types as GGUF numbers them.
const NORMAL = 1
const UNKNOWN = 2
const CONTROL = 3
const USER_DEFINED = 4
const UNUSED = 5
const BYTE = 6

const DIGIT = '\\p{N}'
const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+"
const NEWER_WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}"

/** llama.cpp's names, with how the patterns begin that are applied one after the other. */
const SPLITTERS: readonly (readonly [name: string, ...patterns: string[]])[] = [
  ['gpt-2', GPT2_WORDS],
  ['smollm', DIGIT, GPT2_WORDS],
  ['llama-bpe', `${NEWER_WORDS}{1,3}|`],
  ['qwen2', `${NEWER_WORDS}|`],
]

export interface TokenizerFiles {
  /** `tokenizer.json`. */
  tokenizer: unknown
  /** `tokenizer_config.json`. */
  settings: Record<string, unknown>
  /** `config.json`. */
  config: Record<string, unknown>
  chatTemplate: string | undefined
}

/** @throws Error where the tokenizer is of a kind that GGUF has no words for. */
export function tokenizerToGguf({ tokenizer, settings, config, chatTemplate }: TokenizerFiles): Map<string, GgufValue> {
  const parsed = tokenizerSchema.safeParse(tokenizer)
  if (!parsed.success) throw new Error('its tokenizer is not BPE, and GGUF files are made with BPE tokenizers only')
  const { model, added_tokens: added, pre_tokenizer: preTokenizer, normalizer, post_processor: processor } = parsed.data
  const isByteLevel = JSON.stringify(preTokenizer ?? null).includes('"ByteLevel"')
  if (!isByteLevel && !model.byte_fallback) throw new Error('its tokenizer knows neither byte-level BPE nor bytes')

  const idOf = new Map(Object.entries(model.vocab))
  for (const { id, content } of added) idOf.set(content, id)
  const highest = [...idOf.values()].reduce((a, b) => Math.max(a, b), 0)
  const size = Math.max(highest + 1, typeof config.vocab_size === 'number' ? config.vocab_size : 0)
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`)
  const types = new Array<number>(size).fill(UNUSED)
  for (const [token, id] of Object.entries(model.vocab)) {
    tokens[id] = token
    types[id] = !isByteLevel && /^<0x[0-9A-F]{2}>$/.test(token) ? BYTE : NORMAL
  }
  for (const { id, content, special } of added) {
    tokens[id] = content
    types[id] = special ? CONTROL : USER_DEFINED
  }

  const strings = (value: string[]): GgufValue => ({ type: 'array', itemType: 'string', value })
  const metadata = new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: isByteLevel ? 'gpt2' : 'llama' }],
    ['tokenizer.ggml.pre', { type: 'string', value: isByteLevel ? splitterName(preTokenizer) : 'default' }],
    ['tokenizer.ggml.tokens', strings(tokens)],
  ])
  const merges = model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')))
  if (isByteLevel) metadata.set('tokenizer.ggml.merges', strings(merges))
  else {
    const scores = mergeScores(tokens, types, merges)
    metadata.set('tokenizer.ggml.scores', { type: 'array', itemType: 'float32', value: scores })
    const text = JSON.stringify([normalizer ?? null, preTokenizer ?? null])
    const addsSpace = text.includes('"Prepend"') || /"prepend_scheme":"(always|first)"/.test(text)
    metadata.set('tokenizer.ggml.add_space_prefix', { type: 'bool', value: addsSpace })
  }

  for (const [key, setting] of [
    ['bos', 'bos'],
    ['eos', 'eos'],
    ['unknown', 'unk'],
    ['padding', 'pad'],
  ]) {
    const id = specialId(settings[`${setting}_token`], idOf) ?? specialId(config[`${setting}_token_id`], idOf)
    if (id !== undefined) metadata.set(`tokenizer.ggml.${key}_token_id`, { type: 'uint32', value: id })
    if (id !== undefined && key === 'unknown' && !isByteLevel) types[id] = UNKNOWN
  }
  metadata.set('tokenizer.ggml.token_type', { type: 'array', itemType: 'int32', value: types })
  const addsBos = typeof settings.add_bos_token === 'boolean' ? settings.add_bos_token : beginsWithSpecial(processor)
  metadata.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: addsBos })
  if (chatTemplate !== undefined) metadata.set('tokenizer.chat_template', { type: 'string', value: chatTemplate })
  return metadata
}

/** llama.cpp's name for how text is cut into words. */
function splitterName(preTokenizer: unknown): string {
  const patterns = splitPatterns(preTokenizer)
  const known = SPLITTERS.find(
    ([, ...begins]) => begins.length === patterns.length && begins.every((begin, i) => patterns[i].startsWith(begin)),
  )
  if (!known) throw new Error('its tokenizer cuts words in a way that GGUF has no name for')
  return known[0]
}

const stepSchema = z.object({
  type: z.string(),
  pretokenizers: z.array(z.unknown()).optional(),
  pattern: z.object({ Regex: z.string() }).optional(),
  use_regex: z.boolean().optional(),
})

/** The regular expressions that a pre-tokenizer applies, those of its named steps included. */
function splitPatterns(preTokenizer: unknown): string[] {
  const parsed = stepSchema.safeParse(preTokenizer)
  if (!parsed.success) return ['unknown']
  const { type, pretokenizers, pattern, use_regex: usesRegex } = parsed.data
  if (type === 'Sequence') return (pretokenizers ?? []).flatMap(splitPatterns)
  if (type === 'Digits') return [DIGIT]
  if (type === 'ByteLevel') return usesRegex === false ? [] : [GPT2_WORDS]
  return [pattern?.Regex ?? type]
}

/** SentencePiece merges the pair whose piece has the highest score: the earlier a merge, the higher. */
function mergeScores(tokens: readonly string[], types: readonly number[], merges: readonly string[]): number[] {
  const rank = new Map<string, number>()
  for (const [i, merge] of merges.entries()) {
    const piece = merge.replace(' ', '')
    if (!rank.has(piece)) rank.set(piece, i)
  }
  return tokens.map((token, id) => (types[id] === NORMAL ? -(rank.get(token) ?? merges.length) : 0))
}

function specialId(value: unknown, idOf: ReadonlyMap<string, number>): number | undefined {
  const first = Array.isArray(value) ? value[0] : value
  if (typeof first === 'number') return first
  const content = typeof first === 'object' && first !== null ? (first as { content?: unknown }).content : first
  return typeof content === 'string' ? idOf.get(content) : undefined
}

const templateSchema = z.object({
  type: z.literal('TemplateProcessing'),
  single: z.array(z.record(z.string(), z.unknown())),
})

function beginsWithSpecial(processor: unknown): boolean {
  const steps = (processor as { processors?: unknown } | null)?.processors
  if (Array.isArray(steps)) return steps.some(beginsWithSpecial)
  const parsed = templateSchema.safeParse(processor)
  return parsed.success && parsed.data.single[0]?.SpecialToken !== undefined
}
