import { useEffect, useRef, useState } from 'react'
import { flushSync } from 'react-dom'
import { newChatSettings, openConversation, saveSettings, stop, threads } from './chat.ts'
import { messageOf } from './client.ts'
import { AnnouncerView } from './components/announcer-view.tsx'
import { ChatPage } from './components/chat-page.tsx'
import { Dialog } from './components/dialog.tsx'
import { Link } from './components/link.tsx'
import { Mark } from './components/mark.tsx'
import { SettingsPanel } from './components/settings-panel.tsx'
import { ShortcutHelp } from './components/shortcut-help.tsx'
import { Sidebar } from './components/sidebar.tsx'
import { ToastView } from './components/toast-view.tsx'
import { Topbar } from './components/topbar.tsx'
import { reached } from './connection.ts'
import { conversationPage, loadConversations } from './conversations.ts'
import { download, fileName, toMarkdown } from './export.ts'
import { useShortcuts } from './keyboard.ts'
import { useValue } from './observable.ts'
import { navigate, route } from './router.ts'
import { loadServed, modelOf, served } from './served.ts'
import { showToast } from './toast.ts'
import { pathTo } from './tree.ts'
import { useMedia } from './use-media.ts'

/** How long to wait between looking whether the server is back. */
const retryMs = 2000

type Panel = 'drawer' | 'settings' | 'help'

export function App() {
  const here = useValue(route)
  const narrow = useMedia('(max-width: 48rem)')
  const [panel, setPanel] = useState<Panel | null>(null)
  const searchField = useRef<HTMLInputElement>(null)
  const composerField = useRef<HTMLTextAreaElement>(null)

  const conversationId = here.page === 'chat' ? here.conversationId : null
  const opened = useValue(threads)[conversationId ?? '']
  const conversation = opened?.state === 'ready' ? opened.thread.conversation : null
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
    const timer = answers ? undefined : setInterval(() => void loadServed(), retryMs)
    return () => {
      document.removeEventListener('visibilitychange', look)
      clearInterval(timer)
    }
  }, [conversationId, answers])

  const close = () => setPanel(null)
  const newChat = () => {
    flushSync(() => {
      close()
      navigate('/')
    })
    composerField.current?.focus()
  }
  const chooseModel = (id: string) =>
    saveSettings(conversationId, { ...settings, model: id }).catch((error) =>
      showToast({ message: `The model was not changed: ${messageOf(error)}` }),
    )

  const shown = opened?.state === 'ready' ? pathTo(opened.thread.messages, opened.thread.leafId) : []
  const exportShown = shown.length === 0 ? null : () => download(fileName(title ?? ''), toMarkdown(title ?? '', shown))

  useShortcuts({
    newChat,
    search: () => {
      // At once, so that no letter typed next goes elsewhere.
      flushSync(() => setPanel(narrow ? 'drawer' : null))
      searchField.current?.focus()
    },
    settings: () => setPanel('settings'),
    help: () => setPanel('help'),
    stop: () => conversationId !== null && stop(conversationId),
  })

  const sidebar = <Sidebar searchField={searchField} onNewChat={newChat} onChosen={close} />
  return (
    <div className={narrow ? 'app app-narrow' : 'app'}>
      <button type="button" className="skip-link" onClick={() => composerField.current?.focus()}>
        Skip to the message field
      </button>
      {!narrow && (
        <aside className="sidebar" aria-label="Conversations and search">
          <p className="brand">
            <Mark />
            jackdaw
          </p>
          {sidebar}
        </aside>
      )}
      <main className="main">
        <Topbar
          settings={settings}
          onModel={chooseModel}
          onMenu={narrow ? () => setPanel('drawer') : null}
          onNewChat={newChat}
          onSettings={() => setPanel('settings')}
          onHelp={() => setPanel('help')}
          onExport={narrow ? null : exportShown}
        />
        <p className={answers ? 'visually-hidden' : 'offline'} role="status">
          {answers ? '' : 'The server does not answer. This page goes on when it does.'}
        </p>
        {here.page === 'chat' ? (
          <ChatPage conversationId={conversationId} settings={settings} field={composerField} />
        ) : (
          <div className="centre-note">
            <h1>There is no page {here.path}</h1>
            <Link to="/">Begin a new chat</Link>
          </div>
        )}
      </main>
      {narrow && panel === 'drawer' && (
        <Dialog title="jackdaw" kind="drawer" onClose={close}>
          {sidebar}
        </Dialog>
      )}
      {panel === 'settings' && (
        <SettingsPanel
          key={conversationId}
          conversationId={conversation ? conversationId : null}
          settings={settings}
          canChat={model?.canChat !== false && !model?.singleTurn}
          onExport={narrow ? exportShown : null}
          onClose={close}
        />
      )}
      {panel === 'help' && <ShortcutHelp onClose={close} />}
      {panel === null && <ToastView />}
      <AnnouncerView />
    </div>
  )
}
