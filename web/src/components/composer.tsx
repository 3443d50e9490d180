import { type RefObject, useState } from 'react'
import { entersLines } from '../pointer.ts'
import { IconButton } from './icon-button.tsx'

interface ComposerProps {
  field: RefObject<HTMLTextAreaElement | null>
  text: string
  onText: (text: string) => void
  placeholder: string
  busy: boolean
  onSend: (text: string) => Promise<void>
  onStop: () => void
}

export function Composer({ field, text, onText, placeholder, busy, onSend, onStop }: ComposerProps) {
  const [sending, setSending] = useState(false)
  const ready = text.trim() !== '' && !busy && !sending

  const submit = async () => {
    if (!ready) return
    setSending(true)
    try {
      await onSend(text)
    } finally {
      setSending(false)
    }
  }

  return (
    <form
      className="composer"
      aria-label="Message"
      onSubmit={(event) => {
        event.preventDefault()
        void submit()
      }}
    >
      <textarea
        ref={field}
        className="grows"
        rows={1}
        aria-label={placeholder}
        placeholder={placeholder}
        value={text}
        enterKeyHint={entersLines() ? 'enter' : 'send'}
        onChange={(event) => onText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing || entersLines()) return
          event.preventDefault()
          void submit()
        }}
      />
      {busy ? (
        <IconButton className="composer-button" icon="stop" label="Stop (Esc)" onClick={onStop} />
      ) : (
        <IconButton className="composer-button" icon="send" label="Send" type="submit" disabled={!ready} />
      )}
    </form>
  )
}
