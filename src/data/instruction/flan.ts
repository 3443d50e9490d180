/**
 * Finetuned Language Models Are Zero-Shot Learners — FLAN
 * Wei, Bosma, Zhao, Guu et al., Google, 2021. arXiv 2109.01652
 *
 * New here:
 * - a pre-trained language model learns from many data sets at once, each put into words as an instruction (§2.1);
 * - ten templates a data set, of which up to three turn the task around (“write a review that is positive”);
 * - data sets are grouped in clusters by kind of task, and the model is measured on a cluster of which it saw nothing;
 * - where answers are a few classes, the input ends with `OPTIONS:` and all of them, so that the model knows which answers
 *   are wanted (§2.3);
 * - data sets are mixed in proportion to their examples, up to a cap (§2.4): r_m = min(e_m, K) / Σ_n min(e_n, K), the
 *   examples-proportional mixing of Raffel et al., 2019 (arXiv 1910.10683, §3.5.2).
 *
 * Departures: templates are our own words, or those of P3 (p3.ts). An example's template is drawn whenever the example is, and
 * not once for all.
 *
 * | paper                                        | here                         |
 * |----------------------------------------------|------------------------------|
 * | data set D, its task cluster                 | `DataSet`, `clusters`        |
 * | instruction template                         | `Template`                   |
 * | “turned the task around”                     | `inverted`                   |
 * | 30k examples a data set, rate maximum of 3k  | `EXAMPLE_LIMIT`, `RATE_CAP`  |
 * | options                                      | `options`, `{options_}`      |
 */

import { IGNORED_LABEL } from '../loader.ts'
import type { StepRandom } from '../random.ts'

/** Words around an example's fields, `{premise}`; `{options_}` are its options (§2.1, figure 4). */
export interface Template {
  readonly input: string
  readonly target: string
  /** Asks for what is given elsewhere: the text from its class, the question from its answer. Default false. */
  readonly inverted?: boolean
}

/** An example before it is put into words. */
export interface Example {
  /** What templates name, the answer among them. */
  readonly fields: Readonly<Record<string, string>>
  /** All answers that are possible, where these are few. */
  readonly options?: readonly string[]
}

/** An example in words. */
export interface Prompted {
  readonly input: string
  readonly target: string
  /** The answers that are possible, the target among them. An inverted task has none. */
  readonly options?: readonly string[]
}

export interface PromptOptions {
  /** Whether the input tells the options, where the template has a place for them. Default true. */
  readonly showOptions?: boolean
}

/** A data set in words: a list for each template, made when it is read. */
export interface DataSet {
  readonly name: string
  /** A data set may belong to several. */
  readonly clusters: readonly string[]
  /** e_m: how many examples there are, whatever the template. */
  readonly size: number
  readonly templates: readonly { readonly inverted: boolean; readonly size: number }[]
  /** Example `index` of the list of a template. */
  prompt(template: number, index: number, options?: PromptOptions): Prompted
}

export const TEMPLATES_AT_MOST = 10
export const INVERTED_AT_MOST = 3
/** Training examples of a data set (§2.4). */
export const EXAMPLE_LIMIT = 30_000
/** K: examples beyond these give a data set no more weight (§2.4). */
export const RATE_CAP = 3000

/** What tells a model the answers that are possible (§2.3). */
export const optionsSuffix = (options: readonly string[]): string =>
  `OPTIONS:${options.map((option) => `\n- ${option}`).join('')}`

const FIELD = /\{(\w+)\}/g

/**
 * An example in the words of a template.
 *
 * @throws RangeError where the template names a field that the example has not, or options that it has not
 */
export function applyTemplate(
  template: Template,
  example: Example,
  { showOptions = true }: PromptOptions = {},
): Prompted {
  const { fields, options } = example
  const fill = (text: string): string =>
    text.replace(FIELD, (_, name: string) => {
      if (name === 'options_' && options) return showOptions ? optionsSuffix(options) : ''
      const value = Object.hasOwn(fields, name) ? fields[name] : undefined
      if (value === undefined) throw new RangeError(`the template “${text}” needs {${name}}, which the example has not`)
      return value
    })
  const prompted = { input: fill(template.input).trimEnd(), target: fill(template.target) }
  return options && !template.inverted ? { ...prompted, options } : prompted
}

/**
 * A data set of examples and templates. Of more than `EXAMPLE_LIMIT` examples the rest is left out.
 *
 * @throws RangeError where there are no examples, more than ten templates, or more than three inverted ones
 */
