import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  type RouterHistory,
} from '@tanstack/react-router'
import { parseArenaSearch, parseLabSearch, parsePapersSearch, parseRunSearch } from './search-params.ts'
import { NoSuchPage, PageError, PageLoading } from './shell/page-states.tsx'
import { Shell } from './shell/shell.tsx'

/** Every page, each in a file of its own that comes when it is first gone to. */
const root = createRootRoute({ component: Shell, notFoundComponent: NoSuchPage, errorComponent: PageError })

// One component for both addresses: it stays while a conversation gets its own.
const chat = createRoute({
  getParentRoute: () => root,
  id: 'chat',
  component: lazyRouteComponent(() => import('./pages/chat/index.tsx'), 'Chat'),
})
const newChat = createRoute({ getParentRoute: () => chat, path: '/' })
const conversation = createRoute({ getParentRoute: () => chat, path: '/c/$id' })

const lab = createRoute({
  getParentRoute: () => root,
  path: '/lab',
  validateSearch: parseLabSearch,
  component: lazyRouteComponent(() => import('./pages/lab/lab-page.tsx'), 'LabPage'),
})
const run = createRoute({
  getParentRoute: () => root,
  path: '/lab/$run',
  validateSearch: parseRunSearch,
  component: lazyRouteComponent(() => import('./pages/lab/run-page.tsx'), 'RunPage'),
})
const papers = createRoute({
  getParentRoute: () => root,
  path: '/papers',
  validateSearch: parsePapersSearch,
  component: lazyRouteComponent(() => import('./pages/papers/papers-page.tsx'), 'PapersPage'),
})
const paper = createRoute({
  getParentRoute: () => root,
  path: '/papers/$slug',
  component: lazyRouteComponent(() => import('./pages/papers/paper-page.tsx'), 'PaperPage'),
})
const models = createRoute({
  getParentRoute: () => root,
  path: '/models',
  component: lazyRouteComponent(() => import('./pages/models/models-page.tsx'), 'ModelsPage'),
})
const arena = createRoute({
  getParentRoute: () => root,
  path: '/arena',
  validateSearch: parseArenaSearch,
  component: lazyRouteComponent(() => import('./pages/arena/arena-page.tsx'), 'ArenaPage'),
})

const routeTree = root.addChildren([chat.addChildren([newChat, conversation]), lab, run, papers, paper, models, arena])

export const createPageRouter = (history: RouterHistory) =>
  createRouter({
    routeTree,
    history,
    defaultErrorComponent: PageError,
    defaultPendingComponent: PageLoading,
    defaultPendingMs: 300,
    defaultPreloadStaleTime: 0,
  })

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof createPageRouter>
  }
}
