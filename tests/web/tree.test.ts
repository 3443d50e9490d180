import fc from 'fast-check'
import { expect, it } from 'vitest'
import { newestLeafUnder, pathTo, versionsOf } from '../../web/src/tree.ts'

interface Node {
  id: string
  parentId: string | null
}

/** Trees in the server's order: parents before their children. */
const trees: fc.Arbitrary<Node[]> = fc.array(fc.nat(), { minLength: 1, maxLength: 30 }).map((choices) =>
  choices.map((choice, index) => {
    const parent = choice % (index + 1)
    return { id: `m${index}`, parentId: parent === index ? null : `m${parent}` }
  }),
)

const treeAndNode = trees.chain((messages) => fc.tuple(fc.constant(messages), fc.constantFrom(...messages)))

it('a path begins at a root, ends at the asked message, and every message follows its parent', () => {
  fc.assert(
    fc.property(treeAndNode, ([messages, leaf]) => {
      const path = pathTo(messages, leaf.id)
      expect(path[0].parentId).toBe(null)
      expect(path.at(-1)).toBe(leaf)
      for (let at = 1; at < path.length; at++) expect(path[at].parentId).toBe(path[at - 1].id)
    }),
  )
})

it('an unknown message leads to the newest one, and no messages to an empty path', () => {
  fc.assert(
    fc.property(trees, (messages) => {
      expect(pathTo(messages, 'gone').at(-1)).toBe(messages.at(-1))
    }),
  )
  expect(pathTo([], null)).toEqual([])
})

it('a loop in a broken store ends', () => {
  const loop = [
    { id: 'a', parentId: 'b' },
    { id: 'b', parentId: 'a' },
  ]
  expect(pathTo(loop, 'a').map(({ id }) => id)).toEqual(['b', 'a'])
})

it('choosing a version leads to a leaf whose path goes through it', () => {
  fc.assert(
    fc.property(treeAndNode, ([messages, chosen]) => {
      const leaf = newestLeafUnder(messages, chosen.id)
      expect(messages.some(({ parentId }) => parentId === leaf)).toBe(false)
      expect(pathTo(messages, leaf)).toContain(chosen)
    }),
  )
})

it('the versions of a message are those with its parent, in order', () => {
  fc.assert(
    fc.property(treeAndNode, ([messages, message]) => {
      const versions = versionsOf(messages)(message)
      expect(versions).toContain(message)
      expect(versions).toEqual(messages.filter(({ parentId }) => parentId === message.parentId))
    }),
  )
})
