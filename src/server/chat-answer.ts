import { randomUUID } from 'node:crypto'
import type { EndEvent, GenerationRequest, PromptEvent, TokenEvent } from '../generate/types.ts'
import { type Answer, type Choice, seedOf, systemFingerprint, usageOf } from './answer.ts'
import { badRequest } from './errors.ts'
import { ChatLogProbs } from './log-probs.ts'
import { type ChatRequest, samplingOptions, wantedTokens } from './openai-wire.ts'
import { chatPrompt, fittedPrompt, roomFor } from './prompt.ts'
import type { ModelDesk } from './served-models.ts'

class ChatChoice implements Choice {
  text = ''
  ended?: EndEvent
  private readonly index: number
  private readonly logProbs?: ChatLogProbs

  constructor(index: number, logProbs?: ChatLogProbs) {
    this.index = index
    this.logProbs = logProbs
  }

  opening() {
    return this.chunk({ role: 'assistant', content: '', refusal: null })
  }

  add(event: TokenEvent | PromptEvent) {
    // Chats have no echo.
    if (event.type === 'prompt') return undefined
    this.text += event.text
    const content = this.logProbs?.add(event)
    if (event.text === '' && !content) return undefined
    return this.chunk({ content: event.text }, content && { content: [content], refusal: null })
  }

  end(event: EndEvent) {
    this.ended = event
    return { ...this.chunk({}), finish_reason: event.reason }
  }

  whole() {
    return {
      index: this.index,
      message: { role: 'assistant', content: this.text, refusal: null },
      logprobs: this.logProbs ? { content: this.logProbs.all, refusal: null } : null,
      finish_reason: this.ended?.reason,
    }
  }

  private chunk(delta: object, logprobs: object | null = null) {
    return { index: this.index, delta, logprobs, finish_reason: null }
  }
}

const answerTokens = (request: ChatRequest): number | undefined =>
  request.max_completion_tokens ?? wantedTokens(request.max_tokens)

/** What `/v1/chat/completions` answers. */
export class ChatAnswer implements Answer {
  readonly desk: ModelDesk
  readonly choices: ChatChoice[]
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
    const prompt =
      request.truncation === 'auto'
        ? (await fittedPrompt(model, request.messages, answerTokens(request), variables)).promptIds
        : await chatPrompt(model, request.messages, variables)
    return new ChatAnswer(desk, request, prompt)
  }

  private constructor(
    desk: ModelDesk,
    request: ChatRequest,
    private readonly prompt: number[],
  ) {
    const { model } = desk
    this.desk = desk
    this.request = request
    this.options = samplingOptions(request, model.vocabSize)
    this.maxNewTokens = roomFor(model, this.prompt.length, answerTokens(request), 'messages')
    this.choices = Array.from(
      { length: request.n ?? 1 },
      (_, index) => new ChatChoice(index, request.logprobs ? new ChatLogProbs(model) : undefined),
    )
  }

  requests(signal: AbortSignal): GenerationRequest[] {
    return this.choices.map((_, index) => ({
      ...this.options,
      promptIds: this.prompt,
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
    return usageOf(ends, this.prompt.length, this.choices.length)
  }

  whole() {
    return { ...this.head(false), choices: this.choices.map((choice) => choice.whole()), usage: this.usage() }
  }
}
