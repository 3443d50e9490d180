import { callTool } from '../agent/toolset.ts'
import type { ToolCall } from '../data/instruction/conversation.ts'
import { CALL_MARKS, CallList, CallReader } from '../generate/tool-calls.ts'
import type {
  AnswerEvent,
  ChatMessage,
  EndEvent,
  GenerationRequest,
  ServedModel,
  TokenEvent,
  Toolset,
} from '../generate/types.ts'
import { ownGrammars } from './chat-tools.ts'

/** A tool of the model's own was called, and this came back. */
export interface ToolEvent {
  readonly type: 'tool'
  readonly call: ToolCall
  readonly result: string
}

/** How a model's own tools come into an answer. */
export interface OwnTools {
  readonly toolset: Toolset
  /** The prompt with these messages behind those that it was made of; undefined where they leave no room. */
  readonly promptWith: (turns: readonly ChatMessage[]) => Promise<readonly number[] | undefined>
}

/** Times that an answer may call tools and go on. Then it has to be written with what is known. */
const MOST_ROUNDS = 4
const MOST_RESULT = 8_000

/**
 * An answer of a model that has tools of its own: what it wants to have called is called, the result is put behind it, and
 * it goes on, until it answers in words. Its figures count all of that.
 */
export async function* toolRounds<Event extends AnswerEvent>(
  model: ServedModel,
  { toolset, promptWith }: OwnTools,
  request: GenerationRequest,
  write: (request: GenerationRequest) => AsyncIterable<Event>,
): AsyncGenerator<Event | TokenEvent | EndEvent | ToolEvent, void, void> {
  const specs = toolset.tools.map(({ spec }) => spec)
  const names = new Set(specs.map(({ name }) => name))
  const style = model.toolTemplate?.style ?? 'hermes'
  const grammars = ownGrammars({ style, knowsTools: true, takesText: false }, specs)
  const turns: ChatMessage[] = []
  let { promptIds, maxNewTokens } = request
  let total: EndEvent | undefined
  for (let round = 0; ; round++) {
    const isLast = round === MOST_ROUNDS
    const reader = new CallReader(style, names)
    const list = new CallList()
    let end: EndEvent | undefined
    let words = ''
    let pending: TokenEvent | undefined
    const grammar = isLast ? grammars.words : grammars.calls
    for await (const event of write({ ...request, promptIds, maxNewTokens, grammar, shownTokens: CALL_MARKS })) {
      if (event.type === 'end') end = event
      else if (event.type !== 'token') yield event
      else {
        const said = reader.push(event.text)
        list.add(said.calls)
        words += said.text
        if (pending) yield pending
        pending = { ...event, text: said.text }
        // What is held back may still become this token's text.
        if (reader.isHolding) continue
        yield pending
        pending = undefined
      }
    }
    if (!end) return
    const rest = reader.flush()
    list.add(rest.calls)
    words += rest.text
    if (pending) yield { ...pending, text: pending.text + rest.text }
    total = total ? added(total, end) : end
    const left = (maxNewTokens ?? Number.POSITIVE_INFINITY) - end.completionTokens
    // Cut short, a call is none.
    if (list.calls.length === 0 || isLast || end.reason === 'length' || left < 1) return yield total
    const results: ChatMessage[] = []
    for (const call of list.calls) {
      request.signal?.throwIfAborted()
      const result = (await callTool(toolset.tools, call)).slice(0, MOST_RESULT)
      yield { type: 'tool', call, result }
      results.push({ role: 'tool', content: result, toolCallId: call.id })
    }
    turns.push({ role: 'assistant', content: words, toolCalls: list.calls }, ...results)
    const next = await promptWith(turns)
    const room = next ? roomBehind(model, next.length) : 0
    if (!next || room < 1) return yield { ...total, reason: 'length' }
    promptIds = next
    maxNewTokens = Math.min(left, room)
  }
}

const roomBehind = (model: ServedModel, promptTokens: number): number => model.contextLength - promptTokens

function added(before: EndEvent, end: EndEvent): EndEvent {
  return {
    type: 'end',
    reason: end.reason,
    promptTokens: before.promptTokens + end.promptTokens,
    cachedTokens: before.cachedTokens + end.cachedTokens,
    completionTokens: before.completionTokens + end.completionTokens,
    promptMs: before.promptMs,
    // A prompt in between is waited for as its first token is.
    decodeMs: before.decodeMs + end.promptMs + end.decodeMs,
  }
}
