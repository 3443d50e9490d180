/** A vocabulary of whole words, for languages that are made up, as a `tokenizer.json`. */

/** The fields of a `tokenizer.json` that a vocabulary of words needs. */
export interface WordTokenizerJson {
  version: '1.0'
  truncation: null
  padding: null
  added_tokens: { id: number; content: string; special: true }[]
  normalizer: null
  pre_tokenizer: { type: 'WhitespaceSplit' }
  post_processor: null
  decoder: null
  model: { type: 'WordLevel'; vocab: Record<string, number>; unk_token: string }
}

/**
 * A tokenizer whose tokens are the words between white space, numbered as they are given. The first few are special:
 * they may be left out where tokens become text again. A word that is not among them becomes the last special one.
 *
 * @throws RangeError where a word holds white space, is empty or comes twice, or where there is no special one
 */
export function wordTokenizerJson(special: readonly string[], words: readonly string[]): WordTokenizerJson {
  const all = [...special, ...words]
  const odd = all.find((word, i) => !/^\S+$/.test(word) || all.indexOf(word) !== i)
  if (odd !== undefined) throw new RangeError(`wordTokenizerJson: '${odd}' is no word, or comes twice`)
  const unknown = special.at(-1)
  if (unknown === undefined) throw new RangeError('wordTokenizerJson: needs a special token to stand for unknown words')
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => ({ id, content, special: true })),
    normalizer: null,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab: Object.fromEntries(all.map((word, id) => [word, id])), unk_token: unknown },
  }
}
