import { useState } from 'react'
import { ComparedAnswerText } from './compared-answer.tsx'
import { AfterVote, Prompt, type RoundProps, useKeys, VoteComment } from './round.tsx'
import { isWritten } from './use-comparison.ts'

const names = ['First answer', 'Second answer'] as const

const votes = [
  { key: '1', label: 'First is better', groups: [[0], [1]], allBad: false },
  { key: 't', label: 'Tie', groups: [[0, 1]], allBad: false },
  { key: 'b', label: 'Both are bad', groups: [[0, 1]], allBad: true },
  { key: '2', label: 'Second is better', groups: [[1], [0]], allBad: false },
]

/** Two answers beside each other. */
export function PairRound({ comparison, onVote, onNext, onDelete }: RoundProps) {
  const [comment, setComment] = useState('')
  const [isSending, setSending] = useState(false)
  const { answers, vote } = comparison
  const isOpen = isWritten(comparison) && vote === null && !isSending

  const send = async ({ groups, allBad }: (typeof votes)[number]) => {
    setSending(true)
    await onVote({ groups, allBad, comment: comment.trim() })
    setSending(false)
  }
  useKeys(Object.fromEntries(votes.map((one) => [one.key, isOpen ? () => void send(one) : undefined])))

  return (
    <section className="round" aria-label="Two answers">
      <Prompt comparison={comparison} />
      <div className="pair">
        {answers.map((answer, place) => {
          const isBetter = vote?.groups.length === 2 && vote.groups[0][0] === place
          return (
            <article
              key={names[place]}
              className={`card compared ${isBetter ? 'is-better' : ''}`}
              aria-label={names[place]}
              aria-busy={answer.finishReason === null}
            >
              <div className="card-head">
                <h2>{answer.model ?? names[place]}</h2>
                {vote && <span className="chip">{verdict(vote, place)}</span>}
              </div>
              <ComparedAnswerText answer={answer} name={names[place]} />
            </article>
          )
        })}
      </div>
      {vote ? (
        <AfterVote {...{ comparison, onNext, onDelete }} />
      ) : (
        <div className="vote-bar">
          {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms. */}
          <div className="vote-buttons" role="group" aria-label="Which is better?">
            {votes.map((one) => (
              <button
                key={one.key}
                type="button"
                className="button"
                aria-keyshortcuts={one.key}
                disabled={!isOpen}
                onClick={() => void send(one)}
              >
                {one.label} <kbd>{one.key.toUpperCase()}</kbd>
              </button>
            ))}
          </div>
          <VoteComment value={comment} onChange={setComment} />
        </div>
      )}
    </section>
  )
}

function verdict({ groups, allBad }: { groups: readonly (readonly number[])[]; allBad: boolean }, place: number) {
  if (groups.length === 1) return allBad ? 'bad' : 'tie'
  return groups[0].includes(place) ? 'better' : 'worse'
}
