import { useId, useState } from 'react'
import type { Message } from '../../../src/server/wire.ts'
import type { Timing } from '../thread.ts'
import { AnswerTools } from './answer-tools.tsx'
import { BranchSwitch } from './branch-switch.tsx'
import { Ending } from './ending.tsx'
import { IconButton } from './icon-button.tsx'
import { memoTurn } from './memo-turn.ts'
import { MessageEditor } from './message-editor.tsx'
import type { ThreadActions } from './thread-actions.ts'

interface PassageProps {
  start: Message
  startVersions: readonly Message[]
  /** Null where writing it failed before it began. */
  continuation: Message | null
  versions: readonly Message[]
  timing: Timing | undefined
  actions: ThreadActions
  live: boolean
  busy: boolean
  canContinue: boolean
  /** The model chosen now continues texts too: it can write on from where this one came to its end. */
  canWriteOn: boolean
}

/** A pre-trained model's turn: not a question and an answer, but one text that the model went on with. */
export const Passage = memoTurn(function Passage(props: PassageProps) {
  const { start, startVersions, continuation, versions, timing, actions, live, busy, canContinue, canWriteOn } = props
  const [editing, setEditing] = useState(false)
  const heading = useId()
  const whole = start.content + (continuation?.content ?? '')
  const tools = (
    <>
      <BranchSwitch message={start} versions={startVersions} onSwitch={actions.switchTo} disabled={busy} />
      <IconButton icon="edit" label="Edit the start" disabled={busy} onClick={() => setEditing(true)} />
    </>
  )
  return (
    <article className={`message passage ${live ? 'is-live' : ''}`} aria-labelledby={heading} aria-busy={live}>
      <h2 id={heading} className="visually-hidden">
        Your start, and how {continuation?.model ?? 'the model'} continues it
      </h2>
      {editing ? (
        <MessageEditor
          content={start.content}
          label="Edit the start of the text"
          onCancel={() => setEditing(false)}
          onSend={(content) => {
            setEditing(false)
            actions.edit(start, content)
          }}
        />
      ) : (
        <p className="passage-text">
          <span className="passage-start">{start.content}</span>
          <span className="passage-continuation">{continuation?.content}</span>
        </p>
      )}
      {continuation && !live && (
        <Ending message={continuation} canContinue={canContinue && !canWriteOn} {...{ actions, busy }} />
      )}
      {continuation ? (
        <AnswerTools
          {...{ versions, timing, actions, live, busy }}
          message={continuation}
          text={whole}
          note={continuation.omitted > 0 ? 'Read only the end of the start' : undefined}
        >
          {canWriteOn && (
            <button
              type="button"
              className="button write-on"
              disabled={busy}
              onClick={() => actions.edit(start, whole)}
            >
              Write on
            </button>
          )}
          {tools}
        </AnswerTools>
      ) : (
        <div className="message-tools">{tools}</div>
      )}
    </article>
  )
})
