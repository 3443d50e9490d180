import {
  type CharacterRange,
  characters,
  choice,
  EMPTY,
  type Expression,
  type Grammar,
  GrammarError,
  literal,
  otherRanges,
  repeat,
  rule,
  sequence,
} from './grammar.ts'

/**
 * Grammars as they are written: GBNF, as llama.cpp and others read it.
 *
 * ```
 * root   ::= "yes" | "no" | number   # a rule, its alternatives
 * number ::= [1-9] [0-9]{0,3}        # of text, characters, other rules, repeated with * + ? {m,n}
 * ```
 *
 * @throws GrammarError with one sentence where it cannot be read
 */
export function parseGrammar(text: string): Grammar {
  if (text.length > MOST_TEXT) throw new GrammarError(`the grammar is longer than ${MOST_TEXT} characters`)
  const tokens = tokenize(text)
  const rules = new Map<string, Expression>()
  let at = 0
  const is = (type: Token['type'], offset = 0): boolean => tokens[at + offset]?.type === type
  const fail = (what: string): never => {
    const line = text.slice(0, tokens[at]?.at ?? text.length).split('\n').length
    throw new GrammarError(`the grammar cannot be read at line ${line}: ${what}`)
  }

  const alternatives = (depth: number): Expression => {
    if (depth > MOST_NESTED) fail(`parentheses are nested more than ${MOST_NESTED} deep`)
    const options = [parts(depth)]
    while (is('|')) {
      at++
      options.push(parts(depth))
    }
    return choice(...options)
  }
  const parts = (depth: number): Expression => {
    const all: Expression[] = []
    for (;;) {
      const token = tokens[at]
      if (!token || token.type === '|' || token.type === ')') break
      // The name of the next rule.
      if (token.type === 'name' && is('::=', 1)) break
      let part: Expression
      if (token.type === '(') {
        at++
        part = alternatives(depth + 1)
        if (!is(')')) fail('a parenthesis is not closed')
      } else if (token.type === 'name') part = rule(token.name)
      else if (token.type === 'part') part = token.part
      else return fail(`${token.type === 'repeat' ? 'a repetition' : token.type} does not belong here`)
      at++
      for (let next = tokens[at]; next?.type === 'repeat'; next = tokens[++at]) part = repeat(part, next.min, next.max)
      all.push(part)
    }
    return all.length === 0 ? EMPTY : all.length === 1 ? all[0] : sequence(...all)
  }

  while (at < tokens.length) {
    const token = tokens[at]
    if (token.type !== 'name' || !is('::=', 1)) return fail('a rule begins with its name and ::=')
    if (rules.has(token.name)) fail(`the rule "${token.name}" is there twice`)
    at += 2
    rules.set(token.name, alternatives(0))
  }
  if (!rules.has('root')) throw new GrammarError('the grammar has no rule "root", which every text begins with')
  for (const expression of rules.values()) refuseUnknownRules(expression, rules)
  return { root: 'root', rules }
}

const MOST_TEXT = 100_000
const MOST_NESTED = 64
const MOST_REPEATED = 10_000

type Token = { readonly at: number } & (
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'part'; readonly part: Expression }
  | { readonly type: 'repeat'; readonly min: number; readonly max: number }
  | { readonly type: '::=' | '|' | '(' | ')' }
)

