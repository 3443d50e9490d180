import { Fragment, useLayoutEffect, useMemo, useRef } from 'react'
import { textParts } from '../../../src/server/parts.ts'
import type { Message, Reply } from '../../../src/server/wire.ts'
import { comment, goOn, rate, send, switchBranch } from '../chat.ts'
import { useValue } from '../observable.ts'
import { served } from '../served.ts'
import { draftAnswerId, type Failure as Failed, said, type Thread } from '../thread.ts'
import { pathTo, versionsOf } from '../tree.ts'
import { useGradual } from '../use-gradual.ts'
import { useStickToBottom } from '../use-stick-to-bottom.ts'
import { Answer } from './answer.tsx'
import { Failure } from './failure.tsx'
import { IconButton } from './icon-button.tsx'
import { Passage } from './passage.tsx'
import type { ThreadActions } from './thread-actions.ts'
import { UserMessage } from './user-message.tsx'

interface ThreadViewProps {
  thread: Thread
  /** The model chosen now continues texts: a turn that no model has answered yet is shown as one text that goes on. */
  continues: boolean
  /** A question that the server refused goes back to where it was written. */
  onWithdraw: (said: Pick<Reply, 'content' | 'parts'>) => void
}

const none: readonly Message[] = []

/** What a conversation that was opened again says about its last message. */
function storedFailure(last: Message): Failed | null {
  if (last.role === 'user') return { message: 'This was not answered.', retry: { parentId: last.id } }
  const message = last.finishReason && brokenOff[last.finishReason]
  return message ? { message, retry: { parentId: last.parentId } } : null
}

const brokenOff: Partial<Record<NonNullable<Message['finishReason']>, string>> = {
  error: 'The model failed while it wrote this.',
  interrupted: 'The server went away while this was being written.',
}

export function ThreadView({ thread, continues, onWithdraw }: ThreadViewProps) {
  const scroller = useRef<HTMLDivElement>(null)
  const content = useRef<HTMLDivElement>(null)
  const { away, toBottom } = useStickToBottom(scroller, content)
  const id = thread.conversation.id
  const busy = thread.live !== null
  const path = useMemo(() => pathTo(thread.messages, thread.leafId), [thread.messages, thread.leafId])
  const versionsIn = useMemo(() => versionsOf(thread.messages), [thread.messages])
  const firstDrawn = useGradual(path.length, id, scroller)
  const last = path.at(-1)
  const now = useValue(served)
  const writerOf = ({ model }: Message) =>
    now.state === 'ready' && model !== null ? now.models.find(({ id }) => id === model) : undefined
  // An answer is drawn by what wrote it, whatever is chosen since.
  const isContinuation = (answer: Message) => {
    if (answer.model === null) return continues
    if (answer.settings) return answer.settings.continues
    return writerOf(answer)?.canChat === false
  }
  const canContinue = (answer: Message) => {
    const writer = writerOf(answer)
    return writer !== undefined && !writer.singleTurn
  }

  const actions = useMemo<ThreadActions>(
    () => ({
      edit: (message, text) => {
        // Its pictures stay, in their order, before what is said about them.
        const images = message.parts.filter(({ type }) => type === 'image')
        void send(id, { parentId: message.parentId, ...said([...images, ...textParts(text)]) })
      },
      goOn: (answer) => void goOn(answer),
      regenerate: (answer) => void send(id, { parentId: answer.parentId }),
      switchTo: (messageId) => switchBranch(id, messageId),
      rate: (answer, rating) => void rate(answer, rating),
      comment,
    }),
    [id],
  )

  // Whoever sends something wants to see it, and whoever opens a conversation its end.
  // biome-ignore lint/correctness/useExhaustiveDependencies: each time another one opens.
  useLayoutEffect(toBottom, [id])
  useLayoutEffect(() => {
    if (busy) toBottom()
  }, [busy, toBottom])

  const failure = thread.failure ?? (last && !busy ? storedFailure(last) : null)

  // Where the newest answer's view of the conversation begins.
  const newest = path.findLast(({ role, id }) => role === 'assistant' && id !== draftAnswerId)
  const firstRead = newest && !isContinuation(newest) ? path[newest.omitted] : undefined

  const turns = path.map((message, index) => {
    if (index < firstDrawn) return null
    const versions = versionsIn(message)
    const live = thread.live?.id === message.id
    const timing = thread.timings[message.id]
    const before = path[index - 1]
    const after = path[index + 1]
    const isStart = after?.role === 'assistant' ? isContinuation(after) : continues
    if (message.role === 'user' && isStart) {
      if (after?.role === 'assistant') return null // drawn with it, next
      return (
        <Passage
          key={`${message.parentId}-start`}
          {...{ actions, busy }}
          start={message}
          startVersions={versions}
          continuation={null}
          versions={none}
          timing={undefined}
          live={false}
          canContinue={false}
          canWriteOn={continues}
        />
      )
    }
    if (before?.role === 'user' && isContinuation(message)) {
      return (
        <Passage
          key={`${before.parentId}-start`}
          {...{ versions, timing, actions, live, busy }}
          start={before}
          startVersions={versionsIn(before)}
          continuation={message}
          canContinue={message === last && canContinue(message)}
          canWriteOn={continues}
        />
      )
    }
    return message.role === 'user' ? (
      <Fragment key={`${message.parentId}-user`}>
        {index > 0 && message === firstRead && (
          <p className="cut" role="note">
            The conversation has outgrown the model’s context: it no longer reads what is above.
          </p>
        )}
        <UserMessage {...{ message, versions, actions, busy }} />
      </Fragment>
    ) : (
      <Answer
        key={`${before?.parentId}-answer`}
        {...{ message, versions, timing, actions, live, busy }}
        preview={live ? thread.live?.preview : undefined}
        canContinue={message === last && canContinue(message)}
      />
    )
  })

  return (
    <div className="thread">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it. */}
      <div className="thread-scroll" ref={scroller} tabIndex={0} role="log" aria-label="Conversation" aria-live="off">
        <div className="column thread-column" ref={content}>
          <h1 className="visually-hidden">{thread.conversation.title || 'New chat'}</h1>
          {turns}
          {failure?.refused && (failure.retry.content ?? failure.retry.parts) ? (
            <Failure message={failure.message} action="Edit" onRetry={() => onWithdraw(failure.retry)} />
          ) : (
            failure && <Failure message={failure.message} onRetry={() => void send(id, failure.retry)} />
          )}
        </div>
      </div>
      {away && <IconButton className="jump" icon="bottom" label="Jump to the latest" onClick={toBottom} />}
    </div>
  )
}
