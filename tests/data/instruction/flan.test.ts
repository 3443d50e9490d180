import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  applyTemplate,
  CLUSTERS,
  type DataSet,
  drawByRate,
  drawExample,
  EXAMPLE_LIMIT,
  type Example,
  excludedWith,
  mixingRates,
  optionsSuffix,
  type Pair,
  packCausal,
  packSides,
  type Template,
  templatedSet,
  unseenSplit,
} from '../../../src/data/instruction/flan.ts'
import { IGNORED_LABEL } from '../../../src/data/loader.ts'
import { StepRandom } from '../../../src/data/random.ts'

const entailment: Example = {
  fields: { premise: 'It rains.', hypothesis: 'It is wet.', answer: 'yes' },
  options: ['yes', 'no'],
}
const asked: Template = { input: '{premise}\n\nSo: {hypothesis}?\n\n{options_}', target: '{answer}' }
const turned: Template = { input: 'What follows from “{premise}”?', target: '{hypothesis}', inverted: true }

const setOf = (name: string, clusters: readonly string[], size = 3): DataSet =>
  templatedSet(
    name,
    clusters,
    Array.from({ length: size }, (_, i) => ({ fields: { question: `${name} ${i}`, answer: `${i}` } })),
    [{ input: '{question}', target: '{answer}' }],
  )

describe('templates', () => {
  it('put an example into words, and tell the options as the paper does', () => {
    expect(optionsSuffix(['a', 'b'])).toBe('OPTIONS:\n- a\n- b')
    expect(applyTemplate(asked, entailment)).toEqual({
      input: 'It rains.\n\nSo: It is wet.?\n\nOPTIONS:\n- yes\n- no',
      target: 'yes',
      options: ['yes', 'no'],
    })
    expect(applyTemplate(asked, entailment, { showOptions: false }).input).toBe('It rains.\n\nSo: It is wet.?')
  })

  it('that turn the task around have no options to choose from', () => {
    const { input, target, options } = applyTemplate(turned, entailment)
    expect([input, target, options]).toEqual(['What follows from “It rains.”?', 'It is wet.', undefined])
  })

  it('leave braces in an example alone, and name what it lacks', () => {
    const odd = { fields: { question: '{answer} $& {options_}', answer: '1' } }
    expect(applyTemplate({ input: '{question}', target: '{answer}' }, odd).input).toBe('{answer} $& {options_}')
    expect(() => applyTemplate({ input: '{toString}', target: '' }, odd)).toThrow('needs {toString}')
    expect(() => applyTemplate(asked, { fields: entailment.fields })).toThrow('needs {options_}')
  })

  it('are ten a data set at most, three of them inverted', () => {
    const many = (plain: number, inverted: number) => () =>
      templatedSet('set', [], [entailment], [...Array(plain).fill(asked), ...Array(inverted).fill(turned)])
    expect(many(7, 3)().templates.filter(({ inverted }) => inverted)).toHaveLength(3)
    expect(many(8, 3)).toThrow('11 templates, 3 of them inverted')
    expect(many(6, 4)).toThrow('10 templates, 4 of them inverted')
    expect(many(0, 0)).toThrow('0 templates')
  })
})

