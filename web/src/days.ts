/** "Today", "Yesterday", "Monday" within the week, then the date; the year where it is not this one. */
export function dayLabel(date: Date, now: Date, locale?: string): string {
  const midnight = (day: Date) => Date.UTC(day.getFullYear(), day.getMonth(), day.getDate())
  const days = Math.round((midnight(now) - midnight(date)) / 86_400_000)
  if (days <= 0) return 'Today'
  if (days === 1) return 'Yesterday'
  if (days < 7) return date.toLocaleDateString(locale, { weekday: 'long' })
  const year = date.getFullYear() === now.getFullYear() ? undefined : 'numeric'
  return date.toLocaleDateString(locale, { day: 'numeric', month: 'long', year })
}

/** Runs of items that fall on one day, in the order given. */
export function groupByDay<T extends { updatedAt: string }>(items: readonly T[], now: Date, locale?: string) {
  const groups: { day: string; items: T[] }[] = []
  for (const item of items) {
    const day = dayLabel(new Date(item.updatedAt), now, locale)
    const last = groups.at(-1)
    if (last?.day === day) last.items.push(item)
    else groups.push({ day, items: [item] })
  }
  return groups
}
