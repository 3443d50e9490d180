import type { LanguageModel, WorkOptions } from '../prompt/language-model.ts'
import type { DataFile } from './data-file.ts'
import { bootstrap, type Estimate, meanOf, shareOf, Z95 } from './statistics.ts'

/** What the harness knows of a task: how to open its data, ask, and sum up. */

/** How questions are asked: by the likelihood of choices or a short answer, always by an answer, or with reasoning. */
export const PROMPT_STYLES = ['direct', 'generate', 'cot', 'zero-shot-cot'] as const
export type PromptStyle = (typeof PROMPT_STYLES)[number]

export interface AskSettings {
  /** Default `direct`. */
  readonly prompt?: PromptStyle
  /** Demonstrations in each prompt. Default: none; of chains of thought, all that there are. */
  readonly numFewshot?: number
  /** Chains of thought drawn for each question. Default 1, which is greedy. */
  readonly samples?: number
  /** Of samples. Default 0.7. */
  readonly temperature?: number
  /** Of demonstrations and samples. Default 1337. */
  readonly seed?: number
  /** Also compare choices by how much likelier the question makes them (GPT-3, §2.4). */
  readonly unconditional?: boolean
  /** Tokens of an answer, or of its reasoning. */
  readonly maxNewTokens?: number
  /** Texts that end a free answer. */
  readonly stop?: readonly string[]
  /** Sequences of a beam search for free answers. Default 1. */
  readonly numBeams?: number
  /** Tokens of a window of perplexity. */
  readonly seq?: number
}

export interface Task {
  readonly name: string
  /** In a few words. */
  readonly about: string
  readonly source?: string
  readonly version: number
  /** What its file is called in a folder of data sets; without one, the user names a file. */
  readonly file?: string
  /** What the user's file is to hold. */
  readonly fileForm?: string
  open(file: DataFile, settings: AskSettings, opening: Opening): OpenTask
}

export interface Opening {
  readonly model: Pick<LanguageModel, 'encode' | 'kind' | 'contextLength' | 'name'>
  /** Another file of the folder that the data are in. */
  beside(name: string): DataFile
}

/** A task with its data at hand. */
export interface OpenTask {
  /** Items that can be asked, counted from 0. */
  readonly size: number
  readonly outputType: 'multiple_choice' | 'generate_until' | 'loglikelihood_rolling'
  readonly numFewshot: number
  /** What guessing scores, where that is more than nothing. */
  readonly chance?: number
  /** Worth telling with the results. */
  readonly config: Readonly<Record<string, unknown>>
  readonly metrics: readonly Metric[]
  ask(model: LanguageModel, items: readonly number[], work: WorkOptions): Promise<Sample[]>
}

/** One item, asked: a line of the samples file. */
export interface Sample {
  readonly doc_id: number
  readonly doc: unknown
  readonly target: string
  /** What the model was given, and what it said. */
  readonly arguments: readonly string[]
  readonly resps: readonly unknown[]
  /** The answer that was made of it. */
  readonly filtered_resps: readonly unknown[]
  /** By metric and filter, `acc,none`: what the metric sums up. */
  readonly scores: Readonly<Record<string, unknown>>
}

export interface Summary extends Estimate {
  /** 95 %. */
  readonly interval: readonly [low: number, high: number]
}

export interface Metric {
  /** `acc` */
  readonly name: string
  /** How answers were cleaned or put together; `none`. */
  readonly filter: string
  readonly higherIsBetter: boolean
  /** From what samples have under `name,filter`. */
  summarize(values: readonly unknown[]): Summary
}

export const keyOf = ({ name, filter }: Pick<Metric, 'name' | 'filter'>): string => `${name},${filter}`

/** The share of what is right: 1 or 0 each. */
export const share = (name: string, filter = 'none'): Metric => ({
  ...{ name, filter, higherIsBetter: true },
  summarize: (values) => shareOf(values as number[]),
})

/** The mean of numbers. */
export const mean = (name: string, filter = 'none'): Metric => ({
  ...{ name, filter, higherIsBetter: true },
  summarize: (values) => {
    const { value, stderr } = meanOf(values as number[])
    return { value, stderr, interval: [value - Z95 * stderr, value + Z95 * stderr] }
  },
})

/** What has to be computed of all together, such as BLEU: its error is that of samples drawn again. */
export const together = <T>(
  name: string,
  compute: (values: readonly T[]) => number,
  { higherIsBetter = true }: { higherIsBetter?: boolean } = {},
): Metric => ({
  ...{ name, filter: 'none', higherIsBetter },
  summarize: (values) => bootstrap(values as T[], compute),
})