describe('clusters', () => {
  it('are the twelve of the paper, of 62 data sets', () => {
    expect(Object.keys(CLUSTERS)).toHaveLength(12)
    const names = Object.values(CLUSTERS).flat()
    expect(names).toHaveLength(62)
    expect(new Set(names).size).toBe(62)
  })

  it('near to one another are left out together, in both directions, and no further', () => {
    const both = 'reading comprehension with commonsense'
    expect(excludedWith('paraphrase')).toEqual(new Set(['paraphrase', 'natural language inference']))
    expect(excludedWith('natural language inference')).toEqual(new Set(['natural language inference', 'paraphrase']))
    expect(excludedWith(both)).toEqual(new Set([both, 'reading comprehension', 'commonsense']))
    expect(excludedWith('commonsense')).toEqual(new Set(['commonsense', both]))
    for (const name of [...Object.keys(CLUSTERS)])
      for (const near of excludedWith(name)) expect(CLUSTERS).toHaveProperty([near])
  })

  it('held out leak into no training example, whatever belongs to several', () => {
    const clusters = Object.keys(CLUSTERS)
    fc.assert(
      fc.property(fc.array(fc.subarray(clusters, { minLength: 1, maxLength: 3 }), { minLength: 1 }), (of) => {
        const sets = of.map((clusters, i) => setOf(`set${i}`, clusters))
        const heldOut = of[0][0]
        let split: ReturnType<typeof unseenSplit>
        try {
          split = unseenSplit(sets, heldOut)
        } catch (error) {
          expect((error as Error).message).toMatch(/no data set to train on/)
          return
        }
        const unseen = new Set(split.unseen.flatMap(({ clusters }) => clusters))
        expect(split.unseen.every(({ clusters }) => clusters.includes(heldOut))).toBe(true)
        const rates = mixingRates(split.train.map(({ size }) => size))
        for (let step = 0; step < 20; step++) {
          const { set } = drawExample(split.train, rates, new StepRandom(1, step))
          for (const cluster of set.clusters) {
            for (const held of unseen) expect(excludedWith(held)).not.toContain(cluster)
          }
        }
        // What could be trained on is.
        const out = new Set([...unseen].flatMap((name) => [...excludedWith(name)]))
        const left = sets.filter(({ clusters }) => clusters.every((name) => !out.has(name)))
        expect(split.train).toEqual(left)
      }),
      { numRuns: 50 },
    )
  })

  it('that nothing belongs to are named with those there are', () => {
    expect(() => unseenSplit([setOf('a', ['x'])], 'y')).toThrow('“y”; there are: x')
    expect(() => unseenSplit([setOf('a', ['x'])], 'x')).toThrow('no data set to train on')
  })
})

describe('mixing', () => {
  it('is in proportion to examples, up to the cap', () => {
    expect(mixingRates([1000, 3000, 500_000])).toEqual([1 / 7, 3 / 7, 3 / 7])
    expect(mixingRates([1, 3], 2)).toEqual([1 / 3, 2 / 3])
  })

  it('draws at these rates, and examples and templates evenly', () => {
    const sets = [setOf('small', ['a'], 2), setOf('large', ['b'], 6)]
    const counts = new Map<string, number>()
    const draws = 4000
    for (let step = 0; step < draws; step++) {
      const { prompted } = drawExample(sets, mixingRates([2, 6], 4), new StepRandom(7, step))
      counts.set(prompted.input, (counts.get(prompted.input) ?? 0) + 1)
    }
    // 1/3 over two, 2/3 over six: five standard deviations of either.
    for (const [input, count] of counts) {
      const p = input.startsWith('small') ? 1 / 6 : 1 / 9
      expect(Math.abs(count / draws - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / draws))
    }
    expect(counts.size).toBe(8)
  })

  it('never draws what has no rate', () => {
    const last = { uniform: () => 1 - 2 ** -24 } as StepRandom
    expect(drawByRate([0.5, 0.5 - 1e-9, 0], last)).toBe(1)
    expect(drawByRate([0, 1], { uniform: () => 0 } as StepRandom)).toBe(1)
  })

  it('knows the first 30,000 examples of a data set', () => {
    const set = setOf('large', [], EXAMPLE_LIMIT + 5)
    expect([set.size, set.templates[0].size]).toEqual([EXAMPLE_LIMIT, EXAMPLE_LIMIT])
  })
})

