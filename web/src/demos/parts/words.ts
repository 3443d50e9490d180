/** Text as words between spaces; signs stand alone. */
export const wordsOf = (text: string): string[] =>
  text
    .toLowerCase()
    .replace(/([.,;:?!()])/g, ' $1 ')
    .split(/\s+/)
    .filter(Boolean)

/**
 * Texts as ids, of which the words that no vocabulary has get their own behind it, in the order in which they come: MQAN
 * copies them.
 *
 * @throws Error where there are more of those than the model has room for
 */
export function wordIds(
  texts: readonly string[],
  idOf: (word: string) => number | undefined,
  vocabSize: number,
  extraWords: number,
): { ids: number[][]; textOf: (id: number) => string | undefined } {
  const extra: string[] = []
  const ids = texts.map((text) =>
    wordsOf(text).map((word) => {
      const known = idOf(word)
      if (known !== undefined) return known
      if (!extra.includes(word)) extra.push(word)
      return vocabSize + extra.indexOf(word)
    }),
  )
  if (extra.length > extraWords) {
    throw new Error(`The model has room for ${extraWords} words that it does not know; there are ${extra.length}.`)
  }
  return { ids, textOf: (id) => extra[id - vocabSize] }
}
