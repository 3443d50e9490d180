import type { PaperSummary } from '../../src/server/wire.ts'

/** What stands behind the ? of each page: anything else there is left out, and nothing typed by hand breaks a page. */

type Raw = Record<string, unknown>

const text = (value: unknown): string | undefined => {
  const string = typeof value === 'number' ? `${value}` : value
  return typeof string === 'string' && string !== '' ? string.slice(0, 200) : undefined
}

const oneOf = <T extends string>(value: unknown, all: readonly T[]): T | undefined => all.find((one) => one === value)

export const paperStates = ['works', 'in part', 'planned'] as const satisfies readonly PaperSummary['state'][]

export interface PapersSearch {
  /** Words in its name, title or authors. */
  q?: string
  state?: PaperSummary['state']
}

export const parsePapersSearch = ({ q, state }: Raw): PapersSearch => ({ q: text(q), state: oneOf(state, paperStates) })

export interface LabSearch {
  q?: string
}

export const parseLabSearch = ({ q }: Raw): LabSearch => ({ q: text(q) })

export interface RunSearch {
  /** Which stage is shown, where a run has several. */
  stage?: string
  /** How the loss is drawn. */
  scale?: 'log'
  /** Of the running mean, 0 to 0.99; 0.9 where left out. */
  smooth?: number
}

export const parseRunSearch = ({ stage, scale, smooth }: Raw): RunSearch => ({
  stage: text(stage),
  scale: oneOf(scale, ['log']),
  smooth: typeof smooth === 'number' && smooth >= 0 && smooth <= 0.99 ? smooth : undefined,
})

export interface ArenaSearch {
  /** The comparison that is shown. */
  c?: string
  /** Several answers are put in order; two are compared where it is left out. */
  mode?: 'rank'
}

export const parseArenaSearch = ({ c, mode }: Raw): ArenaSearch => ({
  c: typeof c === 'string' && /^[0-9a-f-]{36}$/i.test(c) ? c : undefined,
  mode: oneOf(mode, ['rank']),
})
