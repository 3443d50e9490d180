/** Small repairs that every source of the corpus needs. */

const ENTITIES: Record<string, string> = { quot: '"', amp: '&', lt: '<', gt: '>', mdash: '—', ndash: '–', nbsp: ' ' }

/** One kind of quotation mark, hyphen, dash and space; HTML's character entities written out. */
export function plainCharacters(text: string): string {
  return text
    .replace(/&([a-z]+);/g, (entity, name: string) => ENTITIES[name] ?? entity)
    .replace(/[‘’]/g, "'")
    .replace(/[“”]/g, '"')
    .replace(/[‐‑]/g, '-')
    .replace(/[\u00a0\t]/g, ' ')
    .replace(/ *(?<!-)--(?!-) *(?:— ?)?/g, '—')
    .replace(/— —/g, '—')
    .normalize('NFC')
}

/** Joins to "a", "a or b", "a, b or c". */
export function listed(items: readonly string[], word: 'and' | 'or'): string {
  if (items.length < 2) return items.join('')
  return `${items.slice(0, -1).join(', ')} ${word} ${items[items.length - 1]}`
}

export const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** Ends a text with a full stop, unless it ends a sentence already. */
export function asSentence(text: string): string {
  const trimmed = text.trim().replace(/[;:,\s]+$/, '')
  return capitalised(/[.!?]["')]?$/.test(trimmed) ? trimmed : `${trimmed}.`)
}

const ABBREVIATION =
  /(?:\b(?:Mr|Mrs|Ms|Dr|Messrs|Gen|Col|Capt|Lieut|Sen|Rep|Hon|St|No|Nos|vs|etc|viz|Jr|Sr|Vol|Art|[A-Z]))\.$/

/** Splits a paragraph into sentences, as far as full stops tell. */
export function sentences(paragraph: string): string[] {
  const found: string[] = []
  let begun = ''
  for (const piece of paragraph.split(/(?<=[.!?]["')\]]*) +(?=["'([]?[A-Z0-9])/)) {
    begun = begun === '' ? piece : `${begun} ${piece}`
    if (ABBREVIATION.test(begun)) continue
    found.push(begun)
    begun = ''
  }
  if (begun !== '') found.push(begun)
  return found
}

/** Puts sentences together into paragraphs of at least `characters` each. */
export function paragraphs(parts: readonly string[], characters: number): string[] {
  const found: string[] = []
  let begun = ''
  for (const part of parts) {
    begun = begun === '' ? part : `${begun} ${part}`
    if (begun.length < characters) continue
    found.push(begun)
    begun = ''
  }
  if (begun !== '') found.push(begun)
  return found
}
