import { useEffect, useRef, useState } from 'react'
import type { ConversationSummary } from '../../../src/server/wire.ts'
import { noteConversation } from '../chat.ts'
import { removeConversation, renameConversation } from '../conversations.ts'
import { conversationPath } from '../router.ts'
import { IconButton } from './icon-button.tsx'
import { Link } from './link.tsx'

interface ConversationItemProps {
  conversation: ConversationSummary
  current: boolean
  onChosen: () => void
}

export function ConversationItem({ conversation, current, onChosen }: ConversationItemProps) {
  const [renaming, setRenaming] = useState(false)
  const link = useRef<HTMLLIElement>(null)
  const title = conversation.title || 'New chat'

  const rename = async (next: string | null) => {
    setRenaming(false)
    const name = next?.trim()
    if (!name || name === conversation.title) return
    const renamed = await renameConversation(conversation, name)
    if (renamed) noteConversation(renamed)
  }

  if (renaming) {
    return (
      <li className="conversation">
        <TitleField
          title={conversation.title}
          onDone={(next) => {
            void rename(next)
            requestAnimationFrame(() => link.current?.querySelector('a')?.focus())
          }}
        />
      </li>
    )
  }
  return (
    <li className="conversation" ref={link}>
      <Link
        to={conversationPath(conversation.id)}
        className="conversation-link"
        aria-current={current ? 'page' : undefined}
        onFollow={onChosen}
      >
        <span className="conversation-title">{title}</span>
        {conversation.snippet && <span className="conversation-snippet">{conversation.snippet}</span>}
      </Link>
      <span className="conversation-tools">
        <IconButton icon="edit" label={`Rename ${title}`} onClick={() => setRenaming(true)} />
        <IconButton icon="trash" label={`Delete ${title}`} onClick={() => removeConversation(conversation)} />
      </span>
    </li>
  )
}

/** Enter and leaving the field keep the new title, Escape does not. */
function TitleField({ title, onDone }: { title: string; onDone: (next: string | null) => void }) {
  const field = useRef<HTMLInputElement>(null)
  const done = useRef(false)
  const finish = (next: string | null) => {
    if (done.current) return
    done.current = true
    onDone(next)
  }
  useEffect(() => field.current?.select(), [])
  return (
    <input
      ref={field}
      className="input"
      aria-label="Title"
      defaultValue={title}
      maxLength={200}
      onBlur={(event) => finish(event.currentTarget.value)}
      onKeyDown={(event) => {
        if (event.nativeEvent.isComposing) return
        if (event.key === 'Enter') finish(event.currentTarget.value)
        if (event.key === 'Escape') {
          event.preventDefault()
          event.stopPropagation()
          finish(null)
        }
      }}
    />
  )
}
