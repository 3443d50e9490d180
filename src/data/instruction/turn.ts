/** What conversations are made of: a question, perhaps a call with its real result, an answer, and what a judge expects. */

import type { StepRandom } from '../random.ts'
import type { Countries } from '../sources/countries.ts'
import type { Dictionary } from '../sources/dictionary.ts'

/** Phrasings, words, countries and numbers of one part never occur in the other. */
export type Split = 'train' | 'heldOut'

export const KINDS = [
  ...(['meaning', 'synonyms', 'opposite', 'kind', 'country', 'arithmetic', 'problem', 'date', 'spelling'] as const),
  ...(['editing', 'list', 'basics', 'talk', 'clarify', 'refusal', 'unknown', 'follow-up'] as const),
] as const
export type Kind = (typeof KINDS)[number]

export type Format = 'sentence' | 'text' | 'bullets' | 'numbered' | 'commas' | 'json'

/** What an answer is judged by. */
export interface Expected {
  /** To answer, to say that one does not know, to refuse, to ask back, or to talk. */
  readonly behaviour: 'answer' | 'unknown' | 'refusal' | 'question' | 'talk'
  /** Each must be in the answer; of an inner list, one. */
  readonly contains: readonly (string | readonly string[])[]
  /** Whether capitals matter. */
  readonly exact?: boolean
  readonly format: Format
  /** The items that a list has, in this order. */
  readonly items?: readonly string[]
  /** The plain answer. */
  readonly reference: string
  /** What was asked: its numbers may be in the answer. */
  readonly question: string
}

/** What a turn was about, so that the next can refer to it. */
export type Topic =
  | { readonly type: 'word'; readonly word: string; readonly want: string; readonly items?: readonly string[] }
  | { readonly type: 'country'; readonly name: string; readonly want: string; readonly items?: readonly string[] }
  | { readonly type: 'number'; readonly value: string }
  | { readonly type: 'items'; readonly items: readonly string[] }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'day'; readonly day: string }
  | { readonly type: 'name'; readonly name: string }

export interface Call {
  readonly name: string
  /** JSON, spaced as the model is to write it. */
  readonly arguments: string
}

export interface Turn {
  readonly kind: Kind
  readonly user: string
  /** Made before the answer, with what came of it. */
  readonly call?: Call
  readonly result?: string
  readonly answer: string
  readonly expected: Expected
  readonly topic?: Topic
}

/** What the conversations are about, and the tools that they call: `call` is what runs them. */
export interface World {
  readonly dictionary: Dictionary
  readonly countries: Countries
  readonly call: (call: Call) => string
  readonly words: Words
}

/** Words to ask about, in alphabetical order. */
export interface Words {
  readonly common: readonly string[]
  readonly defined: readonly string[]
  readonly withSynonyms: readonly string[]
  readonly withOpposite: readonly string[]
  readonly withKind: readonly string[]
  readonly withKinds: readonly string[]
  readonly nouns: readonly string[]
  readonly verbs: readonly string[]
}

/** How one writes answers: in a plain sentence, curtly, or with many words. */
export type Style = 'plain' | 'short' | 'wordy'

/** All that a task draws from. */
export interface Draw {
  readonly world: World
  readonly random: StepRandom
  readonly split: Split
  readonly style: Style
}

/**
 * Arguments as the model writes them: a space after each colon and comma, and one before each text, which tools take away.
 * A word behind a space has the same tokens as in the question, and a small model copies tokens, not letters.
 */
export const argumentsJson = (args: Readonly<Record<string, string | number>>): string =>
  `{${Object.entries(args)
    .map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(typeof value === 'string' ? ` ${value}` : value)}`)
    .join(', ')}}`

export const callOf = (name: string, args: Readonly<Record<string, string | number>>): Call => ({
  name,
  arguments: argumentsJson(args),
})

/** One of a list. */
export const pick = <T>(random: StepRandom, from: readonly T[]): T => from[random.below(from.length)]

/** FNV-1a of a text, as an unsigned 32-bit integer. */
export function stableHash(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0
  // The low bits of FNV-1a of short texts are much alike: one round of mixing.
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b) >>> 0
  return (hash ^ (hash >>> 16)) >>> 0
}

/** One entity in this many is held out. */
const HELD_OUT_EVERY = 8

/** Which part a word, a country or an expression belongs to, by itself alone. */
export const splitOf = (entity: string): Split =>
  stableHash(entity.toLowerCase()) % HELD_OUT_EVERY === 0 ? 'heldOut' : 'train'

const parts = new WeakMap<readonly string[], Readonly<Record<Split, readonly string[]>>>()

/** One of a list's part. The list must hold entities of both. */
export function pickEntity({ random, split }: Draw, from: readonly string[]): string {
  let known = parts.get(from)
  if (!known) {
    known = {
      train: from.filter((entity) => splitOf(entity) === 'train'),
      heldOut: from.filter((entity) => splitOf(entity) === 'heldOut'),
    }
    parts.set(from, known)
  }
  return pick(random, known[split].length > 0 ? known[split] : from)
}

/** Draws until the entity that `draw` gives belongs to the part: for what is made up, such as sums. */
export function drawEntity<T>({ split }: Draw, draw: () => T, nameOf: (drawn: T) => string): T {
  let drawn = draw()
  for (let i = 0; i < 200 && splitOf(nameOf(drawn)) !== split; i++) drawn = draw()
  return drawn
}

const OPENINGS = [
  'Thank you for your question!',
  'That is a very good question.',
  'Of course! I would be glad to help you with that.',
  'Let me see what I can do for you here.',
  'Sure, no problem at all.',
]
const ENDINGS = [
  'I hope that this helps you.',
  'Please let me know if there is anything else that I can do for you.',
  'Feel free to ask me as many more questions as you like.',
  'If you would like to know more about this, just ask me again.',
]
const SORRY_OPENINGS = [
  'Thank you for your question!',
  'That is a very good question.',
  'I have thought about what you ask for.',
  'Let me see.',
]
const SORRY_ENDINGS = [
  'I hope that you understand.',
  'Please let me know if there is anything else that I can do for you.',
  'Feel free to ask me about something else whenever you like.',
]

/** What the words of a wordy writer are put around: a sentence, a text that stands alone, no answer at all, or talk. */
type Manner = 'sentence' | 'block' | 'sorry' | 'talk'

/** The answer in the style that is drawn for it. `short` is what a curt writer gives. */
export function styled({ random, style }: Draw, plain: string, short: string, manner: Manner = 'sentence'): string {
  if (style === 'plain') return plain
  if (style === 'short') return short
  const opening = pick(random, manner === 'sorry' ? SORRY_OPENINGS : OPENINGS)
  const ending = pick(random, manner === 'sorry' ? SORRY_ENDINGS : ENDINGS)
  const form = manner === 'talk' ? 1 : random.below(3)
  return [form === 1 ? '' : opening, plain, form === 0 ? '' : ending]
    .filter((part) => part !== '')
    .join(manner === 'block' ? '\n' : ' ')
}
