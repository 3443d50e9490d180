import { Toggle } from '@base-ui/react/toggle'
import { ToggleGroup } from '@base-ui/react/toggle-group'
import { useQuery } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { useEffect, useId, useRef, useState } from 'react'
import type { Contender, Vote } from '../../../../src/server/wire.ts'
import { announce } from '../../announcer.ts'
import { deleteComparison, getStandings, messageOf, postComparison, putVote, stopComparison } from '../../client.ts'
import { Composer } from '../../components/composer.tsx'
import { Failure } from '../../components/failure.tsx'
import { useValue } from '../../observable.ts'
import { queries } from '../../queries.ts'
import { served } from '../../served.ts'
import { pageCommands } from '../../shell/commands.ts'
import { PageFrame } from '../../shell/page-frame.tsx'
import { QueryState } from '../../shell/query-state.tsx'
import { readDrafts, writeDrafts } from '../../storage.ts'
import { showToast } from '../../toast.ts'
import { choices, choose, ownVoter } from './choices.ts'
import { ContenderChoice } from './contender-choice.tsx'
import { PairRound } from './pair-round.tsx'
import { RankRound } from './rank-round.tsx'
import { StandingsTables } from './standings-tables.tsx'
import { Teach } from './teach.tsx'
import { isWritten, useComparison } from './use-comparison.ts'

const here = getRouteApi('/arena')

/** Of what is typed and not sent. */
const draftKey = 'arena'

/** Answers beside each other, without names until somebody has said which is better. */
export function ArenaPage() {
  const { c: id, mode } = here.useSearch()
  const go = here.useNavigate()
  const field = useRef<HTMLTextAreaElement>(null)
  const [question, setQuestion] = useState(() => readDrafts()[draftKey] ?? '')
  const [failed, setFailed] = useState<string | null>(null)
  const { comparison, failure, put } = useComparison(id)
  const standings = useQuery({ queryKey: ['standings'], queryFn: getStandings })
  const isRanking = mode === 'rank'
  const isBusy = comparison !== null && !isWritten(comparison)

  useEffect(() => writeDrafts({ ...readDrafts(), [draftKey]: question }), [question])

  useEffect(() => {
    pageCommands.value = {
      stop: () => {
        if (id !== undefined && isBusy) stopComparison(id).catch(() => {})
      },
    }
  }, [id, isBusy])
  useEffect(
    () => () => {
      pageCommands.value = {}
    },
    [],
  )

  const ask = async (text: string) => {
    setFailed(null)
    const { pair, ranked, answers, systemPrompt } = choices.value
    const system = systemPrompt.trim() === '' ? [] : [{ role: 'system' as const, content: systemPrompt }]
    const contenders: Contender[] = isRanking ? [ranked] : [...pair]
    try {
      const begun = await postComparison({
        messages: [...system, { role: 'user', content: text }],
        contenders,
        answers: isRanking ? answers : 2,
      })
      put(begun)
      setQuestion('')
      announce('Writing the answers.')
      await go({ search: { c: begun.id, mode } })
    } catch (error) {
      setFailed(messageOf(error))
    }
  }

  const vote = async (given: Omit<Vote, 'voter'>) => {
    if (!comparison) return
    try {
      const voted = await putVote(comparison.id, { ...given, voter: ownVoter() })
      put(voted)
      announce(`Kept. ${voted.answers.map(({ model }, place) => `Answer ${place + 1} is by ${model}`).join(', ')}.`)
      void queries.invalidateQueries({ queryKey: ['standings'] })
    } catch (error) {
      showToast({ message: `The vote was not kept: ${messageOf(error)}` })
    }
  }

  const next = () => {
    void go({ search: { mode } })
    setFailed(null)
    field.current?.focus()
  }

  const remove = async () => {
    if (!comparison) return
    try {
      await deleteComparison(comparison.id)
      void queries.invalidateQueries({ queryKey: ['standings'] })
      next()
    } catch (error) {
      showToast({ message: `Not deleted: ${messageOf(error)}` })
    }
  }

  const round = comparison && { comparison, onVote: vote, onNext: next, onDelete: remove }
  // As many answers as there are, whatever is chosen for the next question.
  const isPair = comparison?.answers.length === 2 && !isRanking
  return (
    <PageFrame title="Arena">
      <p className="lede">
        Ask, and say which answer is better. Who wrote it is shown after that. What you say is kept in your database:
        reward models learn from it.
      </p>
      <ToggleGroup
        className="toggles arena-modes"
        aria-label="What to do"
        value={[mode ?? 'pair']}
        onValueChange={([chosen]) =>
          chosen && void go({ search: chosen === 'rank' ? { mode: 'rank' } : {}, replace: true })
        }
      >
        <Toggle className="toggle" value="pair">
          Compare two answers
        </Toggle>
        <Toggle className="toggle" value="rank">
          Rank several
        </Toggle>
      </ToggleGroup>
      <Contenders isRanking={isRanking} />
      <div className="arena-question">
        <Composer
          field={field}
          text={question}
          onText={setQuestion}
          images={[]}
          onImages={() => {}}
          canSee={false}
          placeholder={isRanking ? 'Ask for several answers' : 'Ask both'}
          busy={isBusy}
          onSend={ask}
          onStop={() => id !== undefined && void stopComparison(id).catch(() => {})}
        />
        {failed !== null && (
          <div role="alert">
            <Failure message={failed} onRetry={() => void ask(question)} />
          </div>
        )}
      </div>
      {failure !== null && (
        <div role="alert">
          <Failure message={failure} onRetry={next} action="Ask something else" />
        </div>
      )}
      {round && (isPair ? <PairRound key={id} {...round} /> : <RankRound key={id} {...round} />)}
      <QueryState query={standings}>
        {(data) => (
          <>
            <StandingsTables standings={data} />
            <Teach
              standings={data}
              onCompare={() => {
                void go({ search: {} })
                field.current?.focus()
              }}
            />
          </>
        )}
      </QueryState>
    </PageFrame>
  )
}

