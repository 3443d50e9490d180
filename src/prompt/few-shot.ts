/**
 * Language Models are Few-Shot Learners (in-context learning)
 * Brown, Mann, Ryder et al., OpenAI, 2020. arXiv 2005.14165
 *
 * New here (§2, §2.4, appendix G):
 * - a task is told by K demonstrations in the prompt, and no weight moves: zero-, one- and few-shot;
 * - of several answers the likeliest is taken, by the log-likelihood of a token of it;
 * - where answers are likely by themselves, by P(answer | context) / P(answer | “Answer: ”);
 * - free answers are searched for by beams: 4 of them, length penalty α = 0.6, up to the end of the line.
 *
 * Departures: answers can also be compared by characters, as evaluation harnesses do, and by their whole likelihood. The
 * control with shuffled labels is of Min, Lyu, Holtzman et al., 2022. arXiv 2202.12837.
 *
 * | paper                         | here              |
 * |-------------------------------|-------------------|
 * | task description              | `description`     |
 * | examples, K                   | `demonstrations`  |
 * | completion                    | `output`, a choice |
 * | answer_context                | `answerContext`   |
 */

import { StepRandom } from '../data/random.ts'
import type { LanguageModel, TextRequest, TextScore, WorkOptions, WriteOptions } from './language-model.ts'

/** An input with its output: what the prompt shows K of. */
export interface Demonstration {
  readonly input: string
  readonly output: string
}

/** How a prompt is written. */
export interface PromptFormat {
  /** What the task is, in front of all. Default: nothing. */
  readonly description?: string
  /** Default `Q: `. */
  readonly inputPrefix?: string
  /** Between an input and its output; no space at its end, which belongs to the output. Default `\nA:`. */
  readonly outputPrefix?: string
  /** Between demonstrations. Default an empty line. */
  readonly separator?: string
}

/** The prompt: the description, demonstrations with their outputs, and the input that waits for one. */
export function fewShotPrompt(
  input: string,
  demonstrations: readonly Demonstration[] = [],
  { description, inputPrefix = 'Q: ', outputPrefix = '\nA:', separator = '\n\n' }: PromptFormat = {},
): string {
  const shown = demonstrations.map(({ input, output }) => `${inputPrefix}${input}${outputPrefix} ${output}`)
  const asked = `${inputPrefix}${input}${outputPrefix}`
  return [...(description === undefined ? [] : [description]), ...shown, asked].join(separator)
}

/** Draws K demonstrations without repetition, in the order drawn. The same seed draws the same ones. */
export function drawDemonstrations<T>(pool: readonly T[], k: number, seed = 1337): T[] {
  if (k > pool.length) throw new RangeError(`there are ${pool.length} demonstrations to draw from, not ${k}`)
  return Array.from(new StepRandom(seed, 0).permutation(pool.length).subarray(0, k), (i) => pool[i])
}

/** Demonstrations whose outputs went to other inputs: what is left of their use is not what they pair. */
export function withShuffledLabels(demonstrations: readonly Demonstration[], seed = 1337): Demonstration[] {
  const order = new StepRandom(seed, 1).permutation(demonstrations.length)
  return demonstrations.map(({ input }, i) => ({ input, output: demonstrations[order[i]].output }))
}

/**
 * By what answers are compared: their whole log-likelihood; that of a token; of a character; or how much likelier the
 * context makes them than the answer context does.
 */
export const NORMALIZATIONS = ['none', 'tokens', 'characters', 'unconditional'] as const
export type Normalization = (typeof NORMALIZATIONS)[number]

/** GPT-3's answer context (§2.4). The space is the answer's: “Answer:” is given, and “ answer” scored. */
export const ANSWER_CONTEXT = 'Answer: '

export interface ChoiceOptions extends WorkOptions {
  /** Default `tokens`. */
  normalization?: Normalization
  /** Of `unconditional`. Default “Answer: ”. */
  answerContext?: string
}

/** A question with the answers that are possible. */
export interface ChoiceQuestion {
  readonly prompt: string
  /** As the prompt goes on; a space is put before each. */
  readonly choices: readonly string[]
}

export interface ChoiceAnswer {
  /** By the normalisation, of each choice; the largest is taken. */
  readonly scores: readonly number[]
  readonly best: number
}

/**
 * Compares answers.
 *
 * @param conditional - P(choice | context), of each choice
 * @param unconditional - P(choice | answer context), for `unconditional`
 */
export function compareChoices(
  choices: readonly string[],
  conditional: readonly TextScore[],
  normalization: Normalization,
  unconditional: readonly TextScore[] = [],
): ChoiceAnswer {
  const score: Readonly<Record<Normalization, (given: TextScore, i: number) => number>> = {
    none: ({ logProb }) => logProb,
    tokens: ({ logProb, tokens }) => logProb / Math.max(1, tokens),
    characters: ({ logProb }, i) => logProb / Math.max(1, [...choices[i]].length),
    unconditional: ({ logProb }, i) => logProb - unconditional[i].logProb,
  }
  const scores = conditional.map(score[normalization])
  return { scores, best: scores.indexOf(Math.max(...scores)) }
}

/** The requests of one question: one a choice, and where they are asked for the same after the answer context. */
export function choiceRequests({ prompt, choices }: ChoiceQuestion, answerContext?: string): TextRequest[] {
  const after = (context: string): TextRequest[] =>
    choices.map((choice) => ({ context, continuation: /\s$/.test(context) ? choice : ` ${choice}` }))
  return [...after(prompt), ...(answerContext === undefined ? [] : after(answerContext))]
}

/** Which of its choices each question is answered with, by their normalised likelihood. No weight moves. */
export async function chooseAnswers(
  model: LanguageModel,
  questions: readonly ChoiceQuestion[],
  { normalization = 'tokens', answerContext = ANSWER_CONTEXT, ...work }: ChoiceOptions = {},
): Promise<ChoiceAnswer[]> {
  const context = normalization === 'unconditional' ? answerContext : undefined
  const requests = questions.map((question) => choiceRequests(question, context))
  const scores = await model.logLikelihoods(requests.flat(), work)
  return questions.map(({ choices }) => {
    const conditional = scores.splice(0, choices.length)
    const unconditional = context === undefined ? [] : scores.splice(0, choices.length)
    return compareChoices(choices, conditional, normalization, unconditional)
  })
}

/** GPT-3's search for a free answer (§2.4), to the end of its line: T5's, ((5 + length) / 6)^0.6. */
export const FREE_FORM: WriteOptions = { numBeams: 4, lengthPenalty: 0.6, lengthNorm: 'gnmt', stop: ['\n'] }

/** The free answer to each prompt, without the space around it. */
export async function answerFreely(
  model: LanguageModel,
  prompts: readonly string[],
  options: WriteOptions = {},
): Promise<string[]> {
  const texts = await model.generate(prompts, { ...FREE_FORM, ...options })
  return texts.map((text) => text.trim())
}
