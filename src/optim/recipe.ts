import type { Model } from '../nn/model.ts'
import type { Batch, Trainer, TrainerOptions } from './trainer.ts'

/** A recipe is one file that tells a whole training run: what it reads, what it trains, how it is judged. */

export type Setting = string | number | boolean

/** What every recipe lets its user set. */
export interface CommonSettings {
  /** Where the data is. */
  data: string
  steps: number
  seed: number
  /** Steps between evaluations; 0 for none. */
  evalEvery: number
  /** Steps between checkpoints; 0 for none but the last. */
  checkpointEvery: number
}

/** A run, ready to start. */
export interface TrainingRun {
  readonly model: Model
  readonly trainer: Omit<TrainerOptions, 'seed' | 'provider'>
  /**
   * The micro-batches of the step after `step` steps: a pure function of it, so that a resumed run sees what it would
   * have seen. Each is read before the next is asked for, so a generator may yield the same arrays again.
   */
  batches(step: number): Batch | Iterable<Batch>
  readonly tokensPerStep: number
  /** Scores to watch, the validation loss first. */
  evaluate?(trainer: Trainer): Promise<Readonly<Record<string, number>>>
  /** Files that belong to the model beside its weights: `tokenizer.json`, … */
  readonly files: Readonly<Record<string, string>>
  /** Save the averaged parameters. Default false. */
  readonly saveAveraged?: boolean
}

export interface Recipe<Settings extends CommonSettings = CommonSettings> {
  readonly name: string
  readonly description: string
  /** Every setting with its default: what `--set key=value` may change. */
  readonly settings: Settings
  prepare(settings: Settings, say: (message: string) => void): Promise<TrainingRun>
}

/** For the types: `export default defineRecipe({ … })`. */
export const defineRecipe = <Settings extends CommonSettings>(recipe: Recipe<Settings>): Recipe<Settings> => recipe

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
    if (!Object.hasOwn(settings, key)) {
      throw new Error(`--set ${pair}: write key=value with one of the keys ${Object.keys(settings).join(', ')}`)
    }
    settings[key] = readSetting(pair, text, settings[key])
    if (WHOLE.has(key) && !(Number.isSafeInteger(settings[key]) && Number(settings[key]) >= 0)) {
      throw new Error(`--set ${pair}: the value must be an integer of at least 0`)
    }
  }
  return settings as unknown as Settings
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
