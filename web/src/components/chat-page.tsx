import { type RefObject, useEffect, useState } from 'react'
import { textOf, textParts } from '../../../src/server/parts.ts'
import type { ImagePart, Part, Reply, Settings } from '../../../src/server/wire.ts'
import { begin, openConversation, send, stop, threads, withdraw } from '../chat.ts'
import { messageOf } from '../client.ts'
import { reached } from '../connection.ts'
import { useValue } from '../observable.ts'
import { loadServed, modelOf, served } from '../served.ts'
import { readDrafts, writeDrafts } from '../storage.ts'
import { said } from '../thread.ts'
import { pathTo } from '../tree.ts'
import { BaseNotice, SingleTurnNotice } from './base-notice.tsx'
import { Composer } from './composer.tsx'
import { Failure } from './failure.tsx'
import { ThreadView } from './thread-view.tsx'
import { Unlock } from './unlock.tsx'
import { Welcome } from './welcome.tsx'

type Said = Pick<Reply, 'content' | 'parts'>

const none: readonly ImagePart[] = []

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
  // Pictures that go with it; they are on the server already, and are forgotten when the page is loaded again.
  const [images, setImages] = useState<Readonly<Record<string, readonly ImagePart[]>>>({})
  const [failed, setFailed] = useState<{ message: string; said: Said } | null>(null)

  if (now.state === 'locked') return <Unlock />

  const model = modelOf(now, settings)
  const continues = model?.canChat === false
  const thread = opened?.state === 'ready' ? opened.thread : null
  const key = conversationId ?? ''
  const setDraft = (text: string) => setDrafts((before) => ({ ...before, [key]: text }))
  const attached = images[key] ?? none
  const attach = (change: (before: readonly ImagePart[]) => readonly ImagePart[]) =>
    setImages((before) => ({ ...before, [key]: change(before[key] ?? none) }))
  const putBack = ({ content, parts }: Said) => {
    const written: readonly Part[] = parts ?? textParts(content ?? '')
    setDraft(textOf(written))
    attach(() => written.filter((part) => part.type === 'image'))
  }

  const submit = async (said: Said) => {
    setFailed(null)
    setDraft('')
    attach(() => none)
    if (thread && conversationId !== null) {
      const last = pathTo(thread.messages, thread.leafId).at(-1)
      // After a question without an answer there would be two turns of the same side: this one takes its place.
      const parentId = last?.role === 'user' ? last.parentId : (last?.id ?? null)
      void send(conversationId, { parentId, ...said })
      return
    }
    try {
      await begin(said)
    } catch (error) {
      putBack(said)
      // That no server answers is said above, for as long as it is so.
      if (reached.value) setFailed({ message: messageOf(error), said })
    }
  }

  const chatModel = now.state === 'ready' ? now.models.find(({ canChat }) => canChat) : undefined
  const notice =
    model && continues ? (
      <BaseNotice model={model} chatModel={chatModel} />
    ) : model?.singleTurn ? (
      <SingleTurnNotice model={model} />
    ) : null
  const isEmpty = conversationId === null || thread?.messages.length === 0
  return (
    <>
      {isEmpty ? (
        <div className="thread welcome-scroll">
          <Welcome model={model} notice={notice} onExample={(text) => void submit({ content: text })} />
        </div>
      ) : thread ? (
        <ThreadView
          thread={thread}
          continues={continues}
          onWithdraw={(said) => {
            withdraw(thread.conversation.id)
            putBack(said)
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
          <Failure message={failed.message} onRetry={() => void submit(failed.said)} />
        )}
        {!isEmpty && notice}
        <Composer
          field={field}
          text={drafts[key] ?? ''}
          onText={setDraft}
          placeholder={
            continues ? 'Write how a text begins …' : model?.singleTurn ? 'Give an instruction' : 'Ask anything'
          }
          busy={thread?.live != null}
          images={attached}
          canSee={model?.canSee === true}
          onImages={attach}
          onSend={(text) => submit(said([...attached, ...textParts(text)]))}
          onStop={() => conversationId !== null && stop(conversationId)}
        />
        <p className="composer-note">{continues ? 'What it writes is invented.' : 'Answers can be wrong.'}</p>
      </div>
    </>
  )
}
