import { useEffect, useRef, useState } from 'react'
import { entersLines } from '../pointer.ts'

interface MessageEditorProps {
  content: string
  label: string
  onSend: (content: string) => void
  onCancel: () => void
}

export function MessageEditor({ content, label, onSend, onCancel }: MessageEditorProps) {
  const [text, setText] = useState(content)
  const field = useRef<HTMLTextAreaElement>(null)

  useEffect(() => {
    const element = field.current
    element?.focus()
    element?.setSelectionRange(element.value.length, element.value.length)
  }, [])

  const empty = text.trim() === ''
  return (
    <form
      className="editor"
      onSubmit={(event) => {
        event.preventDefault()
        if (!empty) onSend(text)
      }}
    >
      <textarea
        ref={field}
        className="input grows"
        aria-label={label}
        value={text}
        enterKeyHint={entersLines() ? 'enter' : 'send'}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return
          if (event.key === 'Escape') {
            event.preventDefault()
            onCancel()
          } else if (event.key === 'Enter' && !event.shiftKey && !entersLines()) {
            event.preventDefault()
            event.currentTarget.form?.requestSubmit()
          }
        }}
      />
      <div className="editor-buttons">
        <button type="button" className="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" className="button button-primary" disabled={empty}>
          Send
        </button>
      </div>
    </form>
  )
}
