import type { RunResult } from '../../../../src/server/wire.ts'
import { durationOf, figureOf } from '../lab/figures.ts'

/** What must be known of a run to get it again. */
export function ResultFacts({ result }: { result: RunResult }) {
  const { measured = {}, seed, seconds, machine, versions, date, settings } = result
  const { processor, threads, memoryGib, provider } = machine
  const facts: [string, string][] = [
    ...Object.entries(measured).map(([name, value]): [string, string] => [
      name,
      value === null ? 'NaN' : figureOf(value),
    ]),
    ['seed', `${seed}`],
    ['time', durationOf(seconds)],
    ['machine', `${processor}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${memoryGib} GiB, ${provider}`],
    ['versions', `jackdaw ${versions.jackdaw}, Node ${versions.node}`],
    ['date', date],
  ]
  const own = Object.entries(settings).filter(([name]) => name !== 'seed')
  return (
    <>
      <dl className="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {own.length > 0 && (
        <details className="settings-of">
          <summary>Settings</summary>
          <dl className="facts facts-small">
            {own.map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{`${value}` || '—'}</dd>
              </div>
            ))}
          </dl>
        </details>
      )}
    </>
  )
}
