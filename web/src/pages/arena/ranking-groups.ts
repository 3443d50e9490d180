/** Places of answers, the best group first; those in one group are as good as each other. */
export type Groups = readonly (readonly number[])[]

/** Nothing said yet: all as good as each other. */
export const allEqual = (answers: number): Groups => [Array.from({ length: answers }, (_, place) => place)]

/** 1 is the best; of a group all have the same. */
export const rankOf = (groups: Groups, place: number): number => groups.findIndex((group) => group.includes(place)) + 1

export const isTied = (groups: Groups, place: number): boolean => (groups[rankOf(groups, place) - 1]?.length ?? 0) > 1

const without = (group: readonly number[], place: number) => group.filter((other) => other !== place)

const filled = (groups: Groups): Groups => groups.filter((group) => group.length > 0)

/** One step up (−1) or down (1): out of a tie, or past the next group. */
export function moved(groups: Groups, place: number, by: -1 | 1): Groups {
  const at = rankOf(groups, place) - 1
  const rest = groups.map((group) => without(group, place))
  if (isTied(groups, place))
    return [...rest.slice(0, by < 0 ? at : at + 1), [place], ...rest.slice(by < 0 ? at : at + 1)]
  const next = at + by
  if (next < 0 || next >= groups.length) return groups
  const others = filled(rest)
  return [...others.slice(0, next), [place], ...others.slice(next)]
}

/** As good as those above it; out of a tie: just below the others of it. */
export function tieToggled(groups: Groups, place: number): Groups {
  if (isTied(groups, place)) return moved(groups, place, 1)
  const at = rankOf(groups, place) - 1
  if (at === 0) return groups
  return groups.flatMap((group, i) =>
    i === at ? [] : [i === at - 1 ? [...group, place].sort((a, b) => a - b) : group],
  )
}

/** Put where another one stands: before it, after it, or as good as it. */
export function putAt(groups: Groups, place: number, where: 'before' | 'tie' | 'after', other: number): Groups {
  if (place === other) return groups
  return filled(
    groups
      .map((group) => without(group, place))
      .flatMap((group) => {
        if (!group.includes(other)) return [group]
        if (where === 'tie') return [[...group, place].sort((a, b) => a - b)]
        return where === 'before' ? [[place], group] : [group, [place]]
      }),
  )
}
