import { Tabs } from '@base-ui/react/tabs'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi, Link } from '@tanstack/react-router'
import { ArrowLeft } from 'lucide-react'
import { useId } from 'react'
import type { RunDetail } from '../../../../src/server/wire.ts'
import { ApiError, getRun } from '../../client.ts'
import { Failure } from '../../components/failure.tsx'
import { LineFigure } from '../../components/line-figure.tsx'
import { PageFrame } from '../../shell/page-frame.tsx'
import { QueryState } from '../../shell/query-state.tsx'
import { ResultFacts } from '../papers/result-facts.tsx'
import { Chart } from './chart.tsx'
import { agoOf, durationOf, figureOf } from './figures.ts'
import { RunChip, RunProgress } from './run-chip.tsx'
import { chartsOf, heldOut, latest, type RunMetrics, type StageSeries } from './run-metrics.ts'
import { isLive, standingOf } from './run-state.ts'
import { Samples } from './samples.tsx'
import { ServeRun } from './serve-run.tsx'
import { useNow } from './use-now.ts'
import { useRunMetrics } from './use-run-metrics.ts'

const here = getRouteApi('/lab/$run')

const refreshMs = 2_000
const restMs = 10_000
const usualSmoothing = 0.9

/** A run, followed while it goes. */
export function RunPage() {
  const { run: name } = here.useParams()
  const now = useNow()
  const run = useQuery({
    queryKey: ['run', name],
    queryFn: () => getRun(name),
    // Also of one that is over: it may be resumed.
    refetchInterval: ({ state: { data } }) => (data && !isLive(data, Date.now()) ? restMs : refreshMs),
  })
  const isMissing = run.error instanceof ApiError && run.error.status === 404
  return (
    <PageFrame
      title={name}
      before={
        <Link to="/lab" className="icon-button" aria-label="All runs" title="All runs">
          <ArrowLeft className="icon" aria-hidden="true" />
        </Link>
      }
    >
      {isMissing ? (
        <p>
          There is no run {name}. <Link to="/lab">All runs</Link>
        </p>
      ) : (
        <QueryState query={run}>{(data) => <Run key={data.name} run={data} now={now} />}</QueryState>
      )}
    </PageFrame>
  )
}

function Run({ run, now }: { run: RunDetail; now: number }) {
  const { name, recipe, paper, claim, holds, seconds, updatedAt, result, samples } = run
  const followed = useRunMetrics(name, isLive(run, now))
  return (
    <article className="run">
      <header className="run-head">
        <p className="run-line">
          <RunChip run={run} now={now} />
          <RunProgress run={run} />
          {seconds > 0 && <span>{durationOf(seconds)} of computing</span>}
          <span>written {agoOf(updatedAt, now)}</span>
        </p>
        {claim && (
          <p className="run-claim">
            {claim}
            {holds !== null && <strong>{holds ? ' It holds.' : ' It does not hold.'}</strong>}
          </p>
        )}
        {recipe && (
          <p className="fine-print">
            <code>{recipe}</code>
            {paper && (
              <>
                {' · '}
                <Link to="/papers/$slug" params={{ slug: paper }}>
                  the paper
                </Link>
              </>
            )}
          </p>
        )}
        {run.hasModel && standingOf(run, now) === 'finished' && <ServeRun run={name} />}
        {result?.error && (
          <p className="failure" role="alert">
            {result.error}
          </p>
        )}
      </header>
      {followed.state === 'failed' && (
        <Failure message={followed.message ?? ''} onRetry={() => location.reload()} action="Load again" />
      )}
      {followed.state === 'ready' && <Curves run={name} metrics={followed.metrics} version={followed.version} />}
      {samples.length > 0 && (
        <section aria-labelledby="samples">
          <h2 id="samples">Samples</h2>
          <Samples run={name} samples={samples} />
        </section>
      )}
      {result?.figures && result.figures.length > 0 && (
        <section aria-labelledby="figures">
          <h2 id="figures">Figures</h2>
          <div className="charts">
            {result.figures.map(({ title, x, logX, lines }) => (
              <div key={title} className="card">
                <h3>{title}</h3>
                <LineFigure label={title} lines={lines} xName={x} logX={logX} showY={figureOf} />
              </div>
            ))}
          </div>
        </section>
      )}
      {result && (
        <section aria-labelledby="result">
          <h2 id="result">Result</h2>
          <ResultFacts result={result} />
        </section>
      )}
    </article>
  )
}

