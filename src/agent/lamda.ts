/**
 * LaMDA: Language Models for Dialog Applications
 * Thoppilan, De Freitas, Hall, Shazeer et al., 2022, arXiv 2201.08239
 *
 * What is new here:
 * - One decoder generates and judges: after `context RESPONSE response SENSIBLE` it writes 1 or 0, and the probability of 1
 *   is the response's rating (§6.1).
 * - Sixteen responses are sampled; those that are unsafe are dropped, and the others ranked by how sensible, specific and
 *   interesting they are (§6.1).
 * - A toolset turns a text into a list of texts: a calculator, a translator and a retrieval system, asked one after the
 *   other (§6.2).
 * - A model researches its own claims: it speaks to the toolset, `TS, query`, until it speaks to the user, `User, reply`
 *   (§6.2).
 *
 * Departures from the paper:
 * - The model is any that is served here; the paper's own is a decoder of 137 billion parameters that was never released.
 * - The translator knows numbers in words, dates, and countries in their own languages, and the index holds WordNet's
 *   glosses and the World Factbook: what lies in the packages that jackdaw depends on. Each passage says where it stands.
 * - Where the rounds run out, the base model's reply is given; the paper leaves open what happens then.
 *
 * | paper                         | here                           |
 * | ----------------------------- | ------------------------------ |
 * | SSI: sensibleness, specificity, interestingness | `sensible`, `specific`, `interesting` |
 * | P(SAFE)                       | `safe`                         |
 * | TS                            | `Toolset`                      |
 * | LaMDA-Base, LaMDA-Research    | `base`, `research`             |
 */

import { MONTHS, parseDay, writeDay } from '../data/sources/calendar.ts'
import { Countries } from '../data/sources/countries.ts'
import type { LanguageModel } from '../prompt/language-model.ts'
import { type PassageIndex, wordsOf } from './retrieval.ts'
import { callLocalTool } from './toolset.ts'

/** What writes and rates: `TextModel` is one. */
export type DialogModel = Pick<LanguageModel, 'generate' | 'logLikelihoods'>

// §6.1: discriminative and generative fine-tuning

export const ATTRIBUTES = ['SENSIBLE', 'SPECIFIC', 'INTERESTING', 'SAFE'] as const
export type Attribute = (typeof ATTRIBUTES)[number]

/** What the model is asked to go on from: `context RESPONSE response`. */
export const generativeText = (context: string, response: string): string => `${context} RESPONSE ${response}`

/** What a rating is learned from, its last character alone being trained on, and asked with: `… RESPONSE … SENSIBLE 1`. */
export const discriminativeText = (context: string, response: string, attribute: Attribute, rating: 0 | 1): string =>
  `${generativeText(context, response)} ${attribute} ${rating}`

export interface Ratings {
  readonly sensible: number
  readonly specific: number
  readonly interesting: number
  readonly safe: number
}

/** P("1") of each attribute, for each response. The four of a response share all but their last words. */
export async function rate(model: DialogModel, context: string, responses: readonly string[]): Promise<Ratings[]> {
  const scores = await model.logLikelihoods(
    responses.flatMap((response) =>
      ATTRIBUTES.map((attribute) => ({
        context: `${generativeText(context, response)} ${attribute}`,
        continuation: ' 1',
      })),
    ),
  )
  return responses.map((_, i) => {
    const [sensible, specific, interesting, safe] = scores
      .slice(4 * i, 4 * i + 4)
      .map(({ logProb }) => Math.exp(logProb))
    return { sensible, specific, interesting, safe }
  })
}

/** Sensibleness counts three times: 3 · P(SENSIBLE) + P(SPECIFIC) + P(INTERESTING). */
export const quality = ({ sensible, specific, interesting }: Ratings): number => 3 * sensible + specific + interesting

export interface Candidate extends Ratings {
  readonly response: string
}

/** The safe candidates, the best first. Safety comes first: what is unsafe is dropped however good it is. */
export const rank = <C extends Ratings>(candidates: readonly C[], leastSafe: number): C[] =>
  candidates.filter(({ safe }) => safe >= leastSafe).sort((a, b) => quality(b) - quality(a))

