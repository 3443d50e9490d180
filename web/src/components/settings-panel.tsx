import { useEffect, useRef, useState } from 'react'
import type { Settings } from '../../../src/server/wire.ts'
import { saveSettings } from '../chat.ts'
import { messageOf } from '../client.ts'
import { numberSettings } from '../settings.ts'
import { Dialog } from './dialog.tsx'
import { NumberField } from './number-field.tsx'

interface SettingsPanelProps {
  /** Null: of conversations yet to begin. */
  conversationId: string | null
  settings: Settings
  /** A model that continues text, or answers one, reads no system prompt. */
  canChat: boolean
  /** Where the bar has no room for it. */
  onExport: (() => void) | null
  onClose: () => void
}

const typingPauseMs = 400

export function SettingsPanel({ conversationId, settings, canChat, onExport, onClose }: SettingsPanelProps) {
  const [draft, setDraft] = useState(settings)
  const [saved, setSaved] = useState<{ error: string | null } | null>(null)
  // Makes the fields anew, without what was half typed in them.
  const [resets, setResets] = useState(0)
  const unsaved = useRef<Settings | null>(null)

  const save = async () => {
    const next = unsaved.current
    if (!next) return
    unsaved.current = null
    try {
      await saveSettings(conversationId, next)
      setSaved({ error: null })
    } catch (error) {
      setSaved({ error: `Not saved: ${messageOf(error)}` })
    }
  }
  const latestSave = useRef(save)
  latestSave.current = save

  // Kept a moment after the last change, and at once when the panel closes.
  // biome-ignore lint/correctness/useExhaustiveDependencies: each change starts the pause anew.
  useEffect(() => {
    const timer = setTimeout(() => void latestSave.current(), typingPauseMs)
    return () => clearTimeout(timer)
  }, [draft])
  useEffect(() => () => void latestSave.current(), [])

  const change = (changes: Partial<Settings>) => {
    const next = { ...draft, ...changes }
    unsaved.current = next
    setSaved(null)
    setDraft(next)
  }

  return (
    <Dialog title="Settings" kind="sheet" onClose={onClose}>
      <div className="dialog-body settings">
        <p className="field-hint">
          {conversationId === null ? 'For conversations that you begin from now on.' : 'For this conversation.'} What is
          left empty is as shown.
        </p>
        {canChat && (
          <div className="field">
            <label className="field-label" htmlFor="system-prompt">
              System prompt
            </label>
            <textarea
              id="system-prompt"
              className="input"
              rows={4}
              maxLength={32_000}
              placeholder="How the model should behave"
              value={draft.systemPrompt ?? ''}
              onChange={(event) => change({ systemPrompt: event.target.value || undefined })}
            />
          </div>
        )}
        {numberSettings.map((setting) => (
          <NumberField
            key={`${setting.name} ${resets}`}
            setting={setting}
            value={draft[setting.name]}
            onValue={(value) => change({ [setting.name]: value })}
          />
        ))}
        <div className="settings-foot">
          <button
            type="button"
            className="button"
            onClick={() => {
              change(cleared(draft))
              setResets(resets + 1)
            }}
          >
            All defaults
          </button>
          {onExport && (
            <button type="button" className="button" onClick={onExport}>
              Download as Markdown
            </button>
          )}
          <p className={saved?.error ? 'field-error' : 'field-hint'} role="status">
            {saved && (saved.error ?? 'Saved.')}
          </p>
        </div>
      </div>
    </Dialog>
  )
}

/** All but the model, which is chosen elsewhere. */
const cleared = (settings: Settings): Settings =>
  Object.fromEntries(Object.keys(settings).map((name) => [name, name === 'model' ? settings.model : undefined]))