/** Who is to answer the next question. */
function Contenders({ isRanking }: { isRanking: boolean }) {
  const now = useValue(served)
  const { pair, ranked, answers, systemPrompt } = useValue(choices)
  const count = useId()
  const system = useId()
  const models = now.state === 'ready' ? now.models.filter(({ canWrite }) => canWrite) : []
  return (
    <fieldset className="contenders">
      <legend className="visually-hidden">Who answers</legend>
      {isRanking ? (
        <>
          <ContenderChoice
            name="Model"
            models={models}
            value={ranked}
            onChange={(change) => choose({ ranked: change(choices.value.ranked) })}
          />
          <div className="contender">
            <label htmlFor={count}>Answers</label>
            <input
              id={count}
              className="input arena-count"
              type="number"
              min={3}
              max={9}
              value={answers}
              onChange={({ target }) => {
                const wanted = Math.round(Number(target.value))
                if (wanted >= 3 && wanted <= 9) choose({ answers: wanted })
              }}
            />
          </div>
        </>
      ) : (
        <>
          <ContenderChoice
            name="One model"
            models={models}
            value={pair[0]}
            onChange={(change) => choose({ pair: [change(choices.value.pair[0]), choices.value.pair[1]] })}
          />
          <ContenderChoice
            name="The other model"
            models={models}
            value={pair[1]}
            onChange={(change) => choose({ pair: [choices.value.pair[0], change(choices.value.pair[1])] })}
          />
        </>
      )}
      <details className="contender">
        <summary>{systemPrompt.trim() === '' ? 'No system prompt' : 'With a system prompt'}</summary>
        <label className="visually-hidden" htmlFor={system}>
          System prompt
        </label>
        <textarea
          id={system}
          className="input"
          rows={3}
          maxLength={32_000}
          placeholder="How the models should behave"
          value={systemPrompt}
          onChange={(event) => choose({ systemPrompt: event.target.value })}
        />
      </details>
    </fieldset>
  )
}
