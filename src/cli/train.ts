import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import cliProgress from 'cli-progress'
import { Command, Option } from 'commander'
import type { Recipe } from '../optim/recipe.ts'
import type { RunReport } from '../optim/run.ts'

const PROVIDERS = ['cpu', 'webgpu', 'cuda'] as const

interface TrainFlags {
  set?: string[]
  out?: string
  resume?: boolean
  provider?: (typeof PROVIDERS)[number]
}

export const trainCommand = (): Command =>
  new Command('train')
    .description('train a recipe; DIR ends up as a model folder with metrics.jsonl and checkpoints/')
    .argument('[recipe]', "a recipe's name, or a file; all are listed where it is left out")
    .option(
      '--set <key=value>',
      'change a setting (repeatable); every recipe knows data, steps, seed, evalEvery, checkpointEvery',
      (value: string, before: string[] = []) => [...before, value],
    )
    .option('--out <dir>', 'where the model goes (default: runs/RECIPE)')
    .option('--resume', 'go on from the newest checkpoint in DIR, with the settings of the run there')
    .addOption(new Option('--provider <name>', 'where to run (default: JACKDAW_PROVIDER, or cpu)').choices(PROVIDERS))
    .addHelpText(
      'after',
      '\nExample:\n  jackdaw train nanogpt-shakespeare-cpu --set data=tinyshakespeare.txt --out runs/shakespeare',
    )
    .action(async (name: string | undefined, flags: TrainFlags) => {
      if (name === undefined) {
        process.stdout.write(await listRecipes())
        return
      }
      await import('../runtime/node.ts')
      const [{ resumedSettings, runRecipe }, { applySettings }] = await Promise.all([
        import('../optim/run.ts'),
        import('../optim/recipe.ts'),
      ])
      const recipe = await findRecipe(name)
      const out = flags.out ?? `runs/${recipe.name}`
      const defaults = flags.resume ? await resumedSettings(recipe, out) : recipe.settings
      const settings = applySettings(defaults, flags.set ?? [])
      const stop = new AbortController()
      const progress = new Progress()
      const say = (message: string) => process.stderr.write(`${message}\n`)
      let training = false
      const { finished, scores } = await runRecipe(recipe, settings, {
        out,
        resume: flags.resume,
        provider: flags.provider,
        signal: stop.signal,
        onProgress: (report) => {
          // Before there is anything to save, a signal ends the process at once.
          if (!training) for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort())
          training = true
          progress.show(report)
        },
        say,
      }).finally(() => progress.stop())
      if (!finished) say(`stopped; go on with: jackdaw train ${name} --out ${out} --resume`)
      process.stdout.write(`${JSON.stringify({ out, finished, ...scores })}\n`)
    })

/** Recipes lie beside the sources, as TypeScript or as what is built of it. */
const recipesFolder = (): URL => new URL('../../recipes/', import.meta.url)

const recipeFiles = async (): Promise<string[]> =>
  (await readdir(recipesFolder())).filter((file) => /^[\w-]+\.(js|ts)$/.test(file))

async function findRecipe(name: string): Promise<Recipe> {
  const shipped = (await recipeFiles()).find((file) => file.replace(/\.(js|ts)$/, '') === name)
  if (!shipped && !existsSync(name)) {
    const known = (await recipeFiles()).map((file) => file.replace(/\.(js|ts)$/, '')).join(', ')
    throw new Error(`there is no recipe '${name}'; there are ${known}, or name a file`)
  }
  const url = shipped ? new URL(shipped, recipesFolder()) : pathToFileURL(resolve(name))
  const { default: recipe } = (await import(url.href).catch((error: Error) => {
    throw new Error(`the recipe ${name} cannot be loaded: ${error.message}`, { cause: error })
  })) as { default?: Recipe }
  if (!recipe?.prepare) throw new Error(`${name} has no recipe as its default export`)
  return recipe
}

async function listRecipes(): Promise<string> {
  const lines: string[] = []
  for (const file of await recipeFiles()) {
    const recipe = await findRecipe(file.replace(/\.(js|ts)$/, ''))
    lines.push(recipe.name, `    ${recipe.description}`, ...wrapped(recipe.settings), '')
  }
  return lines.join('\n')
}

/** Settings as `--set` takes them, a hundred characters to a line. */
function wrapped(settings: object): string[] {
  const lines: string[] = []
  for (const [key, value] of Object.entries(settings)) {
    const last = lines.at(-1)
    if (last && last.length < 90) lines[lines.length - 1] = `${last} ${key}=${value}`
    else lines.push(`    ${key}=${value}`)
  }
  return lines
}

/** A bar with loss, speed and time left on a terminal; a line now and then elsewhere. */
class Progress {
  private readonly bar = process.stderr.isTTY
    ? new cliProgress.SingleBar({
        format: '{bar} {value}/{total} | loss {loss} | {rate} tok/s | {eta_formatted} left{scores}',
        barsize: 24,
        etaBuffer: 50,
      })
    : undefined
  private started = false
  private lastLine = 0

  show({ step, steps, result, tokensPerSecond, scores }: RunReport): void {
    const shown = Object.entries(scores ?? {})
      .map(([name, value]) => ` | ${name} ${value.toFixed(4)}`)
      .join('')
    const payload = { loss: result?.loss.toFixed(4) ?? '-', rate: Math.round(tokensPerSecond ?? 0), scores: shown }
    if (this.bar) {
      if (!this.started) this.bar.start(steps, step, payload)
      else this.bar.update(step, payload)
      this.started = true
      return
    }
    if (performance.now() - this.lastLine < 10_000 && step !== steps) return
    this.lastLine = performance.now()
    process.stderr.write(`step ${step}/${steps} | loss ${payload.loss} | ${payload.rate} tok/s${shown}\n`)
  }

  stop(): void {
    if (this.started) this.bar?.stop()
  }
}
