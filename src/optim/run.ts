import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Provider } from '../runtime/backend.ts'
import { RunContext } from './context.ts'
import { toJson, writeWhole } from './files.ts'
import { Stopped } from './loop.ts'
import type { CommonSettings, Recipe, Scalars } from './recipe.ts'
import { newResult, RESULT, readResult } from './result.ts'

/** How far a run is. */
export interface RunReport {
  readonly activity: 'loading' | 'training' | 'evaluating' | 'saving'
  readonly stage?: string
  /** Steps done, and in all, of the loop in progress. */
  readonly step: number
  readonly steps: number
  /** What the latest step logged. */
  readonly scalars?: Scalars
  /** What a second sees, since the loop was begun or resumed: `{ tokens: 12_000 }`. */
  readonly speeds?: Scalars
  /** From the latest evaluation. */
  readonly scores?: Scalars
}

export interface RunOptions {
  /** What the recipe is called: `gpt2/nanogpt-shakespeare-cpu`. Default: its paper. */
  name?: string
  /** Ends up as a model folder with `metrics.jsonl`, `result.json`, `curve.svg` and `checkpoints/`. */
  out: string
  /** Go on from where the run in `out` was. */
  resume?: boolean
  provider?: Provider
  /** Stops after the step in progress, with a snapshot. */
  signal?: AbortSignal
  onProgress?: (report: RunReport) => void
  /** A line for the user. */
  say?: (message: string) => void
}

/** What a run ended with. */
export interface RunOutcome {
  /** False where it was stopped. */
  readonly finished: boolean
  /** Of the last evaluation. */
  readonly scores?: Scalars
  /** What the recipe measured of its claim, and whether it holds. */
  readonly measured?: Scalars
  readonly holds?: boolean
}

const RUN = 'run.json'

/**
 * Runs a recipe from start to end, or on from where it stopped.
 *
 * @throws Error where `out` holds another run, or the recipe fails; snapshots stay as they are then
 */
export async function runRecipe<Settings extends CommonSettings>(
  recipe: Recipe<Settings>,
  settings: Settings,
  options: RunOptions,
): Promise<RunOutcome> {
  const { name = recipe.paper, out, resume = false, provider, signal, onProgress, say = () => {} } = options
  await requireFolder(out, resume, name, settings)
  const before = resume ? readResult(join(out, RESULT)) : undefined
  const { paper, claim } = recipe
  const result = newResult({ recipe: name, paper, claim, settings }, provider)
  result.seconds = before?.seconds ?? 0
  const context = await RunContext.create({
    ...{ recipe: recipe as unknown as Recipe, settings, out, provider, onProgress, say, result },
    resumes: resume,
    signal: signal ?? new AbortController().signal,
    onFirstWrite: async () => {
      await mkdir(out, { recursive: true })
      await writeWhole(join(out, RUN), toJson({ recipe: name, settings }))
    },
  })
  try {
    context.report({})
    await recipe.run(context as unknown as Parameters<typeof recipe.run>[0])
    await context.publish({ state: 'finished', stage: undefined })
    return { finished: true, scores: context.scores, measured: result.measured as Scalars, holds: result.holds }
  } catch (error) {
    if (error instanceof Stopped) {
      await context.publish({ state: 'stopped' })
      return { finished: false, scores: context.scores }
    }
    if (context.begun) await context.publish({ state: 'failed', error: (error as Error).message })
    throw error
  } finally {
    context.release()
  }
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
  { name = recipe.paper, out }: Pick<RunOptions, 'name' | 'out'>,
): Promise<Settings> {
  const before = await startedRun(out)
  return before?.recipe === name ? { ...recipe.settings, ...before.settings } : recipe.settings
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
