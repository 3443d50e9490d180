import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import type { RunSummary } from '../../../../src/server/wire.ts'
import { listRuns } from '../../client.ts'
import { CopyButton } from '../../components/copy-button.tsx'
import { SearchField } from '../../components/search-field.tsx'
import { PageFrame } from '../../shell/page-frame.tsx'
import { matching } from '../../shell/palette-search.ts'
import { QueryState } from '../../shell/query-state.tsx'
import { agoOf, durationOf, figureOf } from './figures.ts'
import { RunChip, RunProgress } from './run-chip.tsx'
import { useNow } from './use-now.ts'

const here = getRouteApi('/lab')

const refreshMs = 2_000
/** From how many on a field to find one is worth its room. */
const many = 8

const example = 'jackdaw train nanogpt-shakespeare-cpu --set data=tinyshakespeare.txt'

/** The runs of a folder, the newest first. */
export function LabPage() {
  const { q = '' } = here.useSearch()
  const change = here.useNavigate()
  const now = useNow()
  const runs = useQuery({ queryKey: ['runs'], queryFn: listRuns, refetchInterval: refreshMs })
  return (
    <PageFrame title="Lab">
      <QueryState query={runs}>
        {({ folder, runs }) => (
          <>
            <p className="lede">
              What <code>jackdaw train</code> writes to <code>{folder}</code>, as it writes it.
            </p>
            {runs.length === 0 && (
              <div className="empty">
                <h2>No runs yet</h2>
                <p>Start one, and it is here while it trains:</p>
                <p className="command">
                  <code>{example}</code>
                  <CopyButton label="Copy the command" read={() => example} />
                </p>
              </div>
            )}
            {(runs.length >= many || q !== '') && (
              <div className="filters">
                <SearchField
                  label="Find a run"
                  placeholder="Name, recipe, paper"
                  value={q}
                  onChange={(words) => void change({ search: { q: words || undefined }, replace: true })}
                />
              </div>
            )}
            <ul className="cards">
              {found(runs, q).map((run) => (
                <RunCard key={run.name} run={run} now={now} />
              ))}
            </ul>
          </>
        )}
      </QueryState>
    </PageFrame>
  )
}

const found = (runs: readonly RunSummary[], words: string) =>
  matching(
    runs.map((run) => ({ ...run, label: run.name, also: [run.recipe, run.paper, run.state, run.claim].join(' ') })),
    words,
  )

function RunCard({ run, now }: { run: RunSummary; now: number }) {
  const { name, recipe, claim, holds, loss, seconds, updatedAt } = run
  return (
    <li className="card card-link">
      <div className="card-head">
        <h2>
          <Link to="/lab/$run" params={{ run: name }}>
            {name}
          </Link>
        </h2>
        <RunChip run={run} now={now} />
      </div>
      {recipe !== null && <p className="card-kicker">{recipe}</p>}
      {claim !== null && <p className="card-text card-claim">{claim}</p>}
      <p className="card-foot run-line">
        <RunProgress run={run} />
        {loss !== null && <span>loss {figureOf(loss)}</span>}
        {holds !== null && <span>{holds ? 'the claim holds' : 'the claim does not hold'}</span>}
        {seconds > 0 && <span>{durationOf(seconds)}</span>}
        <time dateTime={updatedAt} title={updatedAt}>
          {agoOf(updatedAt, now)}
        </time>
      </p>
    </li>
  )
}
