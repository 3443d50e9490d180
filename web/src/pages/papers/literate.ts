/** One paper's file, to be read: what is said beside what is computed. */
export interface Section {
  /** Markdown; empty where code stands alone. */
  prose: string
  code: string
}

/**
 * A source file cut at its doc comments, those at the left margin and those of a class's methods: each beside the code
 * that it is about. The file's own header is left out of the first section's prose where `withoutHeader` says so.
 */
export function sectionsOf(source: string): Section[] {
  const sections: Section[] = [{ prose: '', code: '' }]
  const lines = source.replaceAll('\r\n', '\n').split('\n')
  for (let i = 0; i < lines.length; i++) {
    if (!/^(?: {2})?\/\*\*/.test(lines[i])) {
      const last = sections[sections.length - 1]
      last.code += `${lines[i]}\n`
      continue
    }
    const comment = [lines[i]]
    while (!comment[comment.length - 1].includes('*/') && i + 1 < lines.length) comment.push(lines[++i])
    sections.push({ prose: proseOf(comment), code: '' })
  }
  return sections
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
