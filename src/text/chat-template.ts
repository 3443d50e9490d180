import { Template } from '@huggingface/jinja'

/** A message of a conversation, in the words of chat templates. */
export interface ChatMessage {
  role: string
  content: string
  /** Whatever else a template knows of, such as `tool_calls` or `name`. */
  [key: string]: unknown
}

export interface ChatTemplateOptions {
  /** End with the opening of the assistant's turn, so that the model answers; false by default. */
  addGenerationPrompt?: boolean
  bosToken?: string
  eosToken?: string
  /** JSON schemas of functions that the model may call. */
  tools?: readonly object[]
  /** Whatever else the template asks about, such as `enable_thinking`; the names above are not replaced. */
  variables?: Readonly<Record<string, unknown>>
}

/** Parsing a template costs more than rendering it, and a server has one. */
const parsed = new Map<string, Template>()
const MAX_PARSED = 16

/**
 * Renders a conversation as the text that a chat model was trained to continue. Special tokens are in the text:
 * encode it with `addSpecialTokens: false`.
 *
 * @param template - Jinja source: `chat_template` of `tokenizer_config.json`, `tokenizer.chat_template` of a GGUF file.
 * @throws Error with one sentence where the template is malformed or refuses the messages.
 */
export function renderChat(
  template: string,
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions = {},
): string {
  const { addGenerationPrompt = false, bosToken, eosToken, tools, variables } = options
  let program = parsed.get(template)
  if (!program) {
    try {
      program = new Template(template)
    } catch (error) {
      throw new Error(`the chat template cannot be read: ${firstLine(error)}`)
    }
    if (parsed.size >= MAX_PARSED) parsed.clear()
    parsed.set(template, program)
  }
  try {
    return program.render({
      ...variables,
      messages: messages.map((message) => ({ ...message })),
      add_generation_prompt: addGenerationPrompt,
      // Left out, a variable counts as undefined, which templates ask about.
      ...(bosToken === undefined ? {} : { bos_token: bosToken }),
      ...(eosToken === undefined ? {} : { eos_token: eosToken }),
      ...(tools === undefined ? {} : { tools }),
    })
  } catch (error) {
    throw new Error(`the chat template does not take this conversation: ${firstLine(error)}`)
  }
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0]
