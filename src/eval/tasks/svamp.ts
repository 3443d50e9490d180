import { z } from 'zod'
import { ARITHMETIC } from '../../prompt/exemplars.ts'
import { readJsonList } from '../data-file.ts'
import { plainNumber, type ReasoningTask } from '../reasoning.ts'

const entry = z.object({ Body: z.string(), Question: z.string(), Answer: z.number() })

export const svamp: ReasoningTask = {
  name: 'svamp',
  about: 'word problems of one step, varied so that patterns do not help',
  source: 'Patel, Bhattamishra and Goyal, 2021. arXiv 2103.07191',
  version: 1,
  file: 'svamp.json',
  answer: { kind: 'number' },
  exemplars: ARITHMETIC,
  read: (file) =>
    readJsonList(file, entry).map(({ Body, Question, Answer }) => {
      const question = `${Body.trim()} ${Question.trim()}`
      return { stem: question, question, answer: plainNumber(Answer) }
    }),
}
