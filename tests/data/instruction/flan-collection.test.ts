import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DataSet, type Example, type Template, templatedSet } from '../../../src/data/instruction/flan.ts'
import {
  ANSWER_TEMPLATES,
  BETWEEN,
  collectionRates,
  drawExemplars,
  drawFromCollections,
  drawPrompt,
  INPUT_TARGET,
  RATIONALE_TEMPLATES,
  SUBMIXTURES,
  withExemplars,
} from '../../../src/data/instruction/flan-collection.ts'
import { StepRandom } from '../../../src/data/random.ts'

const PLAIN: Template = { input: 'Q {question}\n{options_}', target: '{answer}' }
const OTHER: Template = { input: 'Say: {question}\n{options_}', target: '{answer}' }
const INVERTED: Template = { input: 'To what is {answer} the answer?', target: '{question}', inverted: true }

const setOf = (name: string, size: number, templates = [PLAIN, OTHER, INVERTED], question = (i: number) => `${i}`) =>
  templatedSet(
    name,
    [],
    Array.from(
      { length: size },
      (_, i): Example => ({
        fields: { question: `${name}-${question(i)}`, answer: i % 2 === 0 ? 'even' : 'odd' },
        options: ['even', 'odd'],
      }),
    ),
    templates,
  )

const sized = (size: number): DataSet => ({
  name: '',
  clusters: [],
  size,
  templates: [],
  prompt: () => ({ input: '', target: '' }),
})

/** How far a share of so many draws may be off: five standard deviations. */
const off = (p: number, draws: number) => 5 * Math.sqrt((p * (1 - p)) / draws)

describe('the mixture', () => {
  it('weighs collections, and within them data sets by capped sizes', () => {
    const rates = collectionRates([
      { submixture: SUBMIXTURES.niv2, sets: [sized(1000), sized(4000), sized(9000)] },
      { submixture: SUBMIXTURES.dialog, sets: [] },
      { submixture: SUBMIXTURES.cot, sets: [sized(7)] },
    ])
    // Of 0.2 and 0.05; 1000, 4000 and 5000 of 10,000.
    for (const [i, rate] of [0.08, 0.32, 0.4, 0.2].entries()) expect(rates[i]).toBeCloseTo(rate, 12)
  })

  it('has the released weights, which are all', () => {
    const weights = Object.values(SUBMIXTURES).map(({ weight }) => weight)
    expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 12)
  })

  it('draws data sets at these rates', () => {
    const [a, b, c] = [setOf('a', 10), setOf('b', 30), setOf('c', 5)]
    const collections = [
      { submixture: { weight: 1, cap: 20 }, sets: [a, b] },
      { submixture: { weight: 3, cap: 20 }, sets: [c] },
    ]
    const rates = collectionRates(collections)
    const draws = 3000
    const counts = new Map<string, number>()
    for (let step = 0; step < draws; step++) {
      const { set } = drawFromCollections(collections, rates, new StepRandom(3, step))
      counts.set(set.name, (counts.get(set.name) ?? 0) + 1)
    }
    for (const [name, p] of Object.entries({ a: 1 / 12, b: 2 / 12, c: 9 / 12 })) {
      expect(Math.abs((counts.get(name) ?? 0) / draws - p)).toBeLessThan(off(p, draws))
    }
  })
})

