import { createBrowserHistory, type RouterHistory } from '@tanstack/react-router'
import { Observable } from './observable.ts'

/**
 * Where the page is. The router (routes.tsx) draws a page when it is loaded, a moment after; what has to know at once,
 * such as the draft that the next letter belongs to, reads `route`.
 */
export type Route = { page: 'chat'; conversationId: string | null } | { page: 'other'; path: string }

export function parseRoute(path: string): Route {
  if (path === '/') return { page: 'chat', conversationId: null }
  const conversation = /^\/c\/([0-9a-f-]{36})\/?$/i.exec(path)
  if (conversation) return { page: 'chat', conversationId: conversation[1].toLowerCase() }
  return { page: 'other', path }
}

export const conversationPath = (id: string | null): string => (id === null ? '/' : `/c/${id}`)

export const route = new Observable<Route>({ page: 'chat', conversationId: null })

/** Where the chat was left. */
export const chatPath = new Observable('/')

let history: RouterHistory | undefined

/** The browser's history, from the first call on followed by `route`. */
export function pageHistory(): RouterHistory {
  if (history) return history
  const started = createBrowserHistory()
  history = started
  const read = () => {
    const next = parseRoute(started.location.pathname)
    route.value = next
    if (next.page === 'chat') chatPath.value = conversationPath(next.conversationId)
  }
  started.subscribe(read)
  read()
  return started
}

/** `path` may have a query. */
export function navigate(path: string, how: 'push' | 'replace' = 'push'): void {
  const history = pageHistory()
  if (path === history.location.href) return
  history[how](path)
}
