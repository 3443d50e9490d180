import { randomUUID } from 'node:crypto'
import { type ToolCall, type ToolSpec, toWireTool } from '../data/instruction/conversation.ts'
import type { ChatMessage as TemplateMessage } from '../text/chat-template.ts'
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
  special,
  specialBytes,
} from './grammar.ts'
import { schemaExpression } from './json-schema.ts'
import { COLON, COMMA, JSON_RULES } from './json-text.ts'
import type { ChatMessage } from './types.ts'

/**
 * How models write what they want to have called:
 * - `hermes`: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, of Hermes and Qwen, and jackdaw's own;
 * - `llama3`: `{"name": …, "parameters": {…}}` alone, of Llama 3;
 * - `mistral`: `[TOOL_CALLS] [{"name": …, "arguments": {…}}, …]`.
 */
export type CallStyle = 'hermes' | 'llama3' | 'mistral'

export interface ToolTemplate {
  readonly style: CallStyle
  /** The template tells the model of tools, and writes calls and results itself. */
  readonly knowsTools: boolean
  /** It takes arguments as the JSON that the model wrote, not as what that says. */
  readonly takesText: boolean
}

/** By what the template's text holds; one that knows nothing of tools gets them the Hermes way, in messages. */
export function toolTemplateOf(template: string): ToolTemplate {
  const takesText = template.includes('arguments is string')
  const knows = /\btools\b/.test(template)
  if (knows && template.includes('[TOOL_CALLS]')) return { style: 'mistral', knowsTools: true, takesText }
  // Calls in another notation are written with the same marks.
  if (knows && template.includes('<tool_call>') && !template.includes('<function=')) {
    return { style: 'hermes', knowsTools: true, takesText }
  }
  if (knows && /<\|python_tag\|>|"parameters": /.test(template)) return { style: 'llama3', knowsTools: true, takesText }
  return { style: 'hermes', knowsTools: false, takesText }
}

const OPEN: Readonly<Record<CallStyle, string>> = { hermes: '<tool_call>', llama3: '', mistral: '[TOOL_CALLS]' }
const CLOSE = '</tool_call>'

/** Marks of calls, which some vocabularies have as special tokens. */
export const CALL_MARKS: readonly string[] = [OPEN.hermes, CLOSE, OPEN.mistral]

/** A conversation with calls in it, in the words of a template. */
export function templateMessages(
  messages: readonly ChatMessage[],
  tools: readonly ToolSpec[],
  { style, knowsTools, takesText }: ToolTemplate,
): { messages: TemplateMessage[]; tools?: object[] } {
  if (!knowsTools) return { messages: toldInMessages(messages, tools) }
  const apart = style === 'llama3' ? oneCallAtATime(messages) : messages
  const idOf = style === 'mistral' ? shortIds() : (id: string) => id
  const asArguments = (json: string): unknown => (takesText ? json : parsedOr(json))
  const told = apart.map(({ role, content, toolCalls, toolCallId }) => ({
    role,
    content,
    ...(toolCalls && {
      tool_calls: toolCalls.map(({ id, name, arguments: json }) => ({
        id: idOf(id),
        type: 'function',
        function: { name, arguments: asArguments(json) },
      })),
    }),
    ...(toolCallId !== undefined && { tool_call_id: idOf(toolCallId) }),
  }))
  return { messages: told, ...(tools.length > 0 && { tools: tools.map(toWireTool) }) }
}

function parsedOr(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return json
  }
}

/** Templates of this kind want nine letters and digits. */
function shortIds(): (id: string) => string {
  const known = new Map<string, string>()
  return (id) => {
    if (/^[A-Za-z0-9]{9}$/.test(id)) return id
    const short = known.get(id) ?? `call${String(known.size).padStart(5, '0')}`
    known.set(id, short)
    return short
  }
}

/** Each call of a message, with its result behind it. */
function oneCallAtATime(messages: readonly ChatMessage[]): ChatMessage[] {
  const resultOf = (id: string) => messages.filter(({ role, toolCallId }) => role === 'tool' && toolCallId === id)
  return messages.flatMap((message) => {
    if (message.role === 'tool') return []
    if (!message.toolCalls) return [message]
    return message.toolCalls.flatMap((call, i) => [
      { ...message, content: i === 0 ? message.content : '', toolCalls: [call] },
      ...resultOf(call.id),
    ])
  })
}

