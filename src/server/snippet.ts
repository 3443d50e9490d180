const before = 60
const after = 120

/**
 * What a list shows of a message that was found: the stretch that has most of the searched words, the first of such.
 *
 * @param words - looked for without regard to letter case
 */
export function snippetOf(content: string, words: readonly string[]): string {
  const places = words.flatMap((word) => placesOf(content, word).map((at) => ({ at, word })))
  places.sort((a, b) => a.at - b.at)
  let best = { at: 0, count: 0 }
  for (const { at } of places) {
    const inReach = places.filter((place) => place.at >= at && place.at + place.word.length <= at + after)
    const count = new Set(inReach.map(({ word }) => word)).size
    if (count > best.count) best = { at, count }
  }
  const start = Math.max(0, best.at - before)
  const end = Math.min(content.length, best.at + after)
  // toWellFormed by hand: a cut may split a surrogate pair.
  const cut = content.slice(start, end).replace(/\p{Surrogate}/gu, '')
  return `${start > 0 ? '…' : ''}${cut.replace(/\s+/gu, ' ').trim()}${end < content.length ? '…' : ''}`
}

/** By a pattern: text in lower case may have another length, and its places would be others. */
function placesOf(content: string, word: string): number[] {
  const pattern = new RegExp(word.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'), 'giu')
  return Array.from(content.matchAll(pattern), ({ index }) => index)
}
