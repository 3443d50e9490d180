import { useId, useState } from 'react'
import type { Message } from '../../../src/server/wire.ts'
import { describeSpeed, speedOf } from '../speed.ts'
import type { Timing } from '../thread.ts'
import { AnswerSettings } from './answer-settings.tsx'
import { BranchSwitch } from './branch-switch.tsx'
import { CommentForm } from './comment-form.tsx'
import { CopyButton } from './copy-button.tsx'
import { IconButton } from './icon-button.tsx'
import type { ThreadActions } from './thread-actions.ts'

interface AnswerToolsProps {
  message: Message
  versions: readonly Message[]
  timing: Timing | undefined
  actions: ThreadActions
  live: boolean
  busy: boolean
  /** What copying copies. */
  text: string
  /** More to be said of it. */
  note?: string
  children?: React.ReactNode
}

export function AnswerTools(props: AnswerToolsProps) {
  const { message, versions, timing, actions, live, busy, text, note, children } = props
  const [open, setOpen] = useState<'comment' | 'settings' | null>(null)
  const details = useId()
  const speed = speedOf(message, timing)
  const rating = message.feedback?.rating
  const comment = message.feedback?.comment ?? ''
  const isDown = rating === 'down'
  return (
    <>
      <div className="message-tools">
        {!live && <BranchSwitch message={message} versions={versions} onSwitch={actions.switchTo} disabled={busy} />}
        {!live && children}
        {!live && message.finishReason !== 'error' && (
          <IconButton icon="again" label="Regenerate" disabled={busy} onClick={() => actions.regenerate(message)} />
        )}
        {!live && message.parts.length > 0 && (
          <>
            <CopyButton label="Copy answer" read={() => text} />
            <IconButton
              icon="up"
              label="Good answer"
              aria-pressed={rating === 'up'}
              onClick={() => {
                setOpen(null)
                actions.rate(message, 'up')
              }}
            />
            <IconButton
              icon="down"
              label="Bad answer"
              aria-pressed={isDown}
              onClick={() => {
                setOpen(isDown ? null : 'comment')
                actions.rate(message, 'down')
              }}
            />
          </>
        )}
        {!live && message.settings && (
          <IconButton
            icon="info"
            label="How it was written"
            aria-expanded={open === 'settings'}
            aria-controls={open === 'settings' ? details : undefined}
            onClick={() => setOpen(open === 'settings' ? null : 'settings')}
          />
        )}
        <p className="figures">
          {note && <span className="figures-note">{note}</span>}
          {speed && <span className="speed">{describeSpeed(speed)}</span>}
        </p>
      </div>
      {open === 'settings' && <AnswerSettings id={details} message={message} />}
      {isDown && open === 'comment' && (
        <CommentForm
          comment={comment}
          onSend={async (text) => (await actions.comment(message, text)) && setOpen(null)}
          onClose={() => setOpen(null)}
        />
      )}
      {comment !== '' && open !== 'comment' && (
        <p className="comment">
          <span>Your comment: {comment}</span>
          <button type="button" className="button" onClick={() => setOpen('comment')}>
            Edit
          </button>
        </p>
      )}
    </>
  )
}