describe('packing', () => {
  const END = 1
  const PAD = 0
  const ids = (maxLength: number) => fc.array(fc.integer({ min: 2, max: 99 }), { maxLength })
  const pairs = fc.array(fc.record<Pair>({ inputIds: ids(14), targetIds: ids(6) }), { maxLength: 30 })
  const idsAt = (of: Int32Array, segments: Int32Array, segment: number) =>
    [...of].filter((_, t) => segments[t] === segment)

  it('holds every example once and in order, learns its target alone, and none sees another', () => {
    fc.assert(
      fc.property(pairs, fc.integer({ min: 16, max: 40 }), (pairs, seq) => {
        const rows = packCausal(pairs, { seq, endTokenId: END })
        const maxInput = Math.floor((seq * 4) / 5)
        const found = rows.flatMap((row) => {
          const count = Math.max(...row.segmentIds)
          return Array.from({ length: count }, (_, i) => {
            const places = [...row.segmentIds.keys()].filter((t) => row.segmentIds[t] === i + 1)
            expect(places.map((t) => row.positionIds[t])).toEqual(places.map((_, t) => t))
            // A label is the next token of the same example, or there is none.
            for (const t of places) {
              if (row.shiftLabels[t] === IGNORED_LABEL) continue
              expect(row.segmentIds[t + 1]).toBe(i + 1)
              expect(row.inputIds[t + 1]).toBe(row.shiftLabels[t])
            }
            return { ids: places.map((t) => row.inputIds[t]), labels: places.map((t) => row.shiftLabels[t]) }
          })
        })
        expect(found).toHaveLength(pairs.length)
        for (const [i, { inputIds, targetIds }] of pairs.entries()) {
          const input = [...inputIds.slice(0, maxInput - 1), END]
          const target = [...targetIds.slice(0, seq - input.length - 1), END]
          expect(found[i].ids).toEqual([...input, ...target])
          expect(found[i].labels.filter((label) => label !== IGNORED_LABEL)).toEqual(target)
        }
        for (const row of rows) {
          for (let t = 0; t < seq; t++) if (row.segmentIds[t] === 0) expect(row.shiftLabels[t]).toBe(IGNORED_LABEL)
        }
      }),
    )
  })

  it('has as many examples a row as fit on both sides', () => {
    fc.assert(
      fc.property(pairs, (pairs) => {
        const [inputs, targets] = [20, 9]
        const rows = packSides(pairs, { inputs, targets, endTokenId: END, padTokenId: PAD })
        const examples = rows.map((row) =>
          Array.from({ length: Math.max(...row.inputSegmentIds) }, (_, i) => ({
            inputIds: idsAt(row.inputIds, row.inputSegmentIds, i + 1),
            targetIds: idsAt(row.labels, row.targetSegmentIds, i + 1),
          })),
        )
        const trimmed = pairs.map(({ inputIds, targetIds }) => ({
          inputIds: [...inputIds, END],
          targetIds: [...targetIds, END],
        }))
        expect(examples.flat()).toEqual(trimmed)
        // The next row's first example had no room in the row before it.
        const length = (of: Pair[], side: keyof Pair) => of.reduce((sum, pair) => sum + pair[side].length, 0)
        for (const [i, row] of examples.slice(1).entries()) {
          const together = [...examples[i], row[0]]
          expect(length(together, 'inputIds') > inputs || length(together, 'targetIds') > targets).toBe(true)
        }
        for (const row of rows) {
          expect(idsAt(row.inputIds, row.inputSegmentIds, 0).every((id) => id === PAD)).toBe(true)
          expect(idsAt(row.labels, row.targetSegmentIds, 0).every((id) => id === IGNORED_LABEL)).toBe(true)
        }
      }),
    )
  })

  it('cuts what is longer than a row', () => {
    const long = { inputIds: Array(50).fill(5), targetIds: Array(50).fill(6) }
    const [row] = packCausal([long], { seq: 10, endTokenId: END })
    expect([...row.inputIds]).toEqual([5, 5, 5, 5, 5, 5, 5, END, 6, END])
    const [sides] = packSides([long], { inputs: 4, targets: 3, endTokenId: END, padTokenId: PAD })
    expect([[...sides.inputIds], [...sides.labels]]).toEqual([
      [5, 5, 5, END],
      [6, 6, END],
    ])
  })
})
