import { displayWidth } from './display-width.ts'

type Style = 'plain' | 'bold' | 'code' | 'heading' | 'faint'

interface Span {
  text: string
  style: Style
}

const codes: Readonly<Record<Style, string>> = { plain: '', bold: '1', code: '36', heading: '1;4', faint: '2' }

/** A line whose beginning may yet become a heading, an item or a fence. */
const undecided = /^\s*(?:#{1,6}|[-*+]|\d{1,9}[.)]?|`{1,2})?$/

export interface MarkdownOptions {
  /** Columns. */
  width: number
  colour: boolean
}

/**
 * Markdown as rows of a terminal, while it comes: headings, **bold**, `code`, items and fenced code. Whatever comes
 * next, the rows that were given stay as they are; only the last one still grows.
 */
export class TerminalMarkdown {
  private readonly options: MarkdownOptions
  /** The line that is not complete yet, and how many of its rows were given. */
  private line = ''
  private given = 0
  private fenced = false

  constructor(options: MarkdownOptions) {
    this.options = options
  }

  /** @returns the rows that are complete now */
  push(text: string): string[] {
    const complete: string[] = []
    const lines = (this.line + text).split('\n')
    const rest = lines.pop() ?? ''
    for (const line of lines) complete.push(...this.finish(line))
    this.line = rest
    const rows = this.rows(this.line, false)
    complete.push(...rows.slice(this.given, -1))
    this.given = Math.max(this.given, rows.length - 1)
    return complete
  }

  /** The row that still grows. */
  get growing(): string {
    return this.rows(this.line, false).at(-1) ?? ''
  }

  /** @returns the last rows */
  end(): string[] {
    return this.line === '' ? [] : this.finish(this.line)
  }

  private finish(line: string): string[] {
    const rows = this.rows(line, true).slice(this.given)
    if (/^\s*```/.test(line)) this.fenced = !this.fenced
    this.line = ''
    this.given = 0
    return rows
  }

  private rows(line: string, complete: boolean): string[] {
    const { width, colour } = this.options
    if (!complete && !this.fenced && undecided.test(line)) return ['']
    const isFence = /^\s*```/.test(line)
    const { spans, indent } = isFence
      ? { spans: [{ text: line, style: 'faint' as const }], indent: '' }
      : this.fenced
        ? { spans: [{ text: line, style: 'code' as const }], indent: '' }
        : inline(line, complete)
    return wrap(spans, width, indent).map((row) => row.map((span) => paint(span, colour)).join(''))
  }
}

function paint({ text, style }: Span, colour: boolean): string {
  return colour && codes[style] !== '' && text !== '' ? `\x1b[${codes[style]}m${text}\x1b[0m` : text
}

/** Marks are taken as they come, never looked for ahead: what follows must not change what was said. */
function inline(line: string, complete: boolean): { spans: Span[]; indent: string } {
  const heading = /^\s{0,3}#{1,6}\s+/.exec(line)
  if (heading)
    return { spans: [{ text: line.slice(heading[0].length).replace(/[*`]/g, ''), style: 'heading' }], indent: '' }
  const item = /^(\s*)([-*+]|\d{1,9}[.)])\s+/.exec(line)
  const bullet = item ? `${item[1]}${/\d/.test(item[2]) ? item[2] : '•'} ` : ''
  const rest = item ? line.slice(item[0].length) : line
  const spans: Span[] = [{ text: bullet, style: 'plain' }]
  let style = 'plain' as Style
  let text = ''
  const turn = (next: Style) => {
    spans.push({ text, style })
    text = ''
    style = next
  }
  for (let at = 0; at < rest.length; at++) {
    const isOpening = style === 'plain' && opens(rest, at) && (complete || at + 2 < rest.length)
    if (rest[at] === '`' && style !== 'bold') turn(style === 'code' ? 'plain' : 'code')
    else if (rest.startsWith('**', at) && (style === 'bold' || isOpening)) {
      turn(style === 'bold' ? 'plain' : 'bold')
      at++
    } else if (!complete && /^\*{1,2}$/.test(rest.slice(at))) {
      // What follows says whether they are marks.
      break
    } else text += rest[at]
  }
  turn('plain')
  return { spans, indent: ' '.repeat(displayWidth(bullet)) }
}

/** Two stars begin bold text before a word, not between two (a power, say). */
const opens = (text: string, at: number): boolean => !/\w/.test(text[at - 1] ?? '') && !/^\s/.test(text.slice(at + 2))

/** Rows of at most `width` columns, broken between words where there are any. @param indent - of all rows but the first */
function wrap(spans: readonly Span[], width: number, indent: string): Span[][] {
  const rows: Span[][] = [[]]
  let column = 0
  const put = (text: string, style: Style) => {
    const last = rows.at(-1)?.at(-1)
    if (last?.style === style) last.text += text
    else rows.at(-1)?.push({ text, style })
  }
  const next = () => {
    rows.push([{ text: indent, style: 'plain' }])
    column = displayWidth(indent)
  }
  for (const { text, style } of spans) {
    for (const word of text.match(/\s+|\S+/g) ?? []) {
      const isSpace = /^\s/.test(word)
      if (column + displayWidth(word) > width && column > displayWidth(indent)) {
        next()
        if (isSpace) continue
      }
      let part = ''
      for (const character of word) {
        if (column + displayWidth(character) > width) {
          put(part, style)
          part = ''
          next()
        }
        part += character
        column += displayWidth(character)
      }
      put(part, style)
    }
  }
  return rows
}
