/**
 * Large Language Models are Zero-Shot Reasoners
 * Kojima, Gu, Reid et al., The University of Tokyo and Google Research, 2022. arXiv 2205.11916
 *
 * New over few-shot chains of thought (§3):
 * - “Let’s think step by step.” after the question lets a model reason without a demonstration;
 * - a second prompt, of the first one with what was reasoned, asks for the answer in the form of the data set;
 * - the answer is the first part of the second text that has that form (§3.1, appendix A.5 and A.6).
 *
 * Departures: none; prompts are those of the published code to the character, the space before the second one's line
 * break too.
 *
 * | paper                         | here                |
 * |-------------------------------|---------------------|
 * | trigger sentence [T]          | `REASONING_TRIGGER` |
 * | reasoning prompt X′           | `reasoningPrompt`   |
 * | answer trigger [A]            | `answerTrigger`     |
 * | [X′] [Z] [A]                  | `answerPrompt`      |
 * | answer cleansing              | `firstAnswer`       |
 */

import { type AnswerKind, firstAnswer, letterOf } from './answers.ts'
import type { LanguageModel, WriteOptions } from './language-model.ts'

export const REASONING_TRIGGER = "Let's think step by step."

/** Tokens of the reasoning, and of the answer. */
export const MAX_REASONING_TOKENS = 128
export const MAX_ANSWER_TOKENS = 32

/** What asks for an answer of this form, as the end of a sentence that begins otherwise in each prompt. */
function request(answer: AnswerKind): string {
  switch (answer.kind) {
    case 'number':
      return 'the answer (arabic numerals) is'
    case 'choice':
      return `among A through ${letterOf(answer.choices - 1)}, the answer is`
    case 'yes or no':
      return 'the answer (Yes or No) is'
    case 'letters':
      return 'the answer is'
  }
}

/** The second prompt's sentence: `Therefore, the answer (arabic numerals) is`. */
export const answerTrigger = (answer: AnswerKind): string => `Therefore, ${request(answer)}`

/** The plain zero-shot prompt: `Q: …\nA: The answer (arabic numerals) is`. */
export function zeroShotPrompt(question: string, answer: AnswerKind): string {
  const sentence = request(answer)
  return `Q: ${question}\nA: ${sentence[0].toUpperCase()}${sentence.slice(1)}`
}

/** The first prompt. */
export const reasoningPrompt = (question: string, trigger = REASONING_TRIGGER): string =>
  `Q: ${question}\nA: ${trigger}`

/** The second prompt: the first one, what was written after it, and what asks for the answer. */
export const answerPrompt = (firstPrompt: string, reasoning: string, answer: AnswerKind): string =>
  `${firstPrompt}${reasoning} \n${answerTrigger(answer)}`

export interface ZeroShotAnswer {
  /** What was written after “Let’s think step by step.”; without that stage empty. */
  readonly reasoning: string
  /** What was written after the request for the answer. */
  readonly text: string
  /** Empty where the text has none of the form. */
  readonly answer: string
}

export interface ZeroShotOptions extends Omit<WriteOptions, 'maxNewTokens'> {
  /** One of the paper's other sentences, in table 4. */
  trigger?: string
  maxReasoningTokens?: number
  maxAnswerTokens?: number
}

/** Answers questions in two stages: reasoning, then the answer. */
export async function zeroShotReason(
  model: LanguageModel,
  questions: readonly string[],
  answer: AnswerKind,
  options: ZeroShotOptions = {},
): Promise<ZeroShotAnswer[]> {
  const {
    trigger,
    maxReasoningTokens = MAX_REASONING_TOKENS,
    maxAnswerTokens = MAX_ANSWER_TOKENS,
    onProgress,
    ...writing
  } = options
  const total = 2 * questions.length
  const prompts = questions.map((question) => reasoningPrompt(question, trigger))
  const reasonings = await model.generate(prompts, {
    ...writing,
    maxNewTokens: maxReasoningTokens,
    onProgress: (done) => onProgress?.(done, total),
  })
  const texts = await model.generate(
    prompts.map((prompt, i) => answerPrompt(prompt, reasonings[i], answer)),
    {
      ...writing,
      maxNewTokens: maxAnswerTokens,
      onProgress: (done) => onProgress?.(questions.length + done, total),
    },
  )
  return texts.map((text, i) => ({ reasoning: reasonings[i], text, answer: firstAnswer(text, answer) }))
}

/** Answers questions at once: the paper's baseline. */
export async function zeroShotAnswer(
  model: LanguageModel,
  questions: readonly string[],
  answer: AnswerKind,
  { maxAnswerTokens = MAX_ANSWER_TOKENS, ...options }: ZeroShotOptions = {},
): Promise<ZeroShotAnswer[]> {
  const prompts = questions.map((question) => zeroShotPrompt(question, answer))
  const texts = await model.generate(prompts, { ...options, maxNewTokens: maxAnswerTokens })
  return texts.map((text) => ({ reasoning: '', text, answer: firstAnswer(text, answer) }))
}
