import { z } from 'zod'
import { ARITHMETIC } from '../../prompt/exemplars.ts'
import { readJsonLines } from '../data-file.ts'
import { plainNumber, type ReasoningTask } from '../reasoning.ts'

const entry = z.object({
  question: z.string(),
  answer: z.string().includes('#### ', { error: 'ends with "#### " and a number' }),
})

export const gsm8k: ReasoningTask = {
  name: 'gsm8k',
  about: 'word problems of grade-school mathematics, of several steps',
  source: 'Cobbe, Kosaraju, Bavarian et al., 2021. arXiv 2110.14168',
  version: 1,
  file: 'gsm8k-test.jsonl',
  demonstrationFile: 'gsm8k-train.jsonl',
  answer: { kind: 'number' },
  exemplars: ARITHMETIC,
  read: (file) =>
    readJsonLines(file, entry).map(({ question, answer }) => ({
      stem: question.trim(),
      question: question.trim(),
      answer: plainNumber(answer.split('#### ').at(-1) as string),
    })),
}
