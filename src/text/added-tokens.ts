import type { Normalizer } from './normalizers.ts'
import type { AddedTokenJson } from './tokenizer-json.ts'

/** A stretch of text: one added token (`id` set), or text that still has to be cut into words. */
export interface Segment {
  text: string
  start: number
  id?: number
}

const WORD = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]'
const wordAtStart = new RegExp(`^${WORD}`, 'u')
const wordAtEnd = new RegExp(`${WORD}$`, 'u')

/**
 * Finds added tokens in a text, the leftmost and of those the longest first.
 *
 * @param normalizer - where given, the tokens are looked for as it writes them.
 */
export function makeSplitter(tokens: readonly AddedTokenJson[], normalizer?: Normalizer): (text: string) => Segment[] {
  const byContent = new Map<string, AddedTokenJson>()
  for (const token of tokens) {
    const content = normalizer ? normalizer(token.content) : token.content
    if (content !== '') byContent.set(content, token)
  }
  if (byContent.size === 0) return (text) => (text === '' ? [] : [{ text, start: 0 }])
  const literal = (content: string) => content.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
  const contents = [...byContent.keys()].sort((a, b) => b.length - a.length)
  const firstCharacters = new Set(
    contents.map((content) => literal(String.fromCodePoint(content.codePointAt(0)!)).replace('-', '\\-')),
  )
  // Looking at one character first keeps hundreds of tokens from being tried at every position.
  const pattern = new RegExp(`(?=[${[...firstCharacters].join('')}])(?:${contents.map(literal).join('|')})`, 'gu')

  return (text) => {
    const segments: Segment[] = []
    let end = 0
    for (const match of text.matchAll(pattern)) {
      const token = byContent.get(match[0])!
      let from = match.index
      let to = from + match[0].length
      if (
        token.single_word &&
        (wordAtEnd.test(lastCharacter(text, from)) || wordAtStart.test(text.slice(to, to + 2)))
      ) {
        continue
      }
      if (token.lstrip) {
        while (from > end && /\p{White_Space}/u.test(text[from - 1])) from--
      }
      if (token.rstrip) {
        while (to < text.length && /\p{White_Space}/u.test(text[to])) to++
      }
      if (from > end) segments.push({ text: text.slice(end, from), start: end })
      segments.push({ text: text.slice(from, to), start: from, id: token.id })
      end = to
    }
    if (end < text.length) segments.push({ text: text.slice(end), start: end })
    return segments
  }
}

const lastCharacter = (text: string, end: number): string =>
  text.slice(end >= 2 && text.codePointAt(end - 2)! > 0xffff ? end - 2 : Math.max(0, end - 1), end)
