/** The regular expressions by which known tokenizers cut text into words, in the dialect of `tokenizer.json`. */

export const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
const llamaWords = (digits: string) =>
  `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const casedWords = (contractions: string, digits: string) =>
  `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+${contractions}|[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*${contractions}|` +
  `${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`

export const LLAMA3_WORDS = llamaWords('\\p{N}{1,3}')
export const QWEN2_WORDS = llamaWords('\\p{N}')
export const GPT4O_WORDS = casedWords(`${CONTRACTIONS}?`, '\\p{N}{1,3}')
export const TEKKEN_WORDS = casedWords('', '\\p{N}')

/** These go back over what they have read, but once: a later alternative takes all of it. */
const KNOWN = new Set([GPT2_WORDS, LLAMA3_WORDS, QWEN2_WORDS, GPT4O_WORDS, TEKKEN_WORDS])

/** One character, or one of a class: no anchors, no groups, no classes within classes. */
const ATOM =
  /\\[pP]\{[A-Za-z_=]+\}|\\[^pPbBAzZGkKgQRX0-9ux]|\[\^?(?:\\[pP]\{[A-Za-z_=]+\}|\\[^pPQux]|[^[\]\\&])+\]|[^\\^$.*+?{}()|[\]]/y
const QUANTIFIER = /[?*+]|\{(\d{1,2})(,)?(\d{1,2})?\}/y

/** How often a sequence may be tried again at one place in other lengths. */
const MOST_WAYS = 100

/**
 * Whether a regular expression is of a form that a backtracking matcher runs in time proportional to the text: one of
 * the known ones, or alternatives that are characters in a row of which only the last may repeat without end (what it
 * took is never given back).
 */
export const isLinear = (pattern: string): boolean => KNOWN.has(pattern) || alternativesAreLinear(pattern)

function alternativesAreLinear(pattern: string): boolean {
  let isOpen = false
  let ways = 1
  for (let at = 0; at < pattern.length; ) {
    if (pattern[at] === '|') {
      isOpen = false
      ways = 1
      at++
      continue
    }
    ATOM.lastIndex = at
    if (!ATOM.test(pattern)) return false
    at = ATOM.lastIndex
    QUANTIFIER.lastIndex = at
    const quantifier = QUANTIFIER.exec(pattern)
    if (quantifier) at = QUANTIFIER.lastIndex
    if (quantifier && /[?+]/.test(pattern[at] ?? '')) return false // lazy or possessive
    const [whole, least, comma, most] = quantifier ?? ['']
    // After what repeats without end, all must be able to be nothing: then it does not have to give anything back.
    const mayBeNothing = whole === '?' || whole === '*'
    if (isOpen && !mayBeNothing) return false
    if (whole === '*' || whole === '+' || (comma && most === undefined)) isOpen = true
    else if (whole === '?') ways *= 2
    else if (comma) ways *= Math.max(1, Number(most) - Number(least) + 1)
    if (ways > MOST_WAYS) return false
  }
  return true
}
