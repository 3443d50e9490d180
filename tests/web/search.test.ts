import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseLabSearch, parsePapersSearch, parseRunSearch } from '../../web/src/search-params.ts'
import { matching } from '../../web/src/shell/palette-search.ts'

it('finds what has every word, what begins with it first', () => {
  const items = [
    { label: 'Kosmos-1', also: 'Language Is Not All You Need' },
    { label: 'Flan-T5' },
    { label: 'T5', also: 'Raffel 2020' },
  ]
  const labels = (typed: string) => matching(items, typed).map(({ label }) => label)
  expect(labels('')).toEqual(['Kosmos-1', 'Flan-T5', 'T5'])
  expect(labels('t5')).toEqual(['T5', 'Flan-T5'])
  expect(labels('  raffel  t5 ')).toEqual(['T5'])
  expect(labels('you kosmos')).toEqual(['Kosmos-1'])
  expect(labels('t5 kosmos')).toEqual([])
})

it('takes any query in the address, and keeps of it what means something', () => {
  expect(parsePapersSearch({ q: 'gpt', state: 'in part', other: 1 })).toEqual({ q: 'gpt', state: 'in part' })
  expect(parsePapersSearch({ q: 2019, state: 'nowhere' })).toEqual({ q: '2019', state: undefined })
  expect(parseRunSearch({ smooth: 0.5, scale: 'log', stage: 'tune' })).toEqual({
    smooth: 0.5,
    scale: 'log',
    stage: 'tune',
  })
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('q', 'state', 'stage', 'scale', 'smooth'), fc.anything()), (raw) => {
      for (const parse of [parsePapersSearch, parseLabSearch, parseRunSearch]) {
        const once = parse(raw)
        expect(parse({ ...once })).toEqual(once)
      }
    }),
  )
})
