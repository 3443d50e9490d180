/** Lists, in the formats that one asks for. */

import type { Format } from './turn.ts'

export type ListFormat = Exclude<Format, 'sentence' | 'text'>

export function writeList(items: readonly string[], format: ListFormat): string {
  if (format === 'bullets') return items.map((item) => `- ${item}`).join('\n')
  if (format === 'numbered') return items.map((item, i) => `${i + 1}. ${item}`).join('\n')
  if (format === 'json') return `[${items.map((item) => JSON.stringify(item)).join(', ')}]`
  return items.join(', ')
}

/** The items of a text that is in the format and nothing else, or undefined. */
export function readList(text: string, format: ListFormat): string[] | undefined {
  const lines = text.trim().split('\n')
  if (format === 'json') {
    try {
      const items: unknown = JSON.parse(text)
      return Array.isArray(items) && items.every((item) => typeof item === 'string') ? items : undefined
    } catch {
      return undefined
    }
  }
  if (format === 'commas') {
    return lines.length === 1 && !/[:;]/.test(text) ? text.trim().replace(/\.$/, '').split(/, /) : undefined
  }
  const marks = lines.map((line, i) =>
    (format === 'bullets' ? /^[-*•] (.+)$/ : new RegExp(`^${i + 1}[.)] (.+)$`)).exec(line),
  )
  return marks.every((mark) => mark !== null) ? marks.map((mark) => mark[1].trim()) : undefined
}

/** Words that ask for a format, after a list was asked for. */
export const FORMAT_WORDS: Readonly<Record<ListFormat, readonly string[]>> = {
  bullets: ['as a bullet list', 'as bullet points', 'as a list with bullets'],
  numbered: ['as a numbered list', 'as a list with numbers'],
  commas: ['separated by commas', 'on one line with commas', 'as a comma separated list'],
  json: ['as JSON', 'as a JSON array', 'in JSON'],
}
