import { z } from 'zod'
import { StepRandom } from '../../data/random.ts'
import { letterOf } from '../../prompt/answers.ts'
import { DATES } from '../../prompt/exemplars.ts'
import { readJsonList } from '../data-file.ts'
import { type ReasoningTask, writtenOut } from '../reasoning.ts'
import { scoredTargets } from '../task-forms.ts'

/** The file has the right date first; everybody is asked in this order. */
const ORDER_SEED = 1

export const bigbenchDate: ReasoningTask = {
  name: 'bigbench-date',
  about: 'dates inferred from a context, with up to six choices',
  source: 'Srivastava, Rastogi, Rao et al., BIG-bench, 2022. arXiv 2206.04615',
  version: 1,
  file: 'bigbench-date.json',
  answer: { kind: 'choice', choices: 6 },
  exemplars: DATES,
  read: (file) =>
    readJsonList(file, z.object({ input: z.string(), target_scores: scoredTargets(6) }), 'examples').map(
      ({ input, target_scores: scores }, i) => {
        const order = new StepRandom(ORDER_SEED, i).permutation(scores.length)
        const shuffled = Array.from(order, (at) => scores[at])
        const choices = shuffled.map(([text]) => text)
        const right = shuffled.findIndex(([, score]) => score === 1)
        const stem = input.trim()
        return { stem, question: `${stem} ${writtenOut(choices)}`, choices, answer: letterOf(right) }
      },
    ),
}
