import type { Normalizer } from './normalizers.ts'
import { PairTable } from './pair-table.ts'
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
  const first = new RegExp(`[${[...byContent.keys()].map(firstCharacter).join('')}]`, 'gu')
  const longest = trieOf([...byContent.keys()])

  return (text) => {
    const segments: Segment[] = []
    let end = 0
    first.lastIndex = 0
    for (let match = first.exec(text); match; match = first.exec(text)) {
      let from = match.index
      let to = longest(text, from)
      if (to === -1) continue
      first.lastIndex = to
      const token = byContent.get(text.slice(from, to))!
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

/** As it stands in a class of characters. */
const firstCharacter = (content: string): string => `\\u{${content.codePointAt(0)!.toString(16)}}`

/** Says where the longest of the words that begins at a place ends, or -1. */
function trieOf(words: readonly string[]): (text: string, from: number) => number {
  const edges = new PairTable(words.length * 4)
  const ends: boolean[] = [false]
  for (const word of words) {
    let node = 0
    for (let i = 0; i < word.length; i++) {
      let next = edges.get(node, word.charCodeAt(i))
      if (next === -1) {
        next = ends.push(false) - 1
        edges.set(node, word.charCodeAt(i), next)
      }
      node = next
    }
    ends[node] = true
  }
  return (text, from) => {
    let end = -1
    for (let at = from, node = 0; at < text.length; ) {
      node = edges.get(node, text.charCodeAt(at++))
      if (node === -1) break
      if (ends[node]) end = at
    }
    return end
  }
}

const lastCharacter = (text: string, end: number): string =>
  text.slice(end >= 2 && text.codePointAt(end - 2)! > 0xffff ? end - 2 : Math.max(0, end - 1), end)
