import { useDeferredValue, useId } from 'react'
import type { Message } from '../../../src/server/wire.ts'
import type { Preview, Timing } from '../thread.ts'
import { AnswerTools } from './answer-tools.tsx'
import { Ending } from './ending.tsx'
import { Mark } from './mark.tsx'
import { memoTurn } from './memo-turn.ts'
import { Picture, PicturePreview } from './picture.tsx'
import { RenderedText } from './rendered-text.tsx'
import type { ThreadActions } from './thread-actions.ts'
import { ToolUse } from './tool-use.tsx'

interface AnswerProps {
  message: Message
  versions: readonly Message[]
  timing: Timing | undefined
  actions: ThreadActions
  /** This answer is being written. */
  live: boolean
  /** Some answer is. */
  busy: boolean
  /** It can be written on, where it did not come to its end. */
  canContinue: boolean
  preview?: Preview
}

export const Answer = memoTurn(function Answer(props: AnswerProps) {
  const { message, versions, timing, actions, live, busy, canContinue, preview } = props
  const heading = useId()
  // Lets typing and scrolling go first while a long answer is laid out again and again.
  const parts = useDeferredValue(message.parts)
  return (
    <article className={`message message-answer ${live ? 'is-live' : ''}`} aria-labelledby={heading} aria-busy={live}>
      <h2 id={heading} className="visually-hidden">
        {message.model ?? 'The model'} answered
      </h2>
      {parts.length === 0 && live && !preview ? (
        <p className="waiting">
          <Mark />
          <span className="visually-hidden">Waiting for the first word</span>
        </p>
      ) : (
        parts.map((part, index) =>
          part.type === 'image' ? (
            <Picture key={part.fileId} part={part} />
          ) : part.type === 'tool' ? (
            // biome-ignore lint/suspicious/noArrayIndexKey: parts only grow, they keep their places.
            <ToolUse key={index} part={part} />
          ) : (
            // biome-ignore lint/suspicious/noArrayIndexKey: parts only grow, they keep their places.
            <RenderedText key={index} content={part.text} live={live && !preview && index === parts.length - 1} />
          ),
        )
      )}
      {preview && <PicturePreview preview={preview} />}
      {!live && <Ending {...{ message, actions, busy, canContinue }} />}
      <AnswerTools {...{ message, versions, timing, actions, live, busy }} text={message.content} />
    </article>
  )
})
