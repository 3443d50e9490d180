/** Questions of an evaluation in fp32, as `jackdaw eval` asks them: `evaluate.ts MODEL QUESTIONS`. */

import { readFileSync } from 'node:fs'
import { evaluate } from '../../src/eval/harness.ts'
import { findTask } from '../../src/eval/tasks/index.ts'
import { openLanguageModel } from '../../src/prompt/language-model.ts'
import '../../src/runtime/node.ts'
import { compete, perSecond } from '../contestant.ts'
import { versions } from './versions.ts'

/** As in ../peers/lm_eval_questions.py. */
const [ASKED, SHOWN, ANSWERS, NEW_TOKENS] = [8, 5, 8, 32]

await compete(async () => {
  const [, , reference, file] = process.argv
  const model = await openLanguageModel(reference, { contextLength: 1024 })
  const lines = readFileSync(file, 'utf8').trim().split('\n')
  const none = { beside: () => ({ path: file, text: '' }) }
  let turn = 0
  /** Each time after other demonstrations, so that nothing is left over from the time before. */
  const choices = async (numFewshot: number): Promise<unknown> => {
    const shown = lines.slice(ASKED + (turn % 2) * SHOWN).slice(0, numFewshot)
    turn++
    const data = { path: file, text: [...shown, ...lines.slice(0, ASKED)].join('\n') }
    return evaluate(model, [{ task: findTask('multiple-choice'), data, ...none }], { numFewshot })
  }
  const answers = (): Promise<unknown> => {
    const questions = lines.slice(0, ANSWERS).map((line) => (JSON.parse(line) as { question: string }).question)
    return model.generate(
      questions.map((question) => `Q: ${question}\nA:`),
      { maxNewTokens: NEW_TOKENS },
    )
  }
  await choices(0)
  await answers()
  return {
    rounds: {
      zero: (seconds) => perSecond(seconds, ASKED, () => choices(0)),
      few: (seconds) => perSecond(seconds, ASKED, () => choices(SHOWN)),
      answers: (seconds) => perSecond(seconds, ANSWERS, answers),
    },
    versions: versions(),
  }
})
