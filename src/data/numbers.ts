/** Numbers below a thousand in two notations, as words apart: what the small languages of our recipes are made of. */

export type Notation = (value: number) => string

const ONES = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
const TEENS = [
  ...['ten', 'eleven', 'twelve', 'thirteen', 'fourteen'],
  ...['fifteen', 'sixteen', 'seventeen', 'eighteen', 'nineteen'],
]
const TENS = ['twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety']

/** All that the two notations are written with. */
export const NUMBER_WORDS: readonly string[] = [...'0123456789', 'hundred', ...ONES, ...TEENS, ...TENS]

/** `7 4 9` */
export const inDigits: Notation = (value) => [...`${checked(value)}`].join(' ')

/** `seven hundred forty nine` */
export const inWords: Notation = (value) => {
  const [hundreds, rest] = [Math.floor(checked(value) / 100), value % 100]
  const tens =
    rest < 10 ? [ONES[rest]] : rest < 20 ? [TEENS[rest - 10]] : [TENS[Math.floor(rest / 10) - 2], ONES[rest % 10]]
  const said = tens.filter((word) => word !== 'zero' || value === 0)
  return [...(hundreds > 0 ? [ONES[hundreds], 'hundred'] : []), ...said].join(' ')
}

function checked(value: number): number {
  if (Number.isInteger(value) && value >= 0 && value < 1000) return value
  throw new RangeError(`there are words for whole numbers from 0 to 999, got ${value}`)
}