export function templatedSet(
  name: string,
  clusters: readonly string[],
  examples: readonly Example[],
  templates: readonly Template[],
): DataSet {
  const inverted = templates.filter((template) => template.inverted).length
  if (examples.length === 0) throw new RangeError(`${name} has no examples`)
  if (templates.length < 1 || templates.length > TEMPLATES_AT_MOST || inverted > INVERTED_AT_MOST) {
    throw new RangeError(
      `${name} has ${templates.length} templates, ${inverted} of them inverted: one to ${TEMPLATES_AT_MOST} are allowed, and ${INVERTED_AT_MOST} inverted ones`,
    )
  }
  const size = Math.min(examples.length, EXAMPLE_LIMIT)
  return {
    ...{ name, clusters, size },
    templates: templates.map(({ inverted = false }) => ({ inverted, size })),
    prompt: (template, index, options) => applyTemplate(templates[template], examples[index], options),
  }
}

/** The paper's twelve clusters and their 62 data sets (figure 3). */
export const CLUSTERS: Readonly<Record<string, readonly string[]>> = {
  'natural language inference': ['ANLI', 'CB', 'MNLI', 'QNLI', 'RTE', 'SNLI', 'WNLI'],
  commonsense: ['COPA', 'HellaSwag', 'PIQA', 'StoryCloze'],
  sentiment: ['IMDB', 'Sent140', 'SST-2', 'Yelp'],
  paraphrase: ['MRPC', 'QQP', 'PAWS', 'STS-B'],
  'closed-book QA': ['ARC', 'NQ', 'TQA'],
  'structure to text': ['CommonGen', 'DART', 'E2ENLG', 'WEBNLG'],
  'reading comprehension': ['BoolQ', 'DROP', 'MultiRC', 'OBQA', 'SQuAD'],
  'reading comprehension with commonsense': ['CosmosQA', 'ReCoRD'],
  coreference: ['DPR', 'Winogrande', 'WSC273'],
  miscellaneous: ['CoQA', 'QuAC', 'WIC', 'TREC', 'CoLA', 'Math', 'Fix Punctuation'],
  summarization: [
    ...['AESLC', 'AG News', 'CNN-DM', 'Gigaword', 'Multi-News', 'Newsroom', 'Opin-Abs: iDebate'],
    ...['Opin-Abs: Movie', 'SamSum', 'Wiki Lingua', 'XSum'],
  ],
  translation: [
    ...['ParaCrawl EN/DE', 'ParaCrawl EN/ES', 'ParaCrawl EN/FR', 'WMT-16 EN/CS', 'WMT-16 EN/DE', 'WMT-16 EN/FI'],
    ...['WMT-16 EN/RO', 'WMT-16 EN/RU'],
  ],
}

/** Clusters too near to one another: where one of a pair is measured, the other is not trained on (§2.2). */
const NEAR: readonly (readonly [string, string])[] = [
  ['natural language inference', 'paraphrase'],
  ['reading comprehension with commonsense', 'reading comprehension'],
  ['reading comprehension with commonsense', 'commonsense'],
]

/** What must not be trained on where this cluster is measured: itself, and those near to it (§2.2). */
export function excludedWith(cluster: string): Set<string> {
  const near = NEAR.flatMap(([a, b]) => (a === cluster ? [b] : b === cluster ? [a] : []))
  return new Set([cluster, ...near])
}

/**
 * A cluster held out whole: a data set is unseen only if nothing was seen of any cluster that it belongs to (§2.2).
 *
 * @throws RangeError where no data set belongs to the cluster, or none is left to train on
 */
export function unseenSplit(sets: readonly DataSet[], cluster: string): { train: DataSet[]; unseen: DataSet[] } {
  const unseen = sets.filter(({ clusters }) => clusters.includes(cluster))
  if (unseen.length === 0) {
    const known = [...new Set(sets.flatMap(({ clusters }) => clusters))]
    throw new RangeError(`no data set belongs to the cluster “${cluster}”; there are: ${known.join(', ')}`)
  }
  const excluded = new Set(unseen.flatMap(({ clusters }) => clusters.flatMap((name) => [...excludedWith(name)])))
  const train = sets.filter(({ clusters }) => !clusters.some((name) => excluded.has(name)))
  if (train.length === 0) throw new RangeError(`without the cluster “${cluster}” there is no data set to train on`)
  return { train, unseen }
}

/**
 * r_m = min(e_m, K) / Σ_n min(e_n, K) (§2.4).
 *
 * @param sizes - e_m
 */
export function mixingRates(sizes: readonly number[], cap = RATE_CAP): number[] {
  const capped = sizes.map((size) => Math.min(size, cap))
  const total = capped.reduce((a, b) => a + b, 0)
  return capped.map((size) => size / total)
}

/** An index, by rates that sum to 1. */
export function drawByRate(rates: readonly number[], random: StepRandom): number {
  let rest = random.uniform()
  for (const [i, rate] of rates.entries()) {
    if (rest < rate) return i
    rest -= rate
  }
  return rates.findLastIndex((rate) => rate > 0) // what rounding left over
}

/** Where an example stands, and its words. */
export interface Drawn {
  readonly set: DataSet
  readonly template: number
  readonly index: number
  readonly prompted: Prompted
}

