import { z } from 'zod'
import { COINS } from '../../prompt/exemplars.ts'
import { readJsonList } from '../data-file.ts'
import type { ReasoningTask } from '../reasoning.ts'

const entry = z.object({ question: z.string(), answer: z.enum(['yes', 'no']) })

export const coinFlip: ReasoningTask = {
  name: 'coin-flip',
  about: 'whether a coin still shows heads after four people',
  source: 'Wei, Wang, Schuurmans et al., 2022. arXiv 2201.11903',
  version: 1,
  file: 'coin-flip.json',
  answer: { kind: 'yes or no' },
  exemplars: COINS,
  read: (file) =>
    readJsonList(file, entry, 'examples').map(({ question, answer }) => ({
      ...{ stem: question.trim(), question: question.trim(), choices: ['yes', 'no'], answer },
    })),
}
