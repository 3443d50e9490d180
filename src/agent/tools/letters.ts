import { z } from 'zod'
import { pastOf, pluralOf } from '../../data/sources/inflection.ts'
import type { LocalTool } from '../toolset.ts'

const LONGEST = 200
const JOBS = [
  ...([
    'spell',
    'reverse',
    'count',
    'vowels',
    'words',
    'upper',
    'lower',
    'capitals',
    'sort',
    'plural',
    'past',
  ] as const),
] as const
type Job = (typeof JOBS)[number]

const Arguments = z.object({ text: z.string().min(1).max(LONGEST), do: z.enum(JOBS) })

const lettersOf = (text: string): string[] => text.match(/\p{L}/gu) ?? []
const wordsOf = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '')
const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`
const itemsOf = (text: string): string[] => {
  const parts = /[,;\n]/.test(text) ? text.split(/[,;\n]/) : wordsOf(text)
  return parts.map((part) => part.trim()).filter((part) => part !== '')
}
/** The last word changed, and the words before it kept. */
const lastWord = (text: string, change: (word: string) => string): string =>
  text.trim().replace(/\S+$/, (word) => change(word.toLowerCase()))

const DONE: Readonly<Record<Job, (text: string) => string>> = {
  spell: (text) => [...text.trim()].join('-'),
  reverse: (text) => [...text].reverse().join(''),
  count: (text) => counted(lettersOf(text).length, 'letter'),
  vowels: (text) => counted(lettersOf(text).filter((letter) => /[aeiou]/i.test(letter)).length, 'vowel'),
  words: (text) => counted(wordsOf(text).length, 'word'),
  upper: (text) => text.toUpperCase(),
  lower: (text) => text.toLowerCase(),
  capitals: (text) => text.replace(/(?<![\p{L}'])\p{L}/gu, (letter) => letter.toUpperCase()),
  sort: (text) =>
    itemsOf(text)
      .sort((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1))
      .join(', '),
  plural: (text) => lastWord(text, pluralOf),
  past: (text) => lastWord(text, pastOf),
}

/** What is done to letters, words and lists. */
export const letters: LocalTool = {
  spec: {
    name: 'letters',
    description:
      'Spells a word, reverses a text, counts its letters, vowels or words, writes it in upper case, lower case or with capitals, sorts a list, makes a plural or a past tense.',
    parameters: {
      type: 'object',
      properties: { text: { type: 'string', maxLength: LONGEST }, do: { type: 'string', enum: [...JOBS] } },
      required: ['text', 'do'],
      additionalProperties: false,
    },
  },
  run(args) {
    const { data } = Arguments.safeParse(args)
    if (!data) return `letters needs "text", at most ${LONGEST} characters, and "do", one of ${JOBS.join(', ')}`
    return DONE[data.do](data.text)
  },
}
