import { useEffect, useState } from 'react'
import { announce } from '../announcer.ts'
import { showToast } from '../toast.ts'
import { IconButton } from './icon-button.tsx'

/** `read` is asked when it is pressed. */
export function CopyButton({ label, read }: { label: string; read: () => string }) {
  const [copied, setCopied] = useState(false)

  useEffect(() => {
    if (!copied) return
    const timer = setTimeout(() => setCopied(false), 2000)
    return () => clearTimeout(timer)
  }, [copied])

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(read())
      setCopied(true)
      announce('Copied.')
    } catch {
      // Over plain HTTP from another machine the browser gives no clipboard.
      showToast({ message: 'Not copied: the browser keeps the clipboard from this page.' })
    }
  }

  return <IconButton icon={copied ? 'check' : 'copy'} label={copied ? 'Copied' : label} onClick={copy} />
}
