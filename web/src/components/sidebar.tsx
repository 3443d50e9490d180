import { useEffect, useState } from 'react'
import { conversationPage, loadConversations } from '../conversations.ts'
import { useValue } from '../observable.ts'
import { ConversationList } from './conversation-list.tsx'
import { Icon } from './icon.tsx'
import { Link } from './link.tsx'
import { SearchField } from './search-field.tsx'

interface SidebarProps {
  onNewChat: () => void
  /** A conversation was chosen: a drawer closes then. */
  onChosen: () => void
}

const typingPauseMs = 150

export function Sidebar({ onNewChat, onChosen }: SidebarProps) {
  const page = useValue(conversationPage)
  const [search, setSearch] = useState(page.search)

  useEffect(() => {
    if (search.trim() === conversationPage.value.search) return
    const timer = setTimeout(() => void loadConversations(search.trim()), typingPauseMs)
    return () => clearTimeout(timer)
  }, [search])

  return (
    <>
      <div className="sidebar-actions">
        <Link
          to="/"
          className="button new-chat"
          onFollow={() => {
            onNewChat()
            onChosen()
          }}
        >
          <Icon name="plus" />
          New chat
        </Link>
        <SearchField label="Search conversations" placeholder="Search" value={search} onChange={setSearch} />
      </div>
      <nav className="conversations" aria-label="Conversations">
        <ConversationList page={page} onChosen={onChosen} />
      </nav>
    </>
  )
}
