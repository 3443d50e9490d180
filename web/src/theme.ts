import { useSyncExternalStore } from 'react'
import { writeStored } from './storage.ts'
import { useMedia } from './use-media.ts'

export type Theme = 'light' | 'dark'

const listeners = new Set<() => void>()

/** theme.js has set the attribute before the first paint. */
const chosen = (): Theme | null => {
  const { theme } = document.documentElement.dataset
  return theme === 'light' || theme === 'dark' ? theme : null
}

export function useTheme(): { theme: Theme; toggle: () => void } {
  const system: Theme = useMedia('(prefers-color-scheme: dark)') ? 'dark' : 'light'
  const choice = useSyncExternalStore((listener) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }, chosen)
  const theme = choice ?? system
  const toggle = () => {
    const next: Theme = theme === 'dark' ? 'light' : 'dark'
    // Back at what the system says, the page follows the system again.
    if (next === system) delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = next
    writeStored('theme', next === system ? null : next)
    for (const listener of listeners) listener()
  }
  return { theme, toggle }
}