export interface RespondOptions {
  /** Responses that are sampled. Default 16. */
  readonly samples?: number
  /** Default 40. */
  readonly topK?: number
  /** Default 1. */
  readonly temperature?: number
  readonly maxNewTokens?: number
  /** What ends a response, beside the model's own end. Default a new line. */
  readonly stop?: readonly string[]
  /** P(SAFE) below which a candidate is dropped. Default 0.8. */
  readonly leastSafe?: number
  readonly seed?: number
}

export interface Responded {
  /** The best of what is safe; undefined where nothing is. */
  readonly response?: string
  /** All that was sampled, once each, with its ratings. */
  readonly candidates: readonly Candidate[]
}

/** Samples, drops, ranks. */
export async function respond(model: DialogModel, context: string, options: RespondOptions = {}): Promise<Responded> {
  const { samples = 16, topK = 40, temperature = 1, maxNewTokens = 64, stop = ['\n'], leastSafe = 0.8, seed } = options
  const written = await model.generate(
    Array.from({ length: samples }, () => `${context} RESPONSE`),
    { topK, temperature, maxNewTokens, stop: [...stop], seed },
  )
  const responses = [...new Set(written.map((text) => text.trim()))].filter((text) => text !== '')
  const ratings = await rate(model, context, responses)
  const candidates = responses.map((response, i) => ({ response, ...ratings[i] }))
  return { response: rank(candidates, leastSafe)[0]?.response, candidates }
}

// §6.2: the toolset

/** A text in, a list of texts out; none where the tool cannot read the text. */
export type TextTool = (text: string) => readonly string[]

/** TS: the results of all tools, one after the other. */
export const toolset =
  (tools: readonly TextTool[]): TextTool =>
  (text) =>
    tools.flatMap((tool) => tool(text))

/** `135+7721` → `7856` */
export const calculate: TextTool = (text) => {
  if (!/\d/.test(text)) return []
  const result = callLocalTool({ name: 'calculator', arguments: JSON.stringify({ expression: text }) })
  return /^-?[\d.]+(?:e[+-]\d+)?$/.test(result) ? [result] : []
}

/**
 * `Germany in German` → `Deutschland`, `Deutschland in English` → `Germany`, `42 in words` → `forty-two`, `forty-two in
 * digits` → `42`, `5 March 2024 in digits` → `2024-03-05`, `2024-03-05 in words` → `5 March 2024`. Nothing else.
 */
export function translator(countries = new Countries()): TextTool {
  return (text) => {
    const [, what, into] = /^(?:translate )?"?(.+?)"? (?:in|into|to) (\p{L}+)[.?]?$/iu.exec(text.trim()) ?? []
    if (what === undefined) return []
    const language = into.toLowerCase()
    const day = parseDay(what)
    if (language === 'words') return day !== undefined ? [writeDay(day)] : numberInWords(what)
    if (language === 'digits' || language === 'numbers') return day !== undefined ? [isoDay(day)] : numberInDigits(what)
    if (language === 'english') {
      const named = countries.all.find(({ localName }) => localName?.toLowerCase() === what.toLowerCase())
      return named ? [named.name] : []
    }
    const country = countries.find(what)
    // Of several languages, the factbook does not say which one the name is in.
    const speaks = country?.languages.length === 1 && country.languages[0].toLowerCase() === language
    return country?.localName && speaks ? [country.localName] : []
  }
}

function isoDay(day: number): string {
  const [date, month, year] = writeDay(day).split(' ')
  return `${year}-${String(MONTHS.indexOf(month as never) + 1).padStart(2, '0')}-${date.padStart(2, '0')}`
}

const ONES = (
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen ' +
  'eighteen nineteen'
).split(' ')
const TENS = '- - twenty thirty forty fifty sixty seventy eighty ninety'.split(' ')

/** From 0 to 999,999. */
function numberInWords(text: string): string[] {
  const digits = text.replaceAll(',', '')
  return /^\d{1,6}$/.test(digits) ? [inWords(Number(digits))] : []
}

