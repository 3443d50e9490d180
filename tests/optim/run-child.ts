import '../../src/runtime/node.ts'
import { runRecipe } from '../../src/optim/run.ts'
import tiny from './tiny-recipe.ts'

/** A run of its own, to be killed: says every step on standard output. */
const { out, settings } = JSON.parse(process.env.JACKDAW_TEST_RUN ?? '') as { out: string; settings: object }

await runRecipe(
  tiny,
  { ...tiny.settings, ...settings },
  { out, resume: true, onProgress: ({ step }) => process.stdout.write(`${step}\n`) },
)
