/** A vocabulary of whole words, as a `tokenizer.json`. */

export interface WordTokenizerOptions {
  /** Stand first in the vocabulary, and are left out of what is read: padding, the end, unknown words. */
  readonly specialTokens: readonly string[]
  /** What a word outside the vocabulary reads as: one of the special tokens. */
  readonly unknown: string
  /** Put behind every text: one of the special tokens. */
  readonly end?: string
  /** Whether tokens are read as one word, `1 9 9 7` as 1997; else with spaces between. Default false. */
  readonly fused?: boolean
}

/**
 * A tokenizer that cuts text at spaces and knows these words, numbered behind the special tokens.
 *
 * @throws RangeError where a word is empty, holds white space or is there twice, or where the unknown or end token is not
 *   among the special ones
 */
export function wordTokenizerJson(
  words: readonly string[],
  { specialTokens, unknown, end, fused = false }: WordTokenizerOptions,
): object {
  const all = [...specialTokens, ...words]
  const odd = all.find((word) => !/^\S+$/.test(word))
  if (odd !== undefined)
    throw new RangeError(`wordTokenizerJson: '${odd}' is no word: it is empty or holds white space`)
  const twice = all.find((word, i) => all.indexOf(word) < i)
  if (twice !== undefined) throw new RangeError(`wordTokenizerJson: '${twice}' is there twice`)
  for (const token of [unknown, end]) {
    if (token !== undefined && !specialTokens.includes(token)) {
      throw new RangeError(`wordTokenizerJson: '${token}' is none of the special tokens`)
    }
  }
  const flags = { special: true, normalized: false, single_word: false, lstrip: false, rstrip: false }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: end === undefined ? null : endProcessor(end, specialTokens.indexOf(end)),
    decoder: fused ? { type: 'Fuse' } : null,
    model: {
      type: 'WordLevel',
      vocab: Object.fromEntries(all.map((word, id) => [word, id])),
      unk_token: unknown,
    },
  }
}

const endProcessor = (end: string, id: number): object => ({
  type: 'TemplateProcessing',
  single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: end, type_id: 0 } }],
  pair: [
    { Sequence: { id: 'A', type_id: 0 } },
    { Sequence: { id: 'B', type_id: 0 } },
    { SpecialToken: { id: end, type_id: 0 } },
  ],
  special_tokens: { [end]: { id: end, ids: [id], tokens: [end] } },
})

/** A made-up language: its words, and the way from texts to ids and back. */
export interface WordVocabulary {
  readonly size: number
  readonly tokenizerJson: object
  /**
   * Of words with a space in between.
   *
   * @throws RangeError where a word is not of the language
   */
  idsOf(text: string): number[]
  textOf(ids: Iterable<number>): string
}

/**
 * The vocabulary of `wordTokenizerJson`, for what makes its texts itself.
 *
 * @param special - the last of them stands for unknown words
 */
export function wordVocabulary(special: readonly string[], words: readonly string[]): WordVocabulary {
  const tokenizerJson = wordTokenizerJson(words, { specialTokens: special, unknown: special.at(-1) ?? '' })
  const all = [...special, ...words]
  const ids = new Map(all.map((word, id) => [word, id]))
  const idOf = (word: string): number => {
    const id = ids.get(word)
    if (id === undefined) throw new RangeError(`'${word}' is no word of this vocabulary`)
    return id
  }
  return {
    size: all.length,
    tokenizerJson,
    idsOf: (text) => text.split(' ').map(idOf),
    textOf: (ids) => Array.from(ids, (id) => all[id]).join(' '),
  }
}
