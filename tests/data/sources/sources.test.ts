import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { daysInMonth, MONTHS, parseDay, WEEKDAYS, weekdayOf, writeDay } from '../../../src/data/sources/calendar.ts'
import { Countries } from '../../../src/data/sources/countries.ts'
import {
  Dictionary,
  kindOf,
  kindsOf,
  oppositeOf,
  shortDefinition,
  synonymsOf,
} from '../../../src/data/sources/dictionary.ts'
import { pastOf, pluralOf } from '../../../src/data/sources/inflection.ts'

describe('dictionary', () => {
  const dictionary = new Dictionary()

  it('tells the most usual sense first', () => {
    const [jackdaw] = dictionary.senses('jackdaw')
    expect(jackdaw.partOfSpeech).toBe('noun')
    expect(shortDefinition(jackdaw.synset)).toBe('common black-and-grey Eurasian bird noted for thievery')
    expect(dictionary.senses('happy')[0].partOfSpeech).toBe('adjective')
    const uses = dictionary.senses('run').map((sense) => sense.uses)
    expect(uses).toEqual([...uses].sort((a, b) => b - a))
  })

  it('finds words at both ends of its files, phrases, and the word behind a form', () => {
    for (const word of ['aardvark', 'zymosis', 'domestic dog']) expect(dictionary.senses(word)).not.toEqual([])
    expect(dictionary.senses('jackdaws')[0].lemma).toBe('jackdaw')
    expect(dictionary.senses('cities')[0].lemma).toBe('city')
    expect(dictionary.senses('xyzzy')).toEqual([])
  })

  it('knows what stands near a word', () => {
    const of = (word: string) => dictionary.senses(word)
    expect(oppositeOf(dictionary, of('happy'))).toBe('unhappy')
    expect(oppositeOf(dictionary, of('sturdy'))).toBe('frail')
    expect(oppositeOf(dictionary, of('table'))).toBeUndefined()
    expect(synonymsOf(of('malady'))).toEqual(['illness', 'unwellness', 'sickness'])
    expect(kindOf(dictionary, of('honeybee'))).toBe('bee')
    expect(kindsOf(dictionary, of('tree'))).toContain('oak')
  })

  it('takes any text for a word', () => {
    fc.assert(fc.property(fc.string(), (text) => Array.isArray(dictionary.senses(text))))
  })

  it('has common words in order, without those that are unfit', () => {
    const words = dictionary.commonWords(50)
    expect(words).toEqual([...words].sort())
    expect(words.length).toBeGreaterThan(500)
    expect(words).toContain('house')
    expect(words).not.toContain('ass')
  })

  it('cuts a long definition at a comma, or says that it goes on', () => {
    const long = (definition: string) => shortDefinition({ definitions: [definition] } as never)
    const words = (count: number): string => Array.from({ length: count }, () => 'word').join(' ')
    expect(long(`${words(20)}, ${words(20)}`)).toBe(words(20))
    expect(long(words(40))).toBe(`${words(24)} …`)
    expect(long('a dog (of the house) that barks')).toBe('a dog that barks')
  })
})

describe('countries', () => {
  const countries = new Countries()

  it('has the sovereign states, each with what it is asked for', () => {
    expect(countries.all).toHaveLength(195)
    expect(countries.all.filter(({ capital }) => capital === undefined).map(({ name }) => name)).toEqual(['Nauru'])
    for (const { population, area, currency, languages } of countries.all) {
      expect(population).toMatch(/^[\d,]+$/)
      expect(area).toMatch(/^[\d,.]+(?: million)? square kilometers$/)
      expect(currency).toMatch(/^[a-zA-Z' ]+$/)
      expect(languages.length).toBeGreaterThan(0)
      for (const language of languages) expect(language).toMatch(/^[A-Z][^()%\d]*$/)
    }
  })

  it('borders are mutual, where both are states', () => {
    const oneSided = countries.all.flatMap(({ name, borders }) =>
      borders
        .map((border) => countries.find(border))
        .filter((other) => other && !other.borders.some((back) => countries.find(back)?.name === name))
        .map((other) => `${name} → ${other?.name}`),
    )
    expect(oneSided).toEqual([])
  })

  it('is found by other names, with an article, without capitals', () => {
    expect(countries.find('the netherlands')?.name).toBe('the Netherlands')
    expect(countries.find('USA')?.capital).toBe('Washington, DC')
    expect(countries.find('Ivory Coast')?.continent).toBe('Africa')
    expect(countries.find('Zubrovia')).toBeUndefined()
    expect(countries.withCapital('paris')?.name).toBe('France')
  })
})

describe('calendar', () => {
  const day = fc.integer({ min: parseDay('1583-01-01'), max: parseDay('9999-12-31') })

  it('reads what it writes, and the other ways to write a date', () => {
    fc.assert(
      fc.property(day, (day) => {
        const [date, month, year] = writeDay(day).split(' ')
        expect(parseDay(writeDay(day))).toBe(day)
        expect(parseDay(`${month} ${date}, ${year}`)).toBe(day)
        expect(parseDay(`${date}th of ${month.slice(0, 3).toLowerCase()} ${year}`)).toBe(day)
      }),
    )
  })

  it('weekdays follow each other', () => {
    expect(weekdayOf(parseDay('20 July 1969') as number)).toBe('Sunday')
    fc.assert(
      fc.property(day, (day) => {
        expect(WEEKDAYS.indexOf(weekdayOf(day + 1) as never)).toBe((WEEKDAYS.indexOf(weekdayOf(day) as never) + 1) % 7)
      }),
    )
  })

  it('refuses days that there are not', () => {
    for (const no of ['30 February 2024', '2023-02-29', '31 April 2020', '1 Foo 2020', '', 'today', '0 May 2000']) {
      expect(parseDay(no)).toBeUndefined()
    }
    expect(MONTHS.map((_, i) => daysInMonth(2024, i + 1)).reduce((a, b) => a + b)).toBe(366)
    fc.assert(fc.property(fc.string(), (text) => ['number', 'undefined'].includes(typeof parseDay(text))))
  })
})

describe('inflection', () => {
  it.each([
    ['cat', 'cats'],
    ['city', 'cities'],
    ['day', 'days'],
    ['box', 'boxes'],
    ['church', 'churches'],
    ['mouse', 'mice'],
    ['fireman', 'firemen'],
    ['human', 'humans'],
    ['knife', 'knives'],
  ])('one %s, two %s', (one, two) => expect(pluralOf(one)).toBe(two))

  it.each([
    ['walk', 'walked'],
    ['love', 'loved'],
    ['carry', 'carried'],
    ['play', 'played'],
    ['stop', 'stopped'],
    ['rain', 'rained'],
    ['visit', 'visited'],
    ['fix', 'fixed'],
    ['prefer', 'preferred'],
    ['go', 'went'],
  ])('%s, %s', (now, then) => expect(pastOf(now)).toBe(then))
})
