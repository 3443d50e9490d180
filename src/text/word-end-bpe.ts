import { BYTE_ALPHABET } from './byte-level.ts'
import { type Tokenizer, tokenizerFromJson } from './tokenizer.ts'

/** Byte-pair encodings whose tokens say where a word ends, of their own files: GPT-1's and CLIP's. */

export const WORD_END = '</w>'

const [START_OF_TEXT, END_OF_TEXT] = ['<|startoftext|>', '<|endoftext|>']

export type Vocabulary = Readonly<Record<string, number>>
export type Merges = readonly (readonly string[])[]

const endsWords = (vocab: Vocabulary): boolean => Object.keys(vocab).some((token) => token.endsWith(WORD_END))

/** Whether the vocabulary is of CLIP's kind: of bytes, with ends of words. */
export const isOfClip = (vocab: Vocabulary): boolean => Object.hasOwn(vocab, START_OF_TEXT) && endsWords(vocab)

/** Whether it is of GPT-1's kind: of characters in small letters, with ends of words. */
export const isOfGpt1 = (vocab: Vocabulary): boolean => !Object.hasOwn(vocab, START_OF_TEXT) && endsWords(vocab)

/** What special tokens are called in a configuration, where it says so; else as given. */
function specialTokens(vocab: Vocabulary, config: object, initial: Readonly<Record<string, string>>) {
  const said = Object.entries(config).flatMap(([name, value]): [string, string][] => {
    const content = typeof value === 'object' && value !== null && 'content' in value ? value.content : value
    return name in initial && typeof content === 'string' ? [[name, content]] : []
  })
  const names = { ...initial, ...Object.fromEntries(said) }
  const flags = { special: true, normalized: false, single_word: false, lstrip: false, rstrip: false }
  const contents = [...new Set(Object.values(names))].filter((content) => Object.hasOwn(vocab, content))
  return { names, added: contents.map((content) => ({ id: vocab[content], content, ...flags })) }
}

/**
 * GPT-1's vocabulary (Radford et al., 2018, §4.1) as the reference implementation reads it today: texts are cleaned, cut
 * and put into small letters as BERT's are. (The paper's code used ftfy and spaCy, whose cuts differ in places.)
 *
 * @param config - the object in `tokenizer_config.json`, where there is one: what the special token is called
 */
export function tokenizerFromGpt1(vocab: Vocabulary, merges: Merges, config: object = {}): Tokenizer {
  const { names, added } = specialTokens(vocab, config, { unk_token: '<unk>' })
  return tokenizerFromJson(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: null,
        lowercase: true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: null,
      decoder: { type: 'BPEDecoder', suffix: WORD_END },
      model: { type: 'BPE', vocab, merges, unk_token: names.unk_token, end_of_word_suffix: WORD_END },
    },
    { ...config, ...names },
  )
}

/** CLIP's words (Radford et al., 2021, arXiv 2103.00020): digits one by one, other signs in runs, spaces nowhere. */
const CLIP_WORDS =
  "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"

/**
 * CLIP's vocabulary, in small letters, between the tokens that begin and end a text.
 *
 * @param config - the object in `tokenizer_config.json`, where there is one: what the special tokens are called
 * @throws Error where the vocabulary lacks one that every text needs
 */
export function tokenizerFromClip(vocab: Vocabulary, merges: Merges, config: object = {}): Tokenizer {
  const { names, added } = specialTokens(vocab, config, {
    bos_token: START_OF_TEXT,
    eos_token: END_OF_TEXT,
    unk_token: END_OF_TEXT,
    pad_token: END_OF_TEXT,
  })
  const special = (name: 'bos_token' | 'eos_token'): [string, number] => {
    if (!Object.hasOwn(vocab, names[name])) throw new Error(`has no token ${JSON.stringify(names[name])}, the ${name}`)
    return [names[name], vocab[names[name]]]
  }
  return tokenizerFromJson(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'NFC' },
          { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
          { type: 'Lowercase' },
        ],
      },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: CLIP_WORDS }, behavior: 'Removed', invert: true },
          { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
        ],
      },
      post_processor: {
        type: 'RobertaProcessing',
        sep: special('eos_token'),
        cls: special('bos_token'),
        trim_offsets: false,
        add_prefix_space: false,
      },
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: { type: 'BPE', vocab, merges, unk_token: names.unk_token, end_of_word_suffix: WORD_END },
    },
    { ...config, ...names },
  )
}

/** Merges of the released file that CLIP's vocabulary ends with; it has those of a larger one. */
const CLIP_MERGES = 49152 - 256 - 2

/**
 * CLIP's vocabulary of the file that OpenAI released, which has the merges alone: the bytes, the bytes at the end of a
 * word, what merges make, and the two special tokens.
 *
 * @param text - of `bpe_simple_vocab_16e6.txt`
 */
export function tokenizerFromClipMerges(text: string): Tokenizer {
  const merges = mergesOf(text).slice(0, CLIP_MERGES)
  const printable = BYTE_ALPHABET.filter((character) => character < '\u0100')
  const bytes = [...printable, ...BYTE_ALPHABET.filter((character) => character >= '\u0100')]
  const tokens = [
    ...bytes,
    ...bytes.map((byte) => byte + WORD_END),
    ...merges.map((pair) => pair.join('')),
    START_OF_TEXT,
    END_OF_TEXT,
  ]
  return tokenizerFromClip(Object.fromEntries(tokens.map((token, id) => [token, id] as const)), merges)
}

/** A line of version, which may have a name before it, then a pair of tokens a line, first merged first. */
export const mergesOf = (text: string): string[][] =>
  text
    .split(/\r?\n/)
    .filter((line, i) => line.trim() !== '' && !(i === 0 && line.includes('#version')))
    .map((line) => line.split(' '))
