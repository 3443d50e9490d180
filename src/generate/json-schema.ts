import {
  choice,
  EMPTY,
  type Expression,
  type Grammar,
  GrammarError,
  literal,
  optional,
  repeat,
  rule,
  sequence,
} from './grammar.ts'
import {
  COLON,
  COMMA,
  charactersInString,
  integers,
  JSON_RULES,
  list,
  type NumberRange,
  numbers,
  otherString,
  quoted,
  STRING,
  singleCharacter,
  stringCharacter,
} from './json-text.ts'
import { parsePattern } from './pattern.ts'

/** Any JSON object: what `response_format: json_object` asks for. */
export const jsonObjectGrammar: Grammar = { root: 'object', rules: new Map(JSON_RULES) }

/**
 * The JSON that a schema describes, as far as a grammar can say it: every text of the grammar is valid, and not every
 * valid one is there. Properties come in the schema's order; where `additionalProperties` is left out, an object has those
 * that are named and no others. Keywords that would need more are refused, never ignored.
 *
 * @throws GrammarError with one sentence
 */
export function jsonSchemaGrammar(schema: unknown): Grammar {
  const rules = new Map<string, Expression>(JSON_RULES)
  rules.set('root', schemaExpression(schema, rules))
  return { root: 'root', rules }
}

/** The same as a part of a larger grammar, whose rules it adds to: with those of `JSON_RULES` among them. */
export function schemaExpression(schema: unknown, rules: Map<string, Expression>): Expression {
  return new Schemas(schema, rules).whole()
}

const MOST_SCHEMAS = 5_000
const MOST_NESTED = 64

type Schema = Readonly<Record<string, unknown>>
type Kind = 'object' | 'array' | 'string' | 'number' | 'integer' | 'boolean' | 'null'
type Path = readonly (string | number)[]

const KINDS: readonly Kind[] = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']

/** They say something to readers, and nothing about the value. */
const ANNOTATIONS = [
  ...['title', 'description', 'default', 'examples', '$schema', '$id', '$comment', '$anchor', 'deprecated'],
  ...['readOnly', 'writeOnly', 'contentEncoding', 'contentMediaType', '$defs', 'definitions', 'discriminator'],
]

/** What describes values of each kind. */
const KEYWORDS: Readonly<Record<Kind, readonly string[]>> = {
  object: ['properties', 'required', 'additionalProperties', 'propertyNames'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'format'],
  integer: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf', 'format'],
  boolean: [],
  null: [],
}
const ALL_KEYWORDS = new Set(Object.values(KEYWORDS).flat())
const COMBINED = ['$ref', 'anyOf', 'oneOf', 'allOf', 'enum', 'const']

class Schemas {
  private count = 0
  private readonly references = new Map<string, string>()
  private readonly pending: { name: string; ref: string; schema: unknown }[] = []

  constructor(
    private readonly root: unknown,
    private readonly rules: Map<string, Expression>,
  ) {}

  /** The whole schema. */
  whole(): Expression {
    const expression = this.expression(this.root, [])
    for (let next = this.pending.shift(); next; next = this.pending.shift()) {
      this.rules.set(next.name, this.expression(next.schema, [next.ref]))
    }
    return expression
  }

  private expression(schema: unknown, path: Path): Expression {
    if (++this.count > MOST_SCHEMAS) throw new GrammarError(`the schema has more than ${MOST_SCHEMAS} parts`)
    if (path.length > MOST_NESTED) throw new GrammarError(`the schema is nested more than ${MOST_NESTED} deep`)
    if (schema === true) return rule('value')
    if (schema === false) return fail(path, 'is false, which no value is')
    if (!isObject(schema)) return fail(path, 'must be an object, true or false')
    for (const key of Object.keys(schema)) {
      const known = key === 'type' || COMBINED.includes(key) || ALL_KEYWORDS.has(key) || ANNOTATIONS.includes(key)
      if (!known && !key.startsWith('x-')) fail([...path, key], 'is not supported')
    }
    const said = Object.keys(schema).filter((key) => !ANNOTATIONS.includes(key) && !key.startsWith('x-'))
    const combined = said.find((key) => COMBINED.includes(key))
    if (combined === undefined) return this.typed(schema, said, path)
    const beside = said.find((key) => key !== combined && !(key === 'type' && combined !== '$ref'))
    if (beside !== undefined) fail([...path, beside], `is not supported beside ${combined}`)
    return this.combined(combined, schema, path)
  }

