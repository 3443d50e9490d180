import { useState } from 'react'
import { loadConversations } from '../conversations.ts'
import { unlock } from '../served.ts'

/** The server was started with a key. */
export function Unlock() {
  const [tried, setTried] = useState(false)
  return (
    <form
      className="centre-note"
      onSubmit={async (event) => {
        event.preventDefault()
        await unlock(String(new FormData(event.currentTarget).get('key') ?? ''))
        await loadConversations('')
        setTried(true)
      }}
    >
      <label className="field-label" htmlFor="key">
        This server wants its API key
      </label>
      <input
        id="key"
        name="key"
        className="input"
        type="password"
        autoComplete="current-password"
        required
        aria-invalid={tried}
        aria-describedby="key-note"
      />
      <p id="key-note" className={tried ? 'field-error' : 'field-hint'} role={tried ? 'alert' : undefined}>
        {tried ? 'The server does not take this key.' : 'It is kept in this browser only.'}
      </p>
      <button type="submit" className="button button-primary">
        Open
      </button>
    </form>
  )
}
