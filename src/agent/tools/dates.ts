import { z } from 'zod'
import { parseDay, weekdayOf, writeDay } from '../../data/sources/calendar.ts'
import type { LocalTool } from '../toolset.ts'

const MOST_DAYS = 1_000_000
const Arguments = z.object({
  date: z.string().min(1).max(40),
  to: z.string().min(1).max(40).optional(),
  add: z.number().int().min(-MOST_DAYS).max(MOST_DAYS).optional(),
})

/** Weekdays and spans of days. */
export const dates: LocalTool = {
  spec: {
    name: 'dates',
    description:
      'The weekday of a date such as "5 March 2024"; with "to", the days between two dates; with "add", the date so many days later.',
    parameters: {
      type: 'object',
      properties: { date: { type: 'string' }, to: { type: 'string' }, add: { type: 'integer' } },
      required: ['date'],
      additionalProperties: false,
    },
  },
  run(args) {
    const { data } = Arguments.safeParse(args)
    if (!data) return 'dates needs "date", and may have "to", another date, or "add", a number of days'
    const day = parseDay(data.date)
    if (day === undefined) return `no date ${data.date}`
    if (data.to !== undefined) {
      const end = parseDay(data.to)
      return end === undefined ? `no date ${data.to}` : `${Math.abs(end - day)} days`
    }
    if (data.add === undefined) return weekdayOf(day)
    return `${weekdayOf(day + data.add)}, ${writeDay(day + data.add)}`
  },
}
