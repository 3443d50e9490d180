import type { Message } from '../../../src/server/wire.ts'
import { describeSpeed, speedOf } from '../speed.ts'
import type { Timing } from '../thread.ts'
import { BranchSwitch } from './branch-switch.tsx'
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
  const speed = speedOf(message, timing)
  const rating = message.feedback?.rating
  return (
    <div className="message-tools">
      {!live && <BranchSwitch message={message} versions={versions} onSwitch={actions.switchTo} disabled={busy} />}
      {!live && children}
      {!live && message.finishReason !== 'error' && (
        <IconButton icon="again" label="Regenerate" disabled={busy} onClick={() => actions.regenerate(message)} />
      )}
      {!live && message.content !== '' && (
        <>
          <CopyButton label="Copy answer" read={() => text} />
          <IconButton
            icon="up"
            label="Good answer"
            aria-pressed={rating === 'up'}
            onClick={() => actions.rate(message, 'up')}
          />
          <IconButton
            icon="down"
            label="Bad answer"
            aria-pressed={rating === 'down'}
            onClick={() => actions.rate(message, 'down')}
          />
        </>
      )}
      <p className="figures">
        {note && <span className="figures-note">{note}</span>}
        {speed && <span className="speed">{describeSpeed(speed)}</span>}
      </p>
    </div>
  )
}
