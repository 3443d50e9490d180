import { type Conversation, parseConversation } from './conversation.ts'

/**
 * A fine-tuning file in OpenAI's format: a conversation a line, each with something that the assistant says. Empty lines
 * are passed over.
 *
 * @param name - of the file, for errors
 * @throws Error with one sentence that names the line
 */
export function parseChatFile(text: string, name: string): Conversation[] {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  const conversations = lines.flatMap((line, i) => {
    if (line.trim() === '') return []
    const where = `${name}, line ${i + 1}`
    const conversation = parseConversation(parsed(line, where), where)
    if (!conversation.messages.some(({ role }) => role === 'assistant')) {
      throw new Error(`${where}: no message is the assistant's, so there is nothing to learn from it`)
    }
    return [conversation]
  })
  if (conversations.length === 0) {
    throw new Error(`${name} is empty: it is to have a conversation a line, {"messages": [{"role": "user", …}, …]}`)
  }
  return conversations
}

function parsed(line: string, where: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    const start = line.trim().slice(0, 40)
    throw new Error(`${where}: is no JSON: ${JSON.stringify(start)}`)
  }
}
