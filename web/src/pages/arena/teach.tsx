import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useEffect, useId, useState } from 'react'
import type { Duel, Standings, StartTraining, Training, TrainingList } from '../../../../src/server/wire.ts'
import { announce } from '../../announcer.ts'
import { listTrainings, messageOf, patchTraining, postRunModel, postTraining } from '../../client.ts'
import { Icon } from '../../components/icon.tsx'
import { useValue } from '../../observable.ts'
import { queries } from '../../queries.ts'
import { loadServed, served } from '../../served.ts'
import { showToast } from '../../toast.ts'
import { agoOf } from '../lab/figures.ts'
import { RunProgress } from '../lab/run-chip.tsx'
import { useNow } from '../lab/use-now.ts'
import { choose } from './choices.ts'
import { WinRate } from './standings-tables.tsx'

const refreshMs = 1_000
const restMs = 10_000

interface TeachProps {
  standings: Standings
  /** Two models have been chosen for the next question. */
  onCompare: () => void
}

const isActive = ({ state }: Training) => state === 'waiting' || state === 'running'

/** How long the server may take to load what a training has left. */
const loadingMs = 60_000

const isLoading = ({ kind, state, summary }: Training) =>
  kind === 'ppo' && state === 'finished' && Date.now() - Date.parse(summary?.updatedAt ?? '') < loadingMs

/** From votes to a reward model, and from that to a model that was taught by it. */
export function Teach({ standings, onCompare }: TeachProps) {
  const now = useValue(served)
  const select = useId()
  const [chosen, setChosen] = useState<string>()
  const models = now.state === 'ready' ? now.models.filter(({ canWrite }) => canWrite) : []
  const isComing = (training: Training) => isLoading(training) && !models.some(({ id }) => id === training.run)
  const trainings = useQuery({
    queryKey: ['trainings'],
    queryFn: listTrainings,
    refetchInterval: ({ state: { data } }) =>
      data?.trainings.some((one) => isActive(one) || isComing(one)) ? refreshMs : restMs,
  })
  const { data, dataUpdatedAt } = trainings

  // What has come to its end is soon a model in the picker.
  const lacks = data?.trainings.some(isComing) ?? false
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked for again whenever the trainings are.
  useEffect(() => {
    if (lacks) void loadServed()
  }, [lacks, dataUpdatedAt])

  if (!data) return null
  const { preferences, telling } = standings
  const lacking = data.leastPreferences - preferences
  const model = models.find(({ id }) => id === chosen) ?? models[0]
  return (
    <section className="teach" aria-labelledby="teach">
      <h2 id="teach">Teach a model</h2>
      <p className="fine-print teach-text">
        A reward model learns from your comparisons which answers are better; then a model is trained to answer as that
        one likes (PPO). The lab follows both, and what comes out stands in the picker.
      </p>
      {data.refusal !== null ? (
        <p className="fine-print">{data.refusal}</p>
      ) : (
        <div className="teach-start">
          <span className="model-picker">
            <label className="visually-hidden" htmlFor={select}>
              Model to teach
            </label>
            <select
              id={select}
              className="select"
              value={model?.id ?? ''}
              onChange={(event) => setChosen(event.target.value)}
            >
              {models.map(({ id }) => (
                <option key={id}>{id}</option>
              ))}
            </select>
            <Icon name="expand" />
          </span>
          <button
            type="button"
            className="button button-primary"
            disabled={lacking > 0 || !model}
            onClick={() => void start({ kind: 'reward', model: model?.id })}
          >
            Train a reward model on {telling === 1 ? 'one comparison' : `${telling} comparisons`}
          </button>
          {lacking > 0 && (
            <span className="fine-print">
              {`It needs ${data.leastPreferences} pairs of answers of which one is better; there ${preferences === 1 ? 'is one' : `are ${preferences}`}.`}
            </span>
          )}
        </div>
      )}
      <TrainingCards {...{ list: data, duels: standings.duels, onCompare }} />
    </section>
  )
}

interface TrainingCardsProps {
  list: TrainingList
  duels: readonly Duel[]
  onCompare: () => void
}