  private combined(key: string, schema: Schema, path: Path): Expression {
    const at = [...path, key]
    const kinds = schema.type === undefined ? undefined : kindsOf(schema, path)
    switch (key) {
      case '$ref':
        return this.reference(schema.$ref, at)
      case 'const':
      case 'enum': {
        const values = key === 'const' ? [schema.const] : schema.enum
        if (!Array.isArray(values) || values.length === 0) return fail(at, 'must be an array of values')
        const chosen = values.filter((value) => !kinds || kinds.some((kind) => isOfKind(value, kind)))
        if (chosen.length === 0) return fail(at, 'has no value of the type')
        return choice(...[...new Set(chosen.map((value) => JSON.stringify(value)))].map(literal))
      }
      default: {
        const options = schema[key]
        if (!Array.isArray(options) || options.length === 0) return fail(at, 'must be an array of schemas')
        if (key === 'allOf' && options.length > 1) return fail(at, 'of more than one schema is not supported')
        if (key === 'oneOf') this.checkApart(options, at)
        return choice(
          ...options.map((option, i) => this.expression(withType(option, schema.type, [...at, i]), [...at, i])),
        )
      }
    }
  }

  /** A schema in another place of the same document: a rule, which is built when all before it are. */
  private reference(ref: unknown, path: Path): Expression {
    if (typeof ref !== 'string') return fail(path, 'must be a string')
    let name = this.references.get(ref)
    if (name === undefined) {
      name = `reference ${this.rules.size}`
      this.references.set(ref, name)
      this.rules.set(name, EMPTY)
      this.pending.push({ name, ref, schema: this.resolve(ref, path) })
    }
    return rule(name)
  }

  private resolve(ref: string, path: Path): unknown {
    if (ref !== '#' && !ref.startsWith('#/'))
      return fail(path, `refers to ${JSON.stringify(ref)}, which is not in the schema`)
    let found: unknown = this.root
    for (const part of ref.split('/').slice(1)) {
      const key = decodeURIComponent(part.replaceAll(/%(?![\da-fA-F]{2})/g, '%25'))
        .replaceAll('~1', '/')
        .replaceAll('~0', '~')
      const isThere = typeof found === 'object' && found !== null && Object.hasOwn(found, key)
      found = isThere
        ? (found as Record<string, unknown>)[key]
        : fail(path, `refers to ${JSON.stringify(ref)}, which is not in the schema`)
    }
    return found
  }

  private typed(schema: Schema, said: readonly string[], path: Path): Expression {
    const keywords = said.filter((key) => key !== 'type')
    // Without a type, what is said of one kind of values is taken to mean that kind.
    const meant = KINDS.filter(
      (kind) => kind !== 'integer' && keywords.length > 0 && keywords.every((key) => KEYWORDS[kind].includes(key)),
    )
    if (schema.type === undefined && keywords.length === 0) return rule('value')
    const kinds = schema.type === undefined ? meant.slice(0, 1) : kindsOf(schema, path)
    const stray = keywords.find((key) => !kinds.some((kind) => KEYWORDS[kind].includes(key)))
    if (stray !== undefined) return fail([...path, stray], 'does not go with the type')
    return choice(...kinds.map((kind) => this.ofKind(kind, schema, path)))
  }

  private ofKind(kind: Kind, schema: Schema, path: Path): Expression {
    switch (kind) {
      case 'null':
        return literal('null')
      case 'boolean':
        return choice(literal('true'), literal('false'))
      case 'number':
      case 'integer':
        return numberExpression(kind, schema, path)
      case 'string':
        return stringExpression(schema, path)
      case 'array':
        return this.array(schema, path)
      case 'object':
        return this.object(schema, path)
    }
  }