interface CurvesProps {
  run: string
  metrics: RunMetrics
  version: number
}

function Curves({ run, metrics, version }: CurvesProps) {
  const { stage: asked, scale, smooth = usualSmoothing } = here.useSearch()
  const change = here.useNavigate()
  const slider = useId()
  const stages = [...metrics.stages.keys()]
  // While a run goes through its stages, the newest is shown, until another one is chosen.
  const stage = stages.find((one) => addressOf(one) === asked) ?? stages.at(-1) ?? ''
  const series = metrics.stages.get(stage)
  if (!series) return <p className="fine-print">It has not written a step yet.</p>

  const charts = (
    <>
      <Figures series={series} />
      <div className="charts">
        {chartsOf(series).map((name) => {
          const own = series.get(name)
          const isScore = !series.has('loss') || !isEveryStep(series, name)
          return (
            own && (
              <Chart
                key={`${stage} ${name}`}
                name={name}
                series={own}
                dots={name === 'loss' ? series.get(heldOut) : undefined}
                dotsName={heldOut}
                version={version}
                smooth={name === 'learningRate' || isScore ? 0 : smooth}
                logarithmic={name === 'loss' && scale === 'log'}
                syncKey={run}
              />
            )
          )
        })}
      </div>
    </>
  )
  return (
    <section aria-labelledby="curves">
      <div className="curves-bar">
        <h2 id="curves">Curves</h2>
        <label className="curves-option" htmlFor={slider}>
          Smoothing
        </label>
        <input
          id={slider}
          className="range"
          type="range"
          min={0}
          max={0.99}
          step={0.01}
          value={smooth}
          onChange={(event) =>
            void change({ search: (now) => ({ ...now, smooth: Number(event.target.value) }), replace: true })
          }
        />
        <button
          type="button"
          className="button"
          aria-pressed={scale === 'log'}
          onClick={() =>
            void change({ search: (now) => ({ ...now, scale: scale === 'log' ? undefined : 'log' }), replace: true })
          }
        >
          Logarithmic loss
        </button>
      </div>
      {stages.length > 1 ? (
        <Tabs.Root
          value={addressOf(stage)}
          onValueChange={(next) => void change({ search: (now) => ({ ...now, stage: `${next}` }), replace: true })}
        >
          <Tabs.List className="tabs" aria-label="Stages">
            {stages.map((one) => (
              <Tabs.Tab key={one} value={addressOf(one)} className="tab">
                {one || 'run'}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          <Tabs.Panel value={addressOf(stage)} tabIndex={-1}>
            {charts}
          </Tabs.Panel>
        </Tabs.Root>
      ) : (
        charts
      )}
      <p className="fine-print">Drag over a curve to look closer, twice on it to see all; arrow keys read it.</p>
    </section>
  )
}

/** What the address calls a stage; no stage is called as the run itself is here. */
const addressOf = (stage: string) => stage || '.'

/** Of a step, rather than of an evaluation now and then. */
const isEveryStep = (series: StageSeries, name: string) =>
  (series.get(name)?.steps.length ?? 0) * 2 > (series.get('loss')?.steps.length ?? 0)

const shownFigures = ['loss', heldOut, 'reward', 'kl', 'entropy', 'length', 'learningRate', 'gradNorm'] as const
const figureNames: Readonly<Record<string, string>> = {
  loss: 'loss',
  [heldOut]: 'held-out loss',
  learningRate: 'learning rate',
  gradNorm: 'gradient norm',
  kl: 'KL',
}

/** The newest of each, large. */
function Figures({ series }: { series: StageSeries }) {
  const speed = [...series.keys()].find((name) => name.endsWith('PerSecond'))
  const names = [...shownFigures, ...(speed ? [speed] : [])]
  return (
    <dl className="figures-row">
      {names.map((name) => {
        const value = latest(series.get(name))
        return (
          value !== undefined && (
            <div key={name}>
              <dt>{figureNames[name] ?? name.replace('PerSecond', '/s')}</dt>
              <dd>{figureOf(value)}</dd>
            </div>
          )
        )
      })}
    </dl>
  )
}
