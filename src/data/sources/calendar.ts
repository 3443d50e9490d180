/** Days of the Gregorian calendar, as numbers since 1 January 1970. */

export const MONTHS = [
  ...['January', 'February', 'March', 'April', 'May', 'June'],
  ...['July', 'August', 'September', 'October', 'November', 'December'],
] as const
export const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const

const MS_PER_DAY = 86_400_000

/** How many days a month has; `month` counts from 1. */
export const daysInMonth = (year: number, month: number): number => new Date(Date.UTC(year, month, 0)).getUTCDate()

/**
 * Reads `2024-03-05`, `5 March 2024`, `March 5, 2024` or `5th of March 2024`; months may be short. `undefined` where it is
 * no day between the years 1583, the first that is wholly Gregorian, and 9999.
 */
export function parseDay(text: string): number | undefined {
  const plain = text
    .trim()
    .toLowerCase()
    .replace(/(\d)(?:st|nd|rd|th)\b/g, '$1')
    .replace(/\bof\b|,/g, ' ')
    .replace(/\s+/g, ' ')
  const iso = /^(\d{4})-(\d{1,2})-(\d{1,2})$/.exec(plain)
  if (iso) return dayOf(Number(iso[1]), Number(iso[2]), Number(iso[3]))
  const dayFirst = /^(\d{1,2}) ([a-z]+)\.? (\d{4})$/.exec(plain)
  if (dayFirst) return dayOf(Number(dayFirst[3]), monthNumber(dayFirst[2]), Number(dayFirst[1]))
  const monthFirst = /^([a-z]+)\.? (\d{1,2}) (\d{4})$/.exec(plain)
  if (monthFirst) return dayOf(Number(monthFirst[3]), monthNumber(monthFirst[1]), Number(monthFirst[2]))
  return undefined
}

const monthNumber = (name: string): number =>
  name.length < 3 ? 0 : MONTHS.findIndex((month) => month.toLowerCase().startsWith(name)) + 1

function dayOf(year: number, month: number, day: number): number | undefined {
  if (year < 1583 || year > 9999 || month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month))
    return undefined
  return Date.UTC(year, month - 1, day) / MS_PER_DAY
}

export const weekdayOf = (day: number): string => WEEKDAYS[(((day + 4) % 7) + 7) % 7]

/** `5 March 2024` */
export function writeDay(day: number): string {
  const date = new Date(day * MS_PER_DAY)
  return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`
}
