import type { ToolSpec } from '../data/instruction/conversation.ts'
import type { Grammar } from '../generate/grammar.ts'
import { type CallRules, callGrammar, type ToolTemplate } from '../generate/tool-calls.ts'
import type { ChatMessage, ServedModel } from '../generate/types.ts'
import { badRequest } from './errors.ts'
import { type AskedForm, formExpression, formGrammar, grammarFor } from './forms.ts'
import type { ChatRequest } from './openai-wire.ts'

/** What a chat request binds its answer to. */
export interface AnswerRules {
  /** Told to the model, and read in its answer. */
  readonly tools: readonly ToolSpec[]
  readonly grammar?: Grammar
}

type AskedTool = ToolSpec & { readonly strict?: boolean }

/**
 * The tools and the form that a request asks for, as a grammar.
 *
 * @throws RequestError where they do not fit together, or the model cannot call tools
 */
export function answerRules(model: ServedModel, request: ChatRequest, asked: AskedForm | undefined): AnswerRules {
  const { tool_choice: chosen } = request
  const tools = toolsOf(request)
  if (tools.length === 0) {
    if (chosen != null && chosen !== 'none' && chosen !== 'auto') {
      throw badRequest("'tool_choice' is only allowed when 'tools' are specified.", 'tool_choice', 'invalid_value')
    }
    return { tools, grammar: asked && grammarFor(asked.form, asked.param, () => formGrammar(asked.form)) }
  }
  if (chosen === 'none') {
    return { tools: [], grammar: asked && grammarFor(asked.form, asked.param, () => formGrammar(asked.form)) }
  }
  const { toolTemplate } = model
  if (!toolTemplate) {
    throw badRequest(`${model.id} cannot call tools: it has no chat template.`, 'tools', 'invalid_value')
  }
  const callable = typeof chosen === 'object' && chosen !== null ? [named(tools, chosen.function.name)] : tools
  const rules: CallRules = {
    choice: chosen == null || chosen === 'auto' ? 'auto' : 'required',
    // One that was named is called once.
    parallel: callable === tools && (request.parallel_tool_calls ?? true),
    words: asked && ((rules) => formExpression(asked.form, rules)),
  }
  const key = [toolTemplate.style, callable, rules.choice, rules.parallel, asked?.form]
  return { tools, grammar: grammarFor(key, 'tools', () => callGrammar(toolTemplate.style, callable, rules)) }
}

function toolsOf({ tools }: ChatRequest): AskedTool[] {
  const names = new Set<string>()
  return (tools ?? []).map(({ function: { name, description, parameters, strict } }, index) => {
    if (names.has(name)) {
      const param = `tools.${index}.function.name`
      throw badRequest(`Invalid '${param}': there is a tool '${name}' already.`, param, 'invalid_value')
    }
    names.add(name)
    return {
      name,
      ...(description != null && { description }),
      ...(parameters != null && { parameters }),
      ...(strict != null && { strict }),
    }
  })
}

function named(tools: readonly AskedTool[], name: string): AskedTool {
  const tool = tools.find((other) => other.name === name)
  if (tool) return tool
  throw badRequest(`Invalid 'tool_choice': there is no tool '${name}' in 'tools'.`, 'tool_choice', 'invalid_value')
}

/** @throws RequestError where a call has no result, or a result no call */
export function checkCalls(messages: readonly ChatMessage[]): void {
  let open = new Set<string>()
  for (const [index, { role, toolCalls, toolCallId }] of messages.entries()) {
    const param = `messages.${index}`
    if (role === 'tool') {
      if (toolCallId === undefined)
        throw badRequest(`Invalid '${param}.tool_call_id': must be there.`, `${param}.tool_call_id`)
      if (!open.delete(toolCallId)) {
        throw badRequest(
          `Invalid '${param}': a message of the role 'tool' must answer one of the 'tool_calls' before it, and none has the id '${toolCallId}'.`,
          param,
          'invalid_value',
        )
      }
      continue
    }
    if (open.size > 0) throw unanswered(open, param)
    open = new Set(toolCalls?.map(({ id }) => id))
  }
  if (open.size > 0) throw unanswered(open, 'messages')
}

const unanswered = (open: ReadonlySet<string>, param: string) =>
  badRequest(
    `Invalid '${param}': 'tool_calls' must be followed by a message of the role 'tool' for each; there is none for '${[...open].join("', '")}'.`,
    param,
    'invalid_value',
  )

/** For who serves a model with tools of its own: a call of one, and words, in its way of writing. */
export function ownGrammars({ style }: ToolTemplate, own: readonly ToolSpec[]) {
  const tools = own.map((spec) => ({ ...spec, parameters: spaced(spec.parameters) }))
  const of = (choice: 'auto' | 'none') =>
    grammarFor(['own', style, choice, tools], 'tools', () => callGrammar(style, tools, { choice }))
  return { calls: of('auto'), words: of('none') }
}

/** A schema whose words may have a space before them, as our own models are taught to write texts of calls. */
function spaced(schema: ToolSpec['parameters']): ToolSpec['parameters'] {
  const loosened = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [
        key,
        key === 'enum' && Array.isArray(inner)
          ? inner.flatMap((one) => (typeof one === 'string' ? [one, ` ${one}`] : [one]))
          : loosened(inner),
      ]),
    )
  }
  return loosened(schema) as ToolSpec['parameters']
}
