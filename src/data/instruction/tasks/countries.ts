/** Countries: capital, population, area, currency, languages, continent, neighbours, and whose capital a city is. */

import { capitalised } from '../../corpus/prose.ts'
import type { Country } from '../../sources/countries.ts'
import { ask, type Phrasings, phrasings } from '../phrasing.ts'
import { callOf, type Draw, type Kind, pick, splitOf, styled, type Turn } from '../turn.ts'

export const FACTS = ['capital', 'population', 'area', 'currency', 'languages', 'continent', 'borders'] as const
export type Fact = (typeof FACTS)[number]

const ASK: Readonly<Record<Fact | 'country', Phrasings>> = {
  capital: phrasings([
    'what is the capital of {country}?',
    "what's the capital of {country}?",
    'capital of {country}',
    'the capital of {country}',
    '{country} capital',
    'which city is the capital of {country}?',
    'what city is the capital of {country}?',
    'tell me the capital of {country}',
    'name the capital of {country}',
    'name the capital city of {country}',
    'give me the capital of {country}',
    'what is the capital city of {country}?',
    'do you know the capital of {country}?',
    'I want to know the capital of {country}',
    'what is the name of the capital of {country}?',
    'look up the capital of {country}',
    'where does the government of {country} sit?',
    'which is the capital city of {country}?',
  ]),
  population: phrasings([
    'what is the population of {country}?',
    'population of {country}',
    'the population of {country}',
    '{country} population',
    'how many people live in {country}?',
    'how many people are there in {country}?',
    'how many inhabitants does {country} have?',
    'how many people has {country}?',
    'tell me the population of {country}',
    'give me the population of {country}',
    'what is the number of people in {country}?',
    'how large is the population of {country}?',
    'how big is the population of {country}?',
    'do you know how many people live in {country}?',
    'number of people in {country}',
    'look up the population of {country}',
    'inhabitants of {country}',
  ]),
  area: phrasings([
    'what is the area of {country}?',
    'area of {country}',
    'the area of {country}',
    '{country} area',
    'how large is {country}?',
    'how big is {country}?',
    'what is the size of {country}?',
    'size of {country}',
    'how many square kilometers does {country} have?',
    'how many square kilometers is {country}?',
    'tell me the area of {country}',
    'tell me how big {country} is',
    'give me the size of {country}',
    'what area does {country} cover?',
    'how much land does {country} have?',
    'look up the area of {country}',
  ]),
  currency: phrasings([
    'what is the currency of {country}?',
    'currency of {country}',
    'the currency of {country}',
    '{country} currency',
    'what money do they use in {country}?',
    'which money do people use in {country}?',
    'what do people pay with in {country}?',
    'how do I pay in {country}?',
    'which currency does {country} have?',
    'what currency is used in {country}?',
    'tell me the currency of {country}',
    'give me the currency of {country}',
    'name the currency of {country}',
    'what is the money of {country} called?',
    'what money do I need in {country}?',
    'look up the currency of {country}',
  ]),
  languages: phrasings([
    'what language do they speak in {country}?',
    'what languages are spoken in {country}?',
    'which languages do people speak in {country}?',
    'which language is spoken in {country}?',
    'languages of {country}',
    'language of {country}',
    '{country} languages',
    '{country} language',
    'what is the language of {country}?',
    'what are the languages of {country}?',
    'what is the official language of {country}?',
    'tell me the languages of {country}',
    'tell me what people speak in {country}',
    'name the languages of {country}',
    'what do people speak in {country}?',
    'look up the languages of {country}',
    'give me the languages of {country}',
  ]),
  continent: phrasings([
    'on which continent is {country}?',
    'which continent is {country} in?',
    'what continent is {country} on?',
    'continent of {country}',
    'the continent of {country}',
    '{country} continent',
    'where is {country}?',
    'where is {country} located?',
    'in which part of the world is {country}?',
    'in what part of the world does {country} lie?',
    'tell me where {country} is',
    'tell me the continent of {country}',
    'to which continent does {country} belong?',
    'name the continent of {country}',
    'where can I find {country}?',
    'look up where {country} is',
  ]),
  borders: phrasings([
    'which countries border {country}?',
    'what countries border on {country}?',
    'which countries are next to {country}?',
    'neighbors of {country}',
    'the neighbors of {country}',
    '{country} neighbors',
    '{country} borders',
    'borders of {country}',
    'what are the neighbors of {country}?',
    'who are the neighbors of {country}?',
    'tell me the neighbors of {country}',
    'name the countries that border on {country}',
    'name the neighbors of {country}',
    'list the neighbors of {country}',
    'which countries does {country} border on?',
    'what countries does {country} share a border with?',
    'look up the neighbors of {country}',
  ]),
  country: phrasings([
    '{city} is the capital of which country?',
    'which country has the capital {city}?',
    'of which country is {city} the capital?',
    'what country is {city} the capital of?',
    '{city} is the capital of what?',
    'which country has {city} as its capital?',
    'what country has {city} as its capital?',
    'tell me which country {city} is the capital of',
    'name the country with the capital {city}',
    'give me the country whose capital is {city}',
    'find the country whose capital is {city}',
    'whose capital is {city}?',
    'country with the capital {city}',
    'country whose capital is {city}',
    'look up which country has the capital {city}',
  ]),
}

/** Names on which small models stumble, for their length alone. */
const LONGEST_NAME = 24
const MOST_NEIGHBORS = 5

const countryParts = new WeakMap<readonly Country[], Readonly<Record<'train' | 'heldOut', readonly Country[]>>>()

