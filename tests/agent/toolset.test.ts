import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { callLocalTool, callTool, TOOLS, type Tool, toolsetOf } from '../../src/agent/toolset.ts'

const run = (name: string, args: object): string => callLocalTool({ name, arguments: JSON.stringify(args) })

describe('tools', () => {
  it.each([
    ['dictionary', { word: 'happy', want: 'opposite' }, 'unhappy'],
    ['dictionary', { word: 'jackdaw', want: 'kind' }, 'corvine bird'],
    ['dictionary', { word: 'jackdaw' }, 'jackdaw, a noun: common black-and-grey Eurasian bird noted for thievery'],
    ['dictionary', { word: 'xyzzy', want: 'meaning' }, 'no entry for xyzzy'],
    ['dictionary', { word: 'table', want: 'opposite' }, 'no opposite of table'],
    ['countries', { name: 'france', want: 'capital' }, 'France: Paris'],
    ['countries', { name: 'Kuwait', want: 'borders' }, 'Kuwait: Iraq and Saudi Arabia'],
    ['countries', { name: 'Paris', want: 'country' }, 'Paris: France'],
    ['countries', { name: 'Zubrovia', want: 'area' }, 'no country called Zubrovia'],
    ['countries', { name: 'Nauru', want: 'capital' }, 'Nauru: none'],
    ['calculator', { expression: '12 * (3 + 4)' }, '84'],
    ['calculator', { expression: '7 / 3' }, '2.33333'],
    ['calculator', { expression: '0.1 + 0.2' }, '0.3'],
    ['calculator', { expression: '1,000 × 2' }, '2000'],
    ['calculator', { expression: 'sqrt(2) ^ 2' }, '2'],
    ['calculator', { expression: '5 / 0' }, '5 / 0 has no finite value'],
    ['dates', { date: '20 July 1969' }, 'Sunday'],
    ['dates', { date: 'Jan 1, 2000', to: '1 January 2001' }, '366 days'],
    ['dates', { date: '2024-02-28', add: 2 }, 'Friday, 1 March 2024'],
    ['dates', { date: '30 February 2024' }, 'no date 30 February 2024'],
    ['letters', { text: 'happy', do: 'spell' }, 'h-a-p-p-y'],
    ['letters', { text: 'happy', do: 'reverse' }, 'yppah'],
    ['letters', { text: "jackdaw's nest", do: 'capitals' }, "Jackdaw's Nest"],
    ['letters', { text: 'pear, Fig, apple', do: 'sort' }, 'apple, Fig, pear'],
    ['letters', { text: 'one vowel', do: 'vowels' }, '4 vowels'],
    ['letters', { text: 'x', do: 'count' }, '1 letter'],
    ['letters', { text: 'city', do: 'plural' }, 'cities'],
  ])('%s %j: %s', (name, args, result) => expect(run(name, args)).toBe(result))

  it('calculates as JavaScript does', () => {
    const number = fc.integer({ min: 0, max: 9999 })
    fc.assert(
      fc.property(number, number, number, (a, b, c) => {
        expect(Number(run('calculator', { expression: `${a} + ${b} * ${c} - (${a} - ${c})` }))).toBe(
          a + b * c - (a - c),
        )
      }),
      { numRuns: 50 },
    )
  })

  it.each([
    'import("fs")',
    'evaluate("1")',
    'createUnit("x")',
    'f(x) = x',
    'a = 1',
    '[1, 2]',
    '1; 2',
    'cos',
    'cos(1)',
    '170!',
    '"a" + 1',
    '{a: 1}',
    'sqrt.constructor',
    'pi.toString()',
    '5 cm',
    'true',
    '1 ? 2 : 3',
  ])('the calculator leaves %s alone', (expression) => {
    expect(run('calculator', { expression })).toMatch(/^cannot calculate/)
  })

  it('whatever a model asks, the result is a short text', () => {
    const names = TOOLS.map(({ spec }) => spec.name)
    const keys = TOOLS.flatMap(({ spec }) => Object.keys((spec.parameters as { properties: object }).properties))
    const wants = TOOLS.flatMap(({ spec }) =>
      Object.values((spec.parameters as { properties: Record<string, { enum?: string[] }> }).properties).flatMap(
        (property) => property.enum ?? [],
      ),
    )
    const value = fc.oneof(
      fc.string(),
      fc.constantFrom(...wants, 'France', 'dog', '1 May 2000'),
      fc.integer(),
      fc.jsonValue(),
    )
    const args = fc.oneof(
      fc.dictionary(fc.constantFrom(...keys), value).map((it) => JSON.stringify(it)),
      fc.json(),
      fc.string(),
    )
    fc.assert(
      fc.property(fc.constantFrom(...names, 'nothing'), args, (name, json) => {
        const result = callLocalTool({ name, arguments: json })
        expect(result).toBeTypeOf('string')
        expect(result).not.toBe('')
        expect(result.length).toBeLessThan(1000)
        expect(result).not.toMatch(/ failed: /)
      }),
      { numRuns: 500 },
    )
  })

  it('a tool that throws says so in its result', async () => {
    const broken: Tool = { spec: { name: 'broken' }, run: () => Promise.reject(new Error('out of paper')) }
    expect(await callTool([broken], { name: 'broken', arguments: '{}' })).toBe('broken failed: out of paper')
    expect(await callTool([broken], { name: 'other', arguments: '{}' })).toBe('there is no tool "other"')
    expect(await callTool([broken], { name: 'broken', arguments: '{' })).toBe('the arguments of broken are not JSON')
  })

  it('a toolset is picked by names', () => {
    expect(toolsetOf(['letters', 'dates']).map(({ spec }) => spec.name)).toEqual(['letters', 'dates'])
    expect(() => toolsetOf(['telephone'])).toThrow('there is no tool "telephone"; there are dictionary, countries')
  })
})
