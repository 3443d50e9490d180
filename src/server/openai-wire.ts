import { z } from 'zod'
import type { SamplingOptions } from '../generate/types.ts'
import { content } from './content-parts.ts'
import { badRequest } from './errors.ts'

/** Requests of OpenAI's API. Clients send null for what they leave out, so every option is nullish. */

const maxChoices = 128
const maxStopStrings = 16
const maxTopLogProbs = 20
const maxStopTokens = 64

const tokenId = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)
const tokenIds = z.array(tokenId)

const isNeutral =
  (...neutral: readonly unknown[]) =>
  (value: unknown): boolean =>
    neutral.includes(value)

/** A parameter that others have and jackdaw has not: said plainly, where ignoring it would change the answer. */
const unsupported = (allowed: (value: unknown) => boolean = () => false) =>
  z
    .unknown()
    .refine((value) => value === undefined || value === null || allowed(value), 'this server does not support it')
    .optional()

const isEmptyArray = (value: unknown): boolean => Array.isArray(value) && value.length === 0

/** As many tokens as there is room for: what llama.cpp and others mean by it. */
const noLimit = -1

const maxGrammar = 200_000
const maxOptions = 1_000
const text = z.string().max(maxGrammar).nullish()
const schemaOrJson = z
  .union([z.string().max(maxGrammar), z.record(z.string(), z.unknown()), z.boolean()], {
    error: 'must be a JSON Schema',
  })
  .nullish()
const optionList = z.array(z.string().min(1)).min(1).max(maxOptions).nullish()

const responseFormat = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('text') }),
    z.object({ type: z.literal('json_object') }),
    z.object({
      type: z.literal('json_schema'),
      json_schema: z.object({
        name: z.string().max(64).nullish(),
        description: z.string().nullish(),
        schema: z.union([z.record(z.string(), z.unknown()), z.boolean()]).nullish(),
        // Always kept to.
        strict: z.boolean().nullish(),
      }),
    }),
  ],
  { error: 'must be of type "text", "json_object" or "json_schema"' },
)

/** An answer in a form: OpenAI's name for it, and those of llama.cpp, vLLM and SGLang. */
const forms = {
  response_format: responseFormat.nullish(),
  grammar: text,
  guided_grammar: text,
  guided_json: schemaOrJson,
  guided_regex: text,
  guided_choice: optionList,
  json_schema: schemaOrJson,
  regex: text,
  ebnf: text,
  structured_outputs: z.object({ json: schemaOrJson, regex: text, choice: optionList, grammar: text }).nullish(),
}

/** Others' names for things that are not here, with the values that ask for nothing. */
const elsewhere = {
  allowed_token_ids: unsupported(),
  bad_words: unsupported(isEmptyArray),
  logits_processors: unsupported(isEmptyArray),
  // Other ways to choose a token.
  use_beam_search: unsupported(isNeutral(false)),
  typical_p: unsupported(isNeutral(1)),
  tfs_z: unsupported(isNeutral(1)),
  top_a: unsupported(isNeutral(0)),
  mirostat: unsupported(isNeutral(0)),
  mirostat_mode: unsupported(isNeutral(0)),
  dry_multiplier: unsupported(isNeutral(0)),
  xtc_probability: unsupported(isNeutral(0)),
  dynatemp_range: unsupported(isNeutral(0)),
  // Other ends of an answer.
  ignore_eos: unsupported(isNeutral(false)),
  include_stop_str_in_output: unsupported(isNeutral(false)),
  skip_special_tokens: unsupported(isNeutral(true)),
}

