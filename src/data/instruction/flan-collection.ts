/**
 * The Flan Collection: Designing Data and Methods for Effective Instruction Tuning
 * Longpre, Hou, Vu, Webson, Chung et al., Google, 2023. arXiv 2301.13688
 *
 * New here:
 * - five collections in one mixture, each with a weight, within which data sets are mixed in proportion to their examples,
 *   capped by collection (§2, table 2 of the appendix): p(m) = w_s / Σ w · min(e_m, K_s) / Σ_{n in s} min(e_n, K_s);
 * - zero-shot and few-shot prompts together, in halves: each kind is better asked after training on both (§3.2);
 * - inputs turned into targets and back, at 0.3 of the rate of what they are made of (§3.4);
 * - rationales among the targets: nine data sets with chains of thought, with and without exemplars, after Flan-T5 and
 *   Flan-PaLM (Chung, Hou, Longpre, Zoph et al., 2022, arXiv 2210.11416, §2.1 and figure 3).
 *
 * Departures: the collections themselves are the user's (p3.ts reads P3 and rationales) or our own. How many exemplars a few-shot
 * prompt has is drawn evenly; the reference fixes it by task. Options are told in half of the prompts of every
 * collection, as the released mixtures are put together.
 *
 * | paper                                 | here                      |
 * |---------------------------------------|---------------------------|
 * | submixtures, their weights and caps   | `SUBMIXTURES`             |
 * | zero-shot, few-shot, with options     | `PromptShares`            |
 * | x → y, between exemplars              | `INPUT_TARGET`, `BETWEEN` |
 * | input inversion (“-II”)               | `INVERSION_RATE`          |
 */

import type { StepRandom } from '../random.ts'
import { type DataSet, type Drawn, drawByRate, mixingRates, type Prompted, type Template } from './flan.ts'

export interface Submixture {
  /** w_s: of all examples, how many come from it. */
  readonly weight: number
  /** K_s: what a data set of it counts for at most. */
  readonly cap: number
}

/** The released mixture. */
export const SUBMIXTURES: Readonly<Record<'flan2021' | 't0' | 'niv2' | 'cot' | 'dialog', Submixture>> = {
  flan2021: { weight: 0.4, cap: 30_000 },
  t0: { weight: 0.32, cap: 20_000 },
  niv2: { weight: 0.2, cap: 5000 },
  cot: { weight: 0.05, cap: 100_000 },
  dialog: { weight: 0.03, cap: 200_000 },
}

/** Data sets with the submixture that they are of. */
export interface Collection {
  readonly submixture: Submixture
  readonly sets: readonly DataSet[]
}

/** p(m) of every data set, collection by collection. A collection without data sets leaves its weight to the others. */
export function collectionRates(collections: readonly Collection[]): number[] {
  const filled = collections.filter(({ sets }) => sets.length > 0)
  const total = filled.reduce((sum, { submixture }) => sum + submixture.weight, 0)
  return filled.flatMap(({ submixture: { weight, cap }, sets }) => {
    const sizes = sets.map(({ size }) => size)
    return mixingRates(sizes, cap).map((rate) => (weight / total) * rate)
  })
}

/** Between an exemplar's input and its target, and before the answer that is asked for. */
export const INPUT_TARGET = '\n\n'
/** Between exemplars. */
export const BETWEEN = '\n\n\n'
/** How often a task is inverted for each time that it is not. */
export const INVERSION_RATE = 0.3

/** A question behind exemplars that are answered (the reference's few-shot format). Without any it stays as it is. */
export function withExemplars(question: Prompted, exemplars: readonly Prompted[]): Prompted {
  if (exemplars.length === 0) return question
  const shown = exemplars.map(({ input, target }) => `${input}${INPUT_TARGET}${target}`)
  return { ...question, input: [...shown, question.input].join(BETWEEN) }
}

export interface PromptShares {
  /** Of the prompts, how many have exemplars. Default one half. */
  readonly fewShot?: number
  /** Of the prompts whose template has a place for options, how many tell them. Default one half. */
  readonly options?: number
  /** How often an inverted template is taken for each time that another is. Default 0.3; 0 for never. */
  readonly inversion?: number
  /** Exemplars of a few-shot prompt at most. Default 5. */
  readonly exemplars?: number
  /** Whether an input is short enough: exemplars that are too many are left out, the last first. Default: always. */
  readonly fits?: (input: string) => boolean
}

