import { type ReactNode, useEffect, useId, useRef } from 'react'
import { IconButton } from './icon-button.tsx'
import { ToastView } from './toast-view.tsx'

interface DialogProps {
  title: string
  /** `sheet` comes in from the right, `drawer` from the left; a `palette` hangs from the top and shows no title. */
  kind?: 'centre' | 'sheet' | 'drawer' | 'palette'
  onClose: () => void
  children: ReactNode
}

/** The browser's own modal: it traps focus, closes on Escape and gives focus back. */
export function Dialog({ title, kind = 'centre', onClose, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  const titleId = useId()

  useEffect(() => {
    const element = dialog.current
    const opener = document.activeElement
    element?.showModal()
    return () => {
      element?.close()
      // Removed from the page in the same breath, so the browser may not have done it.
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus()
    }
  }, [])

  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: a click beside the dialog closes it; the keyboard has Escape.
    <dialog
      ref={dialog}
      className={`dialog dialog-${kind}`}
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault()
        onClose()
      }}
      onClick={(event) => event.target === event.currentTarget && onClose()}
    >
      <div className="dialog-inner">
        {/* A modal focuses what it finds first: of a palette that is its field. */}
        {kind === 'palette' && children}
        <header className="dialog-header">
          <h2 id={titleId}>{title}</h2>
          <IconButton icon="close" label="Close" onClick={onClose} />
        </header>
        {kind !== 'palette' && children}
      </div>
      {/* What lies outside a modal cannot be reached. */}
      <ToastView />
    </dialog>
  )
}
