import { createHash } from 'node:crypto'
import { automatonOf } from '../generate/automaton.ts'
import { parseGrammar } from '../generate/gbnf.ts'
import { characters, choice, type Expression, type Grammar, GrammarError, literal } from '../generate/grammar.ts'
import { jsonObjectGrammar, schemaExpression } from '../generate/json-schema.ts'
import { JSON_RULES } from '../generate/json-text.ts'
import { parsePattern } from '../generate/pattern.ts'
import { badRequest } from './errors.ts'
import type { ChatRequest } from './openai-wire.ts'

/** The form that a request asks its answer to have. */
export type Form =
  | { readonly type: 'object' }
  | { readonly type: 'schema'; readonly schema: unknown }
  | { readonly type: 'grammar'; readonly text: string }
  | { readonly type: 'pattern'; readonly source: string }
  | { readonly type: 'choice'; readonly options: readonly string[] }

export interface AskedForm {
  readonly form: Form
  /** The field that asks for it. */
  readonly param: string
}

type FormFields = Pick<
  ChatRequest,
  | 'response_format'
  | 'grammar'
  | 'guided_grammar'
  | 'guided_json'
  | 'guided_regex'
  | 'guided_choice'
  | 'json_schema'
  | 'regex'
  | 'ebnf'
  | 'structured_outputs'
>

/** @throws RequestError where two are asked for */
export function formOf(request: FormFields): AskedForm | undefined {
  const outputs = request.structured_outputs ?? {}
  const asked: AskedForm[] = []
  const add = <T>(param: string, value: T | null | undefined, form: (value: T) => Form) => {
    if (value !== undefined && value !== null && value !== '') asked.push({ param, form: form(value) })
  }
  const schema = (value: unknown): Form => ({ type: 'schema', schema: value })
  const grammar = (text: string): Form => ({ type: 'grammar', text })
  const pattern = (source: string): Form => ({ type: 'pattern', source })
  const options = (list: readonly string[]): Form => ({ type: 'choice', options: list })
  const format = request.response_format
  if (format?.type === 'json_object') asked.push({ param: 'response_format', form: { type: 'object' } })
  if (format?.type === 'json_schema') {
    asked.push({ param: 'response_format.json_schema.schema', form: schema(format.json_schema.schema ?? {}) })
  }
  add('grammar', request.grammar, grammar)
  add('guided_grammar', request.guided_grammar, grammar)
  add('ebnf', request.ebnf, grammar)
  add('guided_json', request.guided_json, schema)
  add('json_schema', request.json_schema, schema)
  add('guided_regex', request.guided_regex, pattern)
  add('regex', request.regex, pattern)
  add('guided_choice', request.guided_choice, options)
  add('structured_outputs.json', outputs.json, schema)
  add('structured_outputs.regex', outputs.regex, pattern)
  add('structured_outputs.choice', outputs.choice, options)
  add('structured_outputs.grammar', outputs.grammar, grammar)
  if (asked.length > 1) {
    const [{ param }, { param: other }] = asked
    throw badRequest(`'${param}' and '${other}' cannot both say what the answer is to be.`, other, 'invalid_value')
  }
  return asked[0]
}

/** A form as a grammar of its own. @throws GrammarError */
export function formGrammar(form: Form): Grammar {
  switch (form.type) {
    case 'object':
      return jsonObjectGrammar
    case 'grammar':
      return parseGrammar(form.text)
    default: {
      const rules = new Map<string, Expression>()
      rules.set('answer', formExpression(form, rules))
      return { root: 'answer', rules }
    }
  }
}

/** A form as a part of a larger grammar, whose rules it adds to. @throws GrammarError */
export function formExpression(form: Form, rules: Map<string, Expression>): Expression {
  switch (form.type) {
    case 'object':
    case 'schema': {
      for (const [name, expression] of JSON_RULES) rules.set(name, expression)
      return schemaExpression(form.type === 'object' ? { type: 'object' } : parsed(form.schema), rules)
    }
    case 'grammar': {
      const { root, rules: own } = parseGrammar(form.text)
      const prefixed = (name: string): string => `written ${name}`
      for (const [name, expression] of own) rules.set(prefixed(name), renamed(expression, prefixed))
      return { type: 'rule', name: prefixed(root) }
    }
    case 'pattern':
      // Here a pattern is the whole answer, not a part of it.
      return parsePattern(`^(?:${form.source})$`, characters)
    case 'choice':
      return choice(...form.options.map(literal))
  }
}

/** Some clients send a schema as its JSON. */
function parsed(schema: unknown): unknown {
  if (typeof schema !== 'string') return schema
  try {
    return JSON.parse(schema)
  } catch {
    throw new GrammarError('the schema is not JSON')
  }
}

function renamed(expression: Expression, name: (name: string) => string): Expression {
  switch (expression.type) {
    case 'byte':
      return expression
    case 'rule':
      return { ...expression, name: name(expression.name) }
    case 'sequence':
      return { ...expression, parts: expression.parts.map((part) => renamed(part, name)) }
    case 'choice':
      return { ...expression, options: expression.options.map((option) => renamed(option, name)) }
    case 'repeat':
      return { ...expression, of: renamed(expression.of, name) }
  }
}

/** Grammars of the last requests: asked for again, they are compiled already. */
const known = new Map<string, Grammar | undefined>()
const MOST_KNOWN = 64

/**
 * A grammar for what a request says, once for all requests that say the same.
 *
 * @param key - what it is made of
 * @throws RequestError where that is no grammar
 */
export function grammarFor(key: unknown, param: string, make: () => Grammar | undefined): Grammar | undefined {
  const digest = createHash('sha256').update(JSON.stringify(key)).digest('base64')
  if (known.has(digest)) return known.get(digest)
  try {
    const grammar = make()
    if (grammar) automatonOf(grammar)
    if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value as string)
    known.set(digest, grammar)
    return grammar
  } catch (error) {
    if (error instanceof GrammarError) throw badRequest(`Invalid '${param}': ${error.message}.`, param, 'invalid_value')
    throw error
  }
}
