import { useId, useState } from 'react'
import type { Message } from '../../../src/server/wire.ts'
import { BranchSwitch } from './branch-switch.tsx'
import { CopyButton } from './copy-button.tsx'
import { IconButton } from './icon-button.tsx'
import { memoTurn } from './memo-turn.ts'
import { MessageEditor } from './message-editor.tsx'
import { Picture } from './picture.tsx'
import type { ThreadActions } from './thread-actions.ts'

interface UserMessageProps {
  message: Message
  versions: readonly Message[]
  actions: ThreadActions
  busy: boolean
}

export const UserMessage = memoTurn(function UserMessage({ message, versions, actions, busy }: UserMessageProps) {
  const [editing, setEditing] = useState(false)
  const heading = useId()
  return (
    <article className="message message-user" aria-labelledby={heading}>
      <h2 id={heading} className="visually-hidden">
        You said
      </h2>
      {editing ? (
        <MessageEditor
          content={message.content}
          label="Edit the message"
          onCancel={() => setEditing(false)}
          onSend={(content) => {
            setEditing(false)
            actions.edit(message, content)
          }}
        />
      ) : (
        <>
          {message.parts.map((part) => part.type === 'image' && <Picture key={part.fileId} part={part} />)}
          {message.content !== '' && <p className="bubble">{message.content}</p>}
          <div className="message-tools">
            <BranchSwitch message={message} versions={versions} onSwitch={actions.switchTo} disabled={busy} />
            <CopyButton label="Copy message" read={() => message.content} />
            <IconButton icon="edit" label="Edit and resend" disabled={busy} onClick={() => setEditing(true)} />
          </div>
        </>
      )}
    </article>
  )
})
