import { z } from 'zod'
import { fewShotPrompt } from '../../prompt/few-shot.ts'
import { askChoices, CHOICE_METRICS } from '../ask-reasoning.ts'
import { readJsonLines } from '../data-file.ts'
import { randomBaseline } from '../scaling.ts'
import type { Task } from '../task.ts'

const entry = z
  .object({
    question: z.string(),
    choices: z.array(z.string()).min(2),
    answer: z.union([z.int().nonnegative(), z.string()]),
  })
  .transform(({ question, choices, answer }, context) => {
    const letter = typeof answer === 'string' && /^[A-Z]$/.test(answer) ? answer.charCodeAt(0) - 65 : -1
    const named = typeof answer === 'string' ? choices.indexOf(answer) : answer
    const right = named >= 0 ? named : letter
    if (!(right >= 0 && right < choices.length)) {
      context.addIssue({
        code: 'custom',
        path: ['answer'],
        message: 'is none of the choices, nor its number or letter',
      })
      return z.NEVER
    }
    return { question, choices, right }
  })

/** A user's own questions with choices. */
export const multipleChoice: Task = {
  name: 'multiple-choice',
  about: 'questions of your own with choices, which are compared by their likelihood',
  version: 1,
  fileForm: 'a line each: {"question": "…", "choices": ["…", "…"], "answer": 0}',
  open(file, settings) {
    const questions = readJsonLines(file, entry)
    const { numFewshot = 0 } = settings
    if (numFewshot >= questions.length) {
      throw new Error(`${file.path} has ${questions.length} questions: too few for ${numFewshot} demonstrations`)
    }
    const shown = questions.slice(0, numFewshot).map(({ question, choices, right }) => ({
      ...{ input: question, output: choices[right] },
    }))
    const asked = questions.slice(numFewshot)
    return {
      ...{ size: asked.length, outputType: 'multiple_choice', numFewshot, config: { ...settings } },
      chance: randomBaseline(asked.map(({ choices }) => choices.length)),
      metrics: CHOICE_METRICS.filter(({ name }) => name !== 'acc_mutual_info' || settings.unconditional),
      ask: (model, items, work) =>
        askChoices(
          model,
          items.map((item) => {
            const { question, choices, right } = asked[item]
            return {
              item,
              doc: asked[item],
              prompt: fewShotPrompt(question, shown),
              choices,
              right,
              target: choices[right],
            }
          }),
          settings,
          work,
        ),
    }
  },
}