const TOKEN =
  /(?<blank>[\s]+|#[^\n]*)|(?<sign>::=|[|()])|(?<name>[A-Za-z][\w-]*)|"(?<text>(?:[^"\\\n]|\\[\s\S])*)"|\[(?<other>\^?)(?<set>(?:[^\]\\]|\\[\s\S])*)\]|(?<any>\.)|(?<times>[*+?])|\{(?<min>\d{1,9})(?<comma>,(?<max>\d{0,9}))?\}/uy

function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  const fail = (at: number, what: string): never => {
    const line = text.slice(0, at).split('\n').length
    throw new GrammarError(`the grammar cannot be read at line ${line}: ${what}`)
  }
  for (let at = 0; at < text.length; ) {
    TOKEN.lastIndex = at
    const found = TOKEN.exec(text)?.groups
    if (!found)
      return fail(at, `${JSON.stringify(String.fromCodePoint(text.codePointAt(at) as number))} does not belong here`)
    const { sign, name, text: quoted, set, other, any, times, min, max, comma } = found
    if (sign !== undefined) tokens.push({ at, type: sign as '|' })
    else if (name !== undefined) tokens.push({ at, type: 'name', name })
    else if (quoted !== undefined) {
      const points = readEscapes(quoted) ?? fail(at, 'an escape is not known')
      tokens.push({ at, type: 'part', part: literal(points.map(({ point }) => String.fromCodePoint(point)).join('')) })
    } else if (set !== undefined) {
      const ranges = rangesOf(set) ?? fail(at, 'a set of characters is wrong')
      tokens.push({ at, type: 'part', part: characters(other === '' ? ranges : otherRanges(ranges)) })
    } else if (any !== undefined) tokens.push({ at, type: 'part', part: characters(otherRanges([])) })
    else if (times !== undefined) {
      const [least, most] = { '*': [0, Infinity], '+': [1, Infinity], '?': [0, 1] }[times] as [number, number]
      tokens.push({ at, type: 'repeat', min: least, max: most })
    } else if (min !== undefined) {
      const least = Number(min)
      const most = comma === undefined ? least : max === '' ? Number.POSITIVE_INFINITY : Number(max)
      if (least > most || least > MOST_REPEATED || (most > MOST_REPEATED && most !== Number.POSITIVE_INFINITY)) {
        fail(at, `a repetition must be {least,most}, up to ${MOST_REPEATED}`)
      }
      tokens.push({ at, type: 'repeat', min: least, max: most })
    }
    at = TOKEN.lastIndex
  }
  return tokens
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' }

/** Code points, and whether they were written with a backslash; undefined where an escape is none. */
function readEscapes(text: string): { point: number; escaped: boolean }[] | undefined {
  const points: { point: number; escaped: boolean }[] = []
  const piece = /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))|([^\\])/uy
  for (let at = 0; at < text.length; at = piece.lastIndex) {
    piece.lastIndex = at
    const found = piece.exec(text)
    if (!found) return undefined
    const [, hex2, hex4, hex8, sign, plain] = found
    const hex = hex2 ?? hex4 ?? hex8
    if (sign !== undefined && /[A-Za-z0-9]/.test(sign) && !(sign in ESCAPES)) return undefined
    const point =
      hex === undefined ? ((plain ?? ESCAPES[sign] ?? sign).codePointAt(0) as number) : Number.parseInt(hex, 16)
    if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return undefined
    points.push({ point, escaped: plain === undefined })
  }
  return points
}

function rangesOf(set: string): CharacterRange[] | undefined {
  const points = readEscapes(set)
  if (!points || points.length === 0) return undefined
  const ranges: CharacterRange[] = []
  for (let i = 0; i < points.length; i++) {
    const dash = points[i + 1]
    if (dash && dash.point === 0x2d && !dash.escaped && points[i + 2]) {
      if (points[i + 2].point < points[i].point) return undefined
      ranges.push([points[i].point, points[i + 2].point])
      i += 2
    } else ranges.push([points[i].point, points[i].point])
  }
  return ranges
}

function refuseUnknownRules(expression: Expression, rules: ReadonlyMap<string, Expression>): void {
  switch (expression.type) {
    case 'rule':
      if (!rules.has(expression.name)) throw new GrammarError(`the grammar has no rule "${expression.name}"`)
      break
    case 'sequence':
      for (const part of expression.parts) refuseUnknownRules(part, rules)
      break
    case 'choice':
      for (const option of expression.options) refuseUnknownRules(option, rules)
      break
    case 'repeat':
      refuseUnknownRules(expression.of, rules)
  }
}
