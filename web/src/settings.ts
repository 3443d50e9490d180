import { PAGE_SAMPLING } from '../../src/server/page-sampling.ts'
import type { Settings } from '../../src/server/wire.ts'

export type NumberName = Exclude<keyof Settings, 'model' | 'systemPrompt'>

export interface NumberSetting {
  name: NumberName
  label: string
  hint: string
  min: number
  max: number
  step: number
  /** Where a slider makes sense: its reach, and where it rests while nothing is set, which is the server's default. */
  slider?: { min: number; max: number; rest: number }
}

/** The bounds are those of the server's schema. */
export const numberSettings: readonly NumberSetting[] = [
  {
    name: 'temperature',
    label: 'Temperature',
    hint: '0 always takes the likeliest token; higher is bolder.',
    min: 0,
    max: 10,
    step: 0.05,
    slider: { min: 0, max: 2, rest: PAGE_SAMPLING.temperature },
  },
  {
    name: 'topP',
    label: 'Top-p',
    hint: 'Keep the likeliest tokens that together reach this probability.',
    min: 0,
    max: 1,
    step: 0.01,
    slider: { min: 0, max: 1, rest: PAGE_SAMPLING.topP },
  },
  {
    name: 'topK',
    label: 'Top-k',
    hint: 'Keep this many of the likeliest tokens; 0 keeps all.',
    min: 0,
    max: 1_000_000,
    step: 1,
    slider: { min: 0, max: 200, rest: 0 },
  },
  {
    name: 'minP',
    label: 'Min-p',
    hint: 'Drop tokens less likely than this share of the likeliest.',
    min: 0,
    max: 1,
    step: 0.01,
    slider: { min: 0, max: 1, rest: 0 },
  },
  {
    name: 'repetitionPenalty',
    label: 'Repetition penalty',
    hint: '1 is off; more makes words already said less likely.',
    min: 0.01,
    max: 10,
    step: 0.01,
    slider: { min: 1, max: 2, rest: PAGE_SAMPLING.repetitionPenalty },
  },
  {
    name: 'maxNewTokens',
    label: 'Max tokens',
    hint: `The answer ends here at the latest; ${PAGE_SAMPLING.maxNewTokens} where left empty.`,
    min: 1,
    max: 1_000_000,
    step: 1,
  },
  {
    name: 'seed',
    label: 'Seed',
    hint: 'The same seed gives the same answer again.',
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    step: 1,
  },
]

/** The number typed, nothing for the default, or one sentence about what is wrong. */
export function parseSetting(setting: NumberSetting, text: string): { value?: number } | { error: string } {
  if (text.trim() === '') return {}
  const value = Number(text)
  const whole = setting.step === 1
  if (Number.isFinite(value) && value >= setting.min && value <= setting.max && (!whole || Number.isInteger(value))) {
    return { value }
  }
  const kind = whole ? 'a whole number' : 'a number'
  const most = setting.max < Number.MAX_SAFE_INTEGER ? ` to ${setting.max.toLocaleString('en')}` : ' or more'
  return { error: `${setting.label} must be ${kind}, ${setting.min}${most}.` }
}