/** For a template that knows only turns: tools in the system message, calls and results as text. */
function toldInMessages(messages: readonly ChatMessage[], tools: readonly ToolSpec[]): TemplateMessage[] {
  const told: TemplateMessage[] = []
  let afterResult = false
  for (const { role, content, toolCalls = [] } of messages) {
    if (role === 'tool') {
      const text = `<tool_response>\n${content}\n</tool_response>`
      const last = told.at(-1)
      if (afterResult && last) last.content += `\n${text}`
      else told.push({ role: 'user', content: text })
    } else {
      const calls = toolCalls.map(({ name, arguments: json }) => callText(name, json))
      told.push({ role, content: [content, ...calls].filter((text) => text !== '').join('\n') })
    }
    afterResult = role === 'tool'
  }
  if (tools.length === 0) return told
  const said = instructions(tools)
  const [first, ...rest] = told
  if (first?.role === 'system') return [{ role: 'system', content: `${first.content}\n\n${said}` }, ...rest]
  return [{ role: 'system', content: said }, ...told]
}

const callText = (name: string, json: string): string =>
  `${OPEN.hermes}\n{"name": ${JSON.stringify(name)}, "arguments": ${json}}\n${CLOSE}`

const instructions = (tools: readonly ToolSpec[]): string =>
  [
    'You can call functions. These are there, each with a JSON Schema of its arguments:',
    '<tools>',
    ...tools.map((tool) => JSON.stringify(tool)),
    '</tools>',
    'To call one, write its name and its arguments as JSON between these marks:',
    callText('NAME', '{"argument": "value"}'),
    'The result comes between <tool_response> and </tool_response>. Where no function helps, answer in words.',
  ].join('\n')

export interface CallRules {
  /** `auto`: words or calls; `required`: a call; `none`: words, and no call. */
  readonly choice: 'auto' | 'required' | 'none'
  /** More than one call at a time. Default true. */
  readonly parallel?: boolean
  /** What the words are to be, where they are not free; it adds the rules it needs. */
  readonly words?: (rules: Map<string, Expression>) => Expression
}

/** Calls of one answer at most. */
const MOST_CALLS = 16

/**
 * The grammar of answers that may call tools, so that every call is one of a tool that is there, with arguments of its
 * schema; `undefined` where nothing binds the answer. Where a call is not required, a schema that no grammar can say
 * leaves its tool any object.
 *
 * @throws GrammarError with one sentence
 */
export function callGrammar(
  style: CallStyle,
  tools: readonly (ToolSpec & { readonly strict?: boolean })[],
  { choice: chosen, parallel = true, words }: CallRules,
): Grammar | undefined {
  const rules = new Map<string, Expression>(JSON_RULES)
  if (chosen === 'none') {
    if (words) rules.set('answer', words(rules))
    else if (style === 'llama3') return undefined
    else addFreeText(rules, OPEN[style], 'answer', undefined)
    return { root: 'answer', rules }
  }
  const body = choice(...tools.map((tool) => callBody(tool, style, rules, chosen === 'required')))
  const line = optional(literal('\n'))
  const most = parallel ? MOST_CALLS - 1 : 0
  const mark = (text: string): Expression => choice(literal(text), special(text))
  rules.set('call', body)
  const call = rule('call')
  let begun: Expression
  let open: Expression
  if (style === 'hermes') {
    const one = sequence(line, call, line, mark(CLOSE))
    open = mark(OPEN.hermes)
    begun = sequence(one, repeat(sequence(line, open, one), 0, most))
  } else if (style === 'mistral') {
    open = mark(OPEN.mistral)
    begun = sequence(optional(literal(' ')), literal('['), call, repeat(sequence(COMMA, call), 0, most), literal(']'))
  } else {
    open = EMPTY
    begun = call
  }
  rules.set('begun', begun)
  const calls = sequence(open, rule('begun'))
  if (chosen === 'required') rules.set('answer', calls)
  else if (words) rules.set('answer', choice(calls, words(rules)))
  else if (style === 'llama3') return undefined
  else addFreeText(rules, OPEN[style], 'answer', rule('begun'))
  return { root: 'answer', rules }
}

