import { type ConversationPage, loadConversations } from '../conversations.ts'
import { groupByDay } from '../days.ts'
import { useValue } from '../observable.ts'
import { route } from '../router.ts'
import { ConversationItem } from './conversation-item.tsx'

export function ConversationList({ page, onChosen }: { page: ConversationPage; onChosen: () => void }) {
  const here = useValue(route)
  const shownId = here.page === 'chat' ? here.conversationId : null
  const { search, conversations, state } = page

  return (
    <>
      {groupByDay(conversations, new Date(), 'en').map(({ day, items }) => (
        <section key={day}>
          <h2 className="day">{day}</h2>
          <ul>
            {items.map((conversation) => (
              <ConversationItem
                key={conversation.id}
                conversation={conversation}
                current={conversation.id === shownId}
                onChosen={onChosen}
              />
            ))}
          </ul>
        </section>
      ))}
      {state === 'failed' && (
        <div className="list-note" role="alert">
          <p>{page.message}</p>
          <button type="button" className="button" onClick={() => void loadConversations(search)}>
            Try again
          </button>
        </div>
      )}
      {state === 'ready' && conversations.length === 0 && (
        <p className="list-note">{search ? `Nothing found for “${search}”.` : 'Conversations are kept here.'}</p>
      )}
      {state === 'ready' && page.nextCursor !== null && (
        <button type="button" className="button list-more" onClick={() => void loadConversations(search, true)}>
          Show older
        </button>
      )}
      {/* Tells a screen reader how a search went. */}
      <p className="visually-hidden" role="status">
        {search && state === 'ready' ? `${conversations.length} found` : ''}
      </p>
    </>
  )
}
