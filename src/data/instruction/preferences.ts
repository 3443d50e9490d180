import { z } from 'zod'
import { type Message, parseConversation, toWireMessage } from './conversation.ts'

/**
 * What people, or a judge, prefer: answers to a prompt from the best to the worst, one prompt a line of JSON:
 *
 * ```json
 * {"messages": [{"role": "user", "content": "…"}], "chosen": "…", "rejected": "…"}
 * {"messages": [{"role": "user", "content": "…"}], "answers": ["the best", ["tied", "with this"], "the worst"]}
 * {"chosen": "\n\nHuman: …\n\nAssistant: …", "rejected": "\n\nHuman: …\n\nAssistant: …"}
 * ```
 *
 * The last form is that of the data of helpfulness and harmlessness (Bai et al., 2022, arXiv 2204.05862).
 */
export interface Preference {
  /** What was asked: all that stands before the answers. */
  readonly messages: readonly Message[]
  /** The best first; answers of one rank are tied, and all of them may be. */
  readonly answers: readonly (readonly string[])[]
}

const pair = z.object({ messages: z.array(z.unknown()), chosen: z.string(), rejected: z.string() })
const ranking = z.object({
  messages: z.array(z.unknown()),
  answers: z.array(z.union([z.string().transform((answer) => [answer]), z.array(z.string()).min(1)])),
})
const dialogues = z.object({ chosen: z.string(), rejected: z.string() })

/**
 * A line's preference.
 *
 * @param where - `preferences.jsonl, line 3`: what an error begins with
 * @throws Error with one sentence where it is none
 */
export function parsePreference(json: unknown, where: string): Preference {
  const object = typeof json === 'object' && json !== null ? json : {}
  if ('answers' in object) {
    const { messages, answers } = read(ranking, json, where)
    if (answers.flat().length < 2) throw new Error(`${where}: answers: there must be two at least, the best first`)
    return { messages: promptOf(messages, where), answers }
  }
  if ('messages' in object) {
    const { messages, chosen, rejected } = read(pair, json, where)
    return { messages: promptOf(messages, where), answers: [[chosen], [rejected]] }
  }
  if (!('chosen' in object && 'rejected' in object)) {
    throw new Error(`${where}: must have messages with chosen and rejected, or with answers from the best to the worst`)
  }
  const { chosen, rejected } = read(dialogues, json, where)
  const [better, worse] = [dialogueOf(chosen, where), dialogueOf(rejected, where)]
  if (better.prompt !== worse.prompt) {
    throw new Error(`${where}: chosen and rejected must be the same dialogue up to the last answer`)
  }
  return { messages: better.messages, answers: [[better.answer], [worse.answer]] }
}

/**
 * A file's preferences; blank lines are left out.
 *
 * @param name - of the file, for errors
 * @throws Error with one sentence that names the first line which is none
 */
export function readPreferences(text: string, name: string): Preference[] {
  return jsonLines(text, name).map(({ json, where }) => parsePreference(json, where))
}

/** A line of a file of preferences, without its end. */
export function toPreferenceLine({ messages, answers }: Preference): string {
  const prompt = messages.map(toWireMessage)
  const [[chosen, tied], rejected = []] = answers
  if (answers.length === 2 && tied === undefined && rejected.length === 1) {
    return JSON.stringify({ messages: prompt, chosen, rejected: rejected[0] })
  }
  const ranks = answers.map((rank) => (rank.length === 1 ? rank[0] : rank))
  return JSON.stringify({ messages: prompt, answers: ranks })
}

/**
 * What to ask a model, a conversation without its last answer a line: `{"messages": […]}` as fine-tuning files have it,
 * or `{"prompt": "…"}`.
 *
 * @throws Error with one sentence that names the first line which asks nothing
 */
export function readPrompts(text: string, name: string): Message[][] {
  return jsonLines(text, name).map(({ json, where }) => {
    if (typeof json === 'object' && json !== null && 'prompt' in json && !('messages' in json)) {
      if (typeof json.prompt !== 'string') throw new Error(`${where}: prompt: must be a text`)
      return [{ role: 'user', content: json.prompt }]
    }
    const { messages } = parseConversation(json, where)
    const end = messages.findLastIndex(({ role }) => role !== 'assistant') + 1
    if (end === 0) throw new Error(`${where}: messages: nothing is asked, all of it is the assistant's`)
    return messages.slice(0, end)
  })
}

function jsonLines(text: string, name: string): { json: unknown; where: string }[] {
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return []
    const where = `${name}, line ${i + 1}`
    try {
      return [{ json: JSON.parse(line) as unknown, where }]
    } catch {
      throw new Error(`${where}: is no JSON; every line must be one object`)
    }
  })
}

function read<T>(schema: z.ZodType<T>, json: unknown, where: string): T {
  const { data, error } = schema.safeParse(json)
  if (data !== undefined) return data
  const [{ path, message }] = error?.issues ?? []
  throw new Error(`${where}: ${path.length > 0 ? `${path.join('.')}: ` : ''}${message}`)
}

function promptOf(messages: readonly unknown[], where: string): readonly Message[] {
  const prompt = parseConversation({ messages }, where).messages
  if (prompt[prompt.length - 1].role === 'assistant') {
    throw new Error(`${where}: messages: must end before the answer, with what was asked`)
  }
  return prompt
}

const TURN = /\n\n(Human|Assistant):/

/** A dialogue in one text, and its last answer apart. */
function dialogueOf(text: string, where: string): { prompt: string; messages: readonly Message[]; answer: string } {
  const answerAt = text.lastIndexOf('\n\nAssistant:')
  // Before each turn's text its speaker: '', Human, …, Assistant, …
  const [before, ...turns] = text.slice(0, Math.max(answerAt, 0)).split(TURN)
  if (answerAt < 0 || before.trim() !== '' || turns.length === 0) {
    throw new Error(`${where}: must have messages, or be a dialogue of "\\n\\nHuman: …" and "\\n\\nAssistant: …"`)
  }
  const messages: Message[] = []
  for (let i = 0; i < turns.length; i += 2) {
    messages.push({ role: turns[i] === 'Human' ? 'user' : 'assistant', content: turns[i + 1].trim() })
  }
  if (messages[messages.length - 1].role === 'assistant') {
    throw new Error(`${where}: the dialogue's last answer must follow what a human says`)
  }
  return { prompt: text.slice(0, answerAt), messages, answer: text.slice(answerAt + '\n\nAssistant:'.length).trim() }
}
