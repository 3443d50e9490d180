import {
  type CharacterRange,
  characters,
  choice,
  EMPTY,
  type Expression,
  literal,
  normalRanges,
  optional,
  otherRanges,
  repeat,
  rule,
  sequence,
} from './grammar.ts'

/**
 * JSON as expressions. It is compact, with at most one space behind each `:` and `,`: a model that may write blanks where
 * it likes can write them for ever. Numbers have at most 15 digits before the point and 15 behind it, so that they end, too.
 */

const SPACE = optional(literal(' '))
export const COMMA = sequence(literal(','), SPACE)
export const COLON = sequence(literal(':'), SPACE)
const QUOTE = literal('"')

/** Characters that stand for themselves in a string. */
const PLAIN = otherRanges([
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
])

const hex = (from: string, to = from): Expression =>
  characters([from, to].every((digit) => digit <= '9') ? [[code(from), code(to)]] : hexRanges(from, to))

const code = (digit: string): number => digit.charCodeAt(0)

/** Hexadecimal digits of either case, from one to another. */
function hexRanges(from: string, to: string): CharacterRange[] {
  const digits = '0123456789abcdef'
  const chosen = digits.slice(digits.indexOf(from), digits.indexOf(to) + 1)
  return [...chosen].flatMap((digit): CharacterRange[] => [
    [code(digit), code(digit)],
    [code(digit.toUpperCase()), code(digit.toUpperCase())],
  ])
}

const anyHex = hex('0', 'f')
/** A character by its number; not half of a pair, which alone is no text. */
const unicodeEscape = sequence(
  literal('u'),
  choice(
    sequence(characters([...hexRanges('0', 'c'), ...hexRanges('e', 'f')]), anyHex, anyHex, anyHex),
    sequence(characters(hexRanges('d', 'd')), hex('0', '7'), anyHex, anyHex),
  ),
)
const anyEscape = sequence(
  literal('\\'),
  choice(characters([...'"\\/bfnrt'].map((c) => [code(c), code(c)])), unicodeEscape),
)

/** One character of a string, as JSON writes it. */
export const stringCharacter = choice(characters(PLAIN), anyEscape)

/** The same without pairs of surrogates, which some count as two characters and others as one. */
export const singleCharacter = choice(characters(within(PLAIN, [0, 0xffff])), anyEscape)

function within(ranges: readonly CharacterRange[], [first, last]: CharacterRange): CharacterRange[] {
  return ranges.flatMap(([from, to]): CharacterRange[] =>
    from > last || to < first ? [] : [[Math.max(from, first), Math.min(to, last)]],
  )
}

const ESCAPED: Readonly<Record<number, string>> = {
  8: '\\b',
  9: '\\t',
  10: '\\n',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
}

/** A character of these, as JSON writes it: escaped where it has to be. Pairs of surrogates are left out. */
export function charactersInString(ranges: readonly CharacterRange[]): Expression {
  const asked = normalRanges(ranges)
  const has = (point: number): boolean => asked.some(([from, to]) => from <= point && point <= to)
  const escaped = [...Array(32).keys(), 34, 92].filter(has)
  const plain = PLAIN.flatMap((range) => within(within(asked, range), [0, 0xffff]))
  return choice(
    ...(plain.length > 0 ? [characters(plain)] : []),
    ...escaped.map((point) => literal(ESCAPED[point] ?? `\\u${point.toString(16).padStart(4, '0')}`)),
  )
}

export const quoted = (content: Expression): Expression => sequence(QUOTE, content, QUOTE)

/** A string that is none of these; it has no escapes, so that none of them is written in another way. */
export function otherString(names: readonly string[]): Expression {
  const spelled = names.filter((name) => [...name].every((c) => has(PLAIN, c.codePointAt(0) as number)))
  const rest = repeat(characters(PLAIN))
  const from = (tails: readonly string[]): Expression => {
    const byFirst = new Map<string, string[]>()
    for (const tail of tails) {
      const [first] = tail
      if (first !== undefined) byFirst.set(first, [...(byFirst.get(first) ?? []), tail.slice(first.length)])
    }
    const taken = [...byFirst.keys()].map(
      (c): CharacterRange => [c.codePointAt(0) as number, c.codePointAt(0) as number],
    )
    const others = PLAIN.flatMap((range) => within(otherRanges(taken), range))
    return choice(
      ...(tails.includes('') ? [] : [EMPTY]),
      sequence(characters(others), rest),
      ...[...byFirst].map(([first, behind]) => sequence(literal(first), from(behind))),
    )
  }
  return quoted(from(spelled))
}

