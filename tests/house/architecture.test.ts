import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it, vi } from 'vitest'
import { workedExample } from './worked-example.ts'

const PAGE = fileURLToPath(new URL('../../docs/architecture.md', import.meta.url))
const SOURCE = fileURLToPath(new URL('worked-example.ts', import.meta.url))

/** The lines of a region of the example, without their indentation. */
function region(source: string, name: string): string {
  const lines = source.split('\n')
  const start = lines.findIndex((line) => line.trim() === `// #region ${name}`)
  if (start < 0) throw new Error(`worked-example.ts has no region ${name}`)
  const end = lines.findIndex((line, i) => i > start && line.trim() === '// #endregion')
  const indent = lines[start].search(/\S/)
  return lines
    .slice(start + 1, end)
    .map((line) => line.slice(indent))
    .join('\n')
}

it('docs/architecture.md shows the example as it is, and prints what it prints (-u writes it anew)', async () => {
  vi.spyOn(console, 'log').mockImplementation(() => {})
  const [page, source] = [readFileSync(PAGE, 'utf8'), readFileSync(SOURCE, 'utf8')]
  const printed = await workedExample()
  const names: string[] = []
  const written = page.replaceAll(
    /<!-- (code|printed): (\w+) -->\n(?:\n```\w*\n[\s\S]*?\n```\n)?/g,
    (_, kind: string, name: string) => {
      names.push(name)
      const [language, body] = kind === 'code' ? ['ts', region(source, name)] : ['text', printed[name]]
      return `<!-- ${kind}: ${name} -->\n\n\`\`\`${language}\n${body}\n\`\`\`\n`
    },
  )
  expect(new Set(names)).toEqual(new Set(Object.keys(printed)))
  await expect(written).toMatchFileSnapshot(PAGE)
})
