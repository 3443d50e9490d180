import type { Conversation, ConversationSummary } from '../../src/server/wire.ts'
import { deleteConversation, listConversations, messageOf, updateConversation } from './client.ts'
import { Observable } from './observable.ts'
import { navigate, route } from './router.ts'
import { showToast } from './toast.ts'

export interface ConversationPage {
  search: string
  conversations: readonly ConversationSummary[]
  nextCursor: string | null
  state: 'loading' | 'ready' | 'failed'
  message?: string
}

/** The sidebar's list. */
export const conversationPage = new Observable<ConversationPage>({
  search: '',
  conversations: [],
  nextCursor: null,
  state: 'loading',
})

/** Deleted here, still undoable, not yet deleted on the server. */
const leaving = new Set<string>()
let loading = new AbortController()

/** The first page for `search`, or with `more` the next one. */
export async function loadConversations(search: string, more = false): Promise<void> {
  loading.abort()
  loading = new AbortController()
  const { signal } = loading
  const before = conversationPage.value
  conversationPage.value = { ...before, search, state: 'loading' }
  try {
    const cursor = more ? (before.nextCursor ?? undefined) : undefined
    const page = await listConversations({ search: search || undefined, cursor, limit: 50 }, signal)
    const found = page.conversations.filter(({ id }) => !leaving.has(id))
    const kept = more ? before.conversations : []
    const conversations = [...kept, ...found.filter(({ id }) => !kept.some((other) => other.id === id))]
    conversationPage.value = { search, conversations, nextCursor: page.nextCursor, state: 'ready' }
  } catch (error) {
    if (signal.aborted) return
    conversationPage.value = { ...conversationPage.value, state: 'failed', message: messageOf(error) }
  }
}

/** Puts a new or changed conversation where it belongs, without asking the server. */
export function upsertConversation(conversation: Conversation): void {
  const page = conversationPage.value
  const known = page.conversations.find(({ id }) => id === conversation.id)
  // Under a search, what is not in the results stays out of them.
  if (!known && page.search) return
  place({ ...conversation, snippet: known?.snippet ?? null })
}

function place(summary: ConversationSummary): void {
  const page = conversationPage.value
  const others = page.conversations.filter(({ id }) => id !== summary.id)
  const conversations = [...others, summary].sort((a, b) => b.updatedAt.localeCompare(a.updatedAt))
  conversationPage.value = { ...page, conversations }
}

export async function renameConversation(conversation: Conversation, title: string): Promise<Conversation | null> {
  upsertConversation({ ...conversation, title })
  try {
    const renamed = await updateConversation(conversation.id, { title })
    upsertConversation(renamed)
    return renamed
  } catch (error) {
    upsertConversation(conversation)
    showToast({ message: `Not renamed: ${messageOf(error)}` })
    return null
  }
}

/** Gone from the list at once; deleted on the server when it can no longer be undone. */
export function removeConversation(conversation: ConversationSummary): void {
  const { id } = conversation
  const page = conversationPage.value
  leaving.add(id)
  conversationPage.value = { ...page, conversations: page.conversations.filter((other) => other.id !== id) }
  const shown = route.value.page === 'chat' && route.value.conversationId === id
  if (shown) navigate('/')

  const putBack = () => {
    leaving.delete(id)
    place(conversation)
  }
  const undo = () => {
    removeEventListener('pagehide', onPageHide)
    putBack()
    if (shown) navigate(`/c/${id}`)
  }
  const commit = (keepalive: boolean) => {
    removeEventListener('pagehide', onPageHide)
    deleteConversation(id, keepalive)
      .then(() => leaving.delete(id))
      .catch((error) => {
        putBack()
        showToast({ message: `Not deleted: ${messageOf(error)}` })
      })
  }
  const onPageHide = () => commit(true)
  addEventListener('pagehide', onPageHide)
  showToast({ message: 'Conversation deleted.', action: { label: 'Undo', run: undo } }, () => commit(false))
}
