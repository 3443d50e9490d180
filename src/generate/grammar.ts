/** Languages of texts, as trees: what JSON Schemas and written grammars become before they are compiled to automata. */

/** One form of a text, down to its bytes. */
export type Expression =
  /** One byte of any of the ranges, both ends included. */
  | { readonly type: 'byte'; readonly ranges: readonly (readonly [number, number])[] }
  | { readonly type: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly type: 'choice'; readonly options: readonly Expression[] }
  /** `max` may be Infinity. */
  | { readonly type: 'repeat'; readonly of: Expression; readonly min: number; readonly max: number }
  | { readonly type: 'rule'; readonly name: string }

export interface Grammar {
  readonly root: string
  readonly rules: ReadonlyMap<string, Expression>
}

/** What is wrong with a grammar or a schema, in one sentence without its full stop. */
export class GrammarError extends Error {}

export const sequence = (...parts: Expression[]): Expression => ({ type: 'sequence', parts })
export const choice = (...options: Expression[]): Expression =>
  options.length === 1 ? options[0] : { type: 'choice', options }
export const repeat = (of: Expression, min = 0, max = Number.POSITIVE_INFINITY): Expression => ({
  type: 'repeat',
  of,
  min,
  max,
})
export const optional = (of: Expression): Expression => repeat(of, 0, 1)
export const rule = (name: string): Expression => ({ type: 'rule', name })
export const EMPTY: Expression = sequence()

const encoder = new TextEncoder()

const bytes = (values: Iterable<number>): Expression =>
  sequence(...Array.from(values, (byte): Expression => ({ type: 'byte', ranges: [[byte, byte]] })))

/** Exactly this text. */
export const literal = (text: string): Expression => bytes(encoder.encode(text))

/** No text has this byte: around the name of a special token it spells the token itself. */
const SPECIAL = 0xff

/** The bytes that stand for a special token, which no text has. */
export const specialBytes = (content: string): Uint8Array => Uint8Array.of(SPECIAL, ...encoder.encode(content), SPECIAL)

/** A special token of the vocabulary, as a token and not as the text of its name. */
export const special = (content: string): Expression => bytes(specialBytes(content))

/** Code points, both ends included. */
export type CharacterRange = readonly [number, number]

const LAST_CHARACTER = 0x10ffff
const SURROGATES: CharacterRange = [0xd800, 0xdfff]

/** Ranges in order, where they touch or overlap made one; surrogates, which are no characters, are left out. */
export function normalRanges(ranges: readonly CharacterRange[]): CharacterRange[] {
  const sorted = ranges.filter(([from, to]) => from <= to).sort((a, b) => a[0] - b[0])
  const merged: [number, number][] = []
  for (const [from, to] of sorted) {
    const last = merged.at(-1)
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to)
    else merged.push([from, to])
  }
  return merged.flatMap(([from, to]): CharacterRange[] =>
    from > SURROGATES[1] || to < SURROGATES[0]
      ? [[from, to]]
      : [[from, SURROGATES[0] - 1] as const, [SURROGATES[1] + 1, to] as const].filter(([start, end]) => start <= end),
  )
}

/** All characters that are in none of the ranges. */
export function otherRanges(ranges: readonly CharacterRange[]): CharacterRange[] {
  const others: CharacterRange[] = []
  let next = 0
  for (const [from, to] of normalRanges(ranges)) {
    others.push([next, from - 1])
    next = to + 1
  }
  return normalRanges([...others, [next, LAST_CHARACTER]])
}

/** One character of any of the ranges, in UTF-8. */
export function characters(ranges: readonly CharacterRange[]): Expression {
  const ascii: [number, number][] = []
  const sequences: Expression[] = []
  for (const [from, to] of normalRanges(ranges)) {
    if (from < 0x80) ascii.push([from, Math.min(to, 0x7f)])
    for (const form of utf8Forms(Math.max(from, 0x80), to)) {
      sequences.push(sequence(...form.map((range): Expression => ({ type: 'byte', ranges: [range] }))))
    }
  }
  if (ascii.length > 0) sequences.unshift({ type: 'byte', ranges: ascii })
  return choice(...sequences)
}

/** Where characters of one more byte begin. */
const LONGER = [0x80, 0x800, 0x10000, LAST_CHARACTER + 1]

/** Ranges of bytes that together spell the characters from one to another, of two bytes or more. */
function utf8Forms(from: number, to: number): [number, number][][] {
  if (from > to) return []
  const border = LONGER.find((start) => start > from) as number
  if (to >= border) return [...utf8Forms(from, border - 1), ...utf8Forms(border, to)]
  // Where the two differ in a byte, all that follow it must run over their whole range.
  for (let bits = 6; bits <= 18; bits += 6) {
    const size = 1 << bits
    if (Math.floor(from / size) === Math.floor(to / size)) continue
    if (from % size !== 0) {
      const end = (Math.floor(from / size) + 1) * size - 1
      return [...utf8Forms(from, end), ...utf8Forms(end + 1, to)]
    }
    if (to % size !== size - 1) {
      const start = Math.floor(to / size) * size
      return [...utf8Forms(from, start - 1), ...utf8Forms(start, to)]
    }
  }
  const [first, last] = [from, to].map((point) => encoder.encode(String.fromCodePoint(point)))
  return [Array.from(first, (byte, i): [number, number] => [byte, last[i]])]
}
