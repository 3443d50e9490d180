import { type AnswerKind, letterOf } from '../prompt/answers.ts'
import type { Exemplar } from '../prompt/exemplars.ts'
import type { DataFile } from './data-file.ts'

/** A question of a data set on reasoning. */
export interface Question {
  /** What is asked, without the choices. */
  readonly stem: string
  /** The same with the choices written out: as chains of thought are asked for. */
  readonly question: string
  /** Texts, where one may choose: each can go on from the stem. */
  readonly choices?: readonly string[]
  /** As answers are cleaned: a number, a letter, yes or no, letters. */
  readonly answer: string
}

/** A data set on reasoning: what a file under `tasks/` says of it. */
export interface ReasoningTask {
  readonly name: string
  /** In a few words. */
  readonly about: string
  /** Authors, year, arXiv. */
  readonly source: string
  /** Raised when scores are no longer comparable. */
  readonly version: number
  /** What its file is called in a folder of data sets. */
  readonly file: string
  /** Where demonstrations are drawn from; the set itself where left out, whose demonstrations are not asked then. */
  readonly demonstrationFile?: string
  readonly answer: AnswerKind
  /** For chains of thought. */
  readonly exemplars: readonly Exemplar[]
  read(file: DataFile): Question[]
}

/** `Answer Choices: (A) bank (B) library` */
export const writtenOut = (choices: readonly string[]): string =>
  `Answer Choices: ${choices.map((choice, i) => `(${letterOf(i)}) ${choice}`).join(' ')}`

/** A number as answers are: without `.0` and commas. */
export const plainNumber = (value: number | string): string => `${value}`.trim().replaceAll(',', '').replace(/\.0$/, '')

/** Which of its choices is right; −1 where a question has none. */
export function rightChoice({ choices = [], answer }: Question, { kind }: AnswerKind): number {
  if (kind === 'choice') return choices.findIndex((_, i) => letterOf(i) === answer)
  return choices.findIndex((choice) => choice.toLowerCase() === answer)
}
