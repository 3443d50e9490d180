import { randomUUID } from 'node:crypto'
import type { ToolCall } from '../data/instruction/conversation.ts'
import { CALL_MARKS, CallList, CallReader, type Said } from '../generate/tool-calls.ts'
import type { EndEvent, GenerationRequest, PromptEvent, TokenEvent } from '../generate/types.ts'
import { type Answer, type Choice, seedOf, systemFingerprint, usageOf } from './answer.ts'
import { type AnswerRules, answerRules, checkCalls } from './chat-tools.ts'
import { withImages } from './content-parts.ts'
import { badRequest } from './errors.ts'
import { formOf } from './forms.ts'
import { ChatLogProbs } from './log-probs.ts'
import { type ChatRequest, samplingOptions, wantedTokens } from './openai-wire.ts'
import { chatPrompt, fittedPrompt, roomFor } from './prompt.ts'
import type { ModelDesk } from './served-models.ts'
import type { OwnTools, ToolEvent } from './tool-rounds.ts'

class ChatChoice implements Choice {
  ended?: EndEvent
  private text = ''
  private readonly list = new CallList()
  private readonly ownCalls: OwnCall[] = []

  /** @param reader - where the answer may call tools of who asks */
  constructor(
    private readonly index: number,
    private readonly reader: CallReader | undefined,
    private readonly logProbs?: ChatLogProbs,
  ) {}

  opening() {
    return this.chunk({ role: 'assistant', content: '', refusal: null })
  }

  add(event: TokenEvent | PromptEvent) {
    // Chats have no echo.
    if (event.type === 'prompt') return undefined
    const delta = this.delta(this.reader ? this.reader.push(event.text) : { text: event.text, calls: [] })
    const content = this.logProbs?.add(event)
    if (!delta && !content) return undefined
    return this.chunk(delta ?? { content: '' }, content && { content: [content], refusal: null })
  }

  tool({ call: { name, arguments: json }, result }: ToolEvent) {
    const called = { name, arguments: json, result }
    this.ownCalls.push(called)
    return this.chunk({ jackdaw_tool_calls: [called] })
  }

  end(event: EndEvent) {
    this.ended = event
    const rest = this.reader && this.delta(this.reader.flush())
    return { ...this.chunk(rest ?? {}), finish_reason: this.finishReason }
  }

  whole() {
    const { calls } = this.list
    return {
      index: this.index,
      message: {
        role: 'assistant',
        content: calls.length > 0 && this.text === '' ? null : this.text,
        refusal: null,
        ...(calls.length > 0 && { tool_calls: calls.map(wireCall) }),
        ...(this.ownCalls.length > 0 && { jackdaw_tool_calls: this.ownCalls }),
      },
      logprobs: this.logProbs ? { content: this.logProbs.all, refusal: null } : null,
      finish_reason: this.finishReason,
    }
  }

  private get finishReason() {
    const reason = this.ended?.reason
    return reason === 'stop' && this.list.calls.length > 0 ? 'tool_calls' : reason
  }

  private delta({ text, calls }: Said): object | undefined {
    this.text += text
    this.list.add(calls)
    if (text === '' && calls.length === 0) return undefined
    return {
      ...(text !== '' && { content: text }),
      ...(calls.length > 0 && {
        tool_calls: calls.map(({ index, id, name, arguments: json }) => ({
          index,
          ...(name !== undefined && { id, type: 'function' }),
          function: { ...(name !== undefined && { name }), arguments: json },
        })),
      }),
    }
  }

  private chunk(delta: object, logprobs: object | null = null) {
    return { index: this.index, delta, logprobs, finish_reason: null }
  }
}

/** What a tool of the model's own was asked, and what it said: no part of OpenAI's API. */
interface OwnCall {
  readonly name: string
  readonly arguments: string
  readonly result: string
}

const wireCall = ({ id, name, arguments: json }: ToolCall) => ({
  id,
  type: 'function',
  function: { name, arguments: json },
})

const answerTokens = (request: ChatRequest): number | undefined =>
  request.max_completion_tokens ?? wantedTokens(request.max_tokens)

interface Asked {
  readonly prompt: readonly number[]
  readonly images: readonly Uint8Array[]
  readonly rules: AnswerRules
  readonly ownTools?: OwnTools
}

