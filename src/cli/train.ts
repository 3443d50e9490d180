import { Command, Option } from 'commander'
import type { RecipeFile } from '../optim/recipe-files.ts'
import { collect } from './flags.ts'
import { TrainProgress } from './train-progress.ts'

const PROVIDERS = ['cpu', 'webgpu', 'cuda'] as const

interface TrainFlags {
  set?: string[]
  out?: string
  resume?: boolean
  provider?: (typeof PROVIDERS)[number]
}

const HELP = `
A recipe is a program in recipes/PAPER/EXPERIMENT.ts; a file of your own may be named too. While it runs, DIR holds
  metrics.jsonl   a line a step: loss, gradNorm, learningRate, the speed; and a line an evaluation
  curve.svg       the same as a picture, drawn again at every evaluation
  result.json     what is claimed and what came out, with settings, seed, machine and time
  samples/        texts and pictures that the recipe shows
  checkpoints/    the newest two snapshots: Ctrl-C loses nothing, any other end only the steps since
and at the end, or when it is stopped, the model: config.json, the weights, tokenizer.json.

Examples:
  jackdaw train
  jackdaw train nanogpt-shakespeare-cpu --set data=tinyshakespeare.txt --out runs/shakespeare
  jackdaw train gpt2/nanogpt-shakespeare-cpu --set data=my.txt --set steps=500 --set evalEvery=100
  jackdaw train nanogpt-shakespeare-cpu --out runs/shakespeare --resume --set steps=4000
  jackdaw generate runs/shakespeare 'ROMEO:' --temperature 0.8`

export const trainCommand = (): Command =>
  new Command('train')
    .description('train a recipe; DIR ends up as a model folder with metrics.jsonl and checkpoints/')
    .argument('[recipe]', 'EXPERIMENT, PAPER/EXPERIMENT or a file; all recipes are listed where it is left out')
    .option(
      '--set <key=value>',
      'change a setting (repeatable); every recipe knows data, steps, seed, evalEvery, checkpointEvery',
      collect,
    )
    .option('--out <dir>', 'where the model goes (default: runs/EXPERIMENT)')
    .option('--resume', 'go on from the newest snapshot in DIR, with the settings of the run there')
    .addOption(new Option('--provider <name>', 'where to run (default: JACKDAW_PROVIDER, or cpu)').choices(PROVIDERS))
    .addHelpText('after', HELP)
    .action(async (reference: string | undefined, flags: TrainFlags) => {
      const { readRecipes, findRecipe } = await import('../optim/recipe-files.ts')
      if (reference === undefined) {
        const { recipes, broken } = await readRecipes()
        process.stdout.write(recipesText(recipes))
        for (const { error } of broken) process.stderr.write(`${error}\n`)
        return
      }
      await import('../runtime/node.ts')
      const [{ resumedSettings, runRecipe }, { applySettings }] = await Promise.all([
        import('../optim/run.ts'),
        import('../optim/recipe.ts'),
      ])
      const { name, experiment, recipe } = await findRecipe(reference)
      const { resume, provider, out = `runs/${experiment}` } = flags
      const defaults = resume ? await resumedSettings(recipe, { name, out }) : recipe.settings
      const settings = applySettings(defaults, flags.set ?? [])
      const stop = new AbortController()
      const progress = new TrainProgress(process.stderr)
      let training = false
      const { finished, scores, measured, holds } = await runRecipe(recipe, settings, {
        name,
        out,
        resume,
        provider,
        signal: stop.signal,
        onProgress: (report) => {
          // Before there is anything to save, a signal ends the process at once; so does a second one.
          if (!training && report.activity !== 'loading') {
            for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort())
            training = true
          }
          progress.show(report)
        },
        say: (message) => progress.say(message),
      }).finally(() => progress.stop())
      if (!finished) progress.say(`stopped; go on with: jackdaw train ${reference} --out ${out} --resume`)
      else if (holds !== undefined) progress.say(`claimed: ${recipe.claim}: ${holds ? 'it holds' : 'it does not hold'}`)
      process.stdout.write(`${JSON.stringify({ out, finished, ...scores, ...measured, holds })}\n`)
    })

/** Recipes paper by paper: what they claim, and their settings as `--set` takes them. */
function recipesText(files: readonly RecipeFile[]): string {
  const lines: string[] = []
  let paper = ''
  for (const { name, recipe } of files) {
    if (recipe.paper !== paper) lines.push(recipe.paper)
    paper = recipe.paper
    lines.push(`  ${name}`, `    ${recipe.claim}`, ...wrapped(recipe.settings), '')
  }
  return lines.join('\n')
}

/** A hundred characters to a line. */
function wrapped(settings: object): string[] {
  const lines: string[] = []
  for (const [key, value] of Object.entries(settings)) {
    const last = lines.at(-1)
    if (last && last.length < 90) lines[lines.length - 1] = `${last} ${key}=${value}`
    else lines.push(`    ${key}=${value}`)
  }
  return lines
}
