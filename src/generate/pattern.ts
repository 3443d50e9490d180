import {
  type CharacterRange,
  choice,
  EMPTY,
  type Expression,
  GrammarError,
  otherRanges,
  repeat,
  sequence,
} from './grammar.ts'

/**
 * Regular expressions as JSON Schemas have them, as far as they describe a regular language: characters, classes, groups,
 * alternatives, repetitions, and ^ and $ at the ends. What looks around or back is refused.
 *
 * @param characters - how a character of the text is written, such as with escapes
 * @throws GrammarError with one sentence
 */
export function parsePattern(
  source: string,
  characters: (ranges: readonly CharacterRange[]) => Expression,
): Expression {
  const fail = (what: string): never => {
    throw new GrammarError(`the pattern ${JSON.stringify(source)} ${what}`)
  }
  const points = Array.from(source)
  if (points.length > MOST_LENGTH) fail(`is longer than ${MOST_LENGTH} characters`)
  const anything = repeat(characters(ANY))
  let at = 0

  const alternatives = (depth: number): Expression => {
    if (depth > MOST_NESTED) fail('is nested too deep')
    const options = [branch(depth)]
    while (points[at] === '|') {
      at++
      options.push(branch(depth))
    }
    return choice(...options)
  }
  /** Anchors stand only where a branch of the whole pattern begins and ends. */
  const branch = (depth: number): Expression => {
    const outer = depth === 0
    const parts: Expression[] = []
    if (outer && points[at] === '^') at++
    else if (outer) parts.push(anything)
    let ended = false
    while (at < points.length && points[at] !== '|' && points[at] !== ')') {
      if (outer && points[at] === '$' && (at + 1 === points.length || points[at + 1] === '|')) {
        at++
        ended = true
        break
      }
      parts.push(repeated(atom(depth)))
    }
    if (outer && !ended) parts.push(anything)
    return parts.length === 1 ? parts[0] : sequence(...parts)
  }
  const repeated = (part: Expression): Expression => {
    const rest = points.slice(at, at + 24).join('')
    const [text, times, min, comma, max] = /^(?:([*+?])|\{(\d+)(,(\d*))?\})\??/.exec(rest) ?? []
    if (text === undefined) return part
    at += text.length
    if (/^[*+?{]/.test(points[at] ?? '')) fail('repeats what is repeated')
    if (times === '*') return repeat(part)
    if (times === '+') return repeat(part, 1)
    if (times === '?') return repeat(part, 0, 1)
    const least = Number(min)
    const most = comma === undefined ? least : max === '' ? Number.POSITIVE_INFINITY : Number(max)
    if (least > most || least > MOST_REPEATED || (most > MOST_REPEATED && most !== Number.POSITIVE_INFINITY)) {
      fail(`repeats more than ${MOST_REPEATED} times, or less than nothing`)
    }
    return repeat(part, least, most)
  }
  const atom = (depth: number): Expression => {
    const point = points[at++]
    if (point === '(') {
      if (points[at] === '?') {
        if (points[at + 1] === ':') at += 2
        else {
          const name = /^\?<[A-Za-z]\w*>/.exec(points.slice(at, at + 64).join(''))?.[0]
          if (!name) fail('looks ahead or behind, which no grammar can')
          at += (name as string).length
        }
      }
      const inner = points[at] === ')' ? EMPTY : alternatives(depth + 1)
      if (points[at++] !== ')') fail('has a parenthesis that is not closed')
      return inner
    }
    if (point === '[') return characters(set())
    if (point === '.') return characters(otherRanges(LINE_ENDS))
    if (point === '\\') return characters(escaped(false))
    if (point === '^' || point === '$') fail(`has ${point} in its middle`)
    if ('*+?{}]'.includes(point)) fail(`has a ${point} that does not belong there`)
    return characters([single(point)])
  }
  const set = (): CharacterRange[] => {
    const isOther = points[at] === '^'
    if (isOther) at++
    const ranges: CharacterRange[] = []
    for (;;) {
      const point = points[at++]
      if (point === undefined) fail('has a set of characters that is not closed')
      if (point === ']') break
      const first = point === '\\' ? escaped(true) : [single(point)]
      if (points[at] === '-' && points[at + 1] !== ']' && first.length === 1 && first[0][0] === first[0][1]) {
        at++
        const end = points[at++]
        const last = end === '\\' ? escaped(true) : [single(end ?? fail('has a set of characters that is not closed'))]
        if (last.length !== 1 || last[0][0] !== last[0][1] || last[0][0] < first[0][0]) fail('has a range that is none')
        ranges.push([first[0][0], last[0][0]])
      } else ranges.push(...first)
    }
    return isOther ? otherRanges(ranges) : ranges
  }
  const escaped = (inSet: boolean): CharacterRange[] => {
    const point = points[at++] ?? fail('ends with a backslash')
    const kind = CLASSES[point.toLowerCase()]
    if (kind) return point === point.toLowerCase() ? [...kind] : otherRanges(kind)
    if (point in CONTROLS) return [[CONTROLS[point], CONTROLS[point]]]
    if (point === 'b' && inSet) return [[8, 8]]
    if (point === 'x' || point === 'u') {
      const hex = /^(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|u\{([\da-fA-F]{1,6})\})/.exec(
        points.slice(at - 1, at + 8).join(''),
      )
      if (!hex) fail('has an escape that is not known')
      at += (hex as RegExpExecArray)[0].length - 1
      const [, two, four, any] = hex as RegExpExecArray
      const value = Number.parseInt(two ?? four ?? any, 16)
      if (value > 0x10ffff) fail('has an escape that is no character')
      return [[value, value]]
    }
    if (/[A-Za-z0-9]/.test(point)) fail(`has \\${point}, which is not supported`)
    return [single(point)]
  }

  const whole = alternatives(0)
  if (at < points.length) fail('has a parenthesis that was not opened')
  return whole
}

const MOST_LENGTH = 2_000
const MOST_NESTED = 32
const MOST_REPEATED = 10_000

const ANY: readonly CharacterRange[] = [[0, 0x10ffff]]
const LINE_ENDS: readonly CharacterRange[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
]
/** As ECMAScript has them. */
const CLASSES: Readonly<Record<string, readonly CharacterRange[]>> = {
  d: [[0x30, 0x39]],
  w: [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ],
  s: [
    [0x09, 0x0d],
    [0x20, 0x20],
    [0xa0, 0xa0],
    [0x1680, 0x1680],
    [0x2000, 0x200a],
    [0x2028, 0x2029],
    [0x202f, 0x202f],
    [0x205f, 0x205f],
    [0x3000, 0x3000],
    [0xfeff, 0xfeff],
  ],
}
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0 }

const single = (point: string): CharacterRange => {
  const value = point.codePointAt(0) as number
  return [value, value]
}
