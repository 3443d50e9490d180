/**
 * Pre-train, Prompt, and Predict: A Systematic Survey of Prompting Methods in Natural Language Processing
 * Liu, Yuan, Fu et al., Carnegie Mellon University and National University of Singapore, 2021. arXiv 2107.13586
 *
 * New here (§2.2, §3):
 * - a task is a text with a blank: the input goes to [X], and what the model would write at [Z] is the answer;
 * - a cloze prompt has text on both sides of the blank, for masked models; a prefix prompt ends with it, for models
 *   that write from left to right;
 * - answers stand for labels by a verbalizer, several words to a label if need be (§5; verbalizer.ts);
 * - several prompts ask the same thing, and are heard together: ensembles (§6.1; verbalizer.ts).
 *
 * Departures: an answer of several tokens takes as many masks, each filled on its own, and a left-to-right model fills a
 * cloze by the likelihood of all that follows; both are compared by the likelihood of a token.
 *
 * | paper              | here            |
 * |--------------------|-----------------|
 * | f_prompt(x) = x′   | `fillTemplate`  |
 * | [X], [Z]           | `[X]`, `[Z]`    |
 * | f_fill(x′, z)      | `Filling`       |
 * | P(f_fill(x′, z); θ) | `Filler.score` |
 */

import type { LanguageModel, TextScore, WorkOptions } from './language-model.ts'

/** A prompt with its input in place, on both sides of the blank. */
export interface Blank {
  readonly before: string
  /** Empty in a prefix prompt. */
  readonly after: string
}

/** A blank with an answer for it. */
export interface Filling extends Blank {
  readonly answer: string
}

const ANSWER_SLOT = '[Z]'

/**
 * Puts inputs into a template: `[X] Overall, it was a [Z] film.`
 *
 * @param inputs - the text for `[X]`, or texts for `[X1]`, `[X2]`, …
 */
export function fillTemplate(template: string, inputs: string | readonly string[]): Blank {
  const parts = template.split(ANSWER_SLOT)
  if (parts.length !== 2) {
    throw new Error(
      `the template ${JSON.stringify(template)} has ${parts.length - 1} places for an answer; it needs one [Z]`,
    )
  }
  const given = typeof inputs === 'string' ? [inputs] : inputs
  const used = new Set<number>()
  const put = (part: string): string =>
    part.replace(/\[X(\d*)\]/g, (slot, digits: string) => {
      const index = digits === '' ? 0 : Number(digits) - 1
      if (given[index] === undefined) throw new Error(`the template has ${slot}, and there are ${given.length} inputs`)
      used.add(index)
      return given[index]
    })
  const [before, after] = parts.map(put)
  const unused = given.findIndex((_, i) => !used.has(i))
  if (unused >= 0) throw new Error(`the template ${JSON.stringify(template)} has no place for input ${unused + 1}`)
  return { before, after }
}

/** Whether an answer ends the text (prefix) or stands in it (cloze). */
export const shapeOf = ({ after }: Blank): 'prefix' | 'cloze' => (after.trim() === '' ? 'prefix' : 'cloze')

/** What says how likely answers are in their blanks. */
export interface Filler {
  /** log P of each answer, and the tokens that it is the sum over. */
  score(fillings: readonly Filling[], options?: WorkOptions): Promise<TextScore[]>
}

/**
 * A model that writes from left to right fills a prefix prompt by the likelihood of the answer, and a cloze by that of
 * the answer and all after it.
 */
export const causalFiller = (model: LanguageModel): Filler => ({
  score: (fillings, options) =>
    model.logLikelihoods(
      fillings.map(({ before, answer, after }) => ({ context: before, continuation: answer + after.trimEnd() })),
      options,
    ),
})

/** A masked model, as far as a cloze asks: BERT and its kin. */
export interface MaskedLm {
  /** The text of its mask: `[MASK]`. */
  readonly mask: string
  /** Tokens of an answer inside a text. */
  encodeAnswer(answer: string): number[]
  /**
   * log P of every token at every mask of each text: [vocabSize] arrays, a list a text, in the order of the masks.
   *
   * @throws RangeError where a text is too long
   */
  logProbsAtMasks(texts: readonly string[], options?: WorkOptions): Promise<Float32Array[][]>
}

/** A masked model fills the blank with as many masks as the answer has tokens, all at once. */
export const maskedFiller = (model: MaskedLm): Filler => ({
  async score(fillings, options) {
    const answers = fillings.map(({ answer }) => model.encodeAnswer(answer))
    const texts = fillings.map(({ before, after }, i) => {
      if (answers[i].length === 0) throw new Error('an answer without tokens fills no blank')
      return before + new Array<string>(answers[i].length).fill(model.mask).join(' ') + after
    })
    // Answers of one length share their text.
    const different = [...new Set(texts)]
    const filled = await model.logProbsAtMasks(different, options)
    return answers.map((ids, i) => {
      const rows = filled[different.indexOf(texts[i])]
      const isGreedy = ids.every((id, j) => rows[j].every((value) => value <= rows[j][id]))
      return { logProb: ids.reduce((sum, id, j) => sum + rows[j][id], 0), tokens: ids.length, isGreedy }
    })
  },
})
