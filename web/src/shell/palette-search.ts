export interface Found {
  label: string
  /** Shown beside it. */
  hint?: string
  /** Found by this too. */
  also?: string
}

/** Those that have every word typed; first those whose name begins with it, then those whose name has it. */
export function matching<T extends Found>(items: readonly T[], typed: string): T[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean)
  const ranked = items.flatMap((item) => {
    const label = item.label.toLowerCase()
    const all = `${label} ${item.also ?? ''}`.toLowerCase()
    if (!words.every((word) => all.includes(word))) return []
    const rank = words.length === 0 || label.startsWith(words[0]) ? 0 : label.includes(words[0]) ? 1 : 2
    return [{ item, rank }]
  })
  return ranked.sort((a, b) => a.rank - b.rank).map(({ item }) => item)
}
