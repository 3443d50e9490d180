import type { Tool } from '../agent/toolset.ts'
import type { ToolCall, ToolSpec } from '../data/instruction/conversation.ts'
import type { Grammar } from './grammar.ts'
import type { ToolTemplate } from './tool-calls.ts'

/** What a decoding engine is asked, and what it answers: shared by the engine, the server and the command line. */

export const DEFAULT_MAX_NEW_TOKENS = 256

export interface SamplingOptions {
  /** Default 256. */
  maxNewTokens?: number
  /** 0 is greedy decoding. Default 1. */
  temperature?: number
  /** Keep the k most likely tokens; 0 keeps all. */
  topK?: number
  /** Nucleus: the smallest set whose probability reaches p, the crossing token included. */
  topP?: number
  /** Drop tokens less likely than minP times the likeliest. */
  minP?: number
  /** CTRL's penalty: seen tokens' positive logits are divided by it, negative ones multiplied. 1 is off. */
  repetitionPenalty?: number
  /** Subtracted once from the logit of every generated token. */
  presencePenalty?: number
  /** Subtracted once per earlier occurrence of a generated token. */
  frequencyPenalty?: number
  /** Added to logits before sampling, by token id. */
  logitBias?: Readonly<Record<number, number>>
  /** Text that ends the answer; it is not part of it. */
  stop?: readonly string[]
  /** Ends the answer as the end-of-text tokens of the model do. */
  stopTokenIds?: readonly number[]
  /** Neither those nor an end-of-text token come before this many others. Default 0. */
  minNewTokens?: number
  /** The same seed, prompt and options give the same answer. Random where left out. */
  seed?: number
  /** Report the log-probability of each token and of this many most likely alternatives. */
  topLogProbs?: number
}

export interface GenerationRequest extends SamplingOptions {
  promptIds: readonly number[]
  /** Every answer is a text of it, unless it runs out of tokens. The same object is compiled once. */
  grammar?: Grammar
  /** Special tokens that are text of the answer by their names. */
  shownTokens?: readonly string[]
  /** Tell the prompt too, each token with its log-probability after those before it. */
  scorePrompt?: boolean
  /** Those of the prompt's messages, in order. */
  images?: readonly Uint8Array[]
  signal?: AbortSignal
}

export interface IdLogProb {
  id: number
  logProb: number
}

/** A token as the engine tells it. */
export interface IdEvent {
  /** With `scorePrompt`, before the answer: one for each token of the prompt. The first has no log-probability. */
  type: 'token' | 'prompt'
  id: number
  /** Of this token after those before, penalties counted, at temperature 1. */
  logProb?: number
  topLogProbs?: IdLogProb[]
}

export interface TokenLogProb extends IdLogProb {
  /** The token's own text, possibly an incomplete character. */
  text: string
}

export interface TokenEvent extends IdEvent {
  type: 'token'
  /** Text that this token completes: never a broken character, possibly empty while one is pending. */
  text: string
  topLogProbs?: TokenLogProb[]
}

export interface PromptEvent extends Omit<TokenEvent, 'type'> {
  type: 'prompt'
}

export interface EndEvent {
  type: 'end'
  reason: 'stop' | 'length'
  promptTokens: number
  /** Prompt tokens that did not have to be computed again. */
  cachedTokens: number
  completionTokens: number
  /** Milliseconds until the first token, and from the first to the last. */
  promptMs: number
  decodeMs: number
}

export type GenerationEvent = PromptEvent | TokenEvent | EndEvent

/** A picture of an answer: on its way, or after its last step done. */
export interface PictureEvent {
  type: 'picture'
  /** A file, as PNG. */
  image: Uint8Array
  width: number
  height: number
  /** What it shows, for who does not see it. */
  alt: string
  step: number
  steps: number
}

export type AnswerEvent = GenerationEvent | PictureEvent

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | 'tool'
  content: string
  /** Files as they were uploaded; only for a model that can see. */
  images?: readonly Uint8Array[]
  /** Of the assistant: instead of an answer, or after its first words. */
  toolCalls?: readonly ToolCall[]
  /** Of a tool's result: the call that it answers. */
  toolCallId?: string
}

/** Tools that a model was taught to call, and that whoever serves it runs. */
export interface Toolset {
  readonly tools: readonly Tool[]
  /** What it can be asked with them. */
  readonly examples: readonly string[]
}

/** Of a chat template, beside the conversation. */
export type TemplateVariables = Readonly<Record<string, string | number | boolean | null>>

/** A model as a server sees it: text in, text out, many requests at once. */
export interface ServedModel {
  readonly id: string
  /** Seconds since the epoch. */
  readonly created: number
  /** Tokens of a prompt and its answer together; of the prompt alone where there is an `answerLength`. */
  readonly contextLength: number
  /**
   * Of an encoder-decoder: tokens of the longest answer, start token included. Such a model answers one text, the last
   * message of the user, and cannot score it.
   */
  readonly answerLength?: number
  /** Answers that it writes at once; without one, as many as it is asked for. */
  readonly slots?: number
  /** Token ids are 0 to vocabSize − 1. */
  readonly vocabSize: number
  /** One sentence for the page: what the model is. */
  readonly description?: string
  /** The folder or file that it was loaded from: what it may be trained on from. */
  readonly path?: string
  /** False for an encoder: it makes embeddings, and `generate` and `renderChat` throw. Default true. */
  readonly canWrite?: boolean
  /** False for a model that was only pre-trained: it continues text, and `renderChat` throws. */
  readonly canChat: boolean
  /** Whether `embed` is there. */
  readonly canEmbed: boolean
  /** How it is told of tools and writes calls. Left out: it cannot. */
  readonly toolTemplate?: ToolTemplate
  /** Its own. */
  readonly toolset?: Toolset
  /** Whether messages may have images: `renderChat` then leaves room for them, and requests bring them. */
  readonly canSee?: boolean
  /** May be done elsewhere: what comes with a model may take long, and others are answered meanwhile. */
  encode(text: string): number[] | Promise<number[]>
  decode(ids: readonly number[]): string
  /**
   * The conversation as the model's template writes it, ready for the assistant's turn.
   *
   * @param variables - what else the template is told, such as `enable_thinking`
   * @param tools - that the model may call, for one that has a `toolTemplate`
   */
  renderChat(
    messages: readonly ChatMessage[],
    variables?: TemplateVariables,
    tools?: readonly ToolSpec[],
  ): number[] | Promise<number[]>
  /** Aborting the request's signal ends the stream with the signal's reason. */
  generate(request: GenerationRequest): AsyncIterable<GenerationEvent>
  /** The same as `generate`, of a model that draws in its answers. */
  answer?(request: GenerationRequest): AsyncIterable<AnswerEvent>
  /** Unit-length vectors, one for each sequence of ids. Aborting the signal ends it with the signal's reason. */
  embed(inputs: readonly (readonly number[])[], signal?: AbortSignal): Promise<Float32Array[]>
}
