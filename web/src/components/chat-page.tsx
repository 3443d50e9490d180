import { type RefObject, useEffect, useState } from 'react'
import type { Settings } from '../../../src/server/wire.ts'
import { begin, openConversation, send, stop, threads, withdraw } from '../chat.ts'
import { messageOf } from '../client.ts'
import { reached } from '../connection.ts'
import { useValue } from '../observable.ts'
import { loadServed, modelOf, served } from '../served.ts'
import { readDrafts, writeDrafts } from '../storage.ts'
import { pathTo } from '../tree.ts'
import { BaseNotice, SingleTurnNotice } from './base-notice.tsx'
import { Composer } from './composer.tsx'
import { Failure } from './failure.tsx'
import { ThreadView } from './thread-view.tsx'
import { Unlock } from './unlock.tsx'
import { Welcome } from './welcome.tsx'

interface ChatPageProps {
  /** Null: a conversation yet to begin. */
  conversationId: string | null
  settings: Settings
  field: RefObject<HTMLTextAreaElement | null>
}

export function ChatPage({ conversationId, settings, field }: ChatPageProps) {
  const now = useValue(served)
  const opened = useValue(threads)[conversationId ?? '']
  // What is typed and not sent, for each conversation.
  const [drafts, setDrafts] = useState(readDrafts)
  useEffect(() => writeDrafts(drafts), [drafts])
  const [failed, setFailed] = useState<{ message: string; text: string } | null>(null)

  if (now.state === 'locked') return <Unlock />

  const model = modelOf(now, settings)
  const continues = model?.canChat === false
  const thread = opened?.state === 'ready' ? opened.thread : null
  const key = conversationId ?? ''
  const setDraft = (text: string) => setDrafts((before) => ({ ...before, [key]: text }))

  const submit = async (text: string) => {
    setFailed(null)
    setDraft('')
    if (thread && conversationId !== null) {
      const last = pathTo(thread.messages, thread.leafId).at(-1)
      // After a question without an answer there would be two turns of the same side: this one takes its place.
      const parentId = last?.role === 'user' ? last.parentId : (last?.id ?? null)
      void send(conversationId, { parentId, content: text })
      return
    }
    try {
      await begin(text)
    } catch (error) {
      setDraft(text)
      // That no server answers is said above, for as long as it is so.
      if (reached.value) setFailed({ message: messageOf(error), text })
    }
  }

  return (
    <>
      {conversationId === null || (thread && thread.messages.length === 0) ? (
        <div className="thread welcome-scroll">
          <Welcome model={model} onExample={(text) => void submit(text)} />
        </div>
      ) : thread ? (
        <ThreadView
          thread={thread}
          continues={continues}
          onWithdraw={(text) => {
            withdraw(thread.conversation.id)
            setDraft(text)
            field.current?.focus()
          }}
        />
      ) : (
        <div className="thread column">
          {opened?.state === 'failed' && (
            <Failure message={opened.message} onRetry={() => void openConversation(conversationId)} />
          )}
        </div>
      )}
      <div className="column composer-column">
        {now.state === 'failed' && <Failure message={now.message} onRetry={() => void loadServed()} />}
        {failed && conversationId === null && (
          <Failure message={failed.message} onRetry={() => void submit(failed.text)} />
        )}
        {model && continues && (
          <BaseNotice
            model={model}
            chatModel={now.state === 'ready' ? now.models.find(({ canChat }) => canChat) : undefined}
          />
        )}
        {model?.singleTurn && <SingleTurnNotice model={model} />}
        <Composer
          field={field}
          text={drafts[key] ?? ''}
          onText={setDraft}
          placeholder={
            continues ? 'Write how a text begins …' : model?.singleTurn ? 'Give an instruction' : 'Ask anything'
          }
          busy={thread?.live != null}
          onSend={submit}
          onStop={() => conversationId !== null && stop(conversationId)}
        />
        <p className="composer-note">{continues ? 'What it writes is invented.' : 'Answers can be wrong.'}</p>
      </div>
    </>
  )
}
