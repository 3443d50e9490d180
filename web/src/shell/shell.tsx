import { QueryClientProvider } from '@tanstack/react-query'
import { Outlet } from '@tanstack/react-router'
import { type ComponentType, lazy, Suspense, useEffect } from 'react'
import { flushSync } from 'react-dom'
import { AnnouncerView } from '../components/announcer-view.tsx'
import { ShortcutHelp } from '../components/shortcut-help.tsx'
import { ToastView } from '../components/toast-view.tsx'
import { reached } from '../connection.ts'
import { useShortcuts } from '../keyboard.ts'
import { useValue } from '../observable.ts'
import { queries } from '../queries.ts'
import { navigate } from '../router.ts'
import { loadServed, served } from '../served.ts'
import { showToast } from '../toast.ts'
import { closeOverlay, overlay, pageCommands, searchField } from './commands.ts'
import { Rail } from './rail.tsx'

const loadPalette = () => import('./palette.tsx')
const Palette = lazy<ComponentType<{ onClose: () => void }>>(() => loadPalette().catch(() => ({ default: NoPalette })))

/** Where its code could not be had. */
function NoPalette({ onClose }: { onClose: () => void }) {
  useEffect(() => {
    onClose()
    showToast({ message: 'The search did not load; load the page again when the server answers.' })
  }, [onClose])
  return null
}

/** How long to wait between looking whether the server is back. */
const retryMs = 2000

/** What is around every page: the rail, the palette, what is said to screen readers. */
export function Shell() {
  const over = useValue(overlay)

  useShortcuts({
    palette: () => {
      overlay.value = over === 'palette' ? null : 'palette'
    },
    help: () => {
      overlay.value = 'help'
    },
    newChat: () => {
      const { newChat } = pageCommands.value
      if (newChat) newChat()
      else navigate('/')
    },
    settings: () => pageCommands.value.settings?.(),
    search: () => {
      flushSync(() => pageCommands.value.search?.())
      searchField.value?.focus()
    },
    stop: () => pageCommands.value.stop?.(),
  })

  const answers = useValue(reached)
  useEffect(() => {
    if (answers) return
    const timer = setInterval(() => void loadServed(), retryMs)
    return () => clearInterval(timer)
  }, [answers])

  // With a key, or a server that is back, what could not be had is asked for again.
  const isOpen = useValue(served).state === 'ready'
  useEffect(() => {
    if (isOpen && answers) void queries.invalidateQueries()
  }, [isOpen, answers])

  // So that the first Ctrl K opens at once.
  useEffect(() => {
    const timer = setTimeout(() => void loadPalette().catch(() => undefined), 1500)
    return () => clearTimeout(timer)
  }, [])

  return (
    <QueryClientProvider client={queries}>
      <div className="app">
        <Rail />
        <Outlet />
        {over === 'palette' && (
          <Suspense>
            <Palette onClose={closeOverlay} />
          </Suspense>
        )}
        {over === 'help' && <ShortcutHelp onClose={closeOverlay} />}
        {over === null && <ToastView />}
        <AnnouncerView />
      </div>
    </QueryClientProvider>
  )
}
