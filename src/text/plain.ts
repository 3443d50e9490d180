import type { NormalizerJson, PatternJson, PreTokenizerJson, TokenizerFile } from './tokenizer-json.ts'
import { isLinear } from './word-patterns.ts'

/** What comes with a model may be made to take for ever. These are the forms that cannot. */

/** Steps one after another; real tokenizers have up to five. */
const MOST_STEPS = 16
/** Characters of a token, or of what takes another's place, that are compared at every place of a text. */
const LONGEST_TOKEN = 256
/** How many times as long a text may become before it is cut into words. */
const MOST_GROWTH = 16
/** WordPiece looks at every part of a word. */
const LONGEST_WORD = 256

/**
 * Whether a tokenizer turns every text into ids in time and memory proportional to the text. False says nothing: it has
 * a regular expression, say, that is not of a form known to be linear.
 */
export function isPlain({ added_tokens, normalizer, pre_tokenizer, model }: TokenizerFile): boolean {
  const preTokenizers = pre_tokenizer ? stepsOf(pre_tokenizer) : []
  return (
    (!normalizer || normalizesPlainly(normalizer)) &&
    preTokenizers.length <= MOST_STEPS &&
    preTokenizers.every((step) => step.type !== 'Split' || isLinearPattern(step.pattern)) &&
    added_tokens.every(({ content }) => content.length <= LONGEST_TOKEN) &&
    (model.type !== 'Unigram' || model.vocab.every(([token]) => token.length <= LONGEST_TOKEN)) &&
    (model.type !== 'WordPiece' || model.max_input_chars_per_word <= LONGEST_WORD)
  )
}

/**
 * Whether a text is normalised in time proportional to it: the engine puts marks in their order in the square of their
 * number, and real letters have up to three.
 */
export const isPlainText = (text: string): boolean => !/\p{M}{64}/u.test(text)

/** The same of a normaliser alone. */
export function normalizesPlainly(json: NormalizerJson): boolean {
  const steps = stepsOf(json)
  const isLinearStep = (step: Step<NormalizerJson>) => step.type !== 'Replace' || isLinearPattern(step.pattern)
  const growth = steps.reduce((product, step) => product * growthOf(step), 1)
  return steps.length <= MOST_STEPS && growth <= MOST_GROWTH && steps.every(isLinearStep)
}

/** Whether a pattern is looked for in time proportional to the text. */
export const isLinearPattern = (pattern: PatternJson): boolean =>
  'String' in pattern ? pattern.String.length <= LONGEST_TOKEN : isLinear(pattern.Regex)

/** How many characters one may become, at most. */
function growthOf(step: Step<NormalizerJson>): number {
  if (step.type === 'Prepend') return Math.max(1, step.prepend.length)
  if (step.type !== 'Replace') return 1
  if ('String' in step.pattern) return Math.max(1, step.content.length / Math.max(1, step.pattern.String.length))
  // It may match nothing, between any two characters.
  return 1 + step.content.length
}

type Step<T> = Exclude<T, { type: 'Sequence' }>

function stepsOf<T extends NormalizerJson | PreTokenizerJson>(json: T): Step<T>[] {
  if (json.type !== 'Sequence') return [json as Step<T>]
  const inner = 'normalizers' in json ? json.normalizers : (json as { pretokenizers: PreTokenizerJson[] }).pretokenizers
  return (inner as T[]).flatMap((step) => stepsOf(step))
}
