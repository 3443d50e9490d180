import { ArrowDown, ArrowUp, Equal, GripVertical } from 'lucide-react'
import { type DragEvent, useEffect, useRef, useState } from 'react'
import { announce } from '../../announcer.ts'
import { ComparedAnswerText } from './compared-answer.tsx'
import { allEqual, type Groups, isTied, moved, putAt, rankOf, tieToggled } from './ranking-groups.ts'
import { AfterVote, Prompt, type RoundProps, useKeys, VoteComment } from './round.tsx'
import { isWritten } from './use-comparison.ts'

const nameOf = (place: number) => `Answer ${place + 1}`

/** Several answers to be put in order: by dragging, by buttons, or by keys. */
export function RankRound({ comparison, onVote, onNext, onDelete }: RoundProps) {
  const { answers, vote } = comparison
  const [groups, setGroups] = useState<Groups>(() => allEqual(answers.length))
  const [comment, setComment] = useState('')
  const [isSending, setSending] = useState(false)
  const [dragged, setDragged] = useState<number | null>(null)
  const [target, setTarget] = useState<{ place: number; where: 'before' | 'tie' | 'after' } | null>(null)
  const handles = useRef<(HTMLElement | null)[]>([])
  const moving = useRef<number | null>(null)
  const isOpen = isWritten(comparison) && vote === null && !isSending
  const shown = vote?.groups ?? groups

  const change = (next: Groups, place: number) => {
    if (next === groups) return
    setGroups(next)
    moving.current = place
    announce(`${nameOf(place)} is number ${rankOf(next, place)}${isTied(next, place) ? ', tied' : ''}.`)
  }
  // A card that changes its place in the document loses the focus.
  // biome-ignore lint/correctness/useExhaustiveDependencies: each time the order has changed.
  useEffect(() => {
    if (moving.current !== null && document.activeElement === document.body) handles.current[moving.current]?.focus()
    moving.current = null
  }, [groups])

  useKeys(Object.fromEntries(answers.map((_, place) => [`${place + 1}`, () => handles.current[place]?.focus()])))

  const send = async (allBad: boolean) => {
    setSending(true)
    const said = allBad ? allEqual(answers.length) : groups
    await onVote({ groups: said.map((group) => [...group]), allBad, comment: comment.trim() })
    setSending(false)
  }

  const onKey = (event: React.KeyboardEvent, place: number) => {
    const next =
      event.key === 'ArrowUp'
        ? moved(groups, place, -1)
        : event.key === 'ArrowDown'
          ? moved(groups, place, 1)
          : event.key === '=' || event.key.toLowerCase() === 't'
            ? tieToggled(groups, place)
            : null
    if (next === null || !isOpen) return
    event.preventDefault()
    change(next, place)
  }

  const over = (event: DragEvent, place: number) => {
    if (dragged === null || dragged === place) return
    event.preventDefault()
    const { top, height } = event.currentTarget.getBoundingClientRect()
    const share = (event.clientY - top) / height
    setTarget({ place, where: share < 0.3 ? 'before' : share > 0.7 ? 'after' : 'tie' })
  }

  return (
    <section className="round" aria-label="Answers to rank">
      <Prompt comparison={comparison} />
      {vote === null && (
        <p className="fine-print">
          The best goes to the top. Drag an answer, or press its number and then the arrow keys; <kbd>T</kbd> ties it
          with those above.
        </p>
      )}
      <ol className="ranking">
        {shown.flatMap((group) =>
          group.map((place) => {
            const answer = answers[place]
            const name = nameOf(place)
            const rank = rankOf(shown, place)
            const mark = target?.place === place ? `drop-${target.where}` : ''
            return (
              <li
                key={place}
                className={`card compared ${mark} ${dragged === place ? 'is-dragged' : ''}`}
                aria-label={name}
                aria-busy={answer.finishReason === null}
                onDragOver={(event) => over(event, place)}
                onDragLeave={() => setTarget(null)}
                onDrop={(event) => {
                  event.preventDefault()
                  if (dragged !== null && target) change(putAt(groups, dragged, target.where, target.place), dragged)
                  setTarget(null)
                }}
              >
                <div className="card-head">
                  <h2>
                    <span className="rank">{rank}</span>
                    {answer.model === null ? name : `${answer.model}, ${name.toLowerCase()}`}
                    {isTied(shown, place) && <span className="chip">tied</span>}
                  </h2>
                  {vote === null && (
                    <span className="rank-tools">
                      <button
                        ref={(element) => {
                          handles.current[place] = element
                        }}
                        type="button"
                        className="icon-button rank-handle"
                        draggable={isOpen}
                        aria-label={`${name}, number ${rank}: arrow keys move it, T ties it`}
                        title="Drag, or use the arrow keys"
                        aria-keyshortcuts={`${place + 1}`}
                        onKeyDown={(event) => onKey(event, place)}
                        onDragStart={(event) => {
                          event.dataTransfer.effectAllowed = 'move'
                          event.dataTransfer.setData('text/plain', name)
                          setDragged(place)
                        }}
                        onDragEnd={() => {
                          setDragged(null)
                          setTarget(null)
                        }}
                      >
                        <GripVertical className="icon" aria-hidden="true" />
                      </button>
                      {(
                        [
                          ['better', ArrowUp, moved(groups, place, -1)],
                          ['worse', ArrowDown, moved(groups, place, 1)],
                          [isTied(groups, place) ? 'untie' : 'tie with those above', Equal, tieToggled(groups, place)],
                        ] as const
                      ).map(([what, ButtonIcon, next]) => (
                        <button
                          key={what}
                          type="button"
                          className="icon-button"
                          aria-label={`${name}: ${what}`}
                          title={what}
                          disabled={!isOpen || next === groups}
                          onClick={() => change(next, place)}
                        >
                          <ButtonIcon className="icon" aria-hidden="true" />
                        </button>
                      ))}
                    </span>
                  )}
                </div>
                {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms. */}
                {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long answers scroll, so the keyboard must reach them. */}
                <div className="ranked-text" role="group" tabIndex={0} aria-label={`Text of ${name.toLowerCase()}`}>
                  <ComparedAnswerText answer={answer} name={name} />
                </div>
              </li>
            )
          }),
        )}
      </ol>
      {vote ? (
        <AfterVote {...{ comparison, onNext, onDelete }} />
      ) : (
        <div className="vote-bar">
          <div className="vote-buttons">
            <button type="button" className="button button-primary" disabled={!isOpen} onClick={() => void send(false)}>
              {groups.length === 1 ? 'All are as good' : 'Keep this order'}
            </button>
            <button type="button" className="button" disabled={!isOpen} onClick={() => void send(true)}>
              All are bad
            </button>
          </div>
          <VoteComment value={comment} onChange={setComment} />
        </div>
      )}
    </section>
  )
}
