import { z } from 'zod'

/**
 * Conversations as OpenAI's API and its fine-tuning files have them, one a line of JSON:
 *
 * ```json
 * {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], "tools": […]}
 * ```
 */

/** A function that a model may call. */
export interface ToolSpec {
  readonly name: string
  readonly description?: string
  /** The JSON Schema of its arguments: an object. */
  readonly parameters?: Readonly<Record<string, unknown>>
}

/** What a model wants to have called. */
export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON, as the model wrote it. */
  readonly arguments: string
}

export interface Message {
  readonly role: 'system' | 'user' | 'assistant' | 'tool'
  readonly content: string
  /** Of the assistant: instead of an answer, or with its first words. */
  readonly toolCalls?: readonly ToolCall[]
  /** Of a tool's result: the call that it answers. */
  readonly toolCallId?: string
}

export interface Conversation {
  readonly messages: readonly Message[]
  /** What may be called in it, where that is not the model's own toolset. */
  readonly tools?: readonly ToolSpec[]
}

const toolCall = z.object({
  id: z.string().default(''),
  function: z.object({
    name: z.string().min(1),
    arguments: z.union([z.string(), z.record(z.string(), z.unknown()).transform((value) => JSON.stringify(value))]),
  }),
})

const message = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z
    .union([
      z.string(),
      z
        .array(z.object({ type: z.literal('text'), text: z.string() }))
        .transform((parts) => parts.map(({ text }) => text).join('')),
    ])
    .nullish(),
  tool_calls: z.array(toolCall).nullish(),
  tool_call_id: z.string().nullish(),
})

const toolSpec = z.object({
  type: z.literal('function').optional(),
  function: z.object({
    name: z.string().min(1),
    description: z.string().optional(),
    parameters: z.record(z.string(), z.unknown()).optional(),
  }),
})

const conversation = z.object({
  messages: z.array(message).min(1, 'must have a message'),
  tools: z.array(toolSpec).nullish(),
})

/**
 * A conversation of a fine-tuning file.
 *
 * @param where - `chat.jsonl, line 3`: what an error begins with
 * @throws Error with one sentence where it is none
 */
export function parseConversation(json: unknown, where: string): Conversation {
  const { data, error } = conversation.safeParse(json)
  if (!data) {
    const [{ path, message }] = error.issues
    throw new Error(`${where}: ${path.length > 0 ? `${path.join('.')}: ` : ''}${message}`)
  }
  const { messages, tools } = data
  return {
    messages: messages.map(({ role, content, tool_calls, tool_call_id }) => ({
      role: role === 'developer' ? 'system' : role,
      content: content ?? '',
      ...(tool_calls && tool_calls.length > 0
        ? {
            toolCalls: tool_calls.map(({ id, function: { name, arguments: json } }) => ({ id, name, arguments: json })),
          }
        : {}),
      ...(tool_call_id ? { toolCallId: tool_call_id } : {}),
    })),
    ...(tools ? { tools: tools.map(({ function: spec }) => spec) } : {}),
  }
}

/** A message as chat templates and OpenAI's API have it. */
export const toWireMessage = ({ role, content, toolCalls, toolCallId }: Message) => ({
  role,
  content,
  ...(toolCalls
    ? {
        tool_calls: toolCalls.map(({ id, name, arguments: json }) => ({
          id,
          type: 'function' as const,
          function: { name, arguments: json },
        })),
      }
    : {}),
  ...(toolCallId === undefined ? {} : { tool_call_id: toolCallId }),
})

export const toWireTool = (spec: ToolSpec) => ({ type: 'function' as const, function: spec })

/** A line of a fine-tuning file, without its end. */
export const toJsonLine = ({ messages, tools }: Conversation): string =>
  JSON.stringify({ messages: messages.map(toWireMessage), ...(tools ? { tools: tools.map(toWireTool) } : {}) })

/**
 * ChatML, with calls and their results as models of the Hermes kind write them: `<tool_call>` around one JSON object. The
 * model's own toolset is not told to it: it was taught it. What is asked and what a tool says begin with a space, so that
 * their first word has the tokens that it has within a sentence.
 */
export const JACKDAW_CHAT_TEMPLATE = `{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{% endif %}
{{- 'Tools:\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- (tool.function if tool.function else tool) | tojson }}{% endfor %}
{{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'system' and loop.first and tools %}{% continue %}{% endif %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{- message.content if message.role == 'assistant' else ' ' + message.content }}{% endif %}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}
{%- set function = call.function if call.function else call %}
{{- '<tool_call>{"name": "' + function.name + '", "arguments": ' }}
{{- function.arguments if function.arguments is string else function.arguments | tojson }}
{{- '}</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}`
