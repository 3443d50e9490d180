/** What refers back: to the word, the country, the number or the list of the turn before. */

import { ask, phrasings } from '../phrasing.ts'
import { type Draw, drawEntity, pick, type Topic, type Turn } from '../turn.ts'
import { countryFor, countryTurn, FACT_WORDS, FACTS, type Fact } from './countries.ts'
import { dateTurn } from './days.ts'
import { type WordJob, wordJobTurn } from './letters.ts'
import { listAgain } from './lists.ts'
import { calculation } from './numbers.ts'
import { askMyName, type Unclear } from './talk.ts'
import { type Want, wordFor, wordTurn } from './words.ts'

const ANOTHER = phrasings([
  'and of {x}?',
  'and {x}?',
  'what about {x}?',
  'and what about {x}?',
  'how about {x}?',
  'now {x}',
  'and for {x}?',
  'the same for {x}',
  'the same for {x} please',
  'ok, and {x}?',
  'and that of {x}?',
  'now the same for {x}',
])
const OTHER_FACT = phrasings([
  'and its {fact}?',
  'what is its {fact}?',
  'and the {fact}?',
  'what about its {fact}?',
  'tell me its {fact}',
  'and what is the {fact}?',
  'how about the {fact}?',
  'its {fact}?',
  'also the {fact} please',
  'now its {fact}',
  'I also need its {fact}',
])
const OTHER_WANT: Readonly<Record<'meaning' | 'synonyms' | 'opposite', ReturnType<typeof phrasings>>> = {
  meaning: phrasings([
    'and what does it mean?',
    'what does it mean?',
    'and its meaning?',
    'what does that word mean?',
    'tell me its meaning',
    'define it',
    'and the definition?',
    'what is its definition?',
    'now its meaning',
  ]),
  synonyms: phrasings([
    'and a synonym?',
    'and its synonyms?',
    'what is a synonym of it?',
    'and another word for it?',
    'give me a synonym of it',
    'what about synonyms?',
    'is there another word for it?',
    'tell me its synonyms',
    'now its synonyms',
  ]),
  opposite: phrasings([
    'and its opposite?',
    'and the opposite?',
    'what is its opposite?',
    'what about the opposite?',
    'tell me its opposite',
    'give me its opposite',
    'and the antonym?',
    'does it have an opposite?',
    'now its opposite',
  ]),
}
const WORD_JOB: Readonly<Record<'spell' | 'reverse' | 'count' | 'vowels', ReturnType<typeof phrasings>>> = {
  spell: phrasings([
    'how do you spell it?',
    'spell it',
    'and how is it spelled?',
    'can you spell it?',
    'and its spelling?',
    'now spell it',
    'how do I spell that?',
    'spell that word',
  ]),
  reverse: phrasings([
    'and backwards?',
    'now backwards',
    'write it backwards',
    'reverse it',
    'how is it backwards?',
    'and in reverse?',
    'what is it backwards?',
    'now reverse it',
  ]),
  count: phrasings([
    'how many letters does it have?',
    'and how many letters?',
    'count its letters',
    'how many letters is that?',
    'how many letters are in it?',
    'how long is it?',
    'now count its letters',
  ]),
  vowels: phrasings([
    'how many vowels does it have?',
    'and how many vowels?',
    'count its vowels',
    'how many vowels are in it?',
    'how many vowels is that?',
    'now count its vowels',
  ]),
}
const ARITHMETIC: readonly { asks: ReturnType<typeof phrasings>; sign: string }[] = [
  {
    asks: phrasings([
      'plus {n}',
      'and plus {n}?',
      'add {n}',
      'now add {n}',
      'add {n} to that',
      'and {n} more?',
      'plus {n}?',
      'what if I add {n}?',
      'increase it by {n}',
    ]),
    sign: '+',
  },
  {
    asks: phrasings([
      'minus {n}',
      'and minus {n}?',
      'subtract {n}',
      'now subtract {n}',
      'take away {n}',
      'take {n} from that',
      'minus {n}?',
      'what if I take away {n}?',
      'reduce it by {n}',
    ]),
    sign: '-',
  },
  {
    asks: phrasings([
      'times {n}',
      'and times {n}?',
      'multiply that by {n}',
      'now times {n}',
      'multiply it by {n}',
      'times {n}?',
      'and multiplied by {n}?',
      'what is that times {n}?',
    ]),
    sign: '*',
  },
  {
    asks: phrasings([
      'divided by {n}',
      'and divided by {n}?',
      'divide that by {n}',
      'now divide it by {n}',
      'divide it by {n}',
      'divided by {n}?',
      'what is that divided by {n}?',
      'and shared by {n}?',
    ]),
    sign: '/',
  },
]
const LATER = phrasings([
  'and {n} days later?',
  '{n} days later?',
  'and {n} days after that?',
  'what is the date {n} days later?',
  'add {n} days',
  'now add {n} days',
  'plus {n} days',
  'and in {n} days?',
  'what date is {n} days after that?',
])
const EARLIER = phrasings([
  'and {n} days earlier?',
  '{n} days earlier?',
  'and {n} days before that?',
  'what is the date {n} days before?',
  'subtract {n} days',
  'minus {n} days',
  'what date is {n} days before that?',
  'go back {n} days',
])

