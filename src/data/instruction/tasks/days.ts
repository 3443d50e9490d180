/** Weekdays of dates, days between two, days later or before. */

import { daysInMonth, MONTHS, parseDay, writeDay } from '../../sources/calendar.ts'
import { ask, phrasings } from '../phrasing.ts'
import { callOf, type Draw, drawEntity, type Kind, pick, styled, type Turn } from '../turn.ts'

const WEEKDAY = phrasings([
  'what day of the week is {date}?',
  'what weekday is {date}?',
  'which weekday is {date}?',
  'which day of the week was {date}?',
  'what day is {date}?',
  'what day was {date}?',
  'on which day does {date} fall?',
  'on what weekday does {date} fall?',
  'weekday of {date}',
  'day of the week of {date}',
  'tell me the weekday of {date}',
  'give me the weekday of {date}',
  'is {date} a Monday or what?',
  'I was born on {date}. what weekday was that?',
  'we meet on {date}. what weekday is that?',
  '{date} is what day of the week?',
  '{date} weekday',
])
const BETWEEN = phrasings([
  'how many days are there between {date} and {to}?',
  'how many days are there from {date} to {to}?',
  'how many days is it from {date} to {to}?',
  'days between {date} and {to}',
  'days from {date} to {to}',
  'number of days from {date} to {to}',
  'how many days lie between {date} and {to}?',
  'how many days pass from {date} until {to}?',
  'count the days from {date} to {to}',
  'count the days between {date} and {to}',
  'tell me how many days there are from {date} to {to}',
  'how long is it from {date} to {to} in days?',
  'from {date} to {to}, how many days is that?',
  'what is the number of days between {date} and {to}?',
  'how far apart are {date} and {to} in days?',
])
const AFTER = phrasings([
  'what date is {n} days after {date}?',
  'which date is {n} days after {date}?',
  'what day comes {n} days after {date}?',
  '{n} days after {date}',
  '{date} plus {n} days',
  'add {n} days to {date}',
  'what is {date} plus {n} days?',
  'tell me the date {n} days after {date}',
  'give me the date {n} days after {date}',
  'what will be the date {n} days from {date}?',
  'it is {date}. what is the date in {n} days?',
  'I start on {date} and need {n} days. on what date do I end?',
  'if today is {date}, what is the date in {n} days?',
  'which day is it {n} days from {date}?',
  'count {n} days on from {date}',
])
const BEFORE = phrasings([
  'what date is {n} days before {date}?',
  'which date is {n} days before {date}?',
  '{n} days before {date}',
  '{date} minus {n} days',
  'what is {date} minus {n} days?',
  'tell me the date {n} days before {date}',
  'give me the date {n} days before {date}',
  'what was the date {n} days before {date}?',
  'it is {date}. what was the date {n} days ago?',
  'if today is {date}, what was the date {n} days ago?',
  'count {n} days back from {date}',
  'take {n} days from {date}',
])

/** A date as people write it. */
function writtenDate({ random }: Draw): string {
  const year = random.below(3) === 0 ? 1900 + random.below(100) : 2000 + random.below(50)
  const month = 1 + random.below(12)
  const day = 1 + random.below(daysInMonth(year, month))
  const name = MONTHS[month - 1]
  const form = random.below(8)
  if (form < 4) return `${day} ${name} ${year}`
  if (form < 7) return `${name} ${day}, ${year}`
  return `${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`
}

const dateFor = (draw: Draw): string =>
  drawEntity(
    draw,
    () => writtenDate(draw),
    (date) => date,
  )

/** Asks the dates tool and says what came of it. `date`, `to` as they were typed. */
export function dateTurn(
  draw: Draw,
  kind: Kind,
  user: string,
  { date, to, add }: { date: string; to?: string; add?: number },
): Turn {
  const call = callOf('dates', { date, ...(to === undefined ? {} : { to }), ...(add === undefined ? {} : { add }) })
  const result = draw.world.call(call)
  const count = `${Math.abs(add ?? 0)} day${Math.abs(add ?? 0) === 1 ? '' : 's'}`
  const reference =
    to !== undefined
      ? `From ${date} to ${to} it is ${result}.`
      : add !== undefined
        ? `${count} ${add < 0 ? 'before' : 'after'} ${date} is ${result}.`
        : `${date} falls on a ${result}.`
  const day = add === undefined ? date : (result.split(', ').at(-1) ?? date)
  return {
    ...{ kind, user, call, result, answer: styled(draw, reference, `${result}.`) },
    expected: { behaviour: 'answer', contains: [result], format: 'sentence', reference, question: user },
    // After two dates, none of them is the one that is meant.
    ...(to === undefined ? { topic: { type: 'day', day } } : {}),
  }
}

/** Dates as they stand in a question, where it was typed without capitals. */
const asTyped = (user: string, date: string): string => {
  const at = user.toLowerCase().indexOf(date.toLowerCase())
  return at < 0 ? date : user.slice(at, at + date.length)
}

const properly = (date: string): string =>
  date.replace(/[a-z]+/i, (month) => month.charAt(0).toUpperCase() + month.slice(1))

export function askDate(draw: Draw): Turn {
  const { random } = draw
  const date = dateFor(draw)
  const form = random.below(10)
  if (form < 4) return dateTurn(draw, 'date', ask(draw, WEEKDAY, { date }, true), { date })
  if (form < 6) {
    const days = (parseDay(date) as number) + 1 + random.below(random.below(2) === 0 ? 60 : 800)
    const to = writeDay(days)
    return dateTurn(draw, 'date', ask(draw, BETWEEN, { date, to }, true), { date, to })
  }
  const n = 1 + random.below(random.below(2) === 0 ? 30 : 400)
  const isBack = random.below(3) === 0
  const user = ask(draw, isBack ? BEFORE : AFTER, { date, n: String(n) }, true)
  return dateTurn(draw, 'date', user.replace(/\b1 days\b/, '1 day'), {
    date: properly(asTyped(user, date)),
    add: isBack ? -n : n,
  })
}

/** A date that there is not. */
export function askNoDate(draw: Draw): Turn {
  const { random } = draw
  const date = `${pick(random, [30, 31, 32, 35])} February ${2000 + random.below(40)}`
  const user = ask(draw, WEEKDAY, { date }, true)
  const call = callOf('dates', { date })
  const result = draw.world.call(call)
  const reference = `There is ${result.replaceAll('"', '')}.`
  return {
    ...{ kind: 'unknown', user, call, result, answer: styled(draw, reference, 'No.', 'sorry') },
    expected: {
      ...{ behaviour: 'unknown', contains: [['no date', 'not a date', 'do not know']], format: 'sentence' },
      ...{ reference, question: user },
    },
  }
}