  private array(schema: Schema, path: Path): Expression {
    const { prefixItems = [], items } = schema
    if (schema.uniqueItems === true) fail([...path, 'uniqueItems'], 'is not supported')
    if (!Array.isArray(prefixItems)) return fail([...path, 'prefixItems'], 'must be an array of schemas')
    const first = prefixItems.map((item, i) => this.expression(item, [...path, 'prefixItems', i]))
    const closed = items === false || (items === undefined && first.length > 0)
    const min = Math.max(0, count(schema, 'minItems', path, 0) - first.length)
    const max = closed ? 0 : count(schema, 'maxItems', path, Number.POSITIVE_INFINITY) - first.length
    if (max < min || max < 0) return fail(path, 'has fewer items at most than at least')
    if (max === 0) return sequence(literal('['), ...separated(first), literal(']'))
    const item = this.named(this.expression(items ?? true, [...path, 'items']))
    if (first.length === 0 && min === 0 && max === Number.POSITIVE_INFINITY) return list('[', item, ']')
    const more = sequence(COMMA, item)
    if (first.length > 0) return sequence(literal('['), ...separated(first), repeat(more, min, max), literal(']'))
    const some = sequence(item, repeat(more, Math.max(0, min - 1), max - 1))
    return sequence(literal('['), min === 0 ? optional(some) : some, literal(']'))
  }

  private object(schema: Schema, path: Path): Expression {
    const { required = [], propertyNames } = schema
    const fixed = schema.properties === undefined && isObject(propertyNames) ? namesOf(propertyNames) : undefined
    const { properties = {} } = schema
    if (fixed) {
      // A record of fixed keys: its values are all alike.
      const like = schema.additionalProperties ?? true
      const named = Object.fromEntries(fixed.map((name) => [name, like]))
      return this.object({ properties: named, required, additionalProperties: false }, path)
    }
    if (!isObject(properties)) return fail([...path, 'properties'], 'must be an object')
    if (!Array.isArray(required) || required.some((name) => typeof name !== 'string')) {
      return fail([...path, 'required'], 'must be an array of names')
    }
    const names = Object.keys(properties)
    const others = schema.additionalProperties ?? schema.properties === undefined
    const unknown = required.filter((name) => !Object.hasOwn(properties, name))
    if (unknown.length > 0 && others === false)
      return fail([...path, 'required'], `names ${JSON.stringify(unknown[0])}, which is no property`)
    const all = [...names, ...unknown]
    const members = all.map((name) => {
      const described = Object.hasOwn(properties, name)
      const value = described
        ? this.expression(properties[name], [...path, 'properties', name])
        : this.expression(others, [...path, 'additionalProperties'])
      const pair = sequence(literal(JSON.stringify(name)), COLON, value)
      return { pair: this.named(pair), isRequired: required.includes(name) }
    })
    let pair: Expression | undefined
    if (others !== false) {
      const key = this.key(all, propertyNames, path)
      pair = sequence(key, COLON, this.named(this.expression(others, [...path, 'additionalProperties'])))
    } else if (propertyNames !== undefined && names.length === 0)
      return fail([...path, 'propertyNames'], 'has no properties to name')
    return sequence(literal('{'), this.members(members, pair), literal('}'))
  }

  private key(names: readonly string[], propertyNames: unknown, path: Path): Expression {
    if (propertyNames === undefined || propertyNames === true) return names.length === 0 ? STRING : otherString(names)
    const at = [...path, 'propertyNames']
    if (names.length > 0) return fail(at, 'is not supported beside properties')
    return this.expression(withType(propertyNames, 'string', at), at)
  }

  /** Members in their order, those that are not required or left out, then any number of others. */
  private members(
    members: readonly { pair: Expression; isRequired: boolean }[],
    other: Expression | undefined,
  ): Expression {
    // What may follow once a member is written; each part is one rule, that those before it share.
    let rest = other ? this.named(repeat(sequence(COMMA, other))) : EMPTY
    let nothing = true
    let beginnings: Expression[] = other ? [sequence(other, rest)] : []
    for (const { pair, isRequired } of [...members].reverse()) {
      if (isRequired) {
        beginnings = []
        nothing = false
      }
      beginnings.unshift(sequence(pair, rest))
      const next = sequence(COMMA, pair)
      rest = this.named(sequence(isRequired ? next : optional(next), rest))
    }
    return choice(...beginnings, ...(nothing ? [EMPTY] : []))
  }

  /** The expression by a name, for where it is used more than once. */
  private named(expression: Expression): Expression {
    if (expression.type === 'rule' || expression === EMPTY) return expression
    const name = `part ${this.rules.size}`
    this.rules.set(name, expression)
    return rule(name)
  }

