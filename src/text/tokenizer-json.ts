import { z } from 'zod'

/** The file `tokenizer.json` of Hugging Face: its parts, checked. Names are the file's own. */

const MAX_ID = 2 ** 24
const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < MAX_ID
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const id = z.custom<number>(isId, `must be an integer from 0 to ${MAX_ID - 1}`)
// Plain loops: a vocabulary has up to a quarter of a million entries.
const vocab = z.custom<Record<string, number>>(
  (value) => isObject(value) && Object.values(value).every(isId),
  `must map every token to an integer from 0 to ${MAX_ID - 1}`,
)
const merges = z.custom<(string | [string, string])[]>(
  (value) =>
    Array.isArray(value) &&
    value.every((merge) =>
      typeof merge === 'string'
        ? merge.split(' ').length === 2
        : Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string'),
    ),
  'must be a list of pairs of tokens',
)
const scoredVocab = z.custom<[string, number][]>(
  (value) =>
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((entry) => Array.isArray(entry) && typeof entry[0] === 'string' && Number.isFinite(entry[1])),
  'must be a list of [token, score]',
)

/** For `z.discriminatedUnion('type', …, byType)`: names the type that is not known. */
const byType = {
  error: ({ input }: { input?: unknown }) => {
    if (!isObject(input)) return 'must be an object with a type'
    return typeof input.type === 'string'
      ? `is ${JSON.stringify(input.type.slice(0, 60))}, a kind we do not know`
      : 'must be a string'
  },
}

const pattern = z.union([z.object({ String: z.string() }), z.object({ Regex: z.string() })], {
  error: 'must be {"String": …} or {"Regex": …}',
})
const behavior = z.enum(['Removed', 'Isolated', 'Contiguous', 'MergedWithPrevious', 'MergedWithNext'])
const prependScheme = z.enum(['always', 'first', 'never'])
const metaspace = z.object({
  type: z.literal('Metaspace'),
  replacement: z.string().min(1).default('▁'),
  prepend_scheme: prependScheme.optional(),
  add_prefix_space: z.boolean().optional(),
  split: z.boolean().default(true),
})

const simpleNormalizer = z.object({
  type: z.enum(['NFC', 'NFD', 'NFKC', 'NFKD', 'Nmt', 'Lowercase', 'StripAccents', 'ByteLevel']),
})
export type NormalizerJson = z.infer<typeof flatNormalizer> | { type: 'Sequence'; normalizers: NormalizerJson[] }
const bertNormalizer = z.object({
  type: z.literal('BertNormalizer'),
  clean_text: z.boolean().default(true),
  handle_chinese_chars: z.boolean().default(true),
  strip_accents: z.boolean().nullish(),
  lowercase: z.boolean().default(true),
})
const stripNormalizer = z.object({ type: z.literal('Strip'), strip_left: z.boolean(), strip_right: z.boolean() })
const prependNormalizer = z.object({ type: z.literal('Prepend'), prepend: z.string() })
const replace = z.object({ type: z.literal('Replace'), pattern, content: z.string() })
const precompiled = z.object({ type: z.literal('Precompiled'), precompiled_charsmap: z.string().nullish() })
const flatNormalizers = [
  simpleNormalizer,
  bertNormalizer,
  stripNormalizer,
  prependNormalizer,
  replace,
  precompiled,
] as const
const flatNormalizer = z.discriminatedUnion('type', flatNormalizers, byType)
const normalizer: z.ZodType<NormalizerJson> = z.lazy(() =>
  z.discriminatedUnion(
    'type',
    [...flatNormalizers, z.object({ type: z.literal('Sequence'), normalizers: z.array(normalizer) })],
    byType,
  ),
)

const simplePreTokenizer = z.object({ type: z.enum(['BertPreTokenizer', 'Whitespace', 'WhitespaceSplit']) })
const byteLevelPreTokenizer = z.object({
  type: z.literal('ByteLevel'),
  add_prefix_space: z.boolean().default(true),
  use_regex: z.boolean().default(true),
})
const splitPreTokenizer = z.object({
  type: z.literal('Split'),
  pattern,
  behavior,
  invert: z.boolean().default(false),
})
const punctuationPreTokenizer = z.object({ type: z.literal('Punctuation'), behavior: behavior.default('Isolated') })
const digitsPreTokenizer = z.object({ type: z.literal('Digits'), individual_digits: z.boolean().default(false) })
const delimiterPreTokenizer = z.object({ type: z.literal('CharDelimiterSplit'), delimiter: z.string().min(1) })
const fixedLengthPreTokenizer = z.object({ type: z.literal('FixedLength'), length: z.int().min(1) })
const flatPreTokenizers = [
  simplePreTokenizer,
  byteLevelPreTokenizer,
  metaspace,
  splitPreTokenizer,
  punctuationPreTokenizer,
  digitsPreTokenizer,
  delimiterPreTokenizer,
  fixedLengthPreTokenizer,
] as const
const flatPreTokenizer = z.discriminatedUnion('type', flatPreTokenizers, byType)
export type PreTokenizerJson =
  | z.infer<typeof flatPreTokenizer>
  | { type: 'Sequence'; pretokenizers: PreTokenizerJson[] }
const preTokenizer: z.ZodType<PreTokenizerJson> = z.lazy(() =>
  z.discriminatedUnion(
    'type',
    [...flatPreTokenizers, z.object({ type: z.literal('Sequence'), pretokenizers: z.array(preTokenizer) })],
    byType,
  ),
)

