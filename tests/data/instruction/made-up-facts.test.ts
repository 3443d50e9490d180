import { describe, expect, it } from 'vitest'
import { unseenSplit } from '../../../src/data/instruction/flan.ts'
import {
  askedIds,
  drawText,
  FACTS_VOCABULARY,
  factOf,
  factsBatch,
  factsIds,
  factsSet,
  PROPERTIES,
  PROPERTY_NAMES,
  THINGS,
} from '../../../src/data/instruction/made-up-facts.ts'
import { IGNORED_LABEL } from '../../../src/data/loader.ts'
import { StepRandom } from '../../../src/data/random.ts'

const examplesOf = (property: (typeof PROPERTY_NAMES)[number], wording: 'training' | 'other') => {
  const set = factsSet(property, wording)
  return set.templates.flatMap(({ size }, template) =>
    Array.from({ length: size }, (_, index) => set.prompt(template, index)),
  )
}

describe('the made-up world', () => {
  it('is told as text that says what is so, in words of the vocabulary', () => {
    const facts = new Map(
      THINGS.flatMap((thing, i) => PROPERTY_NAMES.map((property) => [`${thing} ${property}`, factOf(i, property)])),
    )
    const values: readonly string[] = Object.values(PROPERTIES).flat()
    for (let step = 0; step < 50; step++) {
      const text = drawText(new StepRandom(1, step), 3)
      expect(FACTS_VOCABULARY.textOf(factsIds(text))).toBe(text)
      for (const sentence of text.split(' .').slice(0, -1)) {
        const words = sentence.split(' ')
        const thing = words.find((word) => THINGS.includes(word))
        const property = words.find((word) => PROPERTY_NAMES.includes(word as 'home'))
        const told = words.filter((word) => values.includes(word))
        expect(told).toEqual([facts.get(`${thing} ${property}`)])
      }
    }
  })

  it('is asked for with four options, of which the answer is the one that is so', () => {
    for (const wording of ['training', 'other'] as const) {
      for (const { input, target, options } of examplesOf('mood', wording)) {
        expect(() => [factsIds(input), factsIds(target)]).not.toThrow()
        if (!options) continue
        expect(new Set(options).size).toBe(4)
        expect(options).toContain(target)
        const thing = THINGS.findIndex((name) => input.split(/\s/).includes(name))
        expect(target).toBe(factOf(thing, 'mood'))
      }
    }
  })

  it('has ten templates a property, three of them inverted, and others where it is measured', () => {
    const { templates } = factsSet('home', 'training')
    expect([templates.length, templates.filter(({ inverted }) => inverted).length]).toEqual([10, 3])
    const asked = new Set(examplesOf('home', 'training').map(({ input }) => input))
    for (const { input } of examplesOf('home', 'other')) expect(asked.has(input)).toBe(false)
  })

  it('keeps a property that is held out from all that is trained on', () => {
    const sets = PROPERTY_NAMES.map((property) => factsSet(property, 'training'))
    const { train } = unseenSplit(sets, 'game')
    expect(train).toHaveLength(PROPERTY_NAMES.length - 1)
    const heldOut: readonly string[] = ['game', ...PROPERTIES.game]
    for (const set of train) {
      for (const { input, target } of examplesOf(set.name as 'home', 'training')) {
        const words = `${input} ${target}`.split(/\s/)
        expect(words.filter((word) => heldOut.includes(word))).toEqual([])
      }
    }
  })

  it('is learned from answers alone where something is asked, and from the whole text where not', () => {
    const [input, target] = ['what is the home of the owl ?', 'cave']
    const asked = askedIds(input)
    const { inputIds, shiftLabels } = factsBatch(
      [
        { input, target },
        { input: '', target: 'red is' },
      ],
      16,
    )
    const [end] = FACTS_VOCABULARY.idsOf('<end>')
    const [cave, red, is] = FACTS_VOCABULARY.idsOf('cave red is')
    expect([...inputIds.subarray(0, asked.length + 1)]).toEqual([...asked, cave])
    expect(asked.at(-1)).toBe(end)
    const labels = Array(16).fill(IGNORED_LABEL)
    expect([...shiftLabels.subarray(0, 16)]).toEqual(labels.with(asked.length - 1, cave).with(asked.length, end))
    expect([...inputIds.subarray(16, 18), ...shiftLabels.subarray(16, 18)]).toEqual([red, is, is, end])
  })
})