/** What `/v1/chat/completions` answers. */
export class ChatAnswer implements Answer {
  readonly desk: ModelDesk
  readonly choices: ChatChoice[]
  readonly ownTools?: OwnTools
  private readonly prompt: readonly number[]
  private readonly images: readonly Uint8Array[]
  private readonly rules: AnswerRules
  private readonly request: ChatRequest
  private readonly options: ReturnType<typeof samplingOptions>
  private readonly maxNewTokens: number
  private readonly id = `chatcmpl-${randomUUID().replaceAll('-', '')}`
  private readonly created = Math.floor(Date.now() / 1000)

  /** @throws RequestError where the model cannot do what is asked. */
  static async create(desk: ModelDesk, request: ChatRequest): Promise<ChatAnswer> {
    const { model } = desk
    if (request.top_logprobs != null && !request.logprobs) {
      throw badRequest("'top_logprobs' is only allowed with 'logprobs': true.", 'top_logprobs', 'invalid_value')
    }
    const variables = request.chat_template_kwargs ?? undefined
    const messages = withImages(request.messages, model)
    checkCalls(messages)
    const form = formOf(request)
    const rules = answerRules(model, request, form)
    const fits = request.truncation === 'auto'
    const fitted = fits ? await fittedPrompt(model, messages, answerTokens(request), variables, rules.tools) : undefined
    const prompt = fitted?.promptIds ?? (await chatPrompt(model, messages, variables, rules.tools))
    const turns = messages.filter(({ role }) => role !== 'system').slice(fitted?.omitted ?? 0)
    const images = turns.flatMap(({ images = [] }) => images)
    const mayUseOwn = !request.tools?.length && request.tool_choice !== 'none' && !form
    const ownTools: OwnTools | undefined =
      model.toolset && mayUseOwn
        ? { toolset: model.toolset, promptWith: (turns) => chatPrompt(model, [...messages, ...turns], variables) }
        : undefined
    return new ChatAnswer(desk, request, { prompt, images, rules, ownTools })
  }

  private constructor(desk: ModelDesk, request: ChatRequest, { prompt, images, rules, ownTools }: Asked) {
    const { model } = desk
    this.prompt = prompt
    this.images = images
    this.rules = rules
    this.ownTools = ownTools
    const names = new Set(rules.tools.map(({ name }) => name))
    const reader = () => (names.size > 0 ? new CallReader(model.toolTemplate?.style ?? 'hermes', names) : undefined)
    this.desk = desk
    this.request = request
    this.options = samplingOptions(request, model.vocabSize)
    this.maxNewTokens = roomFor(model, this.prompt.length, answerTokens(request), 'messages')
    this.choices = Array.from(
      { length: request.n ?? 1 },
      (_, index) => new ChatChoice(index, reader(), request.logprobs ? new ChatLogProbs(model) : undefined),
    )
  }

  requests(signal: AbortSignal): GenerationRequest[] {
    return this.choices.map((_, index) => ({
      ...this.options,
      promptIds: this.prompt,
      ...(this.rules.grammar && { grammar: this.rules.grammar }),
      ...(this.rules.tools.length > 0 && { shownTokens: CALL_MARKS }),
      ...(this.images.length > 0 && { images: this.images }),
      maxNewTokens: this.maxNewTokens,
      seed: seedOf(this.options.seed, index),
      topLogProbs: this.request.logprobs ? (this.request.top_logprobs ?? 0) : undefined,
      signal,
    }))
  }

  head(streamed: boolean) {
    return {
      id: this.id,
      object: streamed ? 'chat.completion.chunk' : 'chat.completion',
      created: this.created,
      model: this.desk.model.id,
      system_fingerprint: systemFingerprint,
    }
  }

  usage() {
    const ends = this.choices.map((choice) => choice.ended)
    // With tools of its own it has read more than it was asked.
    const read = this.ownTools && ends[0]?.promptTokens
    return usageOf(ends, read ?? this.prompt.length, this.choices.length)
  }

  whole() {
    return { ...this.head(false), choices: this.choices.map((choice) => choice.whole()), usage: this.usage() }
  }
}