/** One training example: its data set by the rates, its template and itself evenly (§2.1, §2.4). */
export function drawExample(sets: readonly DataSet[], rates: readonly number[], random: StepRandom): Drawn {
  const set = sets[drawByRate(rates, random)]
  const template = random.below(set.templates.length)
  const index = random.below(set.templates[template].size)
  return { set, template, index, prompted: set.prompt(template, index) }
}

/** An example as ids. */
export interface Pair {
  readonly inputIds: readonly number[]
  readonly targetIds: readonly number[]
}

/** One row of a causal model: examples one behind the other. */
export interface PackedRow {
  /** [seq], filled up with the end token */
  readonly inputIds: Int32Array
  /** [seq]: the token that follows within a target; −100 within inputs, between examples and after the last */
  readonly shiftLabels: Int32Array
  /** [seq]: 1, 2, … by example, 0 after the last: attention must not cross them */
  readonly segmentIds: Int32Array
  /** [seq]: from 0 in each example */
  readonly positionIds: Int32Array
}

/**
 * Examples packed into rows for a causal model, inputs and targets each ended by the end token (§2.4): as many of a row as
 * fit, in their order. Only targets are learned. An input that is too long loses its end, as in the paper, and a target
 * what then has no room: `seq` is to hold both.
 */
export function packCausal(
  pairs: readonly Pair[],
  { seq, endTokenId, maxInput = Math.floor((seq * 4) / 5) }: { seq: number; endTokenId: number; maxInput?: number },
): PackedRow[] {
  const trimmed = pairs.map(({ inputIds, targetIds }) => {
    const input = [...inputIds.slice(0, maxInput - 1), endTokenId]
    return { input, target: [...targetIds.slice(0, seq - input.length - 1), endTokenId] }
  })
  const rows: PackedRow[] = []
  for (const group of groupsThatFit(trimmed, ({ input, target }) => [input.length + target.length], [seq])) {
    const row = {
      inputIds: new Int32Array(seq).fill(endTokenId),
      shiftLabels: new Int32Array(seq).fill(IGNORED_LABEL),
      segmentIds: new Int32Array(seq),
      positionIds: new Int32Array(seq),
    }
    let start = 0
    for (const [i, { input, target }] of group.entries()) {
      const ids = [...input, ...target]
      row.inputIds.set(ids, start)
      row.shiftLabels.set(target, start + input.length - 1)
      row.segmentIds.fill(i + 1, start, start + ids.length)
      for (let t = 0; t < ids.length; t++) row.positionIds[start + t] = t
      start += ids.length
    }
    rows.push(row)
  }
  return rows
}

/** One row of an encoder and its decoder. */
export interface PackedSides {
  /** [inputs], filled up with padding */
  readonly inputIds: Int32Array
  /** [inputs]: 1, 2, … by example, 0 for padding; the decoder's example looks at its own alone */
  readonly inputSegmentIds: Int32Array
  /** [targets]: −100 for padding */
  readonly labels: Int32Array
  readonly targetSegmentIds: Int32Array
}

/** The same for an encoder and its decoder: as many examples a row as fit on both sides. What is too long loses its end. */
export function packSides(
  pairs: readonly Pair[],
  {
    inputs,
    targets,
    endTokenId,
    padTokenId,
  }: { inputs: number; targets: number; endTokenId: number; padTokenId: number },
): PackedSides[] {
  const trimmed = pairs.map(({ inputIds, targetIds }) => ({
    input: [...inputIds.slice(0, inputs - 1), endTokenId],
    target: [...targetIds.slice(0, targets - 1), endTokenId],
  }))
  const lengths = ({ input, target }: (typeof trimmed)[number]) => [input.length, target.length]
  return groupsThatFit(trimmed, lengths, [inputs, targets]).map((group) => {
    const row = {
      inputIds: new Int32Array(inputs).fill(padTokenId),
      inputSegmentIds: new Int32Array(inputs),
      labels: new Int32Array(targets).fill(IGNORED_LABEL),
      targetSegmentIds: new Int32Array(targets),
    }
    let [from, to] = [0, 0]
    for (const [i, { input, target }] of group.entries()) {
      row.inputIds.set(input, from)
      row.inputSegmentIds.fill(i + 1, from, (from += input.length))
      row.labels.set(target, to)
      row.targetSegmentIds.fill(i + 1, to, (to += target.length))
    }
    return row
  })
}

/** Runs of neighbours whose lengths add up to no more than there is room for, in each measure. */
function groupsThatFit<T>(all: readonly T[], lengthsOf: (one: T) => readonly number[], room: readonly number[]): T[][] {
  const groups: T[][] = []
  let left: number[] = []
  for (const one of all) {
    const lengths = lengthsOf(one)
    if (groups.length === 0 || lengths.some((length, i) => length > left[i])) {
      groups.push([])
      left = [...room]
    }
    groups[groups.length - 1].push(one)
    left = left.map((some, i) => some - lengths[i])
  }
  return groups
}
