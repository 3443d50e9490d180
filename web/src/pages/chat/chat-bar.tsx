import type { Settings } from '../../../../src/server/wire.ts'
import { saveSettings } from '../../chat.ts'
import { messageOf } from '../../client.ts'
import { Topbar } from '../../components/topbar.tsx'
import { overlay } from '../../shell/commands.ts'
import { showToast } from '../../toast.ts'

interface ChatBarProps {
  conversationId: string | null
  settings: Settings
  onMenu: (() => void) | null
  onNewChat: () => void
  onExport: (() => void) | null
}

export function ChatBar({ conversationId, settings, ...rest }: ChatBarProps) {
  const chooseModel = (id: string) =>
    saveSettings(conversationId, { ...settings, model: id }).catch((error) =>
      showToast({ message: `The model was not changed: ${messageOf(error)}` }),
    )
  return (
    <Topbar
      settings={settings}
      onModel={chooseModel}
      onSettings={() => {
        overlay.value = 'settings'
      }}
      onHelp={() => {
        overlay.value = 'help'
      }}
      {...rest}
    />
  )
}
