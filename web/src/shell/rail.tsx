import { Link as PageLink } from '@tanstack/react-router'
import { BookOpen, Boxes, FlaskConical, type LucideIcon, MessageSquare, Search, Swords } from 'lucide-react'
import { Link } from '../components/link.tsx'
import { Mark } from '../components/mark.tsx'
import { isApple } from '../keyboard.ts'
import { useValue } from '../observable.ts'
import { chatPath, route } from '../router.ts'
import { overlay } from './commands.ts'

const pages = [
  { to: '/arena', name: 'Arena', icon: Swords },
  { to: '/lab', name: 'Lab', icon: FlaskConical },
  { to: '/papers', name: 'Papers', icon: BookOpen },
  { to: '/models', name: 'Models', icon: Boxes },
] as const satisfies readonly { to: string; name: string; icon: LucideIcon }[]

/** At the side of a window, at the foot of a phone. */
export function Rail() {
  const inChat = useValue(route).page === 'chat'
  const left = useValue(chatPath)
  return (
    <nav className="rail" aria-label="Pages">
      <Mark className="rail-mark" />
      {/* From elsewhere back to where the chat was left. */}
      <Link to={inChat ? '/' : left} className="rail-link" aria-current={inChat ? 'page' : undefined}>
        <MessageSquare className="rail-icon" aria-hidden="true" />
        Chat
      </Link>
      {pages.map(({ to, name, icon: PageIcon }) => (
        <PageLink key={to} to={to} className="rail-link" preload="intent">
          <PageIcon className="rail-icon" aria-hidden="true" />
          {name}
        </PageLink>
      ))}
      <span className="rail-space" />
      <button
        type="button"
        className="rail-link"
        aria-haspopup="dialog"
        aria-keyshortcuts={isApple ? 'Meta+K' : 'Control+K'}
        title={`Find anything (${isApple ? '⌘' : 'Ctrl'} K)`}
        onClick={() => {
          overlay.value = 'palette'
        }}
      >
        <Search className="rail-icon" aria-hidden="true" />
        Find
      </button>
    </nav>
  )
}
