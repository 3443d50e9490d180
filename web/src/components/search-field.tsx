import { useEffect, useRef } from 'react'
import { isApple } from '../keyboard.ts'
import { searchField } from '../shell/commands.ts'
import { Icon } from './icon.tsx'

interface SearchFieldProps {
  label: string
  placeholder: string
  value: string
  onChange: (value: string) => void
}

/** Finds among what the page lists. Its shortcut comes to it; Escape empties it, and then leaves it. */
export function SearchField({ label, placeholder, value, onChange }: SearchFieldProps) {
  const field = useRef<HTMLInputElement>(null)
  useEffect(() => {
    const { current } = field
    searchField.value = current
    return () => {
      if (searchField.value === current) searchField.value = null
    }
  }, [])
  return (
    <search className="search">
      <Icon name="search" />
      <input
        ref={field}
        className="input"
        type="search"
        aria-label={label}
        aria-keyshortcuts={isApple ? 'Meta+Shift+F' : 'Control+Shift+F'}
        placeholder={placeholder}
        value={value}
        maxLength={200}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Escape') return
          event.preventDefault()
          if (value) onChange('')
          else event.currentTarget.blur()
        }}
      />
    </search>
  )
}
