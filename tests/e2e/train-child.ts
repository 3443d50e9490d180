import { parseArgs } from 'node:util'
import ppo from '../../recipes/instructgpt/ppo.ts'
import reward from '../../recipes/instructgpt/reward.ts'
import { applySettings, type CommonSettings, type Recipe } from '../../src/optim/recipe.ts'
import { resumedSettings, runRecipe } from '../../src/optim/run.ts'
import '../../src/runtime/node.ts'

/** `jackdaw train` of two recipes, in sizes for a test: the same arguments, the same folder. */
const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    set: { type: 'string', multiple: true, default: [] },
    out: { type: 'string', default: '' },
    resume: { type: 'boolean', default: false },
  },
})

async function train<Settings extends CommonSettings>(
  recipe: Recipe<Settings>,
  sizes: Partial<Settings>,
): Promise<void> {
  const [name] = positionals
  const { out, resume, set } = values
  const stop = new AbortController()
  process.once('SIGTERM', () => stop.abort())
  const before = resume ? await resumedSettings(recipe, { name, out }) : { ...recipe.settings, ...sizes }
  await runRecipe(recipe, applySettings(before, set), { name, out, resume, signal: stop.signal })
}

const small = { seed: 1, checkpointEvery: 0 }
const training =
  positionals[0] === 'instructgpt/reward'
    ? train(reward, { ...small, steps: 4, rows: 8, seq: 160 })
    : train(ppo, { ...small, steps: 4, answers: 4, minibatch: 4, maxNewTokens: 6, maxPromptTokens: 96, evalEvery: 2 })
await training.catch((error: Error) => {
  console.error(`jackdaw: ${error.message}`)
  process.exitCode = 1
})
