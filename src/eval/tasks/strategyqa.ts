import { z } from 'zod'
import { STRATEGY } from '../../prompt/exemplars.ts'
import { readJsonList } from '../data-file.ts'
import type { ReasoningTask } from '../reasoning.ts'

const entry = z.object({ input: z.string(), target_scores: z.object({ Yes: z.number(), No: z.number() }) })

export const strategyqa: ReasoningTask = {
  name: 'strategyqa',
  about: 'yes or no, by steps that the question does not name',
  source: 'Geva, Khashabi, Segal et al., 2021. arXiv 2101.02235',
  version: 1,
  file: 'strategyqa.json',
  answer: { kind: 'yes or no' },
  exemplars: STRATEGY,
  read: (file) =>
    readJsonList(file, entry, 'examples').map(({ input, target_scores: scores }) => ({
      stem: input.trim(),
      question: input.trim(),
      choices: ['Yes', 'No'],
      answer: scores.Yes === 1 ? 'yes' : 'no',
    })),
}