function inWords(n: number): string {
  if (n < 20) return ONES[n]
  const then = (rest: number, between: string): string => (rest === 0 ? '' : between + inWords(rest))
  if (n < 100) return TENS[Math.floor(n / 10)] + then(n % 10, '-')
  if (n < 1000) return `${ONES[Math.floor(n / 100)]} hundred${then(n % 100, ' ')}`
  return `${inWords(Math.floor(n / 1000))} thousand${then(n % 1000, ' ')}`
}

function numberInDigits(text: string): string[] {
  let thousands = 0
  let sum = 0
  const words = text
    .toLowerCase()
    .split(/[\s-]+/)
    .filter((word) => word !== 'and')
  for (const word of words) {
    if (word === 'hundred') sum *= 100
    else if (word === 'thousand') [thousands, sum] = [thousands + sum * 1000, 0]
    else if (ONES.includes(word)) sum += ONES.indexOf(word)
    else if (TENS.includes(word)) sum += 10 * TENS.indexOf(word)
    else return []
  }
  // What reads otherwise than it is written was no number: "five three".
  const value = thousands + sum
  return value < 1e6 &&
    inWords(value)
      .split(/[\s-]+/)
      .join(' ') === words.join(' ')
    ? [String(value)]
    : []
}

/** Passages that fit, each followed by where it stands. */
export const retriever =
  (index: PassageIndex, most = 3): TextTool =>
  (text) =>
    index.search(text, most).map(({ text, source }) => `${text} [${source}]`)

/** The paper's three, in its order. */
export const lamdaToolset = (index: PassageIndex, countries = new Countries()): TextTool =>
  toolset([calculate, translator(countries), retriever(index)])

// §6.2: the research loop

export interface ResearchStep {
  readonly query: string
  readonly results: readonly string[]
}

export interface Researched {
  readonly reply: string
  readonly steps: readonly ResearchStep[]
  /** Whether the model turned to the user by itself, within the rounds. */
  readonly finished: boolean
}

/** Between the results of one query, as in the paper's table 3. */
const BETWEEN_RESULTS = ' ## '

/**
 * The base model's reply is researched: what the model writes to the toolset is looked up and put into the context, until it
 * writes to the user. A line that is written to neither ends the research.
 *
 * @param mostRounds queries, at most: 4
 */
export async function research(
  model: Pick<DialogModel, 'generate'>,
  context: string,
  base: string,
  tools: TextTool,
  { mostRounds = 4, maxNewTokens = 64 }: { mostRounds?: number; maxNewTokens?: number } = {},
): Promise<Researched> {
  const steps: ResearchStep[] = []
  let text = `${context}\nLaMDA-Base: ${base}`
  for (let round = 0; round <= mostRounds; round++) {
    const [line] = await model.generate([`${text}\nLaMDA-Research:`], { maxNewTokens, stop: ['\n'] })
    const [, to, said] = /^\s*(TS|User), (.+)$/s.exec(line.trim()) ?? []
    if (to === 'User') return { reply: said.trim(), steps, finished: true }
    if (to !== 'TS' || round === mostRounds) break
    const query = said.trim()
    const results = tools(query)
    steps.push({ query, results })
    text += `\nLaMDA-Research: TS, ${query}\nTS: ${results.length === 0 ? 'nothing' : results.join(BETWEEN_RESULTS)}`
  }
  return { reply: base, steps, finished: false }
}

// §4.1: groundedness

/** Of the responses that make claims about the world, the share whose claims stand in a source. */
export function groundedness(responses: readonly { readonly claims: boolean; readonly sourced: boolean }[]): number {
  const claiming = responses.filter(({ claims }) => claims)
  return claiming.length === 0 ? 0 : claiming.filter(({ sourced }) => sourced).length / claiming.length
}

/** Whether all that a reply says beyond its question stands in one of the results. */
export function isSourced(reply: string, question: string, results: readonly string[]): boolean {
  const asked = new Set(wordsOf(question))
  const claimed = wordsOf(reply).filter((word) => !asked.has(word))
  return (
    claimed.length > 0 &&
    results.some((result) => {
      const known = new Set(wordsOf(result))
      return claimed.every((word) => known.has(word))
    })
  )
}
