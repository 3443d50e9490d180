/** What BLEU and ROUGE share: how often each n-gram comes up. */

/** Of tokens without spaces in them; n-grams are joined by spaces. */
export function countNgrams(
  tokens: readonly string[],
  n: number,
  counts = new Map<string, number>(),
): Map<string, number> {
  for (let i = 0; i + n <= tokens.length; i++) {
    const ngram = tokens.slice(i, i + n).join(' ')
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1)
  }
  return counts
}

/** How many n-grams of one text are in the other, each counted as often as it is in both. */
export function countShared(some: ReadonlyMap<string, number>, others: ReadonlyMap<string, number>): number {
  let shared = 0
  for (const [ngram, count] of some) shared += Math.min(count, others.get(ngram) ?? 0)
  return shared
}
