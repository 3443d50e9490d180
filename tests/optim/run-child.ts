import '../../src/runtime/node.ts'
import { runRecipe } from '../../src/optim/run.ts'
import staged from './staged-recipe.ts'
import tiny from './tiny-recipe.ts'

/** A run of its own, to be killed: says every step on standard output, and the stage that it is of. */
const { name, out, settings } = JSON.parse(process.env.JACKDAW_TEST_RUN ?? '') as {
  name: 'tiny' | 'staged'
  out: string
  settings: object
}
const onProgress = ({ stage = '', step }: { stage?: string; step: number }) =>
  void process.stdout.write(`${stage} ${step}\n`)
if (name === 'tiny') await runRecipe(tiny, { ...tiny.settings, ...settings }, { out, resume: true, onProgress })
else await runRecipe(staged, { ...staged.settings, ...settings }, { out, resume: true, onProgress })
