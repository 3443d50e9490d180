import type { Settings } from '../../../src/server/wire.ts'
import { useTheme } from '../theme.ts'
import { IconButton } from './icon-button.tsx'
import { ModelPicker } from './model-picker.tsx'

interface TopbarProps {
  settings: Settings
  onModel: (model: string) => void
  onMenu: (() => void) | null
  onNewChat: () => void
  onSettings: () => void
  onHelp: () => void
  /** Null where there is nothing to keep yet, or no room. */
  onExport: (() => void) | null
}

/** `onMenu` is null where the sidebar is always in view. */
export function Topbar({ settings, onModel, onMenu, onNewChat, onSettings, onHelp, onExport }: TopbarProps) {
  const { theme, toggle } = useTheme()
  const other = theme === 'dark' ? 'light' : 'dark'
  return (
    <header className="topbar">
      {onMenu && <IconButton icon="menu" label="Conversations" aria-haspopup="dialog" onClick={onMenu} />}
      <ModelPicker settings={settings} onModel={onModel} />
      <span className="topbar-space" />
      {onMenu ? (
        <IconButton icon="plus" label="New chat" onClick={onNewChat} />
      ) : (
        <IconButton icon="keyboard" label="Keyboard shortcuts" aria-haspopup="dialog" onClick={onHelp} />
      )}
      {onExport && <IconButton icon="download" label="Download as Markdown" onClick={onExport} />}
      <IconButton icon={theme === 'dark' ? 'sun' : 'moon'} label={`Use the ${other} theme`} onClick={toggle} />
      <IconButton icon="sliders" label="Settings" aria-haspopup="dialog" onClick={onSettings} />
    </header>
  )
}