const SHARES = { fewShot: 0.5, options: 0.5, inversion: INVERSION_RATE, exemplars: 5 } as const

/**
 * Exemplars of a question: other examples of its data set in words of the same template, each at most once, and none that
 * says the question's own input. Fewer where the data set has no more.
 */
export function drawExemplars(
  { set, template, index }: Pick<Drawn, 'set' | 'template' | 'index'>,
  count: number,
  random: StepRandom,
  showOptions = true,
): Prompted[] {
  const { size } = set.templates[template]
  const tried = new Set([index])
  // By what is asked, whatever the options: the same question with others would tell the answer.
  const askedAt = (place: number): string => set.prompt(template, place, { showOptions: false }).input
  const inputs = new Set([askedAt(index)])
  const exemplars: Prompted[] = []
  while (exemplars.length < count && tried.size < size) {
    const other = random.below(size)
    if (tried.has(other)) continue
    tried.add(other)
    const question = askedAt(other)
    if (inputs.has(question)) continue
    inputs.add(question)
    exemplars.push(set.prompt(template, other, { showOptions }))
  }
  return exemplars
}

/** Whether what is drawn is inverted, of a data set that can be both. */
function drawTemplate(set: DataSet, inversion: number, random: StepRandom): number {
  const places = [...set.templates.keys()]
  const [inverted, plain] = [true, false].map((is) => places.filter((place) => set.templates[place].inverted === is))
  const isInverted = random.uniform() < inversion / (1 + inversion)
  const from = (isInverted && inverted.length > 0) || plain.length === 0 ? inverted : plain
  return from[random.below(from.length)]
}

/** A drawn example, with the number of exemplars before it. */
export interface DrawnPrompt extends Drawn {
  readonly exemplars: number
}

/** An example of a data set as the mixture asks it: with or without exemplars, options, and turned around or not. */
export function drawPrompt(set: DataSet, random: StepRandom, shares: PromptShares = {}): DrawnPrompt {
  const { fewShot, options, inversion, exemplars: most, fits = () => true } = { ...SHARES, ...shares }
  const template = drawTemplate(set, inversion, random)
  const index = random.below(set.templates[template].size)
  const showOptions = random.uniform() < options
  const prompted = set.prompt(template, index, { showOptions })
  const asked = { set, template, index, prompted }
  if (random.uniform() >= fewShot) return { ...asked, exemplars: 0 }
  let exemplars = drawExemplars(asked, 1 + random.below(most), random, showOptions)
  while (exemplars.length > 0 && !fits(withExemplars(prompted, exemplars).input)) exemplars = exemplars.slice(0, -1)
  return { ...asked, prompted: withExemplars(prompted, exemplars), exemplars: exemplars.length }
}

/** One training example of the whole mixture. */
export function drawFromCollections(
  collections: readonly Collection[],
  rates: readonly number[],
  random: StepRandom,
  shares?: PromptShares,
): DrawnPrompt {
  const sets = collections.flatMap(({ sets }) => sets)
  return drawPrompt(sets[drawByRate(rates, random)], random, shares)
}

/**
 * Words around `question`, `answer` and `rationale`: the answer after its rationale, and what the inversion of these three
 * asks for (2301.13688, §3.4).
 */
export const RATIONALE_TEMPLATES: readonly Template[] = [
  ...[
    '{question}\n\nThink it through before you answer.',
    'Question: {question}\n\nReasons first, then the answer.',
    '{question}\n\nReason step by step.',
    'Answer this, and show how you get there: {question}',
    'Q: {question}\nHow do we know?',
    '{question}\n\nLet us take it step by step.',
    'Work this out in steps.\n\n{question}',
  ].map((input) => ({ input, target: '{rationale} So the answer is {answer}.' })),
  {
    input: 'Reasoning: {rationale} So the answer is {answer}.\n\nWhat was the question?',
    target: '{question}',
    inverted: true,
  },
  {
    input: '{question}\n\nThe answer is {answer}. Explain why.',
    target: '{rationale}',
    inverted: true,
  },
  {
    input: 'Write a question whose answer is {answer}, and explain the answer.',
    target: '{question}\n\n{rationale}',
    inverted: true,
  },
]

/** The same questions answered at once: without rationales. */
export const ANSWER_TEMPLATES: readonly Template[] = [
  '{question}',
  'Question: {question}',
  '{question}\n\nGive the answer alone.',
  'Q: {question}\nA:',
  'What is the answer to this?\n\n{question}',
].map((input) => ({ input, target: '{answer}' }))
