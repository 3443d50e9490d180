import { useEffect, useRef } from 'react'

export const isApple = /Mac|iPhone|iPad/.test(navigator.platform)

export interface Shortcuts {
  palette: () => void
  newChat: () => void
  settings: () => void
  search: () => void
  help: () => void
  stop: () => void
}

export const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))

/** What a key press asks for; null: nothing of ours. */
export function shortcutOf(event: KeyboardEvent): keyof Shortcuts | null {
  const command = isApple ? event.metaKey : event.ctrlKey
  const key = event.key.toLowerCase()
  if (command && event.shiftKey && key === 'o') return 'newChat'
  if (command && event.shiftKey && key === 'f') return 'search'
  if (command && !event.shiftKey && key === 'k') return 'palette'
  if (command && !event.shiftKey && key === ',') return 'settings'
  if (command && key === '/') return 'help'
  if (key === '?' && !isTyping(event.target)) return 'help'
  if (key === 'escape' && !event.defaultPrevented && !document.querySelector('dialog[open]')) return 'stop'
  return null
}

/** What is left out is the browser's. */
export function useShortcuts(shortcuts: Partial<Shortcuts>): void {
  const latest = useRef(shortcuts)
  useEffect(() => {
    latest.current = shortcuts
  })
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.isComposing) return
      const shortcut = shortcutOf(event)
      const run = shortcut && latest.current[shortcut]
      if (!run) return
      if (shortcut !== 'stop') event.preventDefault()
      run()
    }
    addEventListener('keydown', onKeyDown)
    return () => removeEventListener('keydown', onKeyDown)
  }, [])
}
