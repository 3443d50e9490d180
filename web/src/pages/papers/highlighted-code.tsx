import { type ReactNode, useMemo } from 'react'
import { type CodeTree, codeTree } from '../../highlight.ts'

/** Coloured, and as it was written. */
export function HighlightedCode({ language, text }: { language: string; text: string }) {
  const drawn = useMemo(() => draw(codeTree(language, text).children), [language, text])
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: long lines scroll, so the keyboard must reach them.
    <pre className="listing" tabIndex={0}>
      <code>{drawn}</code>
    </pre>
  )
}

function draw(nodes: CodeTree['children']): ReactNode[] {
  return nodes.map((node, i) => {
    if (node.type === 'text') return node.value
    if (node.type !== 'element') return null
    const { className } = node.properties
    return (
      // biome-ignore lint/suspicious/noArrayIndexKey: a listing's parts stay in their order.
      <span key={i} className={Array.isArray(className) ? className.join(' ') : undefined}>
        {draw(node.children)}
      </span>
    )
  })
}
