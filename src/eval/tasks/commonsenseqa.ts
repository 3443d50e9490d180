import { z } from 'zod'
import { COMMON_SENSE } from '../../prompt/exemplars.ts'
import { readJsonLines } from '../data-file.ts'
import { type ReasoningTask, writtenOut } from '../reasoning.ts'

const entry = z.object({
  answerKey: z.string().regex(/^[A-E]$/, { error: 'is A to E' }),
  question: z.object({
    stem: z.string(),
    choices: z.array(z.object({ label: z.string(), text: z.string() })).length(5),
  }),
})

export const commonsenseqa: ReasoningTask = {
  name: 'commonsenseqa',
  about: 'questions of common sense with five choices',
  source: 'Talmor, Herzig, Lourie and Berant, 2019. arXiv 1811.00937',
  version: 1,
  file: 'commonsenseqa-dev.jsonl',
  answer: { kind: 'choice', choices: 5 },
  exemplars: COMMON_SENSE,
  read: (file) =>
    readJsonLines(file, entry).map(({ answerKey, question: { stem, choices } }) => {
      const texts = choices.map(({ text }) => text)
      return { stem: stem.trim(), question: `${stem.trim()} ${writtenOut(texts)}`, choices: texts, answer: answerKey }
    }),
}
