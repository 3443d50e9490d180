/** Lists: written in a format, put in order. */

import { FORMAT_WORDS, type ListFormat, writeList } from '../formats.ts'
import { ask, type Phrasings, phrasings } from '../phrasing.ts'
import { callOf, type Draw, drawEntity, type Kind, pick, styled, type Turn } from '../turn.ts'
import { NAMES } from './numbers.ts'

const ASK: Readonly<Record<ListFormat, Phrasings>> = {
  bullets: phrasings([
    'write as a bullet list: {items}',
    'write this as a bullet list: {items}',
    'make a bullet list of {items}',
    'make a bullet list: {items}',
    'turn this into bullet points: {items}',
    'put these in a bullet list: {items}',
    'list these with bullets: {items}',
    'bullet points please: {items}',
    'as a bullet list: {items}',
    'format as bullets: {items}',
    'give me a bullet list of {items}',
    'I need bullet points: {items}',
    'a list with bullets please: {items}',
    'show these as bullet points: {items}',
  ]),
  numbered: phrasings([
    'write as a numbered list: {items}',
    'write this as a numbered list: {items}',
    'make a numbered list of {items}',
    'make a numbered list: {items}',
    'number these: {items}',
    'put these in a numbered list: {items}',
    'list these with numbers: {items}',
    'as a numbered list: {items}',
    'format as a numbered list: {items}',
    'give me a numbered list of {items}',
    'I need a numbered list: {items}',
    'a list with numbers please: {items}',
    'show these with numbers: {items}',
  ]),
  commas: phrasings([
    'write on one line with commas: {items}',
    'separate these with commas: {items}',
    'put commas between these: {items}',
    'write this with commas: {items}',
    'as a comma separated list: {items}',
    'make this a comma separated list: {items}',
    'join these with commas: {items}',
    'turn this into one line with commas: {items}',
    'with commas please: {items}',
    'comma separated: {items}',
    'I need these on one line with commas: {items}',
  ]),
  json: phrasings([
    'write as JSON: {items}',
    'write this as JSON: {items}',
    'write this as a JSON array: {items}',
    'make a JSON array of {items}',
    'make a JSON array: {items}',
    'turn this into JSON: {items}',
    'as JSON: {items}',
    'as a JSON list: {items}',
    'format as JSON: {items}',
    'convert to JSON: {items}',
    'give me a JSON array of {items}',
    'I need this as JSON: {items}',
    'JSON please: {items}',
  ]),
}

const SORT = phrasings([
  'sort this list: {items}',
  'sort these words: {items}',
  'sort: {items}',
  'sort alphabetically: {items}',
  'sort these by the alphabet: {items}',
  'put these in alphabetical order: {items}',
  'put these words in order: {items}',
  'in alphabetical order: {items}',
  'alphabetical order please: {items}',
  'order these words alphabetically: {items}',
  'order by the alphabet: {items}',
  'what is the alphabetical order of {items}?',
  'write these from A to Z: {items}',
  'from a to z: {items}',
  'arrange these by the alphabet: {items}',
])

const POOLS: readonly (readonly string[])[] = [
  'red green blue yellow white black brown gray pink purple orange'.split(' '),
  'apple pear plum cherry lemon melon peach grape fig banana mango lime'.split(' '),
  'dog cat cow horse sheep goat pig hen duck goose fox bear wolf mouse'.split(' '),
  'bread milk eggs butter cheese rice sugar salt tea coffee flour honey'.split(' '),
  'hammer saw nail rope ladder brush bucket spade drill file'.split(' '),
  'desk chair lamp sofa bed shelf rug clock mirror stove'.split(' '),
  NAMES,
]

export function someItems(draw: Draw): string[] {
  const { random, world } = draw
  const count = 3 + random.below(3)
  const pool = random.below(3) === 0 ? world.words.nouns : pick(random, POOLS)
  // What is held out is the list, not its items.
  return drawEntity(
    draw,
    () => {
      const items = new Set<string>()
      while (items.size < count) items.add(pick(random, pool))
      return [...items]
    },
    (items) => items.join(', '),
  )
}

const typedItems = ({ random }: Draw, items: readonly string[], isForCommas: boolean): string => {
  if (isForCommas) return random.below(3) === 0 ? items.join(' ') : `\n${items.map((item) => `- ${item}`).join('\n')}`
  const form = random.below(4)
  if (form === 0) return items.join(' ')
  if (form === 1) return `${items.slice(0, -1).join(', ')} and ${items[items.length - 1]}`
  return items.join(', ')
}

/** An answer that is a list and nothing else. */
export function listTurn(draw: Draw, kind: Kind, user: string, items: readonly string[], format: ListFormat): Turn {
  const reference = writeList(items, format)
  return {
    ...{ kind, user, answer: styled(draw, reference, draw.random.below(3) > 0 ? reference : items.join(' '), 'block') },
    expected: { behaviour: 'answer', contains: items, exact: true, format, items, reference, question: user },
    topic: { type: 'items', items },
  }
}

/** Puts items in order with the tool. */
export function sortTurn(draw: Draw, kind: Kind, user: string, items: readonly string[]): Turn {
  const call = callOf('letters', { text: items.join(', '), do: 'sort' })
  const result = draw.world.call(call)
  const sorted = result.split(', ')
  return {
    ...{
      kind,
      user,
      call,
      result,
      answer: styled(draw, result, draw.random.below(3) > 0 ? result : sorted.join(' '), 'block'),
    },
    expected: {
      ...{ behaviour: 'answer', contains: sorted, exact: true, format: 'commas', items: sorted },
      ...{ reference: result, question: user },
    },
    topic: { type: 'items', items: sorted },
  }
}

export function askList(draw: Draw): Turn {
  const items = someItems(draw)
  if (draw.random.below(3) === 0) {
    const typed = draw.random.below(2) === 0 ? items.join(', ') : items.join(' ')
    return sortTurn(draw, 'list', ask(draw, SORT, { items: typed }, true), items)
  }
  const format = pick(draw.random, ['bullets', 'bullets', 'numbered', 'commas', 'json'] as const)
  const user = ask(draw, ASK[format], { items: typedItems(draw, items, format === 'commas') }, true)
  return listTurn(draw, 'list', user.replace(/: \n/, ':\n'), items, format)
}

const AGAIN = phrasings([
  'now {as}',
  '{as} please',
  'and {as}?',
  'can I have that {as}?',
  'write that {as}',
  'write them {as}',
  'the same {as}',
  'give me that {as}',
  'show them {as}',
  'put that {as}',
  'I need them {as}',
  'now write it {as}',
])
const SORT_THEM = phrasings([
  'now in alphabetical order',
  'in alphabetical order please',
  'now sort them',
  'sort them',
  'sort that list',
  'can you sort them?',
  'put them in alphabetical order',
  'and from A to Z?',
  'now sorted',
  'and sorted?',
])

/** The list of the turn before, in another format or in order. */
export function listAgain(draw: Draw, items: readonly string[]): Turn {
  if (draw.random.below(4) === 0) return sortTurn(draw, 'follow-up', ask(draw, SORT_THEM, {}, true), items)
  const format = pick(draw.random, ['bullets', 'bullets', 'numbered', 'commas', 'json'] as const)
  return listTurn(
    draw,
    'follow-up',
    ask(draw, AGAIN, { as: pick(draw.random, FORMAT_WORDS[format]) }, true),
    items,
    format,
  )
}
