import type { Message } from '../../../src/server/wire.ts'
import { endings } from '../endings.ts'
import type { ThreadActions } from './thread-actions.ts'

interface EndingProps {
  message: Message
  actions: ThreadActions
  busy: boolean
  canContinue: boolean
}

/** Under an answer that did not come to its own end: why, and the way on. */
export function Ending({ message, actions, busy, canContinue }: EndingProps) {
  const ending = message.finishReason && endings[message.finishReason]
  if (!ending) return null
  return (
    <div className="ending">
      <p>{ending}</p>
      {canContinue && message.content !== '' && (
        <button type="button" className="button" disabled={busy} onClick={() => actions.goOn(message)}>
          Continue
        </button>
      )}
    </div>
  )
}
