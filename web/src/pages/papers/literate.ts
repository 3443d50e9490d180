/** One paper's file, to be read: what is said beside what is computed. */
export interface Section {
  /** Markdown; empty where code stands alone. */
  prose: string
  code: string
}

const imports = /^(?:\s*import\b[^'"]*['"][^'"]+['"];?\n)+/

/**
 * A source file cut at its doc comments, those at the left margin and those of a class's methods: each beside the code
 * that it is about. What a file imports stands alone, beside the file's header.
 */
export function sectionsOf(source: string): Section[] {
  const sections: Section[] = [{ prose: '', code: '' }]
  const lines = source.replaceAll('\r\n', '\n').split('\n')
  for (let i = 0; i < lines.length; i++) {
    const end = /^(?: {2})?\/\*\*/.test(lines[i]) ? lines.findIndex((line, at) => at >= i && line.includes('*/')) : -1
    // A property's comment stays in its listing; a method has a body.
    if (end < 0 || (lines[i].startsWith(' ') && !/[{(]\s*$/.test(lines[end + 1] ?? ''))) {
      sections[sections.length - 1].code += `${lines[i]}\n`
      continue
    }
    sections.push({ prose: proseOf(lines.slice(i, end + 1)), code: '' })
    i = end
  }
  return sections
    .flatMap(({ prose, code }) => {
      const first = imports.exec(code)?.[0]
      return first === undefined
        ? [{ prose, code }]
        : [
            { prose, code: first },
            { prose: '', code: code.slice(first.length) },
          ]
    })
    .map(({ prose, code }) => ({ prose, code: code.replace(/^\n+|\s+$/g, '') }))
    .filter(({ prose, code }) => prose !== '' || code !== '')
}

/** What a doc comment says, without its stars; its tags as words. */
function proseOf(comment: readonly string[]): string {
  return comment
    .map((line) => line.replace(/^\s*\/?\*+(?!\*)\/? ?/, '').replace(/\s*\*\/\s*$/, ''))
    .join('\n')
    .replace(/^@param (\w+) -/gm, '\n- `$1`:')
    .replace(/^@returns?/gm, '\n- Returns')
    .replace(/^@throws/gm, '\n- Throws')
    .trim()
}

/** Of the header of a paper's file what its page does not say already: all after the list of ideas. */
export function notesOf(header: string): string {
  const paragraphs = header.split(/\n{2,}/)
  const list = paragraphs.findIndex((paragraph) => /^- /m.test(paragraph))
  return paragraphs.slice(Math.max(1, list + 1)).join('\n\n')
}
