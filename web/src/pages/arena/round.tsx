import { useEffect, useRef, useState } from 'react'
import type { Comparison, Vote } from '../../../../src/server/wire.ts'
import { isTyping } from '../../keyboard.ts'

export interface RoundProps {
  comparison: Comparison
  onVote: (vote: Omit<Vote, 'voter'>) => Promise<void>
  onNext: () => void
  onDelete: () => void
}

/** What keys do while nobody types; letters as `event.key` has them, lower case. */
export function useKeys(keys: Readonly<Record<string, (() => void) | undefined>>): void {
  const latest = useRef(keys)
  useEffect(() => {
    latest.current = keys
  })
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return
      if (isTyping(event.target) || document.querySelector('dialog[open]')) return
      const act = latest.current[event.key.toLowerCase()]
      if (!act) return
      event.preventDefault()
      act()
    }
    addEventListener('keydown', onKeyDown)
    return () => removeEventListener('keydown', onKeyDown)
  }, [])
}

/** The question above its answers. */
export function Prompt({ comparison: { messages } }: Pick<RoundProps, 'comparison'>) {
  return (
    <div className="arena-prompt">
      {messages.map(({ role, content }, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they do not change.
        <p key={i} className={`arena-${role}`}>
          {role !== 'user' && <span className="arena-role">{role === 'system' ? 'System prompt: ' : 'Answer: '}</span>}
          {content}
        </p>
      ))}
    </div>
  )
}

/** What may be said beside the vote. */
export function VoteComment({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [isOpen, setOpen] = useState(value !== '')
  if (!isOpen) {
    return (
      <button type="button" className="button" onClick={() => setOpen(true)}>
        Add a comment
      </button>
    )
  }
  return (
    <input
      className="input arena-comment"
      aria-label="Comment"
      placeholder="Why? It is kept with the vote."
      maxLength={4_000}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    />
  )
}

/** After the vote: on to the next one. */
export function AfterVote({ comparison, onNext, onDelete }: Omit<RoundProps, 'onVote'>) {
  const button = useRef<HTMLButtonElement>(null)
  useKeys({ n: onNext })
  // The buttons that were pressed are gone.
  useEffect(() => {
    if (document.activeElement === document.body) button.current?.focus()
  }, [])
  const comment = comparison.vote?.comment
  return (
    <div className="vote-bar">
      {comment && <p className="fine-print">Your comment: {comment}</p>}
      <button ref={button} type="button" className="button button-primary" aria-keyshortcuts="n" onClick={onNext}>
        Next question <kbd>N</kbd>
      </button>
      <button type="button" className="button" onClick={onDelete}>
        Delete this comparison
      </button>
    </div>
  )
}
