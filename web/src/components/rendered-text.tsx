import { type ComponentType, lazy, Suspense } from 'react'

interface TextProps {
  content: string
  /** It is being written. */
  live: boolean
}

// Half of the page's weight: it comes while the page already shows. Where it cannot come, the text does as it is.
const loading: Promise<{ default: ComponentType<TextProps> }> = import('./markdown.tsx').catch(() => ({
  default: Plain,
}))
const Markdown = lazy(() => loading)

function Plain({ content }: Pick<TextProps, 'content'>) {
  return <p className="plain">{content}</p>
}

/** What a model wrote, as Markdown. */
export function RenderedText({ content, live }: TextProps) {
  return (
    <div className="markdown">
      <Suspense fallback={<Plain content={content} />}>
        <Markdown content={content} live={live} />
      </Suspense>
    </div>
  )
}
