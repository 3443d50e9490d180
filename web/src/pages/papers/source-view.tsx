import { Tabs } from '@base-ui/react/tabs'
import { lazy, Suspense, useMemo } from 'react'
import type { PaperSource } from '../../../../src/server/wire.ts'
import { CopyButton } from '../../components/copy-button.tsx'
import { HighlightedCode } from './highlighted-code.tsx'
import { notesOf, type Section, sectionsOf } from './literate.ts'

const Markdown = lazy(() => import('../../components/markdown.tsx'))

/** A paper's files: each equation beside the code that computes it. */
export function SourceView({ sources }: { sources: readonly PaperSource[] }) {
  if (sources.length === 1) return <SourceFile source={sources[0]} />
  return (
    <Tabs.Root defaultValue={sources[0].path}>
      <Tabs.List className="tabs" aria-label="Files">
        {sources.map(({ path }) => (
          <Tabs.Tab key={path} value={path} className="tab">
            {path.split('/').slice(-2).join('/')}
          </Tabs.Tab>
        ))}
      </Tabs.List>
      {sources.map((source) => (
        <Tabs.Panel key={source.path} value={source.path} tabIndex={-1}>
          <SourceFile source={source} />
        </Tabs.Panel>
      ))}
    </Tabs.Root>
  )
}

function SourceFile({ source: { path, text } }: { source: PaperSource }) {
  const sections = useMemo(() => sectionsOf(text), [text])
  const language = path.endsWith('.js') ? 'javascript' : 'typescript'
  return (
    <div className="source">
      <p className="source-path">
        <code>{path}</code>
        <CopyButton label={`Copy ${path}`} read={() => text} />
      </p>
      {sections.map((section, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a file's sections stay in their order.
        <SourceSection key={i} section={i === 0 ? asHeader(section) : section} language={language} />
      ))}
    </div>
  )
}

/** The page has told the header's title and ideas. */
const asHeader = ({ prose, code }: Section): Section => ({ prose: notesOf(prose), code })

function SourceSection({ section: { prose, code }, language }: { section: Section; language: string }) {
  const isImports = code.startsWith('import ')
  const listing = code !== '' && <HighlightedCode language={language} text={code} />
  return (
    <div className="source-section">
      <div className="source-prose markdown">
        {prose && (
          <Suspense fallback={<p className="plain">{prose}</p>}>
            <Markdown content={prose} live={false} />
          </Suspense>
        )}
      </div>
      {isImports ? (
        <details className="source-imports">
          <summary>Imports</summary>
          {listing}
        </details>
      ) : (
        listing
      )}
    </div>
  )
}