function TrainingCards({ list, duels, onCompare }: TrainingCardsProps) {
  const now = useNow()
  if (list.trainings.length === 0) return null
  return (
    <ul className="cards" aria-label="Trainings">
      {list.trainings.map((training) => (
        <li key={training.run} className="card" aria-label={training.run}>
          <div className="card-head">
            <h3>
              {training.summary === null ? (
                training.run
              ) : (
                <Link to="/lab/$run" params={{ run: training.run }}>
                  {training.run}
                </Link>
              )}
            </h3>
            <span className={`chip chip-${training.state}`}>{training.state}</span>
          </div>
          <p className="card-kicker">{descriptionOf(training)}</p>
          {training.error !== null && <p className="failure">{training.error}</p>}
          <p className="card-foot run-line">
            {training.summary !== null && <RunProgress run={training.summary} />}
            <time dateTime={training.startedAt}>{agoOf(training.startedAt, now)}</time>
            {list.refusal === null && <Actions training={training} />}
          </p>
          {training.kind === 'ppo' && training.state === 'finished' && <Outcome {...{ training, duels, onCompare }} />}
        </li>
      ))}
    </ul>
  )
}

function descriptionOf({ kind, model, reward, examples }: Training): string {
  return kind === 'reward'
    ? `Reward model, from ${model}, on ${examples} ${examples === 1 ? 'comparison' : 'comparisons'}`
    : `${model} against ${reward}, on ${examples} ${examples === 1 ? 'prompt' : 'prompts'}`
}

function Actions({ training: { run, kind, model, state } }: { training: Training }) {
  if (state === 'waiting' || state === 'running') {
    return (
      <button type="button" className="button" onClick={() => void change(run, 'stopped')}>
        Stop<span className="visually-hidden"> {run}</span>
      </button>
    )
  }
  if (state === 'stopped' || state === 'failed') {
    return (
      <button type="button" className="button" onClick={() => void change(run, 'running')}>
        Go on<span className="visually-hidden"> with {run}</span>
      </button>
    )
  }
  if (kind === 'ppo') return null
  return (
    <button type="button" className="button button-primary" onClick={() => void start({ kind: 'ppo', reward: run })}>
      Train {model} against it
    </button>
  )
}

/** A model that was taught, beside the one that it was. */
function Outcome({
  training: { run, model },
  duels,
  onCompare,
}: Omit<TrainingCardsProps, 'list'> & { training: Training }) {
  const now = useValue(served)
  const isServed = now.state === 'ready' && now.models.some(({ id }) => id === run)
  const rate = rateOf(duels, run, model)
  return (
    <p className="card-foot run-line">
      {isServed ? (
        <button
          type="button"
          className="button"
          onClick={() => {
            choose({ pair: [{ model: run }, { model }] })
            onCompare()
          }}
        >
          Compare it with {model}
        </button>
      ) : (
        <button type="button" className="button" onClick={() => void serve(run)}>
          Serve it
        </button>
      )}
      {rate && (
        <span>
          Wins against {model}: <WinRate {...rate} />
        </span>
      )}
    </p>
  )
}

function rateOf(duels: readonly Duel[], run: string, model: string) {
  for (const { contenders, winRate, interval } of duels) {
    if (contenders[0] === run && contenders[1] === model) return { value: winRate, interval }
    if (contenders[0] === model && contenders[1] === run) {
      return { value: 1 - winRate, interval: [1 - interval[1], 1 - interval[0]] as const }
    }
  }
  return undefined
}

async function start(body: StartTraining): Promise<void> {
  try {
    const { run, state } = await postTraining(body)
    announce(state === 'waiting' ? `${run} waits for its turn.` : `${run} has begun.`)
  } catch (error) {
    showToast({ message: `Not started: ${messageOf(error)}` })
  }
  await queries.invalidateQueries({ queryKey: ['trainings'] })
}

async function change(run: string, state: 'stopped' | 'running'): Promise<void> {
  try {
    await patchTraining(run, { state })
  } catch (error) {
    showToast({ message: messageOf(error) })
  }
  await queries.invalidateQueries({ queryKey: ['trainings'] })
}

async function serve(run: string): Promise<void> {
  try {
    await postRunModel(run)
    await loadServed()
  } catch (error) {
    showToast({ message: messageOf(error) })
  }
}
