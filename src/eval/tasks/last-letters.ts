import { z } from 'zod'
import { LETTERS } from '../../prompt/exemplars.ts'
import { readJsonList } from '../data-file.ts'
import type { ReasoningTask } from '../reasoning.ts'

const entry = z.object({ question: z.string(), answer: z.string() })

export const lastLetters: ReasoningTask = {
  name: 'last-letters',
  about: 'the last letters of four words, put together',
  source: 'Wei, Wang, Schuurmans et al., 2022. arXiv 2201.11903',
  version: 1,
  file: 'last-letters.json',
  answer: { kind: 'letters' },
  exemplars: LETTERS,
  read: (file) =>
    readJsonList(file, entry, 'examples').map(({ question, answer }) => ({
      ...{ stem: question.trim(), question: question.trim(), answer },
    })),
}