const has = (ranges: readonly CharacterRange[], point: number): boolean =>
  ranges.some(([from, to]) => from <= point && point <= to)

export const STRING = quoted(repeat(stringCharacter))

const digit = characters([[0x30, 0x39]])
const upTo9 = (from: number, to = 9): Expression => characters([[0x30 + from, 0x30 + to]])
const MOST_DIGITS = 15
const minus = optional(literal('-'))
const natural = choice(literal('0'), sequence(upTo9(1), repeat(digit, 0, MOST_DIGITS - 1)))
const fraction = sequence(literal('.'), repeat(digit, 1, MOST_DIGITS))
const exponent = sequence(
  characters([...'eE'].map((c) => [code(c), code(c)])),
  optional(characters([...'+-'].map((c) => [code(c), code(c)]))),
  repeat(digit, 1, 2),
)

const INTEGER = sequence(minus, natural)
const NUMBER = sequence(minus, natural, optional(fraction), optional(exponent))

export interface NumberRange {
  readonly min?: number
  readonly max?: number
  readonly aboveMin?: boolean
  readonly belowMax?: boolean
}

/** Integers of a range; undefined where there are none. */
export function integers({ min, max, aboveMin, belowMax }: NumberRange): Expression | undefined {
  if (min === undefined && max === undefined) return INTEGER
  const least = min === undefined ? -LARGEST : aboveMin ? Math.floor(min) + 1 : Math.ceil(min)
  const most = max === undefined ? LARGEST : belowMax ? Math.ceil(max) - 1 : Math.floor(max)
  const [from, to] = [Math.max(least, -Number.MAX_SAFE_INTEGER), Math.min(most, Number.MAX_SAFE_INTEGER)]
  if (from > to) return undefined
  const options: Expression[] = []
  if (from < 0) options.push(sequence(literal('-'), naturals(Math.max(1, -to), -from)))
  if (to >= 0) options.push(naturals(Math.max(0, from), to))
  return choice(...options)
}

const LARGEST = 10 ** MOST_DIGITS - 1

/** Without a sign or zeros before. */
function naturals(from: number, to: number): Expression {
  const options: Expression[] = []
  for (let length = String(from).length; length <= String(to).length; length++) {
    const least = Math.max(from, length === 1 ? 0 : 10 ** (length - 1))
    const most = Math.min(to, 10 ** length - 1)
    options.push(sameLength(String(least), String(most)))
  }
  return choice(...options)
}

/** Digits from one number to another of as many. */
function sameLength(from: string, to: string): Expression {
  if (from.length === 0) return EMPTY
  if (/^0*$/.test(from) && /^9*$/.test(to)) return repeat(digit, from.length, from.length)
  const [first, last] = [Number(from[0]), Number(to[0])]
  const [low, high] = [from.slice(1), to.slice(1)]
  if (first === last) return sequence(literal(from[0]), sameLength(low, high))
  return choice(
    sequence(literal(from[0]), sameLength(low, '9'.repeat(low.length))),
    ...(last - first > 1 ? [sequence(upTo9(first + 1, last - 1), repeat(digit, low.length, low.length))] : []),
    sequence(literal(to[0]), sameLength('0'.repeat(high.length), high)),
  )
}

/** Numbers of a range, as decimals where it has ends; undefined where there are none. */
export function numbers(range: NumberRange): Expression | undefined {
  const { min, max, aboveMin = false, belowMax = false } = range
  if (min === undefined && max === undefined) return NUMBER
  if (min !== undefined && max !== undefined && (min > max || (min === max && (aboveMin || belowMax)))) return undefined
  const options: (Expression | undefined)[] = []
  if (min === undefined || min < 0) {
    const below = max !== undefined && max <= 0 ? { min: -max, aboveMin: belowMax } : { min: 0 }
    const negative = decimals({ ...below, max: min === undefined ? undefined : -min, belowMax: aboveMin })
    options.push(negative && sequence(literal('-'), negative))
  }
  if (max === undefined || max >= 0) {
    const above = min !== undefined && min >= 0 ? { min, aboveMin } : { min: 0 }
    options.push(decimals({ ...above, max, belowMax }))
  }
  const possible = options.filter((option) => option !== undefined)
  return possible.length === 0 ? undefined : choice(...possible)
}