  /** @throws GrammarError unless no value is described by two of the schemas */
  private checkApart(options: readonly unknown[], path: Path): void {
    const resolved = options.map((option, i) => {
      let schema = option
      for (let steps = 0; isObject(schema) && typeof schema.$ref === 'string' && steps < MOST_NESTED; steps++) {
        schema = this.resolve(schema.$ref, [...path, i])
      }
      return schema
    })
    for (const [i, a] of resolved.entries()) {
      for (const b of resolved.slice(i + 1)) {
        if (!areApart(a, b)) {
          fail(path, 'is only supported of schemas that differ in their type or in a required property of fixed values')
        }
      }
    }
  }
}

/** Whether it is plain that no value is described by both. */
function areApart(a: unknown, b: unknown): boolean {
  if (!isObject(a) || !isObject(b)) return false
  const [valuesOfA, valuesOfB] = [fixedValues(a), fixedValues(b)]
  if (valuesOfA && valuesOfB) return !valuesOfA.some((value) => valuesOfB.includes(value))
  const [kindsOfA, kindsOfB] = [plainKinds(a), plainKinds(b)]
  if (kindsOfA && kindsOfB && !kindsOfA.some((kind) => kindsOfB.includes(kind))) return true
  const { properties: ofA, required: requiredByA } = a
  const { properties: ofB, required: requiredByB } = b
  if (!isObject(ofA) || !isObject(ofB) || !Array.isArray(requiredByA) || !Array.isArray(requiredByB)) return false
  return requiredByA.some((name) => {
    if (!requiredByB.includes(name) || !isObject(ofA[name]) || !isObject(ofB[name])) return false
    const [one, other] = [fixedValues(ofA[name]), fixedValues(ofB[name])]
    return one !== undefined && other !== undefined && !one.some((value) => other.includes(value))
  })
}

/** Where the names of properties are listed. */
function namesOf(schema: Schema): string[] | undefined {
  const values = fixedValues(schema)?.map((json): unknown => JSON.parse(json))
  return values?.every((value) => typeof value === 'string') ? (values as string[]) : undefined
}

const fixedValues = (schema: Schema): string[] | undefined => {
  if ('const' in schema) return [JSON.stringify(schema.const)]
  return Array.isArray(schema.enum) ? schema.enum.map((value) => JSON.stringify(value)) : undefined
}

/** The kinds that a schema names; integers are numbers. */
function plainKinds(schema: Schema): string[] | undefined {
  const { type } = schema
  const named = fixedValues(schema)?.map((json) => kindOfValue(JSON.parse(json)))
  if (type === undefined) return named
  return [type].flat().map((kind) => (kind === 'integer' ? 'number' : String(kind)))
}

function kindOfValue(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}

function isOfKind(value: unknown, kind: Kind): boolean {
  return kind === 'integer' ? Number.isInteger(value) : kindOfValue(value) === kind
}

const isObject = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function kindsOf({ type }: Schema, path: Path): Kind[] {
  const kinds = [type].flat()
  const unknown = kinds.find((kind) => !KINDS.includes(kind as Kind))
  if (unknown !== undefined || kinds.length === 0) return fail([...path, 'type'], `is not one of ${KINDS.join(', ')}`)
  // An integer is a number already.
  return [...new Set(kinds as Kind[])].filter((kind) => kind !== 'integer' || !kinds.includes('number'))
}

/** A schema that is to be of a type, too. */
function withType(schema: unknown, type: unknown, path: Path): unknown {
  if (type === undefined || !isObject(schema)) return schema === true && type !== undefined ? { type } : schema
  if ('$ref' in schema) return fail(path, 'is a reference beside a type, which is not supported')
  if (schema.type === undefined) return { ...schema, type }
  const both = [schema.type].flat().filter((kind) => [type].flat().includes(kind))
  return both.length > 0 ? { ...schema, type: both } : fail(path, 'has no type in common with what it is a part of')
}

function separated(parts: readonly Expression[]): Expression[] {
  return parts.flatMap((part, i) => (i === 0 ? [part] : [COMMA, part]))
}

function count(schema: Schema, key: string, path: Path, otherwise: number): number {
  const value = schema[key]
  if (value === undefined) return otherwise
  if (!Number.isSafeInteger(value) || (value as number) < 0) return fail([...path, key], 'must be a whole number')
  return value as number
}

