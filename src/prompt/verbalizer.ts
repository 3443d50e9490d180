/** From answers to labels, and from several prompts to one: the survey's §5 and §6.1 (arXiv 2107.13586). */

import { type Filler, fillTemplate } from './cloze.ts'
import type { TextScore, WorkOptions } from './language-model.ts'

/** The words that stand for each label: `{ positive: ['great', 'wonderful'], negative: ['terrible'] }`. */
export type Verbalizer = Readonly<Record<string, readonly string[]>>

/** The probability of each label; they sum to 1. */
export type LabelProbabilities = Readonly<Record<string, number>>

/** P(token) of an answer on average, so that long answers are not less likely than short ones: exp(log P / tokens). */
export const answerProbability = ({ logProb, tokens }: TextScore): number => Math.exp(logProb / Math.max(1, tokens))

/**
 * The probability of labels from that of their words: the mean over the words of a label, and then as shares of their
 * sum.
 *
 * @param probabilities - of the words, label by label in the verbalizer's order
 */
export function verbalize(verbalizer: Verbalizer, probabilities: readonly number[]): LabelProbabilities {
  const left = [...probabilities]
  const means = Object.entries(verbalizer).map(([label, words]): [string, number] => {
    if (words.length === 0) throw new Error(`the verbalizer has no word for '${label}'`)
    const own = left.splice(0, words.length)
    return [label, own.reduce((a, b) => a + b, 0) / words.length]
  })
  return shares(means)
}

/** The likeliest label, of equals the first. */
export const bestLabel = (probabilities: LabelProbabilities): string =>
  Object.entries(probabilities).reduce((best, next) => (next[1] > best[1] ? next : best))[0]

/** The labels of inputs by one template: each word of the verbalizer is tried in its blank. */
export async function classify(
  filler: Filler,
  template: string,
  inputs: readonly (string | readonly string[])[],
  verbalizer: Verbalizer,
  options?: WorkOptions,
): Promise<LabelProbabilities[]> {
  const words = Object.values(verbalizer).flat()
  const fillings = inputs.flatMap((input) => {
    const blank = fillTemplate(template, input)
    return words.map((answer) => ({ ...blank, answer }))
  })
  const scores = await filler.score(fillings, options)
  return inputs.map(() => verbalize(verbalizer, scores.splice(0, words.length).map(answerProbability)))
}

/** How several prompts are heard together: the mean of their probabilities, their product, or a vote. */
export const ENSEMBLES = ['mean', 'product', 'vote'] as const
export type Ensemble = (typeof ENSEMBLES)[number]

/**
 * One answer of several prompts.
 *
 * @param weights - of the prompts: their accuracy on examples that are known, say. Default: all alike
 */
export function ensemble(
  answers: readonly LabelProbabilities[],
  how: Ensemble = 'mean',
  weights: readonly number[] = answers.map(() => 1),
): LabelProbabilities {
  if (answers.length === 0) throw new RangeError('an ensemble needs the answers of a prompt or more')
  if (weights.length !== answers.length) {
    throw new RangeError(`an ensemble of ${answers.length} prompts needs as many weights, got ${weights.length}`)
  }
  const total = weights.reduce((a, b) => a + b, 0)
  const weighted = (value: (answer: LabelProbabilities) => number): number =>
    answers.reduce((sum, answer, i) => sum + (weights[i] / total) * value(answer), 0)
  const together: Readonly<Record<Ensemble, (label: string) => number>> = {
    mean: (label) => weighted((answer) => answer[label]),
    product: (label) => Math.exp(weighted((answer) => Math.log(answer[label]))),
    vote: (label) => weighted((answer) => (bestLabel(answer) === label ? 1 : 0)),
  }
  const combined = Object.keys(answers[0]).map((label) => [label, together[how](label)] as const)
  return shares(combined)
}

function shares(values: readonly (readonly [string, number])[]): LabelProbabilities {
  const sum = values.reduce((total, [, value]) => total + value, 0)
  return Object.fromEntries(values.map(([label, value]) => [label, sum === 0 ? 1 / values.length : value / sum]))
}
