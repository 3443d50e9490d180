import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  allEqual,
  type Groups,
  isTied,
  moved,
  putAt,
  rankOf,
  tieToggled,
} from '../../web/src/pages/arena/ranking-groups.ts'

describe('an order of answers', () => {
  it('comes out of a tie, goes past its neighbours, and ends at the ends', () => {
    expect(moved(allEqual(3), 2, -1)).toEqual([[2], [0, 1]])
    expect(moved(allEqual(3), 0, 1)).toEqual([[1, 2], [0]])
    expect(moved([[2], [0, 1]], 2, 1)).toEqual([[0, 1], [2]])
    expect(moved([[0], [1], [2]], 2, -1)).toEqual([[0], [2], [1]])
    expect(moved([[0], [1]], 0, -1)).toEqual([[0], [1]])
    expect(moved([[0], [1]], 1, 1)).toEqual([[0], [1]])
  })

  it('ties an answer with those above, and unties it just below them', () => {
    expect(tieToggled([[2], [0], [1]], 0)).toEqual([[0, 2], [1]])
    expect(tieToggled([[0, 2], [1]], 0)).toEqual([[2], [0], [1]])
    expect(tieToggled([[0], [1]], 0)).toEqual([[0], [1]])
  })

  it('puts what is dragged before, beside or after another one', () => {
    const order = [[0], [1], [2]]
    expect(putAt(order, 2, 'before', 0)).toEqual([[2], [0], [1]])
    expect(putAt(order, 0, 'after', 1)).toEqual([[1], [0], [2]])
    expect(putAt(order, 2, 'tie', 0)).toEqual([[0, 2], [1]])
    expect(putAt([[0, 1], [2]], 0, 'after', 1)).toEqual([[1], [0], [2]])
    expect(putAt(order, 1, 'tie', 1)).toBe(order)
  })

  it('holds every answer once, whatever is done to it', () => {
    const place = fc.nat(4)
    const action = fc.oneof(
      fc.record({ place, by: fc.constantFrom(-1, 1) }).map(
        ({ place, by }) =>
          (groups: Groups) =>
            moved(groups, place, by as 1 | -1),
      ),
      place.map((place) => (groups: Groups) => tieToggled(groups, place)),
      fc.record({ place, other: place, where: fc.constantFrom('before', 'tie', 'after') }).map(
        ({ place, other, where }) =>
          (groups: Groups) =>
            putAt(groups, place, where as 'tie', other),
      ),
    )
    fc.assert(
      fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
        const groups = actions.reduce((now, act) => act(now), allEqual(5))
        expect(groups.flat().sort()).toEqual([0, 1, 2, 3, 4])
        expect(groups.every((group) => group.length > 0)).toBe(true)
        for (let place = 0; place < 5; place++) {
          expect(isTied(groups, place)).toBe(groups[rankOf(groups, place) - 1].length > 1)
        }
      }),
    )
  })
})
