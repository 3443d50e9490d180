import { asTask } from '../ask-reasoning.ts'
import type { Task } from '../task.ts'
import { addsub } from './addsub.ts'
import { aqua } from './aqua.ts'
import { bigbenchDate } from './bigbench-date.ts'
import { coinFlip } from './coin-flip.ts'
import { commonsenseqa } from './commonsenseqa.ts'
import { generation } from './generation.ts'
import { gsm8k } from './gsm8k.ts'
import { humaneval } from './humaneval.ts'
import { lastLetters } from './last-letters.ts'
import { multiarith } from './multiarith.ts'
import { multipleChoice } from './multiple-choice.ts'
import { objectTracking } from './object-tracking.ts'
import { perplexity } from './perplexity.ts'
import { singleeq } from './singleeq.ts'
import { strategyqa } from './strategyqa.ts'
import { svamp } from './svamp.ts'

/** The twelve data sets of the papers on reasoning: a new one adds itself here, and to its group. */
const REASONING = [
  ...[gsm8k, svamp, multiarith, addsub, singleeq, aqua],
  ...[commonsenseqa, strategyqa, bigbenchDate, objectTracking, coinFlip, lastLetters],
]

/** Everything that can be evaluated, by name. */
export const TASKS: readonly Task[] = [...REASONING.map(asTask), humaneval, multipleChoice, generation, perplexity]

/** Names for several tasks: their scores are also told together. */
export const GROUPS: Readonly<Record<string, readonly string[]>> = {
  reasoning: REASONING.map(({ name }) => name),
  arithmetic: [gsm8k, svamp, multiarith, addsub, singleeq, aqua].map(({ name }) => name),
  commonsense: [commonsenseqa, strategyqa].map(({ name }) => name),
  symbolic: [coinFlip, lastLetters].map(({ name }) => name),
  logical: [bigbenchDate, objectTracking].map(({ name }) => name),
}

/** @throws Error where there is no such task */
export function findTask(name: string): Task {
  const task = TASKS.find((one) => one.name === name)
  if (task) return task
  const names = [...TASKS.map((one) => one.name), ...Object.keys(GROUPS)].join(', ')
  throw new Error(`there is no task '${name}'; there are ${names}`)
}
