import { useEffect, useId, useRef, useState } from 'react'
import { entersLines } from '../pointer.ts'

interface CommentFormProps {
  comment: string
  onSend: (text: string) => Promise<unknown>
  onClose: () => void
}

/** Under an answer that was found bad: what is wrong with it, as far as the reader cares to say. */
export function CommentForm({ comment, onSend, onClose }: CommentFormProps) {
  const [text, setText] = useState(comment)
  const field = useRef<HTMLTextAreaElement>(null)
  const label = useId()
  useEffect(() => field.current?.focus(), [])
  return (
    <form
      className="editor comment-form"
      onSubmit={(event) => {
        event.preventDefault()
        void onSend(text)
      }}
    >
      <label className="field-label" htmlFor={label}>
        What is wrong with it?
      </label>
      <textarea
        ref={field}
        id={label}
        className="input grows"
        maxLength={4_000}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return
          if (event.key === 'Escape') {
            event.preventDefault()
            onClose()
          } else if (event.key === 'Enter' && !event.shiftKey && !entersLines()) {
            event.preventDefault()
            event.currentTarget.form?.requestSubmit()
          }
        }}
      />
      <div className="editor-buttons">
        <button type="button" className="button" onClick={onClose}>
          Close
        </button>
        <button type="submit" className="button button-primary" disabled={text.trim() === comment}>
          Send comment
        </button>
      </div>
    </form>
  )
}
