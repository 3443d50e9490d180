import * as library from '@huggingface/tokenizers'
import type { PatternJson, SplitBehavior } from './tokenizer-json.ts'
import { quote } from './unicode.ts'

// The package's declarations re-export without file extensions, which Node's module resolution does not follow.
const { SplitPreTokenizer } = library as unknown as {
  SplitPreTokenizer: new (json: {
    type: 'Split'
    pattern: PatternJson
    behavior: SplitBehavior
    invert: boolean
  }) => {
    pattern: RegExp | null
  }
}

/**
 * A pattern of `tokenizer.json` as a JavaScript regular expression (global, Unicode). The file's dialect is
 * Oniguruma's; `@huggingface/tokenizers` translates it.
 *
 * @throws Error for an expression that cannot be translated.
 */
export function toPattern(pattern: PatternJson): RegExp {
  if ('String' in pattern) {
    // An empty string matches nothing in the reference.
    return pattern.String === '' ? /(?!)/gu : new RegExp(pattern.String.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'), 'gu')
  }
  let translated: RegExp | null = null
  try {
    translated = new SplitPreTokenizer({ type: 'Split', pattern, behavior: 'Isolated', invert: false }).pattern
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof RangeError)) throw error
  }
  if (!translated) throw new Error(`tokenizer.json: cannot read the regular expression ${quote(pattern.Regex)}`)
  return translated
}

/** Cuts a text at the matches of a pattern; `behavior` says where the matches go, `invert` swaps matches and gaps. */
export function splitText(text: string, pattern: RegExp, behavior: SplitBehavior, invert = false): string[] {
  if (behavior === 'Isolated' && !invert) {
    // Most word patterns match everything: then the matches are the pieces.
    const matches = text.match(pattern)
    if (!matches) return [text]
    let length = 0
    for (const match of matches) length += match.length
    if (length === text.length) return matches
  }
  const pieces: { text: string; isMatch: boolean }[] = []
  let end = 0
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) pieces.push({ text: text.slice(end, match.index), isMatch: invert })
    pieces.push({ text: match[0], isMatch: !invert })
    end = match.index + match[0].length
  }
  if (end < text.length) pieces.push({ text: text.slice(end), isMatch: invert })
  return join(pieces, behavior).filter((piece) => piece !== '')
}

function join(pieces: { text: string; isMatch: boolean }[], behavior: SplitBehavior): string[] {
  switch (behavior) {
    case 'Removed':
      return pieces.filter((piece) => !piece.isMatch).map((piece) => piece.text)
    case 'Isolated':
      return pieces.map((piece) => piece.text)
    case 'Contiguous': {
      const joined: string[] = []
      pieces.forEach((piece, i) => {
        if (i > 0 && piece.isMatch === pieces[i - 1].isMatch) joined[joined.length - 1] += piece.text
        else joined.push(piece.text)
      })
      return joined
    }
    case 'MergedWithPrevious': {
      const joined: string[] = []
      pieces.forEach((piece, i) => {
        if (i > 0 && piece.isMatch && !pieces[i - 1].isMatch) joined[joined.length - 1] += piece.text
        else joined.push(piece.text)
      })
      return joined
    }
    case 'MergedWithNext': {
      const joined: string[] = []
      for (let i = pieces.length - 1; i >= 0; i--) {
        const previousIsMatch = pieces[i + 1]?.isMatch ?? false
        if (joined.length > 0 && pieces[i].isMatch && !previousIsMatch) {
          joined[joined.length - 1] = pieces[i].text + joined[joined.length - 1]
        } else joined.push(pieces[i].text)
      }
      return joined.reverse()
    }
  }
}