/** A number's digits before and behind the point. */
function digitsOf(value: number): [string, string] {
  const text = /e/.test(String(value)) ? value.toFixed(Math.abs(value) < 1 ? 20 : 0) : String(value)
  const [whole, behind = ''] = text.split('.')
  return [whole, behind.replace(/0+$/, '')]
}

/** From a number that is not negative on. */
function decimals({ min = 0, max, aboveMin, belowMax }: NumberRange): Expression | undefined {
  const [low, lowBehind] = digitsOf(min)
  const [high, highBehind] = max === undefined ? [] : digitsOf(max)
  // Beyond what a number holds exactly, a text could be read as the end that is left out.
  const places = Math.max(1, MOST_DIGITS - Math.max(low.length, high?.length ?? 0))
  const least = { digits: lowBehind, isOut: aboveMin ?? false }
  const most = highBehind === undefined ? undefined : { digits: highBehind, isOut: belowMax ?? false }
  const withWhole = (whole: string, behind: Expression | undefined) => behind && sequence(literal(whole), behind)
  if (low === high) return withWhole(low, fractions(least, most, places))
  const [from, to] = [Number(low) + 1, high === undefined ? LARGEST : Number(high) - 1]
  const options = [
    withWhole(low, fractions(least, undefined, places)),
    from <= to ? sequence(naturals(from, to), optional(fraction)) : undefined,
    high === undefined ? undefined : withWhole(high, fractions(undefined, most, places)),
  ].filter((option) => option !== undefined)
  return options.length === 0 ? undefined : choice(...options)
}

/** An end of a range of fractions, by its digits. */
interface End {
  readonly digits: string
  readonly isOut: boolean
}

/** A point and digits, or nothing: between two ends; undefined where nothing lies there. */
function fractions(low: End | undefined, high: End | undefined, places: number): Expression | undefined {
  const options: Expression[] = []
  if (endsHere(low, high)) options.push(EMPTY)
  const some = tail(low, high, places)
  if (some) options.push(sequence(literal('.'), some))
  return options.length === 0 ? undefined : choice(...options)
}

/** Whether zeros alone lie between the ends. */
const endsHere = (low: End | undefined, high: End | undefined): boolean =>
  (!low || (/^0*$/.test(low.digits) && !low.isOut)) && (!high || !/^0*$/.test(high.digits) || !high.isOut)

/** One digit or more. */
function tail(low: End | undefined, high: End | undefined, places: number): Expression | undefined {
  if (places === 0) return undefined
  if (!low && !high) return repeat(digit, 1, places)
  const [first, last] = [Number(low?.digits[0] ?? 0), high ? Number(high.digits[0] ?? 0) : 9]
  const behind = (end: End | undefined): End | undefined => end && { ...end, digits: end.digits.slice(1) }
  const options: Expression[] = []
  for (let d = first; d <= last; d++) {
    const nextLow = low && d === first ? behind(low) : undefined
    const nextHigh = high && d === last ? behind(high) : undefined
    const more = tail(nextLow, nextHigh, places - 1)
    const here = endsHere(nextLow, nextHigh)
    if (more) options.push(sequence(upTo9(d, d), here ? optional(more) : more))
    else if (here) options.push(upTo9(d, d))
  }
  return options.length === 0 ? undefined : choice(...options)
}

/** Any JSON: rules by the names that `value` and `anyObject` call. */
export const JSON_RULES: readonly (readonly [string, Expression])[] = [
  ['value', choice(rule('object'), rule('array'), STRING, NUMBER, literal('true'), literal('false'), literal('null'))],
  ['object', list('{', sequence(STRING, COLON, rule('value')), '}')],
  ['array', list('[', rule('value'), ']')],
]

/** Any number of elements between two brackets. */
export function list(open: string, element: Expression, close: string): Expression {
  return sequence(literal(open), optional(sequence(element, repeat(sequence(COMMA, element)))), literal(close))
}
