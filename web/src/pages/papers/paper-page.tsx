import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { ArrowLeft, Circle, CircleCheck } from 'lucide-react'
import type { PaperChecks, PaperDetail, PaperExperiment } from '../../../../src/server/wire.ts'
import { ApiError, getPaper } from '../../client.ts'
import { CopyButton } from '../../components/copy-button.tsx'
import { PageFrame } from '../../shell/page-frame.tsx'
import { QueryState } from '../../shell/query-state.tsx'
import { checkNames } from './checks.tsx'
import { PaperDemos } from './paper-demos.tsx'
import { ResultFacts } from './result-facts.tsx'
import { SourceView } from './source-view.tsx'

const here = getRouteApi('/papers/$slug')

/** A paper: its idea, what is checked, its equations beside the code, what came out when it was trained here. */
export function PaperPage() {
  const { slug } = here.useParams()
  const paper = useQuery({ queryKey: ['paper', slug], queryFn: () => getPaper(slug) })
  const isMissing = paper.error instanceof ApiError && paper.error.status === 404
  return (
    <PageFrame
      title={paper.data?.name ?? slug}
      before={
        <Link to="/papers" className="icon-button" aria-label="All papers" title="All papers">
          <ArrowLeft className="icon" aria-hidden="true" />
        </Link>
      }
    >
      {isMissing ? (
        <p>
          There is no paper {slug}. <Link to="/papers">All papers</Link>
        </p>
      ) : (
        <QueryState query={paper}>{(data) => <Paper paper={data} />}</QueryState>
      )}
    </PageFrame>
  )
}

const isTold = { works: 'Works', 'in part': 'In part', planned: 'Planned' } as const

function Paper({ paper }: { paper: PaperDetail }) {
  const { name, number, state, title, authors, year, arXiv, within, over, ideas, sources, experiments, files } = paper
  return (
    <article className="paper">
      <header className="paper-head">
        <p className="paper-kicker">
          {paper.isBeside ? 'Beside the reading list' : `Number ${number} of the reading list`}
          <span className={`chip chip-${state.replace(' ', '-')}`}>{isTold[state]}</span>
        </p>
        <p className="paper-headline">{title?.replace(` — ${name}`, '') ?? name}</p>
        {authors && (
          <p className="paper-authors">
            {authors}, {year}
            {arXiv && (
              <>
                {' · '}
                <a href={`https://arxiv.org/abs/${arXiv}`} target="_blank" rel="noopener noreferrer">
                  arXiv {arXiv}
                </a>
              </>
            )}
          </p>
        )}
        {within && (
          <p>
            It is told in the file of{' '}
            <Link to="/papers/$slug" params={{ slug: within }}>
              {within}
            </Link>
            .
          </p>
        )}
      </header>

      {state === 'planned' && (
        <p>
          It is to be built, in{' '}
          {files.map((file, i) => (
            <span key={file}>
              {i > 0 && ', '}
              <code>{file}</code>
            </span>
          ))}
          .
        </p>
      )}

      {ideas.length > 0 && (
        <section aria-labelledby="idea">
          <h2 id="idea">{over ?? 'New here'}</h2>
          <ul className="ideas">
            {ideas.map((idea) => (
              <li key={idea}>{idea}</li>
            ))}
          </ul>
        </section>
      )}

      {state !== 'planned' && <PaperDemos slug={paper.slug} />}

      {state !== 'planned' && (
        <section aria-labelledby="checks">
          <h2 id="checks">What is checked</h2>
          <ul className="check-cards">
            {checkNames.map((check) => (
              <CheckCard key={check} check={check} holds={paper.checks[check]} lines={paper.checkLines[check] ?? []} />
            ))}
          </ul>
        </section>
      )}

      {experiments.length > 0 && (
        <section aria-labelledby="results">
          <h2 id="results">Results</h2>
          {experiments.map((experiment) => (
            <Experiment key={experiment.recipe} experiment={experiment} />
          ))}
        </section>
      )}

      {sources.length > 0 && (
        <section aria-labelledby="source" className="paper-source">
          <h2 id="source">The equations and the code</h2>
          <SourceView sources={sources} />
        </section>
      )}
    </article>
  )
}

const checkTitles: Readonly<Record<keyof PaperChecks, string>> = {
  same: 'The same numbers',
  learns: 'It learns',
  usable: 'It is usable',
}

interface CheckCardProps {
  check: keyof PaperChecks
  holds: boolean
  lines: readonly string[]
}

function CheckCard({ check, holds, lines }: CheckCardProps) {
  const Ring = holds ? CircleCheck : Circle
  return (
    <li className={holds ? 'check-card is-held' : 'check-card'}>
      <h3>
        <Ring aria-hidden="true" />
        {checkTitles[check]}
        <span className="visually-hidden">{holds ? ': holds' : ': not yet'}</span>
      </h3>
      {lines.map((line) => (
        <p key={line}>{line}</p>
      ))}
    </li>
  )
}

function Experiment({ experiment: { recipe, claim, outcome, holds, result, curve } }: { experiment: PaperExperiment }) {
  const command = `jackdaw train ${recipe}`
  return (
    <div className="card experiment">
      <div className="card-head">
        <h3>{recipe}</h3>
        {result && <span className={holds ? 'chip chip-works' : 'chip chip-in-part'}>{holds ? 'holds' : 'open'}</span>}
      </div>
      <p className="card-text">{claim}</p>
      <p className="outcome">{outcome}</p>
      {curve && (
        <img
          className="curve"
          src={`data:image/svg+xml,${encodeURIComponent(curve)}`}
          alt={`Curves of the run of ${recipe}`}
        />
      )}
      {result && <ResultFacts result={result} />}
      <p className="command">
        <code>{command}</code>
        <CopyButton label="Copy the command" read={() => command} />
      </p>
    </div>
  )
}
