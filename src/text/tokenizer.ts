import { z } from 'zod'
import { makeSplitter, type Segment } from './added-tokens.ts'
import { byteOfToken, spellingToBytes } from './byte-level.ts'
import { type DecoderStep, flatDecoder, makeDecoder } from './decoders.ts'
import { makeModel } from './models.ts'
import { makeNormalizer } from './normalizers.ts'
import { isPlain, normalizesPlainly } from './plain.ts'
import { makePreTokenizer, type PreTokenizer } from './pre-tokenizers.ts'
import { type DecoderJson, type PostProcessorJson, parseTokenizerJson, type TokenizerFile } from './tokenizer-json.ts'
import { quote, wellFormed } from './unicode.ts'

export interface EncodeOptions {
  /** Add what the tokenizer puts around a text, such as `[CLS]` and `[SEP]`; true by default. */
  addSpecialTokens?: boolean
}

export interface DecodeOptions {
  /** Leave special tokens out of the text; false by default. */
  skipSpecialTokens?: boolean
  /** But for these. */
  shownSpecialIds?: ReadonlySet<number | undefined>
}

/** Turns ids into text as they come. What `push` and at last `flush` return, joined, is `decode` of all the ids. */
export interface Detokenizer {
  /** The text that is certain after this id: never part of a character. May be empty. */
  push(id: number): string
  /** What was held back, at the end. */
  flush(): string
}

export interface Tokenizer {
  /** Text to ids. */
  encode(text: string, options?: EncodeOptions): number[]
  /** Text to ids and, beside each, its token: the vocabulary's string, or the text itself where that is not in it. */
  tokenize(text: string, options?: EncodeOptions): { ids: number[]; tokens: string[] }
  /** Ids to text. Ids outside the vocabulary stand for nothing. */
  decode(ids: Iterable<number>, options?: DecodeOptions): string
  stream(options?: DecodeOptions): Detokenizer
  /** The vocabulary's string of an id. */
  tokenOf(id: number): string | undefined
  idOf(token: string): number | undefined
  /** What an id adds to a text that goes on after it, in UTF-8 or a part of it; undefined outside the vocabulary. */
  bytesOf(id: number): Uint8Array | undefined
  /** One more than the largest id: the rows that an embedding needs. */
  readonly vocabSize: number
  readonly specialIds: ReadonlySet<number>
  /**
   * Text becomes ids in time proportional to it (where it is itself plain: `isPlainText`). Otherwise `encode` may take
   * for ever, and what answers others meanwhile should let a process of its own do it. `decode` and `stream` are always
   * fast.
   */
  readonly isPlain: boolean
  readonly bosTokenId?: number
  readonly eosTokenId?: number
  readonly padTokenId?: number
  readonly unkTokenId?: number
  /** Jinja source of the chat template, where the model has one. */
  readonly chatTemplate?: string
  /** The object to save as `tokenizer.json`. */
  toJSON(): object
  /** The object to save as `tokenizer_config.json`. */
  toConfigJSON(): object
}

const configToken = z
  .union([z.string(), z.object({ content: z.string() }).transform(({ content }) => content)])
  .nullish()
  .catch(undefined)
const tokenizerConfig = z.object({
  bos_token: configToken,
  eos_token: configToken,
  pad_token: configToken,
  unk_token: configToken,
  chat_template: z
    .union([
      z.string(),
      z
        .array(z.object({ name: z.string(), template: z.string() }))
        .transform((list) => (list.find(({ name }) => name === 'default') ?? list[0])?.template),
    ])
    .nullish()
    .catch(undefined),
})

/**
 * The decoder of a file. CLIP's joins bytes and says nothing of ends of words, which the reference implementation makes
 * spaces of, but for the last.
 */
function spacesBetweenWords({ decoder, model }: TokenizerFile): DecoderJson {
  const ending = model.type === 'BPE' ? model.end_of_word_suffix : undefined
  if (!ending || decoder?.type !== 'ByteLevel') return decoder as DecoderJson
  return {
    type: 'Sequence',
    decoders: [
      decoder,
      { type: 'Replace', pattern: { String: ending }, content: ' ' },
      { type: 'Strip', content: ' ', start: 0, stop: 1 },
    ],
  }
}

const encoder = new TextEncoder()

/** Words longer than this are encoded each time; there are few equal ones. */
const MAX_CACHED_WORD = 64
const MAX_CACHED_WORDS = 100_000

/**
 * A tokenizer from the objects in `tokenizer.json` and, where there is one, `tokenizer_config.json`. The file's
 * `truncation` and `padding` are left to the caller, who knows the model's length.
 *
 * @throws Error with one sentence on what is wrong with the file.
 */
