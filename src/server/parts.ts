import type { Part } from './wire.ts'

/** Parts of messages: shared by the server and the page. */

/** The text of all parts, together. */
export const textOf = (parts: readonly Part[]): string =>
  parts.flatMap((part) => (part.type === 'text' ? [part.text] : [])).join('\n\n')

/** A message that is only text. */
export const textParts = (content: string): Extract<Part, { type: 'text' }>[] =>
  content === '' ? [] : [{ type: 'text', text: content }]

/** More text for a part, which begins with it where it is not there yet. */
export function withDelta(parts: readonly Part[], index: number, delta: string): Part[] {
  const before = parts[index]
  const text = before?.type === 'text' ? before.text + delta : delta
  return [...parts.slice(0, index), { type: 'text', text }, ...parts.slice(index + 1)]
}
