import { Toggle } from '@base-ui/react/toggle'
import { ToggleGroup } from '@base-ui/react/toggle-group'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import type { PaperSummary } from '../../../../src/server/wire.ts'
import { listPapers } from '../../client.ts'
import { SearchField } from '../../components/search-field.tsx'
import { paperStates } from '../../search-params.ts'
import { PageFrame } from '../../shell/page-frame.tsx'
import { matching } from '../../shell/palette-search.ts'
import { QueryState } from '../../shell/query-state.tsx'
import { Checks } from './checks.tsx'

const here = getRouteApi('/papers')

const stateNames = { works: 'Works', 'in part': 'In part', planned: 'Planned' } as const

/** The reading list: what there is, and how far each paper is. */
export function PapersPage() {
  const { q = '', state } = here.useSearch()
  const change = here.useNavigate()
  const papers = useQuery({ queryKey: ['papers'], queryFn: listPapers })
  return (
    <PageFrame title="Papers">
      <QueryState query={papers}>
        {({ papers, faults }) => {
          const shown = found(papers, q).filter((paper) => state === undefined || paper.state === state)
          const count = (one: PaperSummary['state']) => papers.filter((paper) => paper.state === one).length
          return (
            <>
              <p className="lede">
                From a tokenizer to a chat that reads, sees and draws, one file a paper. A paper works when its numbers
                are <em>the same</em> as a reference’s, it <em>learns</em> what it should when trained here, and it is{' '}
                <em>usable</em> in a few lines.
              </p>
              {faults.length > 0 && (
                <div className="notice" role="status">
                  {faults.map((fault) => (
                    <p key={fault}>{fault}</p>
                  ))}
                </div>
              )}
              <div className="filters">
                <SearchField
                  label="Find a paper"
                  placeholder="Name, title, author, year"
                  value={q}
                  onChange={(words) => void change({ search: { q: words || undefined, state }, replace: true })}
                />
                <ToggleGroup
                  className="toggles"
                  aria-label="How far they are"
                  value={[state ?? 'all']}
                  onValueChange={([next]) =>
                    void change({ search: { q: q || undefined, state: paperStates.find((one) => one === next) } })
                  }
                >
                  <Toggle className="toggle" value="all">
                    All <span className="count">{papers.length}</span>
                  </Toggle>
                  {paperStates.map((one) => (
                    <Toggle key={one} className="toggle" value={one}>
                      {stateNames[one]} <span className="count">{count(one)}</span>
                    </Toggle>
                  ))}
                </ToggleGroup>
              </div>
              <p className="visually-hidden" role="status">
                {q || state ? `${shown.length} found` : ''}
              </p>
              {shown.length === 0 && <p className="fine-print">No paper is called that.</p>}
              <ol className="paper-list">
                {shown.map((paper) => (
                  <PaperRow key={paper.slug} paper={paper} />
                ))}
              </ol>
            </>
          )
        }}
      </QueryState>
    </PageFrame>
  )
}

const found = (papers: readonly PaperSummary[], words: string) =>
  matching(
    papers.map((paper) => ({
      ...paper,
      label: paper.name,
      also: [paper.title, paper.authors, paper.year, paper.arXiv, paper.slug].join(' '),
    })),
    words,
  ).sort((a, b) => a.number - b.number)

function PaperRow({ paper }: { paper: PaperSummary }) {
  const { number, slug, name, state, isBeside, title, authors, year, within } = paper
  return (
    <li className={state === 'planned' ? 'paper-row is-planned' : 'paper-row'}>
      <span className="paper-number" aria-hidden="true">
        {isBeside ? '+' : number}
      </span>
      <div className="paper-what">
        <h2>
          <Link to="/papers/$slug" params={{ slug }}>
            {name}
          </Link>
        </h2>
        {title && <p className="paper-title">{title.replace(` — ${name}`, '').replace(`${name}: `, '')}</p>}
        <p className="paper-authors">
          {authors ? `${authors}, ${year}` : within ? `Told in the file of ${within}` : 'To be built'}
        </p>
      </div>
      {state !== 'planned' && <Checks checks={paper.checks} />}
    </li>
  )
}
