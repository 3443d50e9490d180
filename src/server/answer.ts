import type { EndEvent, GenerationRequest, PromptEvent, ServedModel, TokenEvent } from '../generate/types.ts'
import { checkIds } from './openai-wire.ts'
import { version } from './package.ts'
import { within } from './prompt.ts'
import type { ModelDesk } from './served-models.ts'
import type { OwnTools, ToolEvent } from './tool-rounds.ts'

/** One of an answer's choices. `add` and `end` give the chunk to stream, if there is one. */
export interface Choice {
  opening(): object | undefined
  add(event: TokenEvent | PromptEvent): object | undefined
  end(event: EndEvent): object
  /** A tool of the model's own was called. */
  tool(event: ToolEvent): object | undefined
}

/** What a request is to be answered with: the same whole or streamed. */
export interface Answer {
  readonly desk: ModelDesk
  readonly choices: readonly Choice[]
  /** One for each choice. */
  requests(signal: AbortSignal): GenerationRequest[]
  /** The model's, where the answer may use them. */
  readonly ownTools?: OwnTools
  /** What every chunk begins with. */
  head(streamed: boolean): object
  usage(): object
  whole(): object
}

/** The build that answered. */
export const systemFingerprint = `jackdaw-${version}`

/** The ids of a prompt given as text or as ids. */
export async function idsOf(model: ServedModel, input: string | number[], param: string): Promise<number[]> {
  if (typeof input === 'string') return within(model, () => model.encode(input))
  checkIds(input, model.vocabSize, param)
  return input
}

/** The same of several, one after another. */
export async function idsOfAll(
  model: ServedModel,
  inputs: readonly (string | number[])[],
  param: string,
): Promise<number[][]> {
  const all: number[][] = []
  for (const input of inputs) all.push(await idsOf(model, input, param))
  return all
}

const isPresent = <T>(value: T | undefined): value is T => value !== undefined

/** @param ends - Of all answers; the first of each prompt's `n` says what its prompt cost. */
export function usageOf(ends: readonly (EndEvent | undefined)[], promptTokens: number, n: number) {
  const completionTokens = ends.filter(isPresent).reduce((sum, end) => sum + end.completionTokens, 0)
  const cachedTokens = ends
    .filter((_, index) => index % n === 0)
    .filter(isPresent)
    .reduce((sum, end) => sum + end.cachedTokens, 0)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  }
}

/** Answers to one prompt differ by their seed. */
export const seedOf = (seed: number | undefined, choice: number): number | undefined =>
  seed === undefined ? undefined : seed + choice
