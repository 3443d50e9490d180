import type { Message, ToolCall } from '../data/instruction/conversation.ts'
import type { CachedDecoder } from '../generate/decoder.ts'
import { type RolloutOptions, rollout } from '../generate/rollout.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { answerText, endOfAnswer, promptTokens } from '../train/chat-tokens.ts'

/** How often a model may call before it has to answer. */
const MOST_CALLS = 4

const CALL = /^<tool_call>\s*(\{[\s\S]*\})\s*<\/tool_call>$/

/** What an assistant wrote, as a message: a call where it is one. */
export function messageOf(text: string): Message {
  const json = CALL.exec(text.trim())?.[1]
  const call = json === undefined ? undefined : callOf(json)
  return call ? { role: 'assistant', content: '', toolCalls: [call] } : { role: 'assistant', content: text.trim() }
}

/** Arguments are kept as the model wrote them: what it reads next is then what it wrote. */
function callOf(json: string): ToolCall | undefined {
  const [, name, args] = /^\{\s*"name":\s*"([^"\\]+)",\s*"arguments":\s*(\{[\s\S]*\})\s*\}$/.exec(json) ?? []
  return name === undefined ? undefined : { id: 'call', name, arguments: args }
}

export interface AssistantOptions extends Omit<RolloutOptions, 'stopTokenIds'> {
  /** Runs a call. What cannot be done is a sentence. */
  readonly call: (call: ToolCall) => string | Promise<string>
}

/**
 * Lets a chat model in training go on with many conversations at once, until each has its answer or has called too often.
 * One that has outgrown the context is answered with nothing.
 *
 * @returns what it adds to each: calls, their results, the answer
 */
export async function answerAll(
  decoder: CachedDecoder,
  tokenizer: Tokenizer,
  conversations: readonly (readonly Message[])[],
  { call, ...options }: AssistantOptions,
): Promise<Message[][]> {
  const stopTokenIds = [endOfAnswer(tokenizer)]
  const added: Message[][] = conversations.map(() => [])
  let open = conversations.map((_, i) => i)
  for (let round = 0; round <= MOST_CALLS && open.length > 0; round++) {
    const prompts = open.map((i) => promptTokens(tokenizer, [...conversations[i], ...added[i]]))
    const fits = prompts.map(({ length }) => length < decoder.capacity)
    for (const [k, i] of open.entries()) if (!fits[k]) added[i].push({ role: 'assistant', content: '' })
    open = open.filter((_, k) => fits[k])
    const episodes = await rollout(
      decoder,
      prompts.filter((_, k) => fits[k]),
      { ...options, stopTokenIds },
    )
    const calling: number[] = []
    for (const [k, { ids }] of episodes.entries()) {
      const message = messageOf(answerText(tokenizer, ids))
      added[open[k]].push(message)
      for (const wanted of message.toolCalls ?? []) {
        added[open[k]].push({ role: 'tool', content: await call(wanted), toolCallId: wanted.id })
        calling.push(open[k])
      }
    }
    open = calling
  }
  return added
}
