import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { openDataFile } from '../../src/eval/data-file.ts'
import { findTask } from '../../src/eval/tasks/index.ts'
import { openLanguageModel } from '../../src/prompt/language-model.ts'
import '../../src/runtime/node.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const { tasks } = JSON.parse(readFileSync(new URL('lm-eval.json', import.meta.url), 'utf8')) as {
  tasks: Record<string, { acc: number; acc_norm: number; logProbs: number[][] }>
}
/** The fixture has more; these take some seconds. */
const QUESTIONS = 16
/** Sums of a few log-probabilities, computed in float32 by other kernels. */
const TOLERANCE = 2e-3

it.skipIf(lacksShared('models/smollm2.json') || lacksShared('data/reasoning/gsm8k-test.jsonl'))(
  'likelihoods of choices, and what is chosen, are lm-evaluation-harness’s: SmolLM2 on two data sets',
  async () => {
    const model = await openLanguageModel(`gguf:${sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf')}`)
    const items = Array.from({ length: QUESTIONS }, (_, i) => i)
    for (const [name, { logProbs }] of Object.entries(tasks)) {
      const task = findTask(name)
      const file = openDataFile(sharedPath(`data/reasoning/${task.file}`))
      const samples = await task.open(file, {}, { model, beside: () => file }).ask(model, items, {})
      for (const [
        i,
        {
          resps,
          arguments: asked,
          filtered_resps: [chosen],
        },
      ] of samples.entries()) {
        const ours = (resps as [number, boolean][]).map(([logProb]) => logProb)
        for (const [j, logProb] of ours.entries()) {
          expect(Math.abs(logProb - logProbs[i][j]), `${name} ${i}, choice ${j}`).toBeLessThan(TOLERANCE)
        }
        expect(asked.indexOf(chosen as string) - 1).toBe(logProbs[i].indexOf(Math.max(...logProbs[i])))
      }
    }
    model.release()
  },
  180_000,
)