describe('prompts', () => {
  it('with exemplars are theirs and their answers, and then the question', () => {
    const question = { input: 'Q 3', target: 'odd', options: ['even', 'odd'] }
    const shown = [
      { input: 'Q 1', target: 'odd' },
      { input: 'Q 2', target: 'even' },
    ]
    expect(withExemplars(question, shown)).toEqual({
      ...question,
      input: ['Q 1', INPUT_TARGET, 'odd', BETWEEN, 'Q 2', INPUT_TARGET, 'even', BETWEEN, 'Q 3'].join(''),
    })
    expect([INPUT_TARGET, BETWEEN]).toEqual(['\n\n', '\n\n\n'])
    expect(withExemplars(question, [])).toBe(question)
  })

  it('never have the question itself among the exemplars, nor one twice, even where data repeat', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), (step, size, distinct) => {
        // Several examples of one wording: a copy of the question is the question.
        const set = setOf('set', size, [PLAIN, OTHER], (i) => `${i % distinct}`)
        const drawn = drawPrompt(set, new StepRandom(5, step), { fewShot: 1 })
        const parts = drawn.prompted.input.split(BETWEEN)
        const inputs = parts.map((part) => part.split(INPUT_TARGET)[0])
        expect(new Set(inputs).size).toBe(inputs.length)
        expect(parts).toHaveLength(drawn.exemplars + 1)
        // All in words of one template, with options or without.
        const like = (input: string) => [input.startsWith('Say'), input.includes('OPTIONS')]
        for (const input of inputs) expect(like(input)).toEqual(like(inputs[0]))
        const own = set.prompt(drawn.template, drawn.index, { showOptions: like(inputs[0])[1] })
        expect(inputs[inputs.length - 1]).toBe(own.input)
        expect(drawn.prompted.target).toBe(own.target)
      }),
    )
  })

  it('tell no answer by the same question with other options', () => {
    const options = [
      ['even', 'odd'],
      ['odd', 'even'],
      ['odd', 'none'],
    ]
    const examples = options.map((options) => ({ fields: { question: '3', answer: 'odd' }, options }))
    const other = { fields: { question: '4', answer: 'even' }, options: options[0] }
    const set = templatedSet('set', [], [...examples, other], [PLAIN])
    for (let step = 0; step < 20; step++) {
      const drawn = drawExemplars({ set, template: 0, index: step % 3 }, 3, new StepRandom(4, step))
      expect(drawn.map(({ input }) => input)).toEqual(['Q 4\nOPTIONS:\n- even\n- odd'])
    }
  })

  it('have as many exemplars as there are others, and no more', () => {
    const set = setOf('set', 3)
    const drawn = { set, template: 0, index: 1 }
    expect(drawExemplars(drawn, 5, new StepRandom(1, 1))).toHaveLength(2)
    const alone = setOf('set', 1)
    expect(drawExemplars({ ...drawn, set: alone, index: 0 }, 5, new StepRandom(1, 1))).toEqual([])
  })

  it('come in their shares: few-shot, with options, inverted', () => {
    const set = setOf('set', 40)
    const draws = 4000
    const seen = { fewShot: 0, inverted: 0, plain: 0, options: 0, exemplars: [0, 0, 0, 0] }
    for (let step = 0; step < draws; step++) {
      const { template, prompted, exemplars } = drawPrompt(set, new StepRandom(11, step), { exemplars: 3 })
      seen.fewShot += Number(exemplars > 0)
      if (set.templates[template].inverted) seen.inverted++
      else {
        seen.plain++
        seen.exemplars[exemplars]++
        seen.options += Number(prompted.input.includes('OPTIONS:\n- even\n- odd'))
      }
    }
    expect(Math.abs(seen.fewShot / draws - 0.5)).toBeLessThan(off(0.5, draws))
    expect(Math.abs(seen.options / seen.plain - 0.5)).toBeLessThan(off(0.5, seen.plain))
    const inverted = 0.3 / 1.3
    expect(Math.abs(seen.inverted / draws - inverted)).toBeLessThan(off(inverted, draws))
    for (const count of seen.exemplars.slice(1)) {
      expect(Math.abs(count / seen.plain - 1 / 6)).toBeLessThan(off(1 / 6, seen.plain))
    }
  })

  it('can be zero-shot alone, few-shot alone, never inverted, and no longer than fits', () => {
    const set = setOf('set', 40)
    for (let step = 0; step < 100; step++) {
      const random = () => new StepRandom(2, step)
      expect(drawPrompt(set, random(), { fewShot: 0 }).exemplars).toBe(0)
      expect(drawPrompt(set, random(), { fewShot: 1 }).exemplars).toBeGreaterThan(0)
      expect(set.templates[drawPrompt(set, random(), { inversion: 0 }).template].inverted).toBe(false)
      const fits = (input: string) => input.length <= 60
      const { prompted, exemplars } = drawPrompt(set, random(), { fewShot: 1, options: 0, fits })
      expect(exemplars === 0 || fits(prompted.input)).toBe(true)
    }
  })
})

describe('rationales', () => {
  const example = { fields: { question: 'How many?', rationale: '2 and 3 are 5.', answer: '5' } }
  const set = templatedSet('cot', [], [example], RATIONALE_TEMPLATES)

  it('stand before the answer, and the inversions ask for what they do not tell', () => {
    for (const [i, { inverted }] of set.templates.entries()) {
      const { input, target } = set.prompt(i, 0)
      if (!inverted) {
        expect(target).toBe('2 and 3 are 5. So the answer is 5.')
        expect(input).toContain('How many?')
        expect(input).not.toContain('2 and 3')
      } else {
        for (const part of target.split('\n\n')) expect(input).not.toContain(part)
        expect(['How many?', '2 and 3 are 5.', 'How many?\n\n2 and 3 are 5.']).toContain(target)
      }
    }
    expect(set.templates.filter(({ inverted }) => inverted)).toHaveLength(3)
  })

  it('are left out of plain answers', () => {
    const plain = templatedSet('direct', [], [example], ANSWER_TEMPLATES)
    for (const i of plain.templates.keys()) expect(plain.prompt(i, 0).target).toBe('5')
  })
})
