import { useEffect, useRef } from 'react'
import { flushSync } from 'react-dom'
import type { Conversation } from '../../../../src/server/wire.ts'
import { newChatSettings, type Opened, openConversation, stop, threads } from '../../chat.ts'
import { ChatPage } from '../../components/chat-page.tsx'
import { Dialog } from '../../components/dialog.tsx'
import { SettingsPanel } from '../../components/settings-panel.tsx'
import { Sidebar } from '../../components/sidebar.tsx'
import { reached } from '../../connection.ts'
import { conversationPage, loadConversations } from '../../conversations.ts'
import { download, fileName, toMarkdown } from '../../export.ts'
import { useSelected, useValue } from '../../observable.ts'
import { navigate, route } from '../../router.ts'
import { modelOf, served } from '../../served.ts'
import { closeOverlay, overlay, pageCommands } from '../../shell/commands.ts'
import { OfflineNotice } from '../../shell/offline-notice.tsx'
import { pathTo } from '../../tree.ts'
import { useMedia } from '../../use-media.ts'
import { ChatBar } from './chat-bar.tsx'

type Threads = Readonly<Record<string, Opened>>

/** The same object while tokens come in: nothing here is drawn again by them. */
const conversationOf = (id: string | null, all: Threads): Conversation | null => {
  const opened = all[id ?? '']
  return opened?.state === 'ready' ? opened.thread.conversation : null
}

const hasMessages = (id: string | null, all: Threads): boolean => {
  const opened = all[id ?? '']
  return opened?.state === 'ready' && opened.thread.messages.length > 0
}

function downloadShown(id: string | null): void {
  const opened = threads.value[id ?? '']
  if (opened?.state !== 'ready') return
  const { conversation, messages, leafId } = opened.thread
  download(fileName(conversation.title), toMarkdown(conversation.title, pathTo(messages, leafId)))
}

/** The conversation that the address names; while another page is on its way, the one before. */
function useConversationId(): string | null {
  const here = useValue(route)
  const last = useRef<string | null>(null)
  if (here.page === 'chat') last.current = here.conversationId
  return last.current
}

export function Chat() {
  const conversationId = useConversationId()
  const narrow = useMedia('(max-width: 48rem)')
  const panel = useValue(overlay)
  const composerField = useRef<HTMLTextAreaElement>(null)

  const conversation = useSelected(threads, (all) => conversationOf(conversationId, all))
  const canDownload = useSelected(threads, (all) => hasMessages(conversationId, all))
  const forNew = useValue(newChatSettings)
  const settings = conversation?.settings ?? forNew
  const model = modelOf(useValue(served), settings)

  const title = conversation?.title
  useEffect(() => {
    document.title = title ? `${title} · jackdaw` : 'jackdaw'
  }, [title])

  useEffect(() => {
    if (conversationId !== null) void openConversation(conversationId)
    // On a phone this would open the keyboard over the conversation.
    if (!matchMedia('(pointer: coarse)').matches) composerField.current?.focus()
  }, [conversationId])

  // What happened meanwhile, in another tab or while no server answered.
  const answers = useValue(reached)
  const wasDown = useRef(false)
  useEffect(() => {
    const look = () => {
      if (document.visibilityState !== 'visible') return
      void loadConversations(conversationPage.value.search)
      if (conversationId !== null) void openConversation(conversationId)
    }
    document.addEventListener('visibilitychange', look)
    if (answers && wasDown.current) look()
    wasDown.current = !answers
    return () => document.removeEventListener('visibilitychange', look)
  }, [conversationId, answers])

  const newChat = () => {
    flushSync(() => {
      closeOverlay()
      navigate('/')
    })
    composerField.current?.focus()
  }
  const downloadThis = canDownload ? () => downloadShown(conversationId) : null

  useEffect(() => {
    pageCommands.value = {
      newChat,
      settings: () => {
        overlay.value = 'settings'
      },
      search: () => {
        if (narrow) overlay.value = 'drawer'
      },
      stop: () => conversationId !== null && stop(conversationId),
      download: downloadThis,
    }
  })
  useEffect(
    () => () => {
      pageCommands.value = {}
      closeOverlay()
    },
    [],
  )

  const sidebar = <Sidebar onNewChat={newChat} onChosen={closeOverlay} />
  return (
    <div className={narrow ? 'chat chat-narrow' : 'chat'}>
      <button type="button" className="skip-link" onClick={() => composerField.current?.focus()}>
        Skip to the message field
      </button>
      {!narrow && (
        <aside className="sidebar" aria-label="Conversations and search">
          <p className="brand">jackdaw</p>
          {sidebar}
        </aside>
      )}
      <main className="main">
        <ChatBar
          conversationId={conversationId}
          settings={settings}
          onMenu={narrow ? () => (overlay.value = 'drawer') : null}
          onNewChat={newChat}
          onExport={narrow ? null : downloadThis}
        />
        <OfflineNotice />
        <ChatPage conversationId={conversationId} settings={settings} field={composerField} />
      </main>
      {narrow && panel === 'drawer' && (
        <Dialog title="jackdaw" kind="drawer" onClose={closeOverlay}>
          {sidebar}
        </Dialog>
      )}
      {panel === 'settings' && (
        <SettingsPanel
          key={conversationId}
          conversationId={conversation ? conversationId : null}
          settings={settings}
          canChat={model?.canChat !== false && !model?.singleTurn}
          onExport={narrow ? downloadThis : null}
          onClose={closeOverlay}
        />
      )}
    </div>
  )
}
