/** Forms that several data sets come in. */

import { z } from 'zod'
import { ARITHMETIC } from '../prompt/exemplars.ts'
import { readJsonList } from './data-file.ts'
import { plainNumber, type ReasoningTask } from './reasoning.ts'

const problem = z.object({
  sQuestion: z.string(),
  lSolutions: z.array(z.union([z.number(), z.string()])).min(1),
})

/** MultiArith, AddSub and SingleEq come in the one form of the MAWPS collection. */
export const wordProblems = (task: Pick<ReasoningTask, 'name' | 'about' | 'source' | 'file'>): ReasoningTask => ({
  ...task,
  version: 1,
  answer: { kind: 'number' },
  exemplars: ARITHMETIC,
  read: (file) =>
    readJsonList(file, problem).map(({ sQuestion, lSolutions }) => ({
      stem: sQuestion.trim(),
      question: sQuestion.trim(),
      answer: plainNumber(lSolutions[0]),
    })),
})

/** BIG-bench's answers with a score each, of which one is 1. */
export const scoredTargets = (most: number) =>
  z
    .record(z.string(), z.number())
    .transform((scores) => Object.entries(scores))
    .refine((scores) => scores.length <= most, { error: `has ${most} choices at most` })
    .refine((scores) => scores.filter(([, score]) => score === 1).length === 1, {
      error: 'has one choice that scores 1',
    })
