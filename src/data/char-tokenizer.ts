/** The character-level vocabulary of nanoGPT's Shakespeare, as a `tokenizer.json`. */

/** The fields of a `tokenizer.json` that a character vocabulary needs. */
export interface CharTokenizerJson {
  version: '1.0'
  truncation: null
  padding: null
  added_tokens: []
  normalizer: null
  pre_tokenizer: {
    type: 'Split'
    pattern: { Regex: string }
    behavior: 'Isolated'
    invert: false
  }
  post_processor: null
  decoder: { type: 'Fuse' }
  model: {
    type: 'BPE'
    dropout: null
    unk_token: null
    continuing_subword_prefix: null
    end_of_word_suffix: null
    fuse_unk: false
    byte_fallback: false
    ignore_merges: false
    vocab: Record<string, number>
    merges: []
  }
}

/**
 * A tokenizer whose tokens are the characters (Unicode code points) of `text`, numbered in code-point order, as nanoGPT
 * numbers them. It is byte-pair encoding without merges: of the models that a `tokenizer.json` can name, the one that
 * every reader of such files knows. A character that `text` lacks has no token: encoding leaves it out.
 *
 * @throws RangeError where the text is empty or holds half of a surrogate pair.
 */
export function charTokenizerJson(text: string): CharTokenizerJson {
  if (text.length === 0)
    throw new RangeError('charTokenizerJson: the text is empty, so there are no characters to number')
  if (/\p{Surrogate}/u.test(text)) throw new RangeError('charTokenizerJson: the text holds half of a surrogate pair')
  const characters = [...new Set(text)].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!)
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: 'Split', pattern: { Regex: '[\\s\\S]' }, behavior: 'Isolated', invert: false },
    post_processor: null,
    decoder: { type: 'Fuse' },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(characters.map((character, id) => [character, id])),
      merges: [],
    },
  }
}
