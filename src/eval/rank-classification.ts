/** How FLAN is measured where answers are classes (Wei et al., 2021, arXiv 2109.01652, §2.3). */

import type { CachedDecoder } from '../generate/decoder.ts'
import { logLikelihoods, type ScoringOptions } from './log-likelihoods.ts'

export interface RankedQuestion {
  /** What is asked; of a model with an encoder, the source. */
  readonly contextIds: readonly number[]
  /** All answers that are possible. */
  readonly options: readonly (readonly number[])[]
  /** Which of them is right. */
  readonly answer: number
}

export interface RankedAnswers {
  /** Of each question, the option that the model finds likeliest; of equals the first. */
  readonly chosen: readonly number[]
  readonly accuracy: number
  /** What guessing gets: the mean of 1 / options. */
  readonly chance: number
}

/** argmax over options of log P(option | context), its whole likelihood. */
export async function rankClassification(
  decoder: CachedDecoder,
  questions: readonly RankedQuestion[],
  work: ScoringOptions = {},
): Promise<RankedAnswers> {
  const odd = questions.findIndex(({ options, answer }) => options.length === 0 || !options[answer])
  if (odd >= 0) throw new RangeError(`question ${odd} has no option number ${questions[odd].answer}`)
  const requests = questions.flatMap(({ contextIds, options }) =>
    options.map((continuationIds) => ({ contextIds, continuationIds })),
  )
  const scores = await logLikelihoods(decoder, requests, work)
  let from = 0
  const chosen = questions.map(({ options }) => {
    const own = scores.slice(from, (from += options.length)).map(({ logProb }) => logProb)
    return own.indexOf(Math.max(...own))
  })
  const share = (value: (question: RankedQuestion, i: number) => number): number =>
    questions.reduce((sum, question, i) => sum + value(question, i), 0) / questions.length
  return {
    chosen,
    accuracy: share(({ answer }, i) => Number(chosen[i] === answer)),
    chance: share(({ options }) => 1 / options.length),
  }
}
