/** What one knows without looking it up: the order of days, months, letters and numbers. */

import { MONTHS, WEEKDAYS } from '../../sources/calendar.ts'
import { ask, phrasings } from '../phrasing.ts'
import { type Draw, pick, styled, type Turn } from '../turn.ts'

const NUMBERS = (
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen ' +
  'eighteen nineteen twenty'
).split(' ')
const LETTERS = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ']

const NEXT_DAY = phrasings([
  'what day comes after {a}?',
  'which day comes after {a}?',
  'what day follows {a}?',
  'which day follows {a}?',
  'the day after {a}',
  'what is the day after {a}?',
  'tell me the day after {a}',
  'today is {a}. what day is tomorrow?',
  'if today is {a}, what day is tomorrow?',
  'name the day after {a}',
])
const DAY_BEFORE = phrasings([
  'what day comes before {a}?',
  'which day comes before {a}?',
  'the day before {a}',
  'what is the day before {a}?',
  'tell me the day before {a}',
  'today is {a}. what day was yesterday?',
  'if today is {a}, what day was yesterday?',
  'name the day before {a}',
])
const NEXT_MONTH = phrasings([
  'what month comes after {a}?',
  'which month comes after {a}?',
  'what month follows {a}?',
  'which month follows {a}?',
  'the month after {a}',
  'what is the month after {a}?',
  'tell me the month after {a}',
  'name the month after {a}',
])
const MONTH_LENGTH = phrasings([
  'how many days does {a} have?',
  'how many days are in {a}?',
  'how many days are there in {a}?',
  'days in {a}',
  'how long is {a}?',
  'tell me how many days {a} has',
  'number of days in {a}',
  'what is the number of days in {a}?',
])
const NEXT_LETTER = phrasings([
  'which letter comes after {a}?',
  'what letter comes after {a}?',
  'what letter follows {a}?',
  'the letter after {a}',
  'what is the letter after {a}?',
  'which letter follows {a} in the alphabet?',
  'tell me the letter after {a}',
  'name the letter after {a}',
  'what comes after {a} in the alphabet?',
])
const AS_WORD = phrasings([
  'write {a} as a word',
  'write the number {a} as a word',
  'how do you write {a} in words?',
  'how do you write {a} as a word?',
  '{a} as a word',
  '{a} in words',
  'spell the number {a}',
  'what is {a} in words?',
  'give me {a} as a word',
])
const AS_DIGITS = phrasings([
  'write {a} as a number',
  'write {a} in digits',
  'how do you write {a} in digits?',
  '{a} in digits',
  '{a} as a number',
  'which number is {a}?',
  'what is {a} in digits?',
  'give me {a} in digits',
])

const after = (list: readonly string[], by: number) => (i: number) => list[(i + by + list.length) % list.length]
const lengthOf = (i: number): string =>
  ['31', '28 or 29', '31', '30', '31', '30', '31', '31', '30', '31', '30', '31'][i]

export function askBasics(draw: Draw): Turn {
  const { random } = draw
  const task = pick(random, [
    {
      asks: NEXT_DAY,
      list: WEEKDAYS,
      answer: after(WEEKDAYS, 1),
      say: (a: string, b: string) => `The day after ${a} is ${b}.`,
    },
    {
      asks: DAY_BEFORE,
      list: WEEKDAYS,
      answer: after(WEEKDAYS, -1),
      say: (a: string, b: string) => `The day before ${a} is ${b}.`,
    },
    {
      asks: NEXT_MONTH,
      list: MONTHS,
      answer: after(MONTHS, 1),
      say: (a: string, b: string) => `The month after ${a} is ${b}.`,
    },
    { asks: MONTH_LENGTH, list: MONTHS, answer: lengthOf, say: (a: string, b: string) => `${a} has ${b} days.` },
    {
      asks: NEXT_LETTER,
      list: LETTERS.slice(0, -1),
      answer: after(LETTERS, 1),
      say: (a: string, b: string) => `The letter after ${a} is ${b}.`,
    },
    {
      asks: AS_WORD,
      list: NUMBERS.map((_, i) => String(i)),
      answer: after(NUMBERS, 0),
      say: (a: string, b: string) => `The number ${a} is written ${b}.`,
    },
    {
      asks: AS_DIGITS,
      list: NUMBERS,
      answer: (i: number) => String(i),
      say: (a: string, b: string) => `The number ${a} is ${b} in digits.`,
    },
  ])
  const i = random.below(task.list.length)
  const a = task.list[i]
  const result = task.answer(i)
  const user = ask(draw, task.asks, { a }, true)
  const reference = task.say(a, result)
  return {
    ...{ kind: 'basics', user, answer: styled(draw, reference, `${result}.`) },
    expected: { behaviour: 'answer', contains: [result], format: 'sentence', reference, question: user },
  }
}
