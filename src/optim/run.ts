import { existsSync } from 'node:fs'
import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { writeSafetensors } from '../hub/safetensors-write.ts'
import type { Provider } from '../runtime/backend.ts'
import { lossCurve } from './curve.ts'
import type { CommonSettings, Recipe, TrainingRun } from './recipe.ts'
import { loadSnapshot, newestSnapshot, startSnapshot } from './snapshot.ts'
import { type StepResult, Trainer } from './trainer.ts'

/** How far a run is. */
export interface RunReport {
  /** Steps done. */
  step: number
  /** Steps in all. */
  steps: number
  /** Of the latest step, and the mean speed since the run was started or resumed. */
  result?: StepResult
  tokensPerSecond?: number
  /** From the latest evaluation. */
  scores?: Scores
}

export type Scores = Readonly<Record<string, number>>

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
const CHECKPOINTS = 'checkpoints'

/**
 * Trains a recipe from start to end, or on from where it stopped.
 *
 * @returns the last evaluation's scores
 * @throws Error where `out` holds another run, or the loss is no finite number; checkpoints stay as they are then
 */
export async function runRecipe<Settings extends CommonSettings>(
  recipe: Recipe<Settings>,
  settings: Settings,
  { out, resume = false, provider, signal, onProgress, say = () => {} }: RunOptions,
): Promise<{ finished: boolean; scores?: Scores }> {
  const checkpoints = join(out, CHECKPOINTS)
  await requireFolder(out, resume, recipe.name, settings)
  const run = await recipe.prepare(settings, say)
  if (run.saveAveraged && !run.trainer.emaDecay) {
    throw new Error(`recipe ${recipe.name} saves averaged parameters but keeps no average: it needs an emaDecay`)
  }
  const trainer = await Trainer.create({ ...run.trainer, seed: settings.seed, provider })
  try {
    say(`${(trainer.layout.parameterCount / 1e6).toFixed(2)}M parameters, ${run.tokensPerStep} tokens a step`)
    await mkdir(out, { recursive: true })
    await writeWhole(join(out, RUN), `${JSON.stringify({ recipe: recipe.name, settings }, null, 2)}\n`)
    const newest = resume ? await newestSnapshot(checkpoints) : undefined
    if (newest) await loadSnapshot(newest, trainer)
    if (resume) say(newest ? `resumed after step ${trainer.step}` : `no checkpoint in ${checkpoints}: started anew`)
    await keepMetricsUntil(join(out, METRICS), newest ? trainer.step : undefined)

    const scores = await trainSteps(run, trainer, settings, {
      record: (line) => appendFile(join(out, METRICS), `${JSON.stringify(line)}\n`),
      save: () => startSnapshot(checkpoints, trainer),
      saved: newest ? trainer.step : undefined,
      signal,
      onProgress,
    })
    await saveModel(out, run, trainer)
    await writeWhole(join(out, 'curve.svg'), lossCurve(await readFile(join(out, METRICS), 'utf8')))
    return { finished: trainer.step >= settings.steps, scores }
  } finally {
    trainer.release()
  }
}

interface StepHooks extends Pick<RunOptions, 'signal' | 'onProgress'> {
  record(line: object): Promise<void>
  /** Begins a checkpoint; steps may go on meanwhile. */
  save(): Promise<{ written: Promise<unknown> }>
  /** The step of the newest checkpoint. */
  saved?: number
}

