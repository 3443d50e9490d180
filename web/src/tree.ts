import type { Message } from '../../src/server/wire.ts'

type Node = Pick<Message, 'id' | 'parentId'>

/** From the first message to `leafId`; to the newest message where that one is not here. */
export function pathTo<T extends Node>(messages: readonly T[], leafId: string | null): T[] {
  const byId = new Map(messages.map((message) => [message.id, message]))
  const path: T[] = []
  let message = (leafId === null ? undefined : byId.get(leafId)) ?? messages.at(-1)
  while (message) {
    path.push(message)
    byId.delete(message.id) // so that a broken store cannot make a loop
    message = message.parentId === null ? undefined : byId.get(message.parentId)
  }
  return path.reverse()
}

/** For all of them at once: the versions of a message, itself included, oldest first. */
export function versionsOf<T extends Node>(messages: readonly T[]): (message: T) => readonly T[] {
  const byParent = new Map<string | null, T[]>()
  for (const message of messages) {
    const siblings = byParent.get(message.parentId)
    if (siblings) siblings.push(message)
    else byParent.set(message.parentId, [message])
  }
  return (message) => byParent.get(message.parentId) ?? []
}

/** The newest end of the branches that go through `id`. */
export function newestLeafUnder(messages: readonly Node[], id: string): string {
  let leaf = id
  // Parents come before their children, so one pass from any message finds the newest line of descent.
  const under = new Set([id])
  for (const message of messages) {
    if (message.parentId === null || !under.has(message.parentId)) continue
    under.add(message.id)
    leaf = message.id
  }
  return leaf
}
