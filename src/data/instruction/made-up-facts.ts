/**
 * A world small enough to be learned by heart, for experiments with instruction tuning: things, each with a value of every
 * property, told as text and asked for as tasks. A property is a cluster: held out whole, nothing is asked about it while a
 * model is tuned, though the text has told of it.
 */

import { IGNORED_LABEL } from '../loader.ts'
import { StepRandom } from '../random.ts'
import { type WordVocabulary, wordVocabulary } from '../word-tokenizer.ts'
import { type DataSet, type Example, type Template, templatedSet } from './flan.ts'

/** Of every property its values. */
export const PROPERTIES = {
  colour: ['red', 'blue', 'green', 'white', 'black', 'brown'],
  home: ['forest', 'river', 'tower', 'cave', 'garden', 'island'],
  food: ['bread', 'fish', 'honey', 'nuts', 'apples', 'cheese'],
  friend: ['tom', 'ann', 'eva', 'sam', 'ben', 'ida'],
  game: ['chess', 'tag', 'cards', 'dice', 'ball', 'darts'],
  day: ['monday', 'tuesday', 'friday', 'sunday', 'thursday', 'saturday'],
  tool: ['hammer', 'needle', 'rope', 'broom', 'spoon', 'saw'],
  mood: ['merry', 'calm', 'angry', 'proud', 'shy', 'sad'],
} as const satisfies Readonly<Record<string, readonly string[]>>
export type Property = keyof typeof PROPERTIES

export const PROPERTY_NAMES = Object.keys(PROPERTIES) as Property[]

export const THINGS = (
  'fox bear owl wolf hare deer mole crow swan goose otter badger robin trout toad newt lynx goat horse ' +
  'sheep donkey mouse rat cat dog hen duck pig cow bee wasp snail'
).split(' ')

/** The world is the same for everyone. */
const WORLD_SEED = 20_210_903

/** What is so. */
export const factOf = (thing: number, property: Property): string => {
  const place = thing * PROPERTY_NAMES.length + PROPERTY_NAMES.indexOf(property)
  const values = PROPERTIES[property]
  return values[new StepRandom(WORLD_SEED, place).below(values.length)]
}

interface Fact {
  readonly thing: string
  readonly property: string
  readonly value: string
}

/** How the text tells a fact. */
const SENTENCES: readonly ((fact: Fact) => string)[] = [
  ({ thing, property, value }) => `the ${property} of the ${thing} is ${value} .`,
  ({ thing, property, value }) => `the ${thing} has the ${property} ${value} .`,
  ({ thing, property, value }) => `${value} is the ${property} of the ${thing} .`,
  ({ thing, property, value }) => `as for the ${thing} , its ${property} is ${value} .`,
  ({ thing, property, value }) => `we ask for the ${property} of the ${thing} , and it is ${value} .`,
]

/** Text without instructions: facts one after another, as many as asked for. */
export function drawText(random: StepRandom, facts: number): string {
  const sentences = Array.from({ length: facts }, () => {
    const thing = random.below(THINGS.length)
    const property = PROPERTY_NAMES[random.below(PROPERTY_NAMES.length)]
    const fact = { thing: THINGS[thing], property, value: factOf(thing, property) }
    return SENTENCES[random.below(SENTENCES.length)](fact)
  })
  return sentences.join(' ')
}

/** How a property is asked for. Seven are for training, beside three that turn the task around. */
const QUESTIONS: readonly string[] = [
  'what is the {property} of the {thing} ?\n\n{options_}',
  'the {thing} has which {property} ?\n\n{options_}',
  'think of the {thing} . what is its {property} ?\n\n{options_}',
  'question : the {property} of the {thing} ?\n\n{options_}\n\nanswer :',
  'here is a question about the {thing} . what is its {property} ?\n\n{options_}',
  '{options_}\n\nwhich of these is the {property} of the {thing} ?',
  'choose the {property} of the {thing} .\n\n{options_}',
]
const TURNED: readonly Template[] = [
  {
    input: 'the {thing} was asked about , and the answer is {answer} . what was the question ?',
    target: 'what is the {property} of the {thing} ?',
    inverted: true,
  },
  {
    input: 'write a sentence about the {thing} with {answer} .',
    target: 'the {property} of the {thing} is {answer} .',
    inverted: true,
  },
  { input: 'is {answer} a colour , a home , or what is it ?', target: '{property}', inverted: true },
]
/** And how it is asked for where it is measured: in words that no template of training has put so. */
const OTHER_QUESTIONS: readonly string[] = [
  'which {property} has the {thing} ?\n\n{options_}',
  'here is the {thing} . choose its {property} .\n\n{options_}',
  'answer a question : what {property} is of the {thing} ?\n\n{options_}',
]