/** Facts that come as a list, in words that ask for one. */
const isFact = (want: string): want is Fact => (FACTS as readonly string[]).includes(want)
const WANTS: readonly string[] = ['meaning', 'synonyms', 'opposite', 'kind', 'kinds']
const isWant = (want: string): want is Want => WANTS.includes(want)

/** The name as it was typed, without capitals where the question has none. */
const asTyped = (user: string, name: string): string => (user.includes(name) ? name : name.toLowerCase())
const bare = (name: string): string => name.replace(/^the /i, '')

/** A turn that can only be understood after the one before, or undefined where nothing fits. */
export function askFollowUp(draw: Draw, topic: Topic): Turn | undefined {
  const { random } = draw
  if (topic.type === 'name') return askMyName(draw, topic.name)
  if ((topic.type === 'items' || 'items' in topic) && random.below(topic.type === 'items' ? 1 : 2) === 0) {
    const items = topic.type === 'items' ? topic.items : (topic as { items?: readonly string[] }).items
    if (items && items.length > 1) return listAgain(draw, items)
  }
  if (topic.type === 'country') return aboutCountry(draw, topic.name, topic.want)
  if (topic.type === 'word') return aboutWord(draw, topic.word, topic.want)
  if (topic.type === 'number') return aboutNumber(draw, topic.value)
  if (topic.type === 'day') {
    const n = 1 + random.below(60)
    const isLater = random.below(3) > 0
    const user = ask(draw, isLater ? LATER : EARLIER, { n: String(n) }).replace(/\b1 days\b/, '1 day')
    return dateTurn(draw, 'follow-up', user, { date: topic.day, add: isLater ? n : -n })
  }
  return undefined
}

function aboutCountry(draw: Draw, name: string, want: string): Turn {
  const { random } = draw
  if (isFact(want) && random.below(2) === 0) {
    const other = countryFor(draw, want)
    if (other.name !== name) {
      const user = ask(draw, ANOTHER, { x: other.name })
      return countryTurn(draw, 'follow-up', user, bare(asTyped(user, other.name)), want)
    }
  }
  const facts = FACTS.filter((fact) => fact !== want && fact !== 'borders')
  const fact = pick(random, facts)
  const user = ask(draw, OTHER_FACT, { fact: pick(random, FACT_WORDS[fact]) })
  return countryTurn(draw, 'follow-up', user, bare(name), fact)
}

