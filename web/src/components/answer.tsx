import { lazy, memo, Suspense, useDeferredValue, useId } from 'react'
import type { Message } from '../../../src/server/wire.ts'
import type { Speed } from '../speed.ts'
import { AnswerTools } from './answer-tools.tsx'
import { Mark } from './mark.tsx'
import type { ThreadActions } from './thread-actions.ts'

// Most of the page's weight, and not needed to begin.
const Markdown = lazy(() => import('./markdown.tsx'))

interface AnswerProps {
  message: Message
  versions: readonly Message[]
  speed: Speed | null
  actions: ThreadActions
  /** This answer is being written. */
  live: boolean
  /** Some answer is. */
  busy: boolean
}

export const Answer = memo(function Answer({ message, versions, speed, actions, live, busy }: AnswerProps) {
  const heading = useId()
  // Lets typing and scrolling go first while a long answer is laid out again and again.
  const content = useDeferredValue(message.content)
  return (
    <article className={`message message-answer ${live ? 'is-live' : ''}`} aria-labelledby={heading} aria-busy={live}>
      <h2 id={heading} className="visually-hidden">
        {message.model ?? 'The model'} answered
      </h2>
      {content === '' && live ? (
        <p className="waiting">
          <Mark />
          <span className="visually-hidden">Waiting for the first word</span>
        </p>
      ) : (
        <div className="markdown">
          <Suspense fallback={<p className="plain">{content}</p>}>
            <Markdown content={content} />
          </Suspense>
        </div>
      )}
      <AnswerTools {...{ message, versions, speed, actions, live, busy }} text={message.content} />
    </article>
  )
})