/** Steps, evaluations and checkpoints until the end, or until the signal; the last checkpoint is of the last step. */
async function trainSteps(
  run: TrainingRun,
  trainer: Trainer,
  { steps, evalEvery, checkpointEvery }: CommonSettings,
  { record, save, saved, signal, onProgress }: StepHooks,
): Promise<Scores | undefined> {
  let report: RunReport = { step: trainer.step, steps }
  const tell = (news: Partial<RunReport>): void => {
    report = { ...report, ...news, step: trainer.step }
    onProgress?.(report)
  }
  const evaluate = async (): Promise<void> => {
    if (!run.evaluate) return
    const scores = await run.evaluate(trainer)
    await record({ step: trainer.step, ...scores })
    tell({ scores })
  }
  if (saved === undefined && evalEvery > 0) await evaluate()
  let saving: Promise<unknown> | undefined
  let trainedMs = 0
  for (let done = 1; trainer.step < steps && !signal?.aborted; done++) {
    const started = performance.now()
    const result = await trainer.train(run.batches(trainer.step))
    trainedMs += performance.now() - started
    const tokensPerSecond = (1000 * done * run.tokensPerStep) / trainedMs
    const { step, loss, gradNorm, learningRate, metrics } = result
    await record({ step, loss, gradNorm, learningRate, ...metrics, tokensPerSecond: Math.round(tokensPerSecond) })
    tell({ result, tokensPerSecond })
    if (evalEvery > 0 && (step % evalEvery === 0 || step === steps)) await evaluate()
    if (checkpointEvery > 0 && step % checkpointEvery === 0) {
      saving = (await save()).written
      saved = step
    }
  }
  if (saved !== trainer.step) saving = (await save()).written
  await saving
  return report.scores
}

/** The model folder: config.json, model.safetensors and whatever belongs beside them, each written whole. */
async function saveModel(out: string, { model, files, saveAveraged }: TrainingRun, trainer: Trainer): Promise<void> {
  await writeSafetensors(join(out, 'model.safetensors'), await trainer.weights({ averaged: saveAveraged }))
  const texts = { 'config.json': `${JSON.stringify(model.toConfig(), null, 2)}\n`, ...files }
  for (const [name, text] of Object.entries(texts)) await writeWhole(join(out, name), text)
}

async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.partial`, text)
  await rename(`${path}.partial`, path)
}

/** Lines of the steps up to `step`, or none: what comes after the checkpoint is done again. */
async function keepMetricsUntil(path: string, step: number | undefined): Promise<void> {
  if (!existsSync(path)) return
  const lines = step === undefined ? [] : (await readFile(path, 'utf8')).split('\n')
  const kept = lines.filter((line) => {
    try {
      return line !== '' && (JSON.parse(line) as { step: number }).step <= (step as number)
    } catch {
      return false // the line that a killed run was writing
    }
  })
  await writeWhole(path, kept.map((line) => `${line}\n`).join(''))
}

/** How long a run is, how often it looks up and where its data lie may change when it goes on; what it computes not. */
const MAY_CHANGE = new Set(['steps', 'evalEvery', 'checkpointEvery', 'data'])

/** @throws Error where `out` holds a run that is not to be resumed, or that is another one */
async function requireFolder(out: string, resume: boolean, name: string, settings: CommonSettings): Promise<void> {
  const before = await startedRun(out)
  if (!before) return
  if (!resume) throw new Error(`${out} already holds a run: add --resume to go on with it, or name another --out`)
  if (before.recipe !== name) throw new Error(`${out} holds a run of ${before.recipe}, not of ${name}`)
  for (const [key, value] of Object.entries(settings)) {
    const was = before.settings[key]
    if (!MAY_CHANGE.has(key) && was !== value) {
      throw new Error(`the run in ${out} was started with ${key}=${was}, not ${value}: say --set ${key}=${was}`)
    }
  }
}

/** The settings that the run in `out` was started with, where there is one of this recipe; else the recipe's own. */
export async function resumedSettings<Settings extends CommonSettings>(
  recipe: Recipe<Settings>,
  out: string,
): Promise<Settings> {
  const before = await startedRun(out)
  return before?.recipe === recipe.name ? { ...recipe.settings, ...before.settings } : recipe.settings
}

const RUN_SCHEMA = z.object({
  recipe: z.string(),
  settings: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
})

async function startedRun(out: string): Promise<z.infer<typeof RUN_SCHEMA> | undefined> {
  const path = join(out, RUN)
  if (!existsSync(path)) return undefined
  const text = await readFile(path, 'utf8')
  try {
    return RUN_SCHEMA.parse(JSON.parse(text))
  } catch {
    throw new Error(`${path} is damaged: name another --out, or remove the file to resume with the settings you give`)
  }
}
