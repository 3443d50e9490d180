import type { AnchorHTMLAttributes } from 'react'
import { navigate } from '../router.ts'

interface LinkProps extends AnchorHTMLAttributes<HTMLAnchorElement> {
  to: string
  onFollow?: () => void
}

/** A real link, so that it opens in a new tab like any other. */
export function Link({ to, onFollow, children, ...rest }: LinkProps) {
  return (
    <a
      href={to}
      {...rest}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return
        event.preventDefault()
        navigate(to)
        onFollow?.()
      }}
    >
      {children}
    </a>
  )
}
