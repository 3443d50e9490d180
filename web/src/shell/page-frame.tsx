import { useLocation } from '@tanstack/react-router'
import { type ReactNode, useEffect, useId, useLayoutEffect, useRef } from 'react'
import { Unlock } from '../components/unlock.tsx'
import { useValue } from '../observable.ts'
import { served } from '../served.ts'
import { OfflineNotice } from './offline-notice.tsx'
import { ThemeButton } from './theme-button.tsx'

interface PageFrameProps {
  title: string
  /** Beside the title, at its left. */
  before?: ReactNode
  /** In the bar, at its right. */
  tools?: ReactNode
  children: ReactNode
}

/** How far down each place in the history was left. */
const leftAt = new Map<string, number>()

/**
 * A page beside the chat: its bar, its title, and all below scrolls. Who comes to it has the focus on it, so that the
 * keyboard scrolls and a screen reader says where it is.
 */
export function PageFrame({ title, before, tools, children }: PageFrameProps) {
  const titleId = useId()
  const main = useRef<HTMLElement>(null)
  const { pathname, state } = useLocation()
  const key = state.__TSR_key ?? pathname
  const isLocked = useValue(served).state === 'locked'

  useEffect(() => {
    document.title = `${title} · jackdaw`
  }, [title])

  // biome-ignore lint/correctness/useExhaustiveDependencies: each time another place is come to.
  useLayoutEffect(() => {
    const element = main.current
    if (!element) return
    if (!document.querySelector('dialog[open]')) element.focus({ preventScroll: true })
    element.scrollTop = leftAt.get(key) ?? 0
  }, [pathname])

  return (
    <main
      className="page"
      ref={main}
      tabIndex={-1}
      aria-labelledby={titleId}
      onScroll={(event) => leftAt.set(key, event.currentTarget.scrollTop)}
    >
      <header className="topbar page-bar">
        {before}
        <h1 id={titleId}>{title}</h1>
        <span className="topbar-space" />
        {tools}
        <ThemeButton />
      </header>
      <OfflineNotice />
      {isLocked ? <Unlock /> : <div className="page-body">{children}</div>}
    </main>
  )
}