export function countryFor({ world, random, split }: Draw, fact: Fact | 'country'): Country {
  const { all } = world.countries
  let parts = countryParts.get(all)
  if (!parts) {
    const short = all.filter(({ name }) => name.length <= LONGEST_NAME)
    parts = {
      train: short.filter(({ name }) => splitOf(name) === 'train'),
      heldOut: short.filter(({ name }) => splitOf(name) === 'heldOut'),
    }
    countryParts.set(all, parts)
  }
  for (;;) {
    const country = pick(random, parts[split])
    if (fact === 'borders' && country.borders.length > MOST_NEIGHBORS) continue
    if (fact === 'country' && country.capital === undefined) continue
    return country
  }
}

/** What is said of a country: a sentence with its name and the value. */
const SENTENCE: Readonly<Record<Fact | 'country', (name: string, value: string) => string>> = {
  capital: (name, value) => `The capital of ${name} is ${value}.`,
  population: (name, value) => `The population of ${name} is ${value}.`,
  area: (name, value) => `The area of ${name} is ${value}.`,
  currency: (name, value) => `People in ${name} pay in ${value}.`,
  languages: (name, value) => `People in ${name} speak ${value}.`,
  continent: (name, value) => `The continent of ${name} is ${value}.`,
  borders: (name, value) => `By land, ${name} borders on ${value}.`,
  country: (city, value) => `${city} is the capital of ${value}.`,
}

/** Looks a country up, by the name as it was typed, and says what came of it. */
export function countryTurn(draw: Draw, kind: Kind, user: string, typed: string, want: Fact | 'country'): Turn {
  const call = callOf('countries', { name: typed, want })
  const result = draw.world.call(call)
  const base = { user, call, result }
  const unknown = (reference: string): Turn => ({
    ...base,
    kind: 'unknown',
    answer: styled(draw, reference, 'No.', 'sorry'),
    expected: {
      ...{ behaviour: 'unknown', contains: [[result, 'do not know', 'know no', 'has no']], format: 'sentence' },
      ...{ reference, question: user },
    },
  })
  if (result.startsWith('no ')) return unknown(`I know ${result}.`)
  const colon = result.indexOf(': ')
  const name = result.slice(0, colon)
  const value = result.slice(colon + 2)
  if (value === 'none') {
    if (want !== 'borders') return unknown(`${capitalised(name)} has no ${want}.`)
    const reference = `By land, ${name} borders on no country.`
    return {
      ...{ ...base, kind, answer: styled(draw, reference, 'None.') },
      expected: {
        behaviour: 'answer',
        contains: [['no country', 'none']],
        format: 'sentence',
        reference,
        question: user,
      },
      topic: { type: 'country', name, want },
    }
  }
  const items = value.split(/, | and (?=[A-Zt])/)
  const isList = (want === 'languages' || want === 'borders') && items.length > 1 && !items.includes('Herzegovina')
  const reference = SENTENCE[want](name, value)
  return {
    ...{ ...base, kind, answer: styled(draw, reference, `${value}.`) },
    expected: {
      ...{ behaviour: 'answer', contains: isList ? items : [value], format: 'sentence' },
      ...{ reference, question: user },
    },
    topic: { type: 'country', name: want === 'country' ? value : name, want, ...(isList ? { items } : {}) },
  }
}

/** How the name stands in a question: the model copies it from there. */
const typedName = (user: string, name: string): string => {
  const at = user.toLowerCase().indexOf(name.toLowerCase())
  const bare = user.slice(at, at + name.length)
  return bare.replace(/^the /i, '')
}

/** "People in Paris" is asked of a country; of its capital, now and then, which country it belongs to. */
export function askCountry(draw: Draw): Turn {
  const want = pick(draw.random, ['capital', 'capital', 'country', ...FACTS] as const)
  return askFact(draw, want)
}

export function askFact(draw: Draw, want: Fact | 'country'): Turn {
  const country = countryFor(draw, want)
  const name = want === 'country' ? (country.capital as string) : country.name
  const user = ask(draw, ASK[want], { country: name, city: name })
  return countryTurn(draw, 'country', user, typedName(user, name), want)
}

const MADE_UP = ['ania', 'ovia', 'istan', 'land', 'mark', 'aria', 'onia', 'esia', 'ador', 'ique']
const BEGINNINGS = [
  'Zub',
  'Bord',
  'Glub',
  'Krak',
  'Elb',
  'Vesp',
  'Mord',
  'Tril',
  'Quar',
  'Frob',
  'Syld',
  'Ruri',
  'Lat',
  'Osk',
  'Pend',
  'Nar',
  'Wak',
  'Jorv',
  'Hyr',
  'Dun',
]

/** A question about a country that there is not. */
export function askMadeUpCountry(draw: Draw): Turn {
  const { random, world } = draw
  const middle = ['', 'el', 'or', 'ist', 'am', 'ur', 'en']
  let name = ''
  do name = pick(random, BEGINNINGS) + pick(random, middle) + pick(random, MADE_UP)
  while (world.countries.find(name))
  const want = pick(random, FACTS)
  const user = ask(draw, ASK[want], { country: name })
  return countryTurn(draw, 'unknown', user, typedName(user, name), want)
}

/** What a question about a fact calls it, to ask back or on. */
export const FACT_WORDS: Readonly<Record<Fact, readonly string[]>> = {
  capital: ['capital', 'capital city'],
  population: ['population', 'number of people'],
  area: ['area', 'size'],
  currency: ['currency', 'money'],
  languages: ['language'],
  continent: ['continent'],
  borders: ['neighbors', 'borders'],
}
