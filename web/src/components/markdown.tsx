import { type AnchorHTMLAttributes, memo, type ReactNode, useEffect, useId, useState } from 'react'
import ReactMarkdown, { type Components } from 'react-markdown'
import remarkGfm from 'remark-gfm'
import { caretAtEnd } from '../caret.ts'
import { highlightCode } from '../highlight.ts'
import { hasMath, withDollars } from '../math.ts'
import { ownIds } from '../own-ids.ts'
import { CodeBlock } from './code-block.tsx'

const components: Components = {
  pre: ({ children }) => <CodeBlock>{children}</CodeBlock>,
  a: ({ node: _, href, children, ...rest }) =>
    href?.startsWith('#') ? (
      <InsideLink href={href} {...rest}>
        {children}
      </InsideLink>
    ) : (
      <OutsideLink href={href}>{children}</OutsideLink>
    ),
  // Of a task list. The box is only a sign: what is to be done stands beside it.
  input: ({ checked }) => <input type="checkbox" checked={checked} disabled aria-label={checked ? 'Done' : 'To do'} />,
  // A picture would be fetched from wherever the model says: the page makes no requests but to its own server.
  img: ({ src, alt }) => <OutsideLink href={typeof src === 'string' ? src : undefined}>{alt || 'picture'}</OutsideLink>,
  table: ({ children }) => (
    // A group, not a section: tables are no landmarks, and several would have one name.
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: wide tables scroll, so the keyboard must reach them.
    <div className="table-scroll" role="group" tabIndex={0} aria-label="Table">
      <table>{children}</table>
    </div>
  ),
}

const footnotes = { clobberPrefix: '-', footnoteLabelProperties: { className: ['footnotes-title'] } }

/** Without an address (none was safe, say) it is only text. */
function OutsideLink({ href, children }: { href?: string; children?: ReactNode }) {
  if (!href) return <span>{children}</span>
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  )
}

/** To a footnote and back. The address stays as it is: it says which page is open. */
function InsideLink({ href, children, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  return (
    <a
      href={href}
      {...rest}
      onClick={(event) => {
        event.preventDefault()
        const target = document.getElementById(href.slice(1))
        target?.scrollIntoView({ block: 'center' })
        if (target && !target.matches('a')) target.tabIndex = -1
        target?.focus({ preventScroll: true })
      }}
    >
      {children}
    </a>
  )
}

type MathPlugins = typeof import('../math-plugins.ts')
let loadedMath: MathPlugins | null = null

/** What draws formulas, once there are any. Where it cannot be loaded they stay as they were written. */
function useMath(content: string): MathPlugins | null {
  const [math, setMath] = useState(loadedMath)
  const isNeeded = hasMath(content)
  useEffect(() => {
    if (!isNeeded || math) return
    let isGone = false
    import('../math-plugins.ts').then(
      (loaded) => {
        loadedMath = loaded
        if (!isGone) setMath(loaded)
      },
      () => {},
    )
    return () => {
      isGone = true
    }
  }, [isNeeded, math])
  return isNeeded ? math : null
}

/** What a model wrote; `live`: is writing. HTML in it stays text: no plugin here parses it. */
export default memo(function Markdown({ content, live }: { content: string; live: boolean }) {
  const id = useId()
  const math = useMath(content)
  return (
    <ReactMarkdown
      remarkPlugins={[remarkGfm, ...(math?.remarkPlugins ?? [])]}
      remarkRehypeOptions={footnotes}
      rehypePlugins={[...(math?.rehypePlugins ?? []), highlightCode, [ownIds, id], ...(live ? [caretAtEnd] : [])]}
      components={components}
    >
      {math ? withDollars(content) : content}
    </ReactMarkdown>
  )
})
