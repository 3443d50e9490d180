/** Numbers and dates as people say them, and as they are written: a small language with a grammar to translate. */

const SMALL = [
  'zero one two three four five six seven eight nine ten',
  'eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen',
]
  .join(' ')
  .split(' ')
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ')
const ORDINALS = [
  'zeroth first second third fourth fifth sixth seventh eighth ninth tenth',
  'eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth',
]
  .join(' ')
  .split(' ')
const MONTHS = 'january february march april may june july august september october november december'.split(' ')

/** The greatest number that has words here. */
export const MOST = 999_999_999

/**
 * `four hundred and twelve thousand and five`: British, without hyphens.
 *
 * @throws RangeError where the number is none of 0 … 999,999,999
 */
export function numberWords(n: number): string {
  if (!Number.isInteger(n) || n < 0 || n > MOST) throw new RangeError(`numberWords: needs 0 to ${MOST}, got ${n}`)
  const [millions, thousands, rest] = [Math.floor(n / 1e6), Math.floor(n / 1000) % 1000, n % 1000]
  const parts = [
    ...(millions > 0 ? [`${upTo999(millions)} million`] : []),
    ...(thousands > 0 ? [`${upTo999(thousands)} thousand`] : []),
  ]
  if (rest === 0 && parts.length > 0) return parts.join(' ')
  if (parts.length > 0 && rest < 100) return [...parts, 'and', upTo999(rest)].join(' ')
  return [...parts, upTo999(rest)].join(' ')
}

function upTo999(n: number): string {
  if (n < 20) return SMALL[n]
  if (n < 100) return n % 10 === 0 ? TENS[n / 10 - 2] : `${TENS[Math.floor(n / 10) - 2]} ${SMALL[n % 10]}`
  const hundreds = `${SMALL[Math.floor(n / 100)]} hundred`
  return n % 100 === 0 ? hundreds : `${hundreds} and ${upTo999(n % 100)}`
}

/** A year as it is said: `nineteen oh five`, `twenty twenty four`, `two thousand and nine`, `nineteen hundred`. */
export function yearWords(year: number): string {
  const [century, rest] = [Math.floor(year / 100), year % 100]
  if (century % 10 === 0 && rest < 10) return numberWords(year)
  if (rest === 0) return `${upTo999(century)} hundred`
  return rest < 10 ? `${upTo999(century)} oh ${SMALL[rest]}` : `${upTo999(century)} ${upTo999(rest)}`
}

/** `the third of march`, or `march the third` where the month is to come first. */
export function dayWords(month: number, day: number, monthFirst = false): string {
  const ordinal =
    day <= 20 ? ORDINALS[day] : day === 30 ? 'thirtieth' : `${TENS[Math.floor(day / 10) - 2]} ${ORDINALS[day % 10]}`
  return monthFirst ? `${MONTHS[month - 1]} the ${ordinal}` : `the ${ordinal} of ${MONTHS[month - 1]}`
}

/** Every word that these write. */
export const NOTATION_WORDS: readonly string[] = [
  ...SMALL,
  ...TENS,
  ...ORDINALS.slice(1),
  'thirtieth',
  ...MONTHS,
  ...['hundred', 'thousand', 'million', 'and', 'the', 'of', 'oh'],
]
