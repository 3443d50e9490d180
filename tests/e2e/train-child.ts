import { parseArgs } from 'node:util'
import { applySettings } from '../../src/optim/recipe.ts'
import { resumedSettings, runRecipe } from '../../src/optim/run.ts'
import { ppo, reward } from './tiny-alignment.ts'

/** `jackdaw train reward|ppo`, of the stand-ins: the same arguments, the same folder. */
const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    set: { type: 'string', multiple: true, default: [] },
    out: { type: 'string', default: '' },
    resume: { type: 'boolean', default: false },
  },
})
const [name] = positionals
const recipe = name === 'reward' ? reward : ppo
const { out, resume } = values
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())
const before = resume ? await resumedSettings(recipe, { name, out }) : recipe.settings
await runRecipe(recipe, applySettings(before, values.set), { name, out, resume, signal: stop.signal }).catch(
  (error: Error) => {
    console.error(`jackdaw: ${error.message}`)
    process.exitCode = 1
  },
)
