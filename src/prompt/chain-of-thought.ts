/**
 * Chain-of-Thought Prompting Elicits Reasoning in Large Language Models
 * Wei, Wang, Schuurmans et al., Google Research, 2022. arXiv 2201.11903
 *
 * New over few-shot prompting (§2):
 * - each demonstration has, between question and answer, the reasoning that leads from one to the other;
 * - the answer is what a text says after its last “The answer is”;
 * - ablations tell what of it helps: the equation alone, as many dots as the equation has characters, the reasoning
 *   after the answer (§3.3).
 *
 * Departures: the demonstrations are ours (exemplars.ts), of the paper's form and number for its arithmetic, and four
 * dates. Answering by the majority of sampled chains is of Wang, Wei, Schuurmans et al., 2022. arXiv 2203.11171.
 *
 * | paper                 | here           |
 * |-----------------------|----------------|
 * | exemplar              | `Exemplar`     |
 * | chain of thought      | `rationale`    |
 * | standard prompting    | style `standard` |
 */

import { ANSWER_PHRASE, type AnswerKind, majority, statedAnswer } from './answers.ts'
import type { Exemplar } from './exemplars.ts'
import { fewShotPrompt } from './few-shot.ts'
import type { LanguageModel, WriteOptions } from './language-model.ts'

/** What stands between question and answer: §3.3 has the last three. */
export const STYLES = [
  'standard',
  'chain of thought',
  'equation only',
  'variable compute',
  'reasoning after answer',
] as const
export type Style = (typeof STYLES)[number]

/** What an exemplar shows after `A:`. */
export function exemplarOutput({ rationale, equation, answer }: Exemplar, style: Style): string {
  const stated = `${ANSWER_PHRASE} ${answer}.`
  switch (style) {
    case 'standard':
      return stated
    case 'chain of thought':
      return `${rationale} ${stated}`
    case 'reasoning after answer':
      return `${stated} ${rationale}`
  }
  if (equation === undefined) throw new Error(`the style '${style}' needs exemplars with an equation`)
  return style === 'equation only' ? `${equation}. ${stated}` : `${'.'.repeat(equation.length)} ${stated}`
}

/** `Q: …\nA: … The answer is 15.`, an empty line between exemplars, and at last the question. */
export const chainOfThoughtPrompt = (
  question: string,
  exemplars: readonly Exemplar[],
  style: Style = 'chain of thought',
): string =>
  fewShotPrompt(
    question,
    exemplars.map((exemplar) => ({ input: exemplar.question, output: exemplarOutput(exemplar, style) })),
  )

/** Where an answer ends: it does not ask the next question. */
export const NEXT_QUESTION = ['Q:']

export interface ReasoningOptions extends Omit<WriteOptions, 'seed'> {
  style?: Style
  /** Chains drawn for each question; the answer is that of most of them. Default 1, which is greedy. */
  samples?: number
  /** Of samples. Default 0.7, as the paper on self-consistency has it for GPT-3. */
  temperature?: number
  /** The same seed draws the same chains. Default 1337. */
  seed?: number
  /** Of each question: what its draws depend on beside the seed. Default: its place. */
  streams?: readonly number[]
}

export interface ReasonedAnswer {
  /** What was written, a text a sample. */
  readonly texts: readonly string[]
  /** Of each text; empty where it has none. */
  readonly answers: readonly string[]
  /** Given most often. */
  readonly answer: string
}

/** Answers questions after exemplars that show how to reason; by the majority of several chains where asked to. */
export async function reasonByExample(
  model: LanguageModel,
  questions: readonly string[],
  exemplars: readonly Exemplar[],
  answer: AnswerKind,
  options: ReasoningOptions = {},
): Promise<ReasonedAnswer[]> {
  const { style, samples = 1, seed = 1337, streams = questions.map((_, i) => i), onProgress, ...writing } = options
  const prompts = questions.flatMap((question) => {
    const prompt = chainOfThoughtPrompt(question, exemplars, style)
    return new Array<string>(samples).fill(prompt)
  })
  const texts = await model.generate(prompts, {
    ...{ stop: NEXT_QUESTION, temperature: samples > 1 ? 0.7 : 0 },
    ...writing,
    seed: streams.flatMap((stream) => Array.from({ length: samples }, (_, j) => seedOf(seed, stream, j))),
    onProgress,
  })
  return questions.map((_, i) => {
    const own = texts.slice(i * samples, (i + 1) * samples)
    const answers = own.map((text) => statedAnswer(text, answer))
    return { texts: own, answers, answer: majority(answers) }
  })
}

/** Apart for 2^20 questions of 2^12 samples each. */
const seedOf = (seed: number, question: number, sample: number): number =>
  ((seed % 2 ** 20) * 2 ** 20 + question) * 2 ** 12 + sample
