import type { StepRandom } from '../data/random.ts'
import type { Model } from '../nn/model.ts'
import type { TensorData } from '../tensor/index.ts'
import type { Batch, StepResult, Trainer, TrainerOptions } from './trainer.ts'

/**
 * A recipe is a program that tells one experiment from its start to its end: what it reads, what it trains and in which
 * order, what is claimed of it and what came out. What it goes on from when it was stopped is its context's business.
 */

export type Setting = string | number | boolean

/** What every recipe lets its user set. */
export interface CommonSettings {
  /** Where the data is. */
  data: string
  steps: number
  seed: number
  /** Steps between evaluations; 0 for the one at the end alone. */
  evalEvery: number
  /** Steps between snapshots of the run; 0 for the one at the end alone. */
  checkpointEvery: number
}

export interface Recipe<Settings extends CommonSettings = CommonSettings> {
  /** The paper that this is an experiment of, by its name in the list of papers: `gpt2`. */
  readonly paper: string
  /** What the run is to show, so that a reader can say whether it did: one sentence. */
  readonly claim: string
  /** Every setting with its default: what `--set key=value` may change. */
  readonly settings: Settings
  /** What the curve shows beside the loss and the evaluations' scores, by the names that are logged. */
  readonly curve?: readonly string[]
  run(context: RecipeContext<Settings>): Promise<void>
}

/** For the types: `export default recipe({ … })`. */
export const recipe = <Settings extends CommonSettings>(recipe: Recipe<Settings>): Recipe<Settings> => recipe

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json }

export type Scalars = Readonly<Record<string, number>>

/** What a recipe is given. */
export interface RecipeContext<Settings extends CommonSettings = CommonSettings> {
  readonly settings: Settings
  /** The run's folder, for what a recipe writes there by itself. */
  readonly out: string
  /** Stops the run. Loops and stages heed it; what else takes long may ask. */
  readonly signal: AbortSignal
  /** A line for the user. */
  say(message: string): void

  /** A part of the run with a loop of its own: once it is finished it is not run again, its product is read. */
  stage<Value extends Json | undefined>(name: string, run: () => Promise<Value>): Promise<StageProduct<Value>>
  /** A trainer on the run's provider, seeded by the run's seed and the stage. It is released with the stage. */
  trainer(options: Omit<TrainerOptions, 'provider'>): Promise<Trainer>
  /**
   * Steps of training, in plain words:
   *
   * ```ts
   * for await (const { step, state, random } of steps({ steps: 1000, trainers: { policy, value }, state: { klCoef: 0.2 } })) {
   *   …
   *   log(await policy.train(batch))
   * }
   * ```
   *
   * Between two steps a line goes to metrics.jsonl, evaluations and snapshots are made, and the signal is heeded. A
   * resumed run begins at the snapshot's step, with trainers and `state` as they were. One loop a stage.
   */
  steps<State extends object = object>(options: StepsOptions<State>): AsyncIterable<Step<State>>
  /** The plain loop: one trainer, a batch a step. Answers with the scores of the last evaluation. */
  trainLoop<Scores extends Scalars = Scalars>(options: TrainLoopOptions<Scores>): Promise<Scores>

  /** Numbers of the step in progress; of several under one name the line has the mean. Outside a loop a line of its own. */
  log(values: Scalars | StepResult): void
  /** Texts to look at, in samples/NAME-STEP.jsonl. */
  sample(name: string, texts: readonly Json[]): Promise<void>
  /** Pictures to look at, as one grid in samples/NAME-STEP.png. */
  picture(name: string, pictures: TensorData, options?: { columns?: number }): Promise<void>
  /** Writes a model folder: the run's, or the stage's. */
  save(product: ModelProduct): Promise<void>
  /** What came out, as lines over one axis: kept in result.json, and drawn above the curves. One of a title. */
  figure(figure: Figure): void
  /** What came out, and whether it is what the recipe claims. */
  claim(measured: Scalars, holds: boolean): void
}

/** Lines over one axis. */
export interface Figure {
  readonly title: string
  /** What the axis counts: `demonstrations`. */
  readonly x: string
  /** The axis by powers of ten. Default false. */
  readonly logX?: boolean
  /** By name, points from the left to the right. */
  readonly lines: Readonly<Record<string, readonly (readonly [x: number, y: number])[]>>
}

/** What a finished stage left behind. */
export interface StageProduct<Value> {
  readonly value: Value
  /** What the stage saved, as a model folder. */
  readonly folder: string
  /** The same, by parameter name; of one of several models with the folder that it was saved under. */
  weights(folder?: string): Map<string, TensorData>
}