export function tokenizerFromJson(tokenizerJson: unknown, config: unknown = {}): Tokenizer {
  const file = parseTokenizerJson(tokenizerJson)
  const plain = isPlain(file)
  const names = tokenizerConfig.safeParse(config)
  if (!names.success) throw new Error('tokenizer_config.json must hold an object')

  const modelVocab = new Map(
    file.model.type === 'Unigram'
      ? file.model.vocab.map(([token], id): [string, number] => [token, id])
      : Object.entries(file.model.vocab),
  )
  const isInModel = file.added_tokens.every(({ content, id }) => modelVocab.get(content) === id)
  const ids = isInModel
    ? modelVocab
    : new Map([...modelVocab, ...file.added_tokens.map(({ content, id }) => [content, id] as const)])
  // A unigram vocabulary may list a token twice: by id, not by way of the map.
  const tokens = file.model.type === 'Unigram' ? file.model.vocab.map(([token]) => token) : []
  if (file.model.type !== 'Unigram') for (const [token, id] of modelVocab) tokens[id] = token
  for (const token of file.added_tokens) tokens[token.id] = token.content
  const toJSON = keepJson(tokenizerJson as { model: { vocab: object } }, modelVocab)
  const specialTokens = new Set(file.added_tokens.filter((token) => token.special).map((token) => token.content))
  const specialIds = new Set<number>()
  // By the entries that there are: ids may leave gaps of millions.
  for (const id of Object.keys(tokens)) if (specialTokens.has(tokens[Number(id)])) specialIds.add(Number(id))

  const normalizer = file.normalizer ? makeNormalizer(file.normalizer) : undefined
  const preTokenizer: PreTokenizer = file.pre_tokenizer
    ? makePreTokenizer(file.pre_tokenizer)
    : { split: (text) => [text], spell: (word) => word }
  const model = makeModel(file.model, modelVocab)
  const template = file.post_processor ? makeTemplate(file.post_processor) : [TEXT]
  const decoder = file.decoder ? makeDecoder(spacesBetweenWords(file)) : () => [joinBySpaces()]
  const isNormalized = (token: (typeof file.added_tokens)[number]) => token.normalized ?? !token.special
  if (file.normalizer && !normalizesPlainly(file.normalizer) && file.added_tokens.some(isNormalized)) {
    throw new Error(
      'tokenizer.json: "normalizer" may take for ever on a text, so "added_tokens" cannot be normalized with it',
    )
  }
  // Where added tokens are looked for in normalised text, the reference also writes them normalised.
  const rewritten = new Map<number, string>()
  for (const token of file.added_tokens) {
    if (normalizer && isNormalized(token)) rewritten.set(token.id, normalizer(token.content))
  }
  const splitBefore = makeSplitter(file.added_tokens.filter((token) => !normalizer || !isNormalized(token)))
  const splitAfter = makeSplitter(
    file.added_tokens.filter((token) => normalizer && isNormalized(token)),
    normalizer,
  )

  /** Walks the words and added tokens of a text in order. */
  function walk(text: string, onWord: (word: string) => void, onToken: (segment: Segment, id: number) => void): void {
    for (const outer of splitBefore(wellFormed(text))) {
      if (outer.id !== undefined) {
        onToken(outer, outer.id)
        continue
      }
      for (const inner of splitAfter(normalizer ? normalizer(outer.text) : outer.text)) {
        if (inner.id !== undefined) onToken(inner, inner.id)
        else for (const word of preTokenizer.split(inner.text, outer.start + inner.start === 0)) onWord(word)
      }
    }
  }

  const cache = new Map<string, number[]>()
  function encodeWord(word: string): number[] {
    const cached = cache.get(word)
    if (cached) return cached
    const encoded = model.encode(preTokenizer.spell(word))
    if (word.length <= MAX_CACHED_WORD) {
      if (cache.size >= MAX_CACHED_WORDS) cache.clear()
      // A slice would keep the whole text alive; joining and cutting anew makes one of a short text.
      cache.set(word.length < 13 ? word : `${word} `.slice(0, -1), encoded)
    }
    return encoded
  }

  function fill<T>(body: T[], special: (id: number) => T, addSpecialTokens: boolean): T[] {
    if (!addSpecialTokens || template.length === 1) return body
    return template.flatMap((part) => (part === TEXT ? body : [special(part)]))
  }

  const specialToken = (name: string | null | undefined) => (typeof name === 'string' ? ids.get(name) : undefined)
  const modelUnk = file.model.type === 'Unigram' ? (file.model.unk_id ?? undefined) : specialToken(file.model.unk_token)

  function stream({ skipSpecialTokens = false, shownSpecialIds }: DecodeOptions = {}): Detokenizer {
    const steps = decoder()
    return {
      push: (id) => {
        const token = rewritten.get(id) ?? tokens[id]
        if (token === undefined) return ''
        if (skipSpecialTokens && specialIds.has(id) && !shownSpecialIds?.has(id)) return ''
        return run(steps, 0, [token]).join('')
      },
      flush: () => steps.map((step, i) => run(steps, i + 1, step.flush()).join('')).join(''),
    }
  }

  const decoders = file.decoder ? flatDecoder(file.decoder).map(({ type }) => type) : []
  const [isByteLevel, fallsBack] = [decoders.includes('ByteLevel'), decoders.includes('ByteFallback')]
  const around = (...middle: string[]): string => {
    const steps = decoder()
    const pushed = ['a', ...middle, 'b'].map((piece) => run(steps, 0, [piece]).join(''))
    return pushed.join('') + steps.map((step, i) => run(steps, i + 1, step.flush()).join('')).join('')
  }

  /** Where decoders look at more than one token, the middle of a text shows what one adds. */
  function bytesOf(id: number): Uint8Array | undefined {
    const token = rewritten.get(id) ?? tokens[id]
    if (token === undefined) return undefined
    if (isByteLevel) return spellingToBytes(token)
    const byte = fallsBack ? byteOfToken(token) : undefined
    if (byte !== undefined) return Uint8Array.of(byte)
    const text = around(token)
    return encoder.encode(text.slice(1, text.length - around().length + 1))
  }

  return {
    encode(text, { addSpecialTokens = true } = {}) {
      const body: number[] = []
      walk(
        text,
        (word) => {
          for (const id of encodeWord(word)) body.push(id)
        },
        (_, id) => body.push(id),
      )
      return fill(body, (id) => id, addSpecialTokens)
    },
    tokenize(text, { addSpecialTokens = true } = {}) {
      const body: number[] = []
      const surfaces: string[] = []
      walk(
        text,
        (word) => {
          const encoded = encodeWord(word)
          body.push(...encoded)
          surfaces.push(...(model.surfaces?.(preTokenizer.spell(word)) ?? encoded.map((id) => tokens[id])))
        },
        (segment, id) => {
          body.push(id)
          surfaces.push(segment.text)
        },
      )
      return {
        ids: fill(body, (id) => id, addSpecialTokens),
        tokens: fill(surfaces, (id) => tokens[id] ?? '', addSpecialTokens),
      }
    },
    decode(sequence, options) {
      const detokenizer = stream(options)
      let text = ''
      for (const id of sequence) text += detokenizer.push(id)
      return text + detokenizer.flush()
    },
    stream,
    tokenOf: (id) => tokens[id],
    idOf: (token) => ids.get(token),
    bytesOf,
    vocabSize: tokens.length,
    specialIds,
    isPlain: plain,
    bosTokenId: specialToken(names.data.bos_token),
    eosTokenId: specialToken(names.data.eos_token),
    padTokenId: specialToken(names.data.pad_token),
    unkTokenId: specialToken(names.data.unk_token) ?? modelUnk,
    chatTemplate: names.data.chat_template ?? undefined,
    toJSON,
    toConfigJSON: () => ({ tokenizer_class: 'PreTrainedTokenizerFast', ...(config as object) }),
  }
}

