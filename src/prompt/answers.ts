/**
 * From what a model wrote to an answer: the rules that the papers on chains of thought go by, for each kind of answer
 * (Kojima et al., 2022, arXiv 2205.11916, appendix A.6, and the code published with it).
 */

/** What answers to a data set look like. */
export type AnswerKind =
  | { readonly kind: 'number' }
  /** A letter: A to E of five choices. */
  | { readonly kind: 'choice'; readonly choices: number }
  | { readonly kind: 'yes or no' }
  /** A text without spaces: letters put together. */
  | { readonly kind: 'letters' }

/** Of choice `index`: A, B, … */
export const letterOf = (index: number): string => String.fromCharCode('A'.charCodeAt(0) + index)

/** Everything in a text that may be the answer, in order. */
export function answersIn(text: string, answer: AnswerKind): string[] {
  switch (answer.kind) {
    case 'number':
      return text.replaceAll(',', '').match(/-?\d+\.?\d*/g) ?? []
    case 'choice':
      return text.match(new RegExp(`[A-${letterOf(answer.choices - 1)}]`, 'g')) ?? []
    case 'yes or no':
      return text
        .toLowerCase()
        .split(/["'.:,\s]/)
        .filter((word) => word === 'yes' || word === 'no')
    case 'letters':
      return [text.replace(/["'.\s]/g, '')]
  }
}

/** What introduces an answer in demonstrations (Wei et al., 2022). */
export const ANSWER_PHRASE = 'The answer is'

/** The answer of a text that was not shown where to put it: the first. Empty where there is none. */
export const firstAnswer = (text: string, answer: AnswerKind): string => withoutStop(answersIn(text, answer)[0])

/**
 * The answer of a text written after demonstrations: the first after the last “The answer is”; where that was not said,
 * the last. Empty where there is none.
 */
export function statedAnswer(text: string, answer: AnswerKind): string {
  const said = text.split(ANSWER_PHRASE)
  const found = answersIn(said[said.length - 1], answer)
  return withoutStop(said.length > 1 ? found[0] : found[found.length - 1])
}

const withoutStop = (found = ''): string => (found.endsWith('.') ? found.slice(0, -1) : found)

/** Of sampled answers the one given most often, of equals the one given first; empty ones do not count. */
export function majority(answers: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const answer of answers) if (answer !== '') counts.set(answer, (counts.get(answer) ?? 0) + 1)
  let best = ''
  for (const [answer, count] of counts) if (count > (counts.get(best) ?? 0)) best = answer
  return best
}
