import { randomUUID } from 'node:crypto'
import type { Grammar } from '../generate/grammar.ts'
import type { EndEvent, GenerationRequest, PromptEvent, TokenEvent } from '../generate/types.ts'
import { type Answer, type Choice, idsOfAll, seedOf, systemFingerprint, usageOf } from './answer.ts'
import { badRequest } from './errors.ts'
import { formGrammar, formOf, grammarFor } from './forms.ts'
import { CompletionLogProbs } from './log-probs.ts'
import { type CompletionRequest, inputList, samplingOptions, wantedTokens } from './openai-wire.ts'
import { roomFor } from './prompt.ts'
import type { ModelDesk } from './served-models.ts'

/** OpenAI's default for completions; a chat may fill the context. */
const defaultMaxTokens = 16
const maxChoices = 2048

class CompletionChoice implements Choice {
  text = ''
  ended?: EndEvent
  private readonly index: number
  private readonly logProbs?: CompletionLogProbs

  /** @param echo - What comes before the answer, unless the prompt is told token by token. */
  constructor(index: number, echo: string, logProbs?: CompletionLogProbs) {
    this.index = index
    this.text = echo
    this.logProbs = logProbs
  }

  opening() {
    return this.text === '' ? undefined : this.chunk(this.text)
  }

  add(event: TokenEvent | PromptEvent) {
    const logProbs = this.logProbs?.add(event, this.text.length)
    this.text += event.text
    return event.text === '' && !logProbs ? undefined : this.chunk(event.text, logProbs)
  }

  tool() {
    return undefined
  }

  end(event: EndEvent) {
    this.ended = event
    return { ...this.chunk(''), finish_reason: event.reason }
  }

  whole() {
    const chunk = this.chunk(this.text, this.logProbs?.all)
    return { ...chunk, finish_reason: this.ended?.reason }
  }

  private chunk(text: string, logprobs: object | null = null) {
    return { index: this.index, text, logprobs, finish_reason: null }
  }
}

/** What `/v1/completions` answers. */
export class CompletionAnswer implements Answer {
  readonly desk: ModelDesk
  readonly choices: CompletionChoice[]
  private readonly request: CompletionRequest
  private readonly options: ReturnType<typeof samplingOptions>
  private readonly n: number
  private readonly grammar?: Grammar
  /** The prompt is to be told with its log-probabilities. */
  private readonly scores: boolean
  private readonly id = `cmpl-${randomUUID().replaceAll('-', '')}`
  private readonly created = Math.floor(Date.now() / 1000)

  /** @throws RequestError where the model cannot do what is asked. */
  static async create(desk: ModelDesk, request: CompletionRequest): Promise<CompletionAnswer> {
    const inputs = inputList(request.prompt)
    const answers = inputs.length * (request.n ?? 1)
    if (answers > maxChoices) {
      throw badRequest(`That is ${answers} answers; ${maxChoices} are the most.`, 'n', 'invalid_value')
    }
    const prompts = await idsOfAll(desk.model, inputs, 'prompt')
    return new CompletionAnswer(desk, request, prompts)
  }

  private constructor(
    desk: ModelDesk,
    request: CompletionRequest,
    private readonly prompts: number[][],
  ) {
    const { model } = desk
    this.desk = desk
    this.request = request
    this.options = samplingOptions(request, model.vocabSize)
    this.n = request.n ?? 1
    if (request.best_of != null && request.best_of !== this.n) {
      throw badRequest("'best_of' other than 'n' is not supported.", 'best_of', 'invalid_value')
    }
    const asked = formOf(request)
    this.grammar = asked && grammarFor(asked.form, asked.param, () => formGrammar(asked.form))
    this.scores = request.echo === true && request.logprobs != null
    if (this.scores && model.answerLength !== undefined) {
      const why = 'reads its prompt all at once, so the prompt has no log-probabilities'
      throw badRequest(`${model.id} ${why}; leave 'echo' or 'logprobs' out.`, 'echo', 'invalid_value')
    }
    const inputs = inputList(request.prompt)
    for (const prompt of this.prompts) roomFor(model, prompt.length, this.wanted, 'prompt')
    this.choices = inputs.flatMap((input, prompt) => {
      const echo = request.echo && !this.scores ? (typeof input === 'string' ? input : model.decode(input)) : ''
      return Array.from(
        { length: this.n },
        (_, choice) =>
          new CompletionChoice(
            prompt * this.n + choice,
            echo,
            request.logprobs == null ? undefined : new CompletionLogProbs(model),
          ),
      )
    })
  }

  requests(signal: AbortSignal): GenerationRequest[] {
    const { model } = this.desk
    return this.prompts.flatMap((promptIds) =>
      Array.from({ length: this.n }, (_, choice) => ({
        ...this.options,
        promptIds,
        grammar: this.grammar,
        scorePrompt: this.scores,
        maxNewTokens: roomFor(model, promptIds.length, this.wanted, 'prompt'),
        seed: seedOf(this.options.seed, choice),
        topLogProbs: this.request.logprobs ?? undefined,
        signal,
      })),
    )
  }

  private get wanted(): number | undefined {
    return wantedTokens(this.request.max_tokens ?? defaultMaxTokens)
  }

  head() {
    return {
      id: this.id,
      object: 'text_completion',
      created: this.created,
      model: this.desk.model.id,
      system_fingerprint: systemFingerprint,
    }
  }

  usage() {
    const promptTokens = this.prompts.reduce((sum, prompt) => sum + prompt.length, 0)
    const ends = this.choices.map((choice) => choice.ended)
    return usageOf(ends, promptTokens, this.n)
  }

  whole() {
    return { ...this.head(), choices: this.choices.map((choice) => choice.whole()), usage: this.usage() }
  }
}