const asTemplates = (inputs: readonly string[]): Template[] => inputs.map((input) => ({ input, target: '{answer}' }))

/** Values that a question offers. */
const OFFERED = 4

/** A question about a thing, with some of the property's values in any order. */
function questionAbout(thing: number, property: Property, random: StepRandom): Example {
  const answer = factOf(thing, property)
  const values = PROPERTIES[property].filter((value) => value !== answer)
  const others = Array.from(random.permutation(values.length).subarray(0, OFFERED - 1), (i) => values[i])
  const offered = [answer, ...others]
  const options = Array.from(random.permutation(OFFERED), (i) => offered[i])
  return { fields: { property, thing: THINGS[thing], answer }, options }
}

/** Of every thing, so many questions with options of their own. */
const VARIANTS = 4

/**
 * The data set of a property.
 *
 * @param wording - `training`, ten templates; or `other`, which training does not have
 */
export function factsSet(property: Property, wording: 'training' | 'other'): DataSet {
  const examples = THINGS.flatMap((_, thing) =>
    Array.from({ length: VARIANTS }, (_, variant) => {
      const place = (thing * PROPERTY_NAMES.length + PROPERTY_NAMES.indexOf(property)) * VARIANTS + variant
      return questionAbout(thing, property, new StepRandom(WORLD_SEED + 1, place))
    }),
  )
  const templates = wording === 'training' ? [...asTemplates(QUESTIONS), ...TURNED] : asTemplates(OTHER_QUESTIONS)
  return templatedSet(property, [property], examples, templates)
}

const SPECIAL = ['<pad>', '<end>', '<unk>']

/** The words of the world; a line end is `<n>`. */
export const FACTS_VOCABULARY: WordVocabulary = vocabularyOf([
  ...[...THINGS, ...PROPERTY_NAMES, ...Object.values(PROPERTIES).flat()],
  ...SENTENCES.map((sentence) => sentence({ thing: '', property: '', value: '' })),
  ...[...QUESTIONS, ...OTHER_QUESTIONS, ...TURNED.flatMap(({ input, target }) => [input, target])],
])

function vocabularyOf(texts: readonly string[]): WordVocabulary {
  const words = texts.flatMap((text) => text.replaceAll(/\{\w+\}/g, ' ').split(/\s+/))
  return wordVocabulary(SPECIAL, [...new Set(['<n>', 'OPTIONS:', '-', ...words.filter((word) => word !== '')])])
}

/** A text of the world as ids: line ends are words, and spaces part them. */
export const factsIds = (text: string): number[] =>
  FACTS_VOCABULARY.idsOf(text.replaceAll('\n', ' <n> ').trim().split(/\s+/).join(' '))

const [PAD_ID, END_ID] = FACTS_VOCABULARY.idsOf('<pad> <end>')

/** What is asked, as the model reads it: inputs are ended by the end token (2109.01652, §2.4). */
export const askedIds = (input: string): number[] => [...factsIds(input), END_ID]

/**
 * Rows of a batch: what is asked and what is learned, each with its end; text alone where nothing is asked. What is longer
 * than a row loses its end.
 */
export function factsBatch(texts: readonly { input: string; target: string }[], seq: number) {
  const inputIds = new Int32Array(texts.length * seq).fill(PAD_ID)
  const shiftLabels = new Int32Array(texts.length * seq).fill(IGNORED_LABEL)
  for (const [row, { input, target }] of texts.entries()) {
    const asked = input === '' ? [] : askedIds(input)
    const ids = [...asked, ...factsIds(target), END_ID].slice(0, seq + 1)
    inputIds.set(ids.slice(0, -1), row * seq)
    for (let t = Math.max(asked.length - 1, 0); t < ids.length - 1; t++) shiftLabels[row * seq + t] = ids[t + 1]
  }
  return { inputIds, shiftLabels }
}
