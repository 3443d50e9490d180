import { type ComponentType, memo } from 'react'

/**
 * For the turns of a conversation: while one is being written, sixty times a second, the others are not drawn again.
 * Lists (of versions) are made anew each time and count as the same while their items are.
 */
export function memoTurn<Props extends object>(component: ComponentType<Props>) {
  return memo(component, (before, after) =>
    (Object.keys(after) as (keyof Props)[]).every((name) => isSame(before[name], after[name])),
  )
}

function isSame(a: unknown, b: unknown): boolean {
  if (!Array.isArray(a) || !Array.isArray(b)) return Object.is(a, b)
  return a.length === b.length && a.every((item, index) => Object.is(item, b[index]))
}