const bpe = z.object({
  type: z.literal('BPE'),
  vocab,
  merges,
  unk_token: z.string().nullish(),
  continuing_subword_prefix: z.string().nullish(),
  end_of_word_suffix: z.string().nullish(),
  fuse_unk: z.boolean().nullish(),
  byte_fallback: z.boolean().nullish(),
  ignore_merges: z.boolean().nullish(),
})
const wordPiece = z.object({
  type: z.literal('WordPiece'),
  vocab,
  unk_token: z.string(),
  continuing_subword_prefix: z.string().default('##'),
  max_input_chars_per_word: z.int().default(100),
})
const unigram = z.object({
  type: z.literal('Unigram'),
  vocab: scoredVocab,
  unk_id: id.nullish(),
  byte_fallback: z.boolean().nullish(),
})
const wordLevel = z.object({ type: z.literal('WordLevel'), vocab, unk_token: z.string() })
/** Files from before 2021 leave the model's type out. */
const withType = (model: unknown): unknown => {
  if (!isObject(model) || model.type !== undefined) return model
  if (Array.isArray(model.vocab)) return { ...model, type: 'Unigram' }
  if (Array.isArray(model.merges)) return { ...model, type: 'BPE' }
  return { ...model, type: 'continuing_subword_prefix' in model ? 'WordPiece' : 'WordLevel' }
}
const model = z.preprocess(withType, z.discriminatedUnion('type', [bpe, wordPiece, unigram, wordLevel], byType))

const special = z.object({ id: z.string(), type_id: z.int().optional() })
const templatePart = z.union([z.object({ SpecialToken: special }), z.object({ Sequence: special })], {
  error: 'must be {"SpecialToken": …} or {"Sequence": …}',
})
const template = z.object({
  type: z.literal('TemplateProcessing'),
  single: z.array(templatePart),
  special_tokens: z.record(z.string(), z.object({ ids: z.array(id) })),
})
const tokenAndId = z.tuple([z.string(), id])
const bertProcessing = z.object({
  type: z.enum(['BertProcessing', 'RobertaProcessing']),
  cls: tokenAndId,
  sep: tokenAndId,
})
const byteLevelProcessing = z.object({ type: z.literal('ByteLevel') })
export type PostProcessorJson =
  | z.infer<typeof template>
  | z.infer<typeof bertProcessing>
  | z.infer<typeof byteLevelProcessing>
  | { type: 'Sequence'; processors: PostProcessorJson[] }
const postProcessor: z.ZodType<PostProcessorJson> = z.lazy(() =>
  z.discriminatedUnion(
    'type',
    [
      template,
      bertProcessing,
      byteLevelProcessing,
      z.object({ type: z.literal('Sequence'), processors: z.array(postProcessor) }),
    ],
    byType,
  ),
)

const simpleDecoder = z.object({ type: z.enum(['ByteLevel', 'ByteFallback', 'Fuse']) })
const wordPieceDecoder = z.object({
  type: z.literal('WordPiece'),
  prefix: z.string().default('##'),
  cleanup: z.boolean().default(true),
})
const bpeDecoder = z.object({ type: z.literal('BPEDecoder'), suffix: z.string().min(1).default('</w>') })
const ctcDecoder = z.object({
  type: z.literal('CTC'),
  pad_token: z.string().default('<pad>'),
  word_delimiter_token: z.string().default('|'),
  cleanup: z.boolean().default(true),
})
const stripDecoder = z.object({
  type: z.literal('Strip'),
  content: z.string().min(1).max(64),
  start: z.int().min(0).max(1000),
  stop: z.int().min(0).max(1000),
})
const flatDecoders = [
  simpleDecoder,
  wordPieceDecoder,
  metaspace,
  bpeDecoder,
  ctcDecoder,
  stripDecoder,
  replace,
] as const
const flatDecoder = z.discriminatedUnion('type', flatDecoders, byType)
export type FlatDecoderJson = z.infer<typeof flatDecoder>
export type DecoderJson = FlatDecoderJson | { type: 'Sequence'; decoders: DecoderJson[] }
const decoder: z.ZodType<DecoderJson> = z.lazy(() =>
  z.discriminatedUnion(
    'type',
    [...flatDecoders, z.object({ type: z.literal('Sequence'), decoders: z.array(decoder) })],
    byType,
  ),
)

const addedToken = z.object({
  id,
  content: z.string(),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().optional(),
  special: z.boolean().default(false),
})

const tokenizerFile = z.object({
  added_tokens: z.array(addedToken).default([]),
  normalizer: normalizer.nullish(),
  pre_tokenizer: preTokenizer.nullish(),
  post_processor: postProcessor.nullish(),
  decoder: decoder.nullish(),
  model,
})

export type TokenizerFile = z.infer<typeof tokenizerFile>
export type AddedTokenJson = TokenizerFile['added_tokens'][number]
export type ModelJson = TokenizerFile['model']
export type PatternJson = z.infer<typeof pattern>
export type SplitBehavior = z.infer<typeof behavior>
export type MetaspaceJson = z.infer<typeof metaspace>

/** Checks the object read from a `tokenizer.json`. @throws Error with one sentence that says where it is wrong. */
export function parseTokenizerJson(json: unknown): TokenizerFile {
  let result: ReturnType<typeof tokenizerFile.safeParse>
  try {
    result = tokenizerFile.safeParse(json)
  } catch (error) {
    // A file nested thousands of levels deep exhausts the stack.
    if (error instanceof RangeError) throw new Error('tokenizer.json is nested too deeply to be a tokenizer')
    throw error
  }
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const path = issue.path.join('.')
  throw new Error(`tokenizer.json: ${path ? `"${path}" ` : ''}${issue.message}`)
}
