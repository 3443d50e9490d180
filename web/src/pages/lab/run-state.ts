import type { RunSummary } from '../../../../src/server/wire.ts'
import { durationOf } from './figures.ts'

/** A run that says it goes on but has been silent for this long was probably killed. */
const silentAfterMs = 10 * 60_000

export type Standing = 'running' | 'silent' | 'stopped' | 'failed' | 'finished' | 'unknown'

export function standingOf({ state, updatedAt }: RunSummary, now: number): Standing {
  if (state === null) return 'unknown'
  return state === 'running' && now - Date.parse(updatedAt) > silentAfterMs ? 'silent' : state
}

/** Whether more may be written any moment. */
export const isLive = (run: RunSummary, now: number): boolean => ['running', 'unknown'].includes(standingOf(run, now))

/** In words. */
export function standingText(run: RunSummary, now: number): string {
  const standing = standingOf(run, now)
  if (standing === 'silent') return `silent for ${durationOf((now - Date.parse(run.updatedAt)) / 1000)}`
  return standing === 'unknown' ? 'no result' : standing
}
