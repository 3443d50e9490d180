import type { RunSummary } from '../../../../src/server/wire.ts'
import { standingOf, standingText } from './run-state.ts'

export function RunChip({ run, now }: { run: RunSummary; now: number }) {
  return <span className={`chip chip-${standingOf(run, now)}`}>{standingText(run, now)}</span>
}

/** Steps done, of those there are to be. */
export function RunProgress({ run }: { run: RunSummary }) {
  const { step, steps, stage } = run
  const place = stage === null ? '' : `${stage}: `
  if (steps === null || steps === 0) return <span>{`${place}step ${step.toLocaleString('en')}`}</span>
  const share = Math.min(1, step / steps)
  return (
    <span className="run-progress">
      <span className="meter" aria-hidden="true">
        <span style={{ width: `${100 * share}%` }} />
      </span>
      {`${place}step ${step.toLocaleString('en')} of ${steps.toLocaleString('en')}`}
    </span>
  )
}
