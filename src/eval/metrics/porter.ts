/**
 * An algorithm for suffix stripping (Porter, 1980), with the changes of NLTK, whose stemmer ROUGE is computed with.
 */

/** A suffix, what stands in its place, and whether it may go, by what is left before it. */
type Rule = readonly [suffix: string, replacement: string, may?: (stem: string) => boolean]

/** NLTK's: words that the rules would tear apart, or keep apart. */
const IRREGULAR = new Map(
  Object.entries({
    ...{ sky: 'sky', skies: 'sky', dying: 'die', lying: 'lie', tying: 'tie', news: 'news', howe: 'howe' },
    ...{ innings: 'inning', inning: 'inning', outings: 'outing', outing: 'outing' },
    ...{ cannings: 'canning', canning: 'canning', proceed: 'proceed', exceed: 'exceed', succeed: 'succeed' },
  }),
)

/** `c` for a consonant, `v` for a vowel; y is a consonant at the beginning and after a vowel. */
function shapeOf(word: string): string {
  let shape = ''
  for (const letter of word) {
    const isVowel = 'aeiou'.includes(letter) || (letter === 'y' && shape.endsWith('c'))
    shape += isVowel ? 'v' : 'c'
  }
  return shape
}

/** m: how often vowels are followed by consonants. */
const measure = (stem: string): number => shapeOf(stem).match(/vc/g)?.length ?? 0
const above =
  (least: number) =>
  (stem: string): boolean =>
    measure(stem) > least
const endsDoubleConsonant = (word: string): boolean => word.at(-1) === word.at(-2) && shapeOf(word).endsWith('c')

/** *o: consonant, vowel, consonant other than w, x, y; NLTK's: or a word of a vowel and a consonant. */
function endsConsonantVowelConsonant(word: string): boolean {
  const shape = shapeOf(word)
  return shape === 'vc' || (shape.endsWith('cvc') && !/[wxy]$/.test(word))
}

/** The first rule whose suffix is there decides, even if it changes nothing. */
function apply(word: string, rules: readonly Rule[]): string {
  for (const [suffix, replacement, may] of rules) {
    if (!word.endsWith(suffix)) continue
    const stem = word.slice(0, word.length - suffix.length)
    return may === undefined || may(stem) ? stem + replacement : word
  }
  return word
}

const rules = (may: (stem: string) => boolean, pairs: string): Rule[] =>
  pairs.split(' ').map((pair) => {
    const [suffix, replacement] = pair.split('>')
    return [suffix, replacement, may]
  })

const PLURALS: readonly Rule[] = [
  ['sses', 'ss'],
  ['ies', 'i'],
  ['ss', 'ss'],
  ['s', ''],
]
const STEP_2 = [
  ...rules(above(0), 'ational>ate tional>tion enci>ence anci>ance izer>ize bli>ble alli>al entli>ent eli>e ousli>ous'),
  ...rules(above(0), 'ization>ize ation>ate ator>ate alism>al iveness>ive fulness>ful ousness>ous aliti>al iviti>ive'),
  ...rules(above(0), 'biliti>ble fulli>ful'),
  ['logi', 'log', (stem: string) => measure(`${stem}l`) > 0] as const,
]
const STEP_3 = rules(above(0), 'icate>ic ative> alize>al iciti>ic ical>ic ful> ness>')
const STEP_4 = [
  ...rules(above(1), 'al> ance> ence> er> ic> able> ible> ant> ement> ment> ent>'),
  ['ion', '', (stem: string) => measure(stem) > 1 && /[st]$/.test(stem)] as const,
  ...rules(above(1), 'ou> ism> ate> iti> ous> ive> ize>'),
]

function step1a(word: string): string {
  return /^.ies$/.test(word) ? word.slice(0, -1) : apply(word, PLURALS)
}

function step1b(word: string): string {
  if (word.endsWith('ied')) return word.slice(0, word.length === 4 ? -1 : -2)
  if (word.endsWith('eed')) return apply(word, rules(above(0), 'eed>ee'))
  const suffix = ['ed', 'ing'].find((end) => word.endsWith(end) && shapeOf(word.slice(0, -end.length)).includes('v'))
  if (suffix === undefined) return word
  const stem = word.slice(0, -suffix.length)
  if (/(at|bl|iz)$/.test(stem)) return `${stem}e`
  if (endsDoubleConsonant(stem)) return /[lsz]$/.test(stem) ? stem : stem.slice(0, -1)
  return measure(stem) === 1 && endsConsonantVowelConsonant(stem) ? `${stem}e` : stem
}

function step1c(word: string): string {
  return apply(word, [['y', 'i', (stem) => stem.length > 1 && shapeOf(stem).endsWith('c')]])
}

function step2(word: string): string {
  const stem = word.slice(0, -'alli'.length)
  return word.endsWith('alli') && measure(stem) > 0 ? step2(`${stem}al`) : apply(word, STEP_2)
}

function step5(word: string): string {
  const withoutE = apply(word, [
    ['e', '', (stem) => measure(stem) > 1 || (measure(stem) === 1 && !endsConsonantVowelConsonant(stem))],
  ])
  return apply(withoutE, [['ll', 'l', (stem) => measure(`${stem}l`) > 1]])
}

/** The stem of a word of small letters. */
export function stem(word: string): string {
  const irregular = IRREGULAR.get(word)
  if (irregular !== undefined) return irregular
  if (word.length <= 2) return word
  const stripped = step2(step1c(step1b(step1a(word))))
  return step5(apply(apply(stripped, STEP_3), STEP_4))
}
