import { z } from 'zod'
import { listed } from '../../data/corpus/prose.ts'
import { Countries, type Country } from '../../data/sources/countries.ts'
import type { LocalTool } from '../toolset.ts'

const WANTS = ['capital', 'population', 'area', 'currency', 'languages', 'continent', 'borders', 'country'] as const
type Fact = Exclude<(typeof WANTS)[number], 'country'>

const Arguments = z.object({ name: z.string().min(1).max(60), want: z.enum(WANTS) })

let factbook: Countries | undefined

const FACTS: Readonly<Record<Fact, (country: Country) => string | undefined>> = {
  capital: ({ capital }) => capital,
  population: ({ population }) => population,
  area: ({ area }) => area,
  currency: ({ currency }) => currency,
  languages: ({ languages }) => listed(languages, 'and'),
  continent: ({ continent }) => continent,
  borders: ({ borders }) => listed(borders, 'and'),
}

/** Figures and names of countries, from the World Factbook of 2015; and the country that a city is the capital of. */
export const countries: LocalTool = {
  spec: {
    name: 'countries',
    description:
      'Looks up a country (2015): capital, population, area, currency, languages, continent, borders; or, with "country", whose capital a city is.',
    parameters: {
      type: 'object',
      properties: {
        name: { type: 'string', description: 'a country, or a capital city' },
        want: { type: 'string', enum: [...WANTS] },
      },
      required: ['name', 'want'],
      additionalProperties: false,
    },
  },
  run(args) {
    const { data } = Arguments.safeParse(args)
    if (!data) return `countries needs "name" and "want", one of ${WANTS.join(', ')}`
    const { name, want } = data
    factbook ??= new Countries()
    if (want === 'country') {
      const country = factbook.withCapital(name)
      return country ? `${country.capital}: ${country.name}` : `no capital called ${name}`
    }
    const country = factbook.find(name)
    if (!country) return `no country called ${name}`
    return `${country.name}: ${FACTS[want](country) || 'none'}`
  },
}