const sampling = {
  model: z.string(),
  n: z.int().min(1).max(maxChoices).nullish(),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(maxStopStrings)]).nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,10}$/, 'keys must be token ids'), z.number().min(-100).max(100))
    .nullish(),
  // Not OpenAI's, but of every server of open models. −1 and 0 keep all tokens.
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().max(10).nullish(),
  // llama.cpp's name for it.
  repeat_penalty: z.number().positive().max(10).nullish(),
  min_tokens: z.int().min(0).nullish(),
  stop_token_ids: tokenIds.max(maxStopTokens).nullish(),
  ...elsewhere,
  ...forms,

  stream: z.boolean().nullish(),
  stream_options: z
    .object({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
    .nullish(),

  // Bookkeeping of OpenAI's own service: it changes no answer.
  user: z.unknown().optional(),
  metadata: z.unknown().optional(),
  store: z.unknown().optional(),
  service_tier: z.unknown().optional(),
  safety_identifier: z.unknown().optional(),
  prompt_cache_key: z.unknown().optional(),
}

/** What a chat template calls its own: a request does not say it. */
const templateNames = ['messages', 'add_generation_prompt', 'bos_token', 'eos_token', 'tools']

const templateVariables = z.record(
  z
    .string()
    .regex(/^[a-z]\w{0,63}$/i, 'keys must be names')
    .refine((name) => !templateNames.includes(name), 'the server says this itself'),
  z.union([z.string().max(10_000), z.number(), z.boolean(), z.null()], {
    error: 'must be a string, a number, true, false or null',
  }),
)

/** The names that a body has and a schema has not, for the log. */
export const unknownFields = (schema: z.ZodObject, body: unknown): string[] =>
  typeof body === 'object' && body !== null && !Array.isArray(body)
    ? Object.keys(body).filter((name) => !Object.hasOwn(schema.shape, name))
    : []

const maxTools = 128
const toolName = z.string().regex(/^[\w-]{1,64}$/, 'must be up to 64 letters, digits, _ and -')

const toolCall = z.object({
  id: z.string().min(1).max(200),
  type: z.literal('function').nullish(),
  function: z.object({ name: z.string().min(1).max(64), arguments: z.string() }),
})

const tool = z.object({
  type: z.literal('function', 'must be "function"'),
  function: z.object({
    name: toolName,
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
    strict: z.boolean().nullish(),
  }),
})

const chatMessage = z
  .object({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    content: content.nullish().transform((value) => value ?? { text: '', shown: [] }),
    tool_calls: z.array(toolCall).max(maxTools).nullish(),
    tool_call_id: z.string().min(1).max(200).nullish(),
    function_call: unsupported(),
  })
  .transform(({ role, content: { text, shown }, tool_calls, tool_call_id }) => ({
    role: role === 'developer' ? ('system' as const) : role,
    content: text,
    shown,
    ...(role === 'assistant' &&
      tool_calls &&
      tool_calls.length > 0 && {
        toolCalls: tool_calls.map(({ id, function: { name, arguments: json } }) => ({ id, name, arguments: json })),
      }),
    ...(role === 'tool' && tool_call_id != null && { toolCallId: tool_call_id }),
  }))

export const chatRequest = z.object({
  ...sampling,
  messages: z.array(chatMessage).min(1, 'must have a message'),
  max_completion_tokens: z.int().min(1).nullish(),
  max_tokens: z
    .int()
    .refine((value) => value >= 1 || value === noLimit, 'must be at least 1')
    .nullish(),
  chat_template_kwargs: templateVariables.nullish(),
  chat_template: unsupported(),
  documents: unsupported(isEmptyArray),
  continue_final_message: unsupported(isNeutral(false)),
  add_generation_prompt: unsupported(isNeutral(true)),
  // As the Responses API has it: `auto` leaves the oldest exchanges out where all do not fit the context.
  truncation: z.enum(['auto', 'disabled']).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(maxTopLogProbs).nullish(),
  tools: z.array(tool).max(maxTools).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(['none', 'auto', 'required']),
        z.object({ type: z.literal('function'), function: z.object({ name: z.string() }) }),
      ],
      { error: 'must be "none", "auto", "required" or a function by its name' },
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  functions: unsupported(isEmptyArray),
  function_call: unsupported((value) => value === 'none' || value === 'auto'),
  modalities: unsupported((value) => Array.isArray(value) && value.every((modality) => modality === 'text')),
  audio: unsupported(),
  prediction: unsupported(),
  reasoning_effort: unsupported((value) => value === 'none'),
  verbosity: unsupported(),
  web_search_options: unsupported(),
})
export type ChatRequest = z.output<typeof chatRequest>

