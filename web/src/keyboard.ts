import { useEffect, useRef } from 'react'

export const isApple = /Mac|iPhone|iPad/.test(navigator.platform)

export interface Shortcuts {
  search: () => void
  newChat: () => void
  settings: () => void
  help: () => void
  stop: () => void
}

const isTyping = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))

/** What a key press asks for; null: nothing of ours. */
export function shortcutOf(event: KeyboardEvent): keyof Shortcuts | null {
  const command = isApple ? event.metaKey : event.ctrlKey
  const key = event.key.toLowerCase()
  if (command && event.shiftKey && key === 'o') return 'newChat'
  if (command && !event.shiftKey && key === 'k') return 'search'
  if (command && !event.shiftKey && key === ',') return 'settings'
  if (command && key === '/') return 'help'
  if (key === '?' && !isTyping(event.target)) return 'help'
  if (key === 'escape' && !event.defaultPrevented && !document.querySelector('dialog[open]')) return 'stop'
  return null
}

export function useShortcuts(shortcuts: Shortcuts): void {
  const latest = useRef(shortcuts)
  useEffect(() => {
    latest.current = shortcuts
  })
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.isComposing) return
      const shortcut = shortcutOf(event)
      if (!shortcut) return
      if (shortcut !== 'stop') event.preventDefault()
      latest.current[shortcut]()
    }
    addEventListener('keydown', onKeyDown)
    return () => removeEventListener('keydown', onKeyDown)
  }, [])
}