function callBody(
  { name, parameters, strict }: ToolSpec & { readonly strict?: boolean },
  style: CallStyle,
  rules: Map<string, Expression>,
  isRequired: boolean,
): Expression {
  const key = style === 'llama3' ? '"parameters"' : '"arguments"'
  return sequence(
    literal('{"name"'),
    COLON,
    literal(JSON.stringify(name)),
    COMMA,
    literal(key),
    COLON,
    argumentsOf(name, parameters, rules, isRequired || strict === true),
    literal('}'),
  )
}

function argumentsOf(
  name: string,
  parameters: ToolSpec['parameters'],
  rules: Map<string, Expression>,
  isBinding: boolean,
): Expression {
  try {
    return schemaExpression({ type: 'object', properties: {}, ...parameters }, rules)
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error
    if (isBinding) throw new GrammarError(`of the tool ${name}, ${error.message}`)
    return rule('object')
  }
}

/**
 * Any text up to a mark, and what follows it; without that, any text that does not have the mark. One rule for each number
 * of the mark's bytes that were read last (Knuth, Morris and Pratt, 1977).
 */
function addFreeText(rules: Map<string, Expression>, mark: string, name: string, then: Expression | undefined): void {
  const bytes = new TextEncoder().encode(mark)
  const nameOf = (matched: number): string => (matched === 0 ? name : `${name} ${matched}`)
  /** How many of the mark's bytes end what was read, after so many and one byte. */
  const next = (matched: number, byte: number): number => {
    const read = [...bytes.subarray(0, matched), byte]
    let length = Math.min(read.length, bytes.length)
    while (length > 0 && !read.slice(read.length - length).every((one, i) => one === bytes[i])) length--
    return length
  }
  const spelled = specialBytes(mark)
  for (let matched = 0; matched < bytes.length; matched++) {
    const byTarget = new Map<number, [number, number][]>()
    for (let byte = 0; byte < spelled[0]; byte++) {
      const target = next(matched, byte)
      const ranges = byTarget.get(target) ?? []
      const last = ranges.at(-1)
      if (last && last[1] === byte - 1) last[1] = byte
      else ranges.push([byte, byte])
      byTarget.set(target, ranges)
    }
    const options = [...byTarget].flatMap(([target, ranges]): Expression[] => {
      const read: Expression = { type: 'byte', ranges }
      if (target < bytes.length) return [sequence(read, rule(nameOf(target)))]
      return then ? [sequence(read, then)] : []
    })
    rules.set(nameOf(matched), choice(EMPTY, ...options, ...(then ? [sequence(special(mark), then)] : [])))
  }
}

/** A piece of a call: its id and name come with the first. */
export interface CallDelta {
  readonly index: number
  readonly id?: string
  readonly name?: string
  readonly arguments: string
}

export interface Said {
  readonly text: string
  readonly calls: readonly CallDelta[]
}

const HEADER = /^[\s,[]*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)/
/** A header that is longer is none. */
const LONGEST_HEADER = 400

/** Tells words from calls in an answer as it comes, and calls piece by piece. What is no call of a known tool is words. */
export class CallReader {
  private state: 'words' | 'header' | 'arguments' | 'behind' = 'words'
  private buffer = ''
  private index = -1
  /** Of the arguments that are being read. */
  private depth = 0
  private inString = false
  private escaped = false
  private readonly open: string
  private words = ''
  private calls: CallDelta[] = []

  constructor(
    private readonly style: CallStyle,
    private readonly names: ReadonlySet<string>,
  ) {
    this.open = OPEN[style]
    // The whole answer is a call, or none of it.
    if (style === 'llama3') this.state = 'header'
  }

  /** Something is held back that may turn out to be words. */
  get isHolding(): boolean {
    return this.buffer !== '' && (this.state === 'words' || this.state === 'header')
  }

  push(text: string): Said {
    this.buffer += text
    for (let before = -1; this.buffer.length !== before; ) {
      before = this.buffer.length
      if (this.state === 'words') this.readWords()
      if (this.state === 'header') this.readHeader(false)
      if (this.state === 'arguments') this.readArguments()
      if (this.state === 'behind') this.readBehind()
    }
    return this.taken()
  }

  /** What was held back, now that nothing follows. */
  flush(): Said {
    if (this.state === 'header') this.readHeader(true)
    if (this.state === 'words') this.words += this.buffer
    this.buffer = ''
    return this.taken()
  }

  private taken(): Said {
    const said = { text: this.words, calls: this.calls }
    this.words = ''
    this.calls = []
    return said
  }