function numberExpression(kind: 'number' | 'integer', schema: Schema, path: Path): Expression {
  for (const key of ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']) {
    if (schema[key] !== undefined && !Number.isFinite(schema[key])) fail([...path, key], 'must be a number')
  }
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, format } = schema as Record<
    string,
    number | undefined
  > & { format?: unknown }
  if (multipleOf !== undefined && multipleOf !== 1) return fail([...path, 'multipleOf'], 'is not supported')
  const isWhole = kind === 'integer' || multipleOf === 1
  const range: NumberRange = {
    ...(exclusiveMinimum !== undefined && exclusiveMinimum >= (minimum ?? exclusiveMinimum)
      ? { min: exclusiveMinimum, aboveMin: true }
      : { min: minimum }),
    ...(exclusiveMaximum !== undefined && exclusiveMaximum <= (maximum ?? exclusiveMaximum)
      ? { max: exclusiveMaximum, belowMax: true }
      : { max: maximum }),
  }
  const bounded = format === undefined || typeof format !== 'string' ? range : withFormat(format, range, path)
  const expression = isWhole ? integers(bounded) : numbers(bounded)
  return expression ?? fail(path, 'has no number between its least and its greatest')
}

/** Names that OpenAPI gives to machine numbers. */
function withFormat(format: string, range: NumberRange, path: Path): NumberRange {
  if (format === 'int64' || format === 'float' || format === 'double') return range
  if (format !== 'int32') return fail([...path, 'format'], `is ${JSON.stringify(format)}, which is not supported`)
  const [least, most] = [-(2 ** 31), 2 ** 31 - 1]
  return {
    ...(range.min === undefined || range.min < least ? { min: least } : { min: range.min, aboveMin: range.aboveMin }),
    ...(range.max === undefined || range.max > most ? { max: most } : { max: range.max, belowMax: range.belowMax }),
  }
}

const DATE =
  '\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))'
const TIME = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)'
const HOST = '[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?(?:\\.[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?){0,4}'
const BYTE = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'

/** Not all texts of each format, and only such. */
const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `${DATE}T${TIME}`,
  duration: 'P(?:\\d{1,5}W|\\d{1,5}D(?:T\\d{1,5}H)?|T\\d{1,5}[HMS])',
  email:
    '[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,3}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?\\.){1,4}[A-Za-z]{2,8}',
  hostname: HOST,
  ipv4: `${BYTE}(?:\\.${BYTE}){3}`,
  ipv6: '[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}',
  uuid: '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}',
  uri: `https?://${HOST}(?:/[A-Za-z0-9._~-]{0,40}){0,8}(?:\\?[A-Za-z0-9._~=&-]{0,80})?`,
}

/** Patterns that look around, and that every text of the format matches: as zod writes them. */
const IMPLIED: Readonly<Record<string, string>> = {
  email: "^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$",
}

function stringExpression(schema: Schema, path: Path): Expression {
  const min = count(schema, 'minLength', path, 0)
  const max = count(schema, 'maxLength', path, Number.POSITIVE_INFINITY)
  if (max < min) return fail(path, 'has a greatest length below its least')
  const { pattern, format } = schema
  const isImplied = typeof format === 'string' && Object.hasOwn(IMPLIED, format) && IMPLIED[format] === pattern
  const source = pattern === undefined || isImplied ? undefined : pattern
  if (source === undefined && format === undefined) {
    if (min === 0 && max === Number.POSITIVE_INFINITY) return STRING
    return quoted(repeat(max === Number.POSITIVE_INFINITY ? stringCharacter : singleCharacter, min, max))
  }
  if (min > 0 || max !== Number.POSITIVE_INFINITY) {
    return fail(
      path,
      `has a ${source === undefined ? 'format' : 'pattern'} and a length, which are not supported together`,
    )
  }
  // A pattern says more than the format that it comes with.
  if (source !== undefined) {
    if (typeof source !== 'string') return fail([...path, 'pattern'], 'must be a string')
    return quoted(parsePattern(source, charactersInString))
  }
  if (typeof format !== 'string' || !Object.hasOwn(FORMATS, format)) {
    return fail([...path, 'format'], `is ${JSON.stringify(format)}, which is not supported`)
  }
  return quoted(parsePattern(`^${FORMATS[format]}$`, charactersInString))
}

function fail(path: Path, what: string): never {
  const place = path.length === 0 ? 'the schema' : `the schema's ${path.join('.')}`
  throw new GrammarError(`${place} ${what}`)
}