/** The file's object for later, without a second copy of the vocabulary: its tens of thousands of names are megabytes. */
function keepJson(json: { model: { vocab: object } }, vocab: ReadonlyMap<string, number>): () => object {
  if (Array.isArray(json.model.vocab)) return () => json
  const kept = { ...json, model: { ...json.model, vocab: {} } }
  return () => ({ ...kept, model: { ...kept.model, vocab: Object.fromEntries(vocab) } })
}

/** Feeds pieces through the steps from `first` on. */
function run(steps: readonly DecoderStep[], first: number, pieces: string[]): string[] {
  for (let i = first; i < steps.length; i++) {
    const step = steps[i]
    pieces = pieces.length === 1 ? step.push(pieces[0]) : pieces.flatMap((piece) => step.push(piece))
  }
  return pieces
}

/** Without a decoder, tokens are words. */
function joinBySpaces(): DecoderStep {
  let first = true
  return {
    push: (piece) => {
      const separated = first ? piece : ` ${piece}`
      first = false
      return [separated]
    },
    flush: () => [],
  }
}

/** In a template, the place of the text among the ids around it. */
const TEXT = -1

/** What the post-processor puts around a text, as ids with `TEXT` among them. */
function makeTemplate(json: PostProcessorJson): number[] {
  switch (json.type) {
    case 'ByteLevel':
      return [TEXT]
    case 'BertProcessing':
    case 'RobertaProcessing':
      return [json.cls[1], TEXT, json.sep[1]]
    case 'TemplateProcessing':
      return json.single.flatMap((part) => {
        if ('Sequence' in part) {
          if (part.Sequence.id === 'A') return [TEXT]
          throw new Error('tokenizer.json: "post_processor.single" asks for a second text')
        }
        const special = Object.hasOwn(json.special_tokens, part.SpecialToken.id)
          ? json.special_tokens[part.SpecialToken.id]
          : undefined
        if (special) return special.ids
        throw new Error(
          `tokenizer.json: "post_processor.special_tokens" lacks ${quote(part.SpecialToken.id)}, which "single" uses`,
        )
      })
    case 'Sequence': {
      let template = [TEXT]
      for (const processor of json.processors) {
        const inner = template
        template = makeTemplate(processor).flatMap((part) => (part === TEXT ? inner : [part]))
        if (template.length > 1000) throw new Error('tokenizer.json: "post_processor" adds more than 1000 tokens')
      }
      return template
    }
  }
}