export interface StepsOptions<State extends object> {
  readonly steps: number
  /** All that learns in this loop, by the names that snapshots give their parts. */
  readonly trainers: Readonly<Record<string, Trainer>>
  /** What else the loop carries from step to step: plain JSON, changed in place. */
  readonly state?: State
  /** How much one step sees, and of what: `{ tokens: 768 }`, `{ pictures: 64 }`. Gives the speed. */
  readonly perStep?: Scalars
  /** Scores to watch, of the models as they are. */
  evaluate?(): Promise<Scalars>
  /** Instead of the settings. */
  readonly evalEvery?: number
  readonly checkpointEvery?: number
  /** What to do, once the snapshot is written, where the run is stopped in this loop: save what there is. */
  onStop?(): Promise<void>
}

export interface Step<State extends object> {
  /** Steps done before this one. */
  readonly step: number
  readonly state: State
  /** Draws that are a function of the run's seed, the stage and the step. */
  readonly random: StepRandom
  /** Makes this step the last one: the goal is reached. (`break` would leave the step without its line.) */
  end(): void
}

export interface TrainLoopOptions<Scores extends Scalars>
  extends Pick<StepsOptions<object>, 'steps' | 'perStep' | 'evalEvery' | 'checkpointEvery'> {
  readonly trainer: Trainer
  /**
   * The micro-batches of the step after `step` steps: a pure function of it, so that a resumed run sees what it would
   * have seen. Each is read before the next is asked for, so a generator may yield the same arrays again.
   */
  batches(step: number): Batch | Iterable<Batch>
  evaluate?(trainer: Trainer): Promise<Scores>
  /** Saved at the end, and when the run is stopped. */
  readonly save?: Omit<ModelProduct, 'weights'>
}

/** What makes a model folder. */
export interface ModelProduct {
  readonly model: Model
  /** Where the model's parameters are found by name; a trainer may hold more, which is left out. */
  readonly weights: Trainer | ReadonlyMap<string, TensorData>
  /** The trainer's averaged parameters. Default false. */
  readonly averaged?: boolean
  /** Files that belong to the model beside its weights: `tokenizer.json`, … */
  readonly files?: Readonly<Record<string, string>>
  /** A folder inside, where there are several models: `unet`. */
  readonly folder?: string
}

const WHOLE: ReadonlySet<string> = new Set([
  'steps',
  'seed',
  'evalEvery',
  'checkpointEvery',
] satisfies (keyof CommonSettings)[])

/**
 * Settings with `key=value` pairs applied, each read as its default's type.
 *
 * @throws Error that lists the recipe's settings, where a key is not among them or a value is not of the type
 */
export function applySettings<Settings extends CommonSettings>(defaults: Settings, pairs: readonly string[]): Settings {
  const settings: Record<string, Setting> = { ...(defaults as unknown as Record<string, Setting>) }
  for (const pair of pairs) {
    const equals = pair.indexOf('=')
    const [key, text] = [pair.slice(0, Math.max(equals, 0)), pair.slice(equals + 1)]
    if (!Object.hasOwn(settings, key)) throw new Error(unknownKey(pair, key, Object.keys(settings)))
    settings[key] = readSetting(pair, text, settings[key])
    if (WHOLE.has(key) && !(Number.isSafeInteger(settings[key]) && Number(settings[key]) >= 0)) {
      throw new Error(`--set ${pair}: the value must be an integer of at least 0`)
    }
  }
  return settings as unknown as Settings
}

/** A sentence with the key that was probably meant, and all there are. */
function unknownKey(pair: string, key: string, known: readonly string[]): string {
  const nearest = [...known].sort((a, b) => editDistance(a, key) - editDistance(b, key))[0]
  const isNear = key !== '' && editDistance(nearest, key) <= Math.max(1, nearest.length / 3)
  const meant = isNear ? `did you mean ${nearest}? ` : ''
  return `--set ${pair}: ${meant}write key=value with one of the keys ${known.join(', ')}`
}

/** How many letters must be put in, taken out or changed (Levenshtein, 1965), case aside. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1].toLowerCase() === b[j - 1].toLowerCase()
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (same ? 0 : 1))
    }
    row = next
  }
  return row[b.length]
}

function readSetting(pair: string, text: string, example: Setting): Setting {
  if (typeof example === 'string') return text
  if (typeof example === 'boolean') {
    if (text === 'true' || text === 'false') return text === 'true'
    throw new Error(`--set ${pair}: the value must be true or false`)
  }
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw new Error(`--set ${pair}: the value must be a number`)
  return value
}
