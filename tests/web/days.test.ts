import fc from 'fast-check'
import { expect, it } from 'vitest'
import { dayLabel, groupByDay } from '../../web/src/days.ts'

const now = new Date(2026, 10, 23, 9, 30)

it('days are named by the calendar, not by hours', () => {
  expect(dayLabel(new Date(2026, 10, 23, 0, 1), now, 'en')).toBe('Today')
  expect(dayLabel(new Date(2026, 10, 22, 23, 59), now, 'en')).toBe('Yesterday')
  expect(dayLabel(new Date(2026, 10, 17, 12), now, 'en')).toBe('Tuesday')
  expect(dayLabel(new Date(2026, 10, 3, 12), now, 'en')).toBe('November 3')
  expect(dayLabel(new Date(2025, 10, 3, 12), now, 'en')).toBe('November 3, 2025')
})

it('days group conversations without losing or reordering anything, and neighbours differ', () => {
  const dates = fc.date({ min: new Date(2024, 0, 1), max: now, noInvalidDate: true })
  fc.assert(
    fc.property(fc.array(dates), (list) => {
      const items = list.sort((a, b) => +b - +a).map((date) => ({ updatedAt: date.toISOString() }))
      const groups = groupByDay(items, now, 'en')
      expect(groups.flatMap((group) => group.items)).toEqual(items)
      for (let at = 1; at < groups.length; at++) expect(groups[at].day).not.toBe(groups[at - 1].day)
    }),
  )
})
