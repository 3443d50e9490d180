import { Autocomplete } from '@base-ui/react/autocomplete'
import { useQuery } from '@tanstack/react-query'
import {
  BookOpen,
  Boxes,
  Download,
  FlaskConical,
  Keyboard,
  type LucideIcon,
  MessageSquare,
  Moon,
  Plus,
  SlidersHorizontal,
  Sun,
  Swords,
} from 'lucide-react'
import { useEffect, useState } from 'react'
import { flushSync } from 'react-dom'
import { listConversations, listPapers, listRuns } from '../client.ts'
import { Dialog } from '../components/dialog.tsx'
import { useValue } from '../observable.ts'
import { chatPath, conversationPath, navigate } from '../router.ts'
import { useTheme } from '../theme.ts'
import { overlay, pageCommands } from './commands.ts'
import { type Found, matching } from './palette-search.ts'

/** How many of one kind are shown. */
const most = 6
/** Before the server is asked. */
const typingPauseMs = 120

interface Item extends Found {
  id: string
  icon: LucideIcon
  run: () => void
}

interface Group {
  value: string
  items: Item[]
}

const goTo = (path: string) => () => navigate(path)

/** Ctrl K: pages, actions, papers, runs and conversations by a few letters. */
export default function Palette({ onClose }: { onClose: () => void }) {
  const [typed, setTyped] = useState('')
  // At once, so that Enter takes what the letters typed so far ask for.
  const words = typed.trim()
  const asked = useSettled(words, typingPauseMs)
  const actions = useActions()
  const conversations = useQuery({
    queryKey: ['conversations', asked],
    queryFn: ({ signal }) => listConversations({ search: asked || undefined, limit: most }, signal),
    placeholderData: (before) => before,
  })
  const papers = useQuery({ queryKey: ['papers'], queryFn: listPapers, staleTime: 60_000 })
  const runs = useQuery({ queryKey: ['runs'], queryFn: listRuns })

  // The server looks for the words in messages too; until it has, those of before are looked through by name.
  const isAnswered = asked === words && conversations.isSuccess && !conversations.isPlaceholderData
  const talks: Item[] = (conversations.data?.conversations ?? []).map(({ id, title, snippet }) => ({
    id: `conversation ${id}`,
    label: title || 'New chat',
    hint: snippet ?? undefined,
    icon: MessageSquare,
    run: goTo(conversationPath(id)),
  }))

  const all: Group[] = [
    { value: 'Pages', items: matching(pages(), words) },
    { value: 'Actions', items: matching(actions, words) },
    {
      value: 'Conversations',
      items: isAnswered ? talks : matching(talks, words),
    },
    {
      value: 'Papers',
      items: matching(
        (papers.data?.papers ?? []).map(({ slug, name, title, authors, year, state }) => ({
          id: `paper ${slug}`,
          label: name,
          hint: state === 'planned' ? 'planned' : (title ?? undefined),
          also: [title, authors, year, slug].join(' '),
          icon: BookOpen,
          run: goTo(`/papers/${slug}`),
        })),
        words,
      ),
    },
    {
      value: 'Runs',
      items: matching(
        (runs.data?.runs ?? []).map(({ name, recipe, state }) => ({
          id: `run ${name}`,
          label: name,
          hint: state ?? undefined,
          also: recipe ?? '',
          icon: FlaskConical,
          run: goTo(`/lab/${encodeURIComponent(name)}`),
        })),
        words,
      ),
    },
  ]
  const groups = all
    .filter(({ items }) => items.length > 0)
    .map(({ value, items }) => ({ value, items: items.slice(0, most) }))

  const choose = (item: Item) => {
    // Closed first: it gives the focus back, and the action may take it.
    flushSync(onClose)
    item.run()
  }

  return (
    <Dialog title="Find" kind="palette" onClose={onClose}>
      <Autocomplete.Root
        open
        inline
        mode="none"
        autoHighlight="always"
        keepHighlight
        items={groups}
        value={typed}
        onValueChange={setTyped}
        itemToStringValue={(item: Item) => item.label}
      >
        <Autocomplete.Input className="palette-input" aria-label="Find anything" placeholder="Find anything" />
        <div className="palette-results">
          <Autocomplete.Empty className="palette-empty">
            {words && isAnswered ? `Nothing is called “${words}”.` : ''}
          </Autocomplete.Empty>
          <Autocomplete.List aria-label="Found">
            {(group: Group) => (
              <Autocomplete.Group key={group.value} items={group.items} className="palette-group">
                <Autocomplete.GroupLabel className="palette-label">{group.value}</Autocomplete.GroupLabel>
                <Autocomplete.Collection>
                  {(item: Item) => (
                    <Autocomplete.Item key={item.id} value={item} className="palette-item" onClick={() => choose(item)}>
                      <item.icon className="rail-icon" aria-hidden="true" />
                      <span className="palette-name">{item.label}</span>
                      {item.hint && <span className="palette-hint">{item.hint}</span>}
                    </Autocomplete.Item>
                  )}
                </Autocomplete.Collection>
              </Autocomplete.Group>
            )}
          </Autocomplete.List>
        </div>
      </Autocomplete.Root>
    </Dialog>
  )
}

const pages = (): Item[] => [
  { id: 'chat', label: 'Chat', icon: MessageSquare, run: () => navigate(chatPath.value) },
  { id: 'arena', label: 'Arena', also: 'compare rank vote feedback', icon: Swords, run: goTo('/arena') },
  { id: 'lab', label: 'Lab', also: 'runs training curves', icon: FlaskConical, run: goTo('/lab') },
  { id: 'papers', label: 'Papers', icon: BookOpen, run: goTo('/papers') },
  { id: 'models', label: 'Models', icon: Boxes, run: goTo('/models') },
]

function useActions(): Item[] {
  const { newChat, settings, download } = useValue(pageCommands)
  const { theme, toggle } = useTheme()
  const dark = theme === 'dark'
  const actions: (Item | false | null | undefined)[] = [
    { id: 'new', label: 'New chat', icon: Plus, run: newChat ?? goTo('/') },
    settings && { id: 'settings', label: 'Settings', also: 'temperature', icon: SlidersHorizontal, run: settings },
    download && { id: 'download', label: 'Download as Markdown', also: 'export', icon: Download, run: download },
    { id: 'theme', label: dark ? 'Light theme' : 'Dark theme', icon: dark ? Sun : Moon, run: toggle },
    {
      id: 'help',
      label: 'Keyboard shortcuts',
      icon: Keyboard,
      run: () => {
        overlay.value = 'help'
      },
    },
  ]
  return actions.filter((action) => !!action)
}

/** A value once it has stood still for a while. */
function useSettled(value: string, ms: number): string {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms)
    return () => clearTimeout(timer)
  }, [value, ms])
  return settled
}