const maxPrompts = 2048

export const completionRequest = z.object({
  ...sampling,
  prompt: z.union(
    [
      z.string(),
      tokenIds.min(1),
      z.array(z.string()).min(1).max(maxPrompts),
      z.array(tokenIds.min(1)).min(1).max(maxPrompts),
    ],
    { error: 'must be a string, an array of strings, an array of token ids, or an array of arrays of token ids' },
  ),
  max_tokens: z.int().min(noLimit).nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(maxTopLogProbs).nullish(),
  best_of: z.int().min(1).nullish(),
  suffix: unsupported((value) => value === ''),
})
export type CompletionRequest = z.output<typeof completionRequest>

export const embeddingRequest = z.object({
  model: z.string(),
  input: z.union(
    [
      z.string().min(1),
      tokenIds.min(1),
      z.array(z.string().min(1)).min(1).max(maxPrompts),
      z.array(tokenIds.min(1)).min(1).max(maxPrompts),
    ],
    { error: `must be text or token ids, or an array of at most ${maxPrompts} of one of them, none of them empty` },
  ),
  encoding_format: z.enum(['float', 'base64']).nullish(),
  dimensions: unsupported(),
  user: z.unknown().optional(),
})

/** The engine's options for what a chat or completion request asks. @throws RequestError for ids the model has not. */
export function samplingOptions(
  request: Pick<ChatRequest, Exclude<keyof typeof sampling, 'model'>>,
  vocabSize: number,
): SamplingOptions {
  const options: SamplingOptions = {
    temperature: request.temperature ?? 1,
    topP: request.top_p ?? undefined,
    topK: request.top_k == null ? undefined : Math.max(0, request.top_k),
    minP: request.min_p ?? undefined,
    repetitionPenalty: request.repetition_penalty ?? request.repeat_penalty ?? undefined,
    presencePenalty: request.presence_penalty ?? undefined,
    frequencyPenalty: request.frequency_penalty ?? undefined,
    stop: typeof request.stop === 'string' ? [request.stop] : (request.stop ?? undefined),
    seed: request.seed ?? undefined,
    minNewTokens: request.min_tokens ?? undefined,
    stopTokenIds: request.stop_token_ids ?? undefined,
  }
  if (request.stop_token_ids) checkIds(request.stop_token_ids, vocabSize, 'stop_token_ids')
  if (request.logit_bias) {
    options.logitBias = Object.fromEntries(Object.entries(request.logit_bias).map(([id, bias]) => [Number(id), bias]))
    checkIds(Object.keys(request.logit_bias).map(Number), vocabSize, 'logit_bias')
  }
  return options
}

/** How many tokens are asked for; `undefined` for as many as there is room for. */
export const wantedTokens = (maxTokens: number | null | undefined): number | undefined =>
  maxTokens === noLimit ? undefined : (maxTokens ?? undefined)

/** @throws RequestError where an id is not below `vocabSize`. */
export function checkIds(ids: readonly number[], vocabSize: number, param: string): void {
  const wrong = ids.find((id) => id >= vocabSize)
  if (wrong !== undefined) {
    throw badRequest(
      `Invalid '${param}': there is no token ${wrong}; the model has ${vocabSize}.`,
      param,
      'invalid_value',
    )
  }
}

/** The inputs of a request that takes one or many, each as text or as ids. */
export function inputList(input: CompletionRequest['prompt']): (string | number[])[] {
  if (typeof input === 'string') return [input]
  return typeof input[0] === 'number' ? [input as number[]] : (input as (string | number[])[])
}
