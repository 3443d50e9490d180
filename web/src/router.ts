import { Observable } from './observable.ts'

/** Every page has one line here; a new page adds its own, and a case in app.tsx. */
export type Route = { page: 'chat'; conversationId: string | null } | { page: 'missing'; path: string }

export function parseRoute(path: string): Route {
  if (path === '/') return { page: 'chat', conversationId: null }
  const conversation = /^\/c\/([0-9a-f-]{36})\/?$/i.exec(path)
  if (conversation) return { page: 'chat', conversationId: conversation[1].toLowerCase() }
  return { page: 'missing', path }
}

export const conversationPath = (id: string | null): string => (id === null ? '/' : `/c/${id}`)

export const route = new Observable<Route>({ page: 'chat', conversationId: null })

const readLocation = () => {
  route.value = parseRoute(location.pathname)
}

export function startRouter(): void {
  addEventListener('popstate', readLocation)
  readLocation()
}

export function navigate(path: string, how: 'push' | 'replace' = 'push'): void {
  if (path === location.pathname) return
  if (how === 'push') history.pushState(null, '', path)
  else history.replaceState(null, '', path)
  readLocation()
}
