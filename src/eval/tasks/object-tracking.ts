import { z } from 'zod'
import { letterOf } from '../../prompt/answers.ts'
import { TRACKING } from '../../prompt/exemplars.ts'
import { readJsonList } from '../data-file.ts'
import { type ReasoningTask, writtenOut } from '../reasoning.ts'
import { scoredTargets } from '../task-forms.ts'

export const objectTracking: ReasoningTask = {
  name: 'object-tracking',
  about: 'three things that change hands three times: who has which',
  source: 'Srivastava, Rastogi, Rao et al., BIG-bench, 2022. arXiv 2206.04615',
  version: 1,
  file: 'bigbench-object-tracking.json',
  answer: { kind: 'choice', choices: 3 },
  exemplars: TRACKING,
  read: (file) =>
    readJsonList(file, z.object({ input: z.string(), target_scores: scoredTargets(3) }), 'examples').map(
      ({ input, target_scores: scores }) => {
        const choices = scores.map(([text]) => text)
        const stem = input.trim()
        return {
          stem,
          question: `${stem} \nWhich choice is true ? ${writtenOut(choices)}`,
          choices,
          answer: letterOf(scores.findIndex(([, score]) => score === 1)),
        }
      },
    ),
}
