import { isValidElement, type ReactNode, useRef } from 'react'
import { CopyButton } from './copy-button.tsx'

export function CodeBlock({ children }: { children?: ReactNode }) {
  const pre = useRef<HTMLPreElement>(null)
  const language = languageOf(children)
  return (
    <figure className="code-block" aria-label={language ? `Code, ${language}` : 'Code'}>
      <figcaption>
        <span>{language}</span>
        <CopyButton label="Copy code" read={() => pre.current?.textContent ?? ''} />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: long lines scroll, so the keyboard must reach them. */}
      <pre ref={pre} tabIndex={0}>
        {children}
      </pre>
    </figure>
  )
}

function languageOf(children: ReactNode): string {
  if (!isValidElement<{ className?: string }>(children)) return ''
  return /(?:^|\s)language-(\S+)/.exec(children.props.className ?? '')?.[1] ?? ''
}
