import type { Message } from '../../../src/server/wire.ts'
import { IconButton } from './icon-button.tsx'

interface BranchSwitchProps {
  message: Message
  /** Its versions, itself included. */
  versions: readonly Message[]
  onSwitch: (messageId: string) => void
  disabled: boolean
}

/** ‹ 2/3 › */
export function BranchSwitch({ message, versions, onSwitch, disabled }: BranchSwitchProps) {
  if (versions.length < 2) return null
  const at = versions.findIndex(({ id }) => id === message.id)
  const what = message.role === 'user' ? 'message' : 'answer'
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
    <span className="branches" role="group" aria-label={`Versions of this ${what}`}>
      <IconButton
        icon="left"
        label={`Previous version of the ${what}`}
        disabled={disabled || at === 0}
        onClick={() => onSwitch(versions[at - 1].id)}
      />
      <span className="branches-count">
        {at + 1}/{versions.length}
      </span>
      <IconButton
        icon="right"
        label={`Next version of the ${what}`}
        disabled={disabled || at === versions.length - 1}
        onClick={() => onSwitch(versions[at + 1].id)}
      />
    </span>
  )
}
