import { existsSync } from 'node:fs'
import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import type { Provider } from '../runtime/backend.ts'
import { loadCheckpoint, newestCheckpoint, saveCheckpoint } from './checkpoint.ts'
import type { CommonSettings, Recipe } from './recipe.ts'
import { type StepResult, Trainer } from './trainer.ts'

export interface RunReport {
  step: number
  steps: number
  result?: StepResult
  tokensPerSecond?: number
  /** From the latest evaluation. */
  scores?: Readonly<Record<string, number>>
}

export interface RunOptions {
  /** Ends up as a model folder with `metrics.jsonl` and `checkpoints/`. */
  out: string
  /** Go on from the newest checkpoint in `out`. */
  resume?: boolean
  provider?: Provider
  /** Stops after the step in progress, with a checkpoint. */
  signal?: AbortSignal
  onProgress?: (report: RunReport) => void
  /** A line for the user. */
  say?: (message: string) => void
}

const METRICS = 'metrics.jsonl'
const RUN = 'run.json'

/**
 * Trains a recipe from start to end, or on from where it stopped.
 *
 * @returns the last evaluation's scores
 */
export async function runRecipe<Settings extends CommonSettings>(
  recipe: Recipe<Settings>,
  settings: Settings,
  { out, resume = false, provider, signal, onProgress, say = () => {} }: RunOptions,
): Promise<{ finished: boolean; scores?: Readonly<Record<string, number>> }> {
  const checkpoints = join(out, 'checkpoints')
  const newest = await newestCheckpoint(checkpoints)
  if (!resume && existsSync(join(out, METRICS))) {
    throw new Error(`${out} already holds a run: add --resume to go on with it, or name another --out`)
  }
  if (resume && existsSync(join(out, RUN))) await requireSameRun(join(out, RUN), recipe.name, settings)
  const run = await recipe.prepare(settings, say)
  const trainer = await Trainer.create({ ...run.trainer, seed: settings.seed, provider })
  say(`${(trainer.layout.parameterCount / 1e6).toFixed(2)}M parameters, ${run.tokensPerStep} tokens a step`)
  await mkdir(out, { recursive: true })
  await writeFile(join(out, RUN), `${JSON.stringify({ recipe: recipe.name, settings }, null, 2)}\n`)
  if (newest && resume) {
    await loadCheckpoint(newest, trainer)
    say(`resumed at step ${trainer.step}`)
  }
  await keepMetricsUntil(join(out, METRICS), trainer.step)
  const record = (line: object) => appendFile(join(out, METRICS), `${JSON.stringify(line)}\n`)

  let scores: Readonly<Record<string, number>> | undefined
  let saved = trainer.step
  let trainedMs = 0
  let trainedSteps = 0
  const evaluate = async (): Promise<void> => {
    if (!run.evaluate) return
    scores = await run.evaluate(trainer)
    await record({ step: trainer.step, ...scores })
    onProgress?.({ step: trainer.step, steps: settings.steps, scores })
  }
  try {
    if (trainer.step === 0 && settings.evalEvery > 0) await evaluate()
    while (trainer.step < settings.steps && !signal?.aborted) {
      const started = performance.now()
      const result = await trainer.train(run.batches(trainer.step))
      trainedMs += performance.now() - started
      trainedSteps++
      const tokensPerSecond = (1000 * trainedSteps * run.tokensPerStep) / trainedMs
      const { step, loss, gradNorm, learningRate, metrics } = result
      const rate = Math.round(tokensPerSecond)
      await record({ step, loss, gradNorm, learningRate, tokensPerSecond: rate, ...metrics })
      onProgress?.({ step, steps: settings.steps, result, tokensPerSecond, scores })
      if (settings.evalEvery > 0 && (step % settings.evalEvery === 0 || step === settings.steps)) await evaluate()
      if (settings.checkpointEvery > 0 && step % settings.checkpointEvery === 0) {
        await saveCheckpoint(checkpoints, trainer)
        saved = step
      }
    }
    if (saved !== trainer.step || !(await newestCheckpoint(checkpoints))) await saveCheckpoint(checkpoints, trainer)
    await saveModel(out, run, trainer)
    return { finished: trainer.step >= settings.steps, scores }
  } finally {
    trainer.release()
  }
}

/** The model folder: config.json, model.safetensors and whatever belongs beside them, each written whole. */
async function saveModel(
  out: string,
  { model, files, saveAveraged }: Awaited<ReturnType<Recipe['prepare']>>,
  trainer: Trainer,
): Promise<void> {
  await writeSafetensors(join(out, 'model.safetensors'), trainer.weights({ averaged: saveAveraged }))
  const texts = { 'config.json': `${JSON.stringify(model.toConfig(), null, 2)}\n`, ...files }
  for (const [name, text] of Object.entries(texts)) {
    await writeFile(join(out, `.${name}.partial`), text)
    await rename(join(out, `.${name}.partial`), join(out, name))
  }
}

/** Steps after the checkpoint are done again: their lines go. */
async function keepMetricsUntil(path: string, step: number): Promise<void> {
  if (!existsSync(path)) return
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => {
    try {
      return line !== '' && (JSON.parse(line) as { step: number }).step <= step
    } catch {
      return false // the line that a killed run was writing
    }
  })
  await writeFile(`${path}.partial`, lines.map((line) => `${line}\n`).join(''))
  await rename(`${path}.partial`, path)
}

/** How long a run is, and how often it looks up, may change when it goes on; what it computes may not. */
const MAY_CHANGE = new Set(['steps', 'evalEvery', 'checkpointEvery', 'data'])

async function requireSameRun(path: string, name: string, settings: CommonSettings): Promise<void> {
  const before = JSON.parse(await readFile(path, 'utf8')) as { recipe: string; settings: Record<string, unknown> }
  if (before.recipe !== name) throw new Error(`${path} is a run of ${before.recipe}, not of ${name}`)
  for (const [key, value] of Object.entries(settings)) {
    if (!MAY_CHANGE.has(key) && before.settings[key] !== value) {
      throw new Error(
        `the run to resume was started with ${key}=${before.settings[key]}, not ${value}: say --set ${key}=${before.settings[key]}`,
      )
    }
  }
}
