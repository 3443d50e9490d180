import { z } from 'zod'
import { ALGEBRA } from '../../prompt/exemplars.ts'
import { readJsonLines } from '../data-file.ts'
import { type ReasoningTask, writtenOut } from '../reasoning.ts'

const entry = z.object({
  question: z.string(),
  options: z.array(z.string().regex(/^[A-E]\)/, { error: 'begins with A) to E)' })).length(5),
  correct: z.string().regex(/^[A-E]$/, { error: 'is A to E' }),
})

export const aqua: ReasoningTask = {
  name: 'aqua',
  about: 'algebraic word problems with five choices',
  source: 'Ling, Yogatama, Dyer and Blunsom, 2017. arXiv 1705.04146',
  version: 1,
  file: 'aqua-test.jsonl',
  answer: { kind: 'choice', choices: 5 },
  exemplars: ALGEBRA,
  read: (file) =>
    readJsonLines(file, entry).map(({ question, options, correct }) => {
      const choices = options.map((option) => option.slice(2).trim())
      return { stem: question.trim(), question: `${question.trim()} ${writtenOut(choices)}`, choices, answer: correct }
    }),
}
