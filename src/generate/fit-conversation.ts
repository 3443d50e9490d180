import type { ToolSpec } from '../data/instruction/conversation.ts'
import type { ChatMessage, ServedModel, TemplateVariables } from './types.ts'

export interface FittedConversation {
  promptIds: number[]
  /** How many messages, from the first after the system's, were left out; of a text to be continued, tokens. */
  omitted: number
}

/** What templates write around a message, in tokens, or a little more. */
const AROUND_MESSAGE = 8

/**
 * The prompt of a conversation that may have outgrown the model's context: without its oldest exchanges, where it has.
 * Messages stay whole, a system message at the start stays, and so does the user's last message, even where it is too
 * long by itself. A model that continues text gets the end of it.
 *
 * The answer is left the room it may take, at most a quarter of the context. Once the window is full it moves on by half
 * of itself, so that most turns begin as the one before and are not computed again.
 *
 * @param wanted - tokens that the answer may have
 * @param variables - what the template is told beside the messages
 * @param tools - that it is told of
 * @throws Error where the model's template does not take the messages
 */
export async function fitConversation(
  model: ServedModel,
  messages: readonly ChatMessage[],
  wanted = Number.POSITIVE_INFINITY,
  variables?: TemplateVariables,
  tools?: readonly ToolSpec[],
): Promise<FittedConversation> {
  if (model.answerLength !== undefined)
    return { promptIds: await model.renderChat(messages, variables, tools), omitted: 0 }
  const room = model.contextLength - Math.max(1, Math.min(wanted, Math.floor(model.contextLength / 4)))
  if (!model.canChat) return endOfText(model, textToContinue(messages), room)

  const promptIds = await model.renderChat(messages, variables, tools)
  if (promptIds.length <= room) return { promptIds, omitted: 0 }
  const opening = messages.findIndex(({ role }) => role !== 'system')
  const system = messages.slice(0, opening)
  const turns = messages.slice(opening)
  const newest = turns.findLastIndex(({ role }) => role === 'user')
  for (let start = await windowStart(model, system, turns, room); start <= newest; start++) {
    if (turns[start].role !== 'user') continue
    const fitted = await model.renderChat([...system, ...turns.slice(start)], variables, tools)
    if (fitted.length <= room || start === newest) return { promptIds: fitted, omitted: start }
  }
  return { promptIds, omitted: 0 }
}

/** The user's last message and, where an answer to it is to be gone on with, that answer. */
export function textToContinue(messages: readonly ChatMessage[]): string {
  const last = messages.findLastIndex(({ role }) => role === 'user')
  if (last < 0) throw new Error('there is no message of the user')
  return messages
    .slice(last)
    .map(({ content }) => content)
    .join('')
}

/** Goes through the conversation as it was held, and moves the window's start to a user's message where it was full. */
async function windowStart(
  model: ServedModel,
  system: readonly ChatMessage[],
  turns: readonly ChatMessage[],
  room: number,
): Promise<number> {
  const cost = async ({ content, toolCalls = [] }: ChatMessage): Promise<number> => {
    const said = [content, ...toolCalls.map((call) => call.name + call.arguments)].join('')
    return (await model.encode(said)).length + AROUND_MESSAGE * (1 + toolCalls.length)
  }
  let fixed = 0
  for (const message of system) fixed += await cost(message)
  const costs: number[] = []
  for (const message of turns) costs.push(await cost(message))
  let start = 0
  let held = fixed
  for (const [index, { role }] of turns.entries()) {
    held += costs[index]
    if (role !== 'user' || held <= room) continue
    while (start < index && (held > room / 2 || turns[start].role !== 'user')) held -= costs[start++]
  }
  return start
}

async function endOfText(model: ServedModel, text: string, room: number): Promise<FittedConversation> {
  const ids = await model.encode(text)
  if (ids.length <= room) return { promptIds: ids, omitted: 0 }
  // What a tokenizer puts before every text stays before this one.
  const bare = await model.encode('')
  const kept = bare.findIndex((id, index) => id !== ids[index])
  const before = ids.slice(0, kept < 0 ? bare.length : kept)
  const end = ids.slice(ids.length - (room - before.length))
  return { promptIds: [...before, ...end], omitted: ids.length - before.length - end.length }
}