  private readWords(): void {
    const at = this.open === '' ? -1 : this.buffer.indexOf(this.open)
    if (at >= 0) {
      // The line's end before a call is the mark's.
      this.words += this.buffer.slice(0, at).replace(/\n$/, '')
      this.buffer = this.buffer.slice(at + this.open.length)
      this.state = 'header'
      return
    }
    let held = Math.min(this.open.length, this.buffer.length)
    while (held > 0 && !this.open.startsWith(this.buffer.slice(this.buffer.length - held))) held--
    if (this.open !== '' && this.buffer.at(-held - 1) === '\n') held++
    this.words += this.buffer.slice(0, this.buffer.length - held)
    this.buffer = this.buffer.slice(this.buffer.length - held)
  }

  private readHeader(isAll: boolean): void {
    const header = HEADER.exec(this.buffer)
    const name = header ? parsedOr(header[1]) : undefined
    if (header && typeof name === 'string' && this.names.has(name)) {
      this.begin(name, '')
      this.buffer = this.buffer.slice(header[0].length)
      this.state = 'arguments'
      this.depth = 0
      this.inString = this.escaped = false
      return
    }
    const close = this.style === 'hermes' ? this.buffer.indexOf(CLOSE) : -1
    const isLlama = this.style === 'llama3' && !/^\s*(\{|$)/.test(this.buffer)
    if (close < 0 && !isAll && !header && !isLlama && this.buffer.length < LONGEST_HEADER) return
    // Names and arguments in another order, or no call at all.
    const body = close < 0 ? this.buffer : this.buffer.slice(0, close)
    const rest = close < 0 ? '' : this.buffer.slice(close + CLOSE.length)
    const call = header || (close < 0 && !isAll) ? undefined : this.callOf(body)
    if (call) this.begin(call.name, call.arguments)
    else this.words += this.open + (close < 0 ? body : body + CLOSE)
    this.buffer = rest
    this.state = 'words'
  }

  private callOf(body: string): { name: string; arguments: string } | undefined {
    const said = parsedOr(body)
    if (typeof said !== 'object' || said === null) return undefined
    const { name, arguments: args, parameters } = said as Record<string, unknown>
    const given = args ?? parameters ?? {}
    if (typeof name !== 'string' || !this.names.has(name)) return undefined
    return { name, arguments: typeof given === 'string' ? given : JSON.stringify(given) }
  }

  private begin(name: string, json: string): void {
    this.index++
    this.calls.push({ index: this.index, id: newCallId(this.style), name, arguments: json })
  }

  private readArguments(): void {
    let at = 0
    for (; at < this.buffer.length; at++) {
      const character = this.buffer[at]
      if (this.inString) {
        if (this.escaped) this.escaped = false
        else if (character === '\\') this.escaped = true
        else if (character === '"') this.inString = false
      } else if (character === '"') this.inString = true
      else if (character === '{' || character === '[') this.depth++
      else if ((character === '}' || character === ']') && --this.depth === 0) {
        this.state = 'behind'
        at++
        break
      }
    }
    if (at > 0) this.calls.push({ index: this.index, arguments: this.buffer.slice(0, at) })
    this.buffer = this.buffer.slice(at)
  }

  /** What closes a call, up to the next. */
  private readBehind(): void {
    if (this.style === 'llama3') {
      this.buffer = ''
      return
    }
    const close = this.style === 'hermes' ? CLOSE : ']'
    const at = this.buffer.indexOf(close)
    const next = this.style === 'mistral' ? this.buffer.search(/,\s*\{/) : -1
    if (next >= 0 && (at < 0 || next < at)) {
      this.buffer = this.buffer.slice(next)
      this.state = 'header'
    } else if (at >= 0) {
      this.buffer = this.buffer.slice(at + close.length)
      this.state = 'words'
    }
  }
}

const newCallId = (style: CallStyle): string => {
  const id = randomUUID().replaceAll('-', '')
  return style === 'mistral' ? id.slice(0, 9) : `call_${id.slice(0, 24)}`
}

/** Calls from their pieces. */
export class CallList {
  readonly calls: ToolCall[] = []

  add(deltas: readonly CallDelta[]): void {
    for (const { index, id = '', name, arguments: json } of deltas) {
      if (name !== undefined) this.calls.push({ id, name, arguments: json })
      else this.calls[index] = { ...this.calls[index], arguments: this.calls[index].arguments + json }
    }
  }
}