function aboutWord(draw: Draw, word: string, want: string): Turn {
  const { random, world } = draw
  const form = random.below(3)
  if (form === 0 && isWant(want)) {
    const other = wordFor(draw, want)
    if (other !== word) return wordTurn(draw, 'follow-up', ask(draw, ANOTHER, { x: other }), other, want)
  }
  if (form === 1 || want === 'plural' || want === 'past') {
    const jobs = (['spell', 'reverse', 'count', 'vowels'] as const).filter((job) => job !== want)
    const job: WordJob = pick(random, jobs)
    return wordJobTurn(draw, 'follow-up', ask(draw, WORD_JOB[job as keyof typeof WORD_JOB]), word, job)
  }
  const wants = (['meaning', 'synonyms', 'opposite'] as const).filter((other) => other !== want)
  // Of an opposite one asks where there is one, mostly.
  const next = wants.includes('opposite') && world.words.withOpposite.includes(word) ? 'opposite' : pick(random, wants)
  return wordTurn(draw, 'follow-up', ask(draw, OTHER_WANT[next]), word, next)
}

function aboutNumber(draw: Draw, value: string): Turn {
  const { random } = draw
  const { asks, sign } = pick(random, ARITHMETIC)
  const most = sign === '*' || sign === '/' ? 11 : 98
  const n = drawEntity(
    draw,
    () => 2 + random.below(most),
    (n) => `${value} ${sign} ${n}`,
  )
  return calculation(draw, 'follow-up', ask(draw, asks, { n: String(n) }), `${value} ${sign} ${n}`)
}

const SUPPLY = phrasings([
  '{x}',
  'of {x}',
  '{x} please',
  'I mean {x}',
  '{x}, please',
  'the one of {x}',
  'for {x}',
  'sorry, {x}',
  'of {x}, please',
])
const SUPPLY_DATE = phrasings([
  '{x}',
  'of {x}',
  '{x} please',
  'I mean {x}',
  '{x}, please',
  'the day is {x}',
  'it was {x}',
  'sorry, {x}',
])
const SUPPLY_NUMBERS = phrasings([
  '{a} and {b}',
  'of {a} and {b}',
  '{a} and {b} please',
  'I mean {a} and {b}',
  '{a}, {b}',
  'the numbers {a} and {b}',
  '{a} + {b}',
])
const SUPPLY_WORD = phrasings([
  '{x}',
  'the word {x}',
  '{x} please',
  'I mean {x}',
  '"{x}"',
  '{x}, please',
  'I mean the word {x}',
  'sorry, {x}',
])

/** The answer to a question that asked back, and what comes of it. */
export function supply(draw: Draw, { lacks }: Unclear): Turn {
  const { random } = draw
  if (isFact(lacks)) {
    const { name } = countryFor(draw, lacks)
    const user = ask(draw, SUPPLY, { x: name })
    return countryTurn(draw, 'follow-up', user, bare(asTyped(user, name)), lacks)
  }
  if (isWant(lacks)) {
    const word = wordFor(draw, lacks)
    return wordTurn(draw, 'follow-up', ask(draw, SUPPLY_WORD, { x: word }), word, lacks)
  }
  if (lacks === 'spell') {
    const word = wordFor(draw, 'meaning')
    return wordJobTurn(draw, 'follow-up', ask(draw, SUPPLY_WORD, { x: word }), word, 'spell')
  }
  if (lacks === 'sum') {
    const [a, b] = drawEntity(
      draw,
      () => [1 + random.below(200), 1 + random.below(200)],
      ([a, b]) => `${a} + ${b}`,
    )
    return calculation(draw, 'follow-up', ask(draw, SUPPLY_NUMBERS, { a: String(a), b: String(b) }), `${a} + ${b}`)
  }
  const date = `${1 + random.below(28)} ${pick(random, ['January', 'March', 'May', 'July', 'October', 'December'])} ${1950 + random.below(100)}`
  return dateTurn(draw, 'follow-up', ask(draw, SUPPLY_DATE, { x: date }, true), { date })
}
