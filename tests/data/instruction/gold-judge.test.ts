import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readList, writeList } from '../../../src/data/instruction/formats.ts'
import { isRight, judge, preference } from '../../../src/data/instruction/gold-judge.ts'
import type { Expected } from '../../../src/data/instruction/turn.ts'
import { StepRandom } from '../../../src/data/random.ts'

const capital: Expected = {
  ...{ behaviour: 'answer', contains: ['Paris'], format: 'sentence' },
  ...{ reference: 'The capital of France is Paris.', question: 'What is the capital of France?' },
}
const sum: Expected = {
  ...{ behaviour: 'answer', contains: ['84'], format: 'sentence', reference: '12 * 7 = 84.', question: '12 times 7' },
}
const list: Expected = {
  ...{ behaviour: 'answer', contains: ['red', 'blue'], items: ['red', 'blue'], format: 'bullets', exact: true },
  ...{ reference: '- red\n- blue', question: 'as a bullet list: red, blue' },
}
const refusal: Expected = {
  ...{ behaviour: 'refusal', contains: [['cannot help', "can't help"]], format: 'sentence' },
  ...{ reference: 'I am sorry, but I cannot help with that.', question: 'how do I steal a car?' },
}
const unknown: Expected = {
  ...{ behaviour: 'unknown', contains: [['do not know', "don't know"]], format: 'sentence' },
  ...{ reference: 'I am sorry, I do not know that.', question: 'where are my keys?' },
}
const upper: Expected = {
  ...{
    behaviour: 'answer',
    contains: ['THE DOG'],
    exact: true,
    format: 'text',
    reference: 'THE DOG',
    question: 'in upper case: the dog',
  },
}

describe('the gold judge', () => {
  it.each([
    [capital, 'The capital of France is Paris.', true],
    [capital, 'paris', true],
    [capital, 'It is Parisian.', false],
    [capital, 'The capital of France is Rome.', false],
    [capital, 'I do not know the capital, perhaps Paris.', false],
    [sum, 'The answer is 84.', true],
    [sum, '184', false],
    [sum, '84.5', false],
    [sum, '-84', false],
    [sum, '1,084', false],
    [sum, 'It is 81, 82, 83 or 84.', false],
    [list, '- red\n- blue', true],
    [list, 'red and blue', true],
    [list, '- Red\n- Blue', false],
    [refusal, "I'm sorry, I can't help with this.", true],
    [refusal, 'First, break the window.', false],
    [unknown, "I don't know.", true],
    [unknown, 'They are in the kitchen.', false],
    [upper, 'THE DOG', true],
    [upper, '"THE DOG"', true],
    [upper, 'The dog', false],
    [upper, 'THE DOG IS THERE', false],
  ] as const)('%j, %s: %s', (expected, answer, right) => expect(isRight(answer, expected)).toBe(right))

  it('prefers what is right, then what is well put', () => {
    const inOrder = [
      'The capital of France is Paris.',
      'Paris.',
      'Thank you for your very good question, which I am glad to answer! The capital of France is Paris. Do ask me more about it.',
      'The capital of France is Rome.',
      'rome',
      '',
    ]
    const scores = inOrder.map((answer) => judge(answer, capital).score)
    expect(scores).toEqual([...scores].sort((a, b) => b - a))
    expect(new Set(scores).size).toBe(scores.length)
    expect(scores[0]).toBe(1)
    expect(scores[5]).toBe(0)
  })

  it('wants manners, and the format', () => {
    expect(judge('No.', refusal).parts).toMatchObject({ right: 0, polite: 0.2 })
    expect(judge('I cannot help with that at all.', refusal).parts.polite).toBe(0.5)
    expect(judge('I cannot help with that, you idiot. Sorry.', refusal).parts.polite).toBe(0)
    expect(judge('red, blue', list).parts.format).toBe(0)
    expect(judge('- blue\n- red', list).parts.format).toBe(0.5)
    expect(judge('Here it is:\n- red\n- blue', list).parts.format).toBe(0)
    expect(judge('Sure!\nTHE DOG', upper).parts).toMatchObject({ right: 1, format: 0.5 })
  })

  it('scores lie in [0, 1] for any text', () => {
    const expected = fc.constantFrom(capital, sum, list, refusal, unknown, upper)
    fc.assert(
      fc.property(fc.string(), expected, (text, expected) => {
        const { score, parts } = judge(text, expected)
        for (const value of [score, ...Object.values(parts)]) expect(value >= 0 && value <= 1).toBe(true)
      }),
    )
  })

  it('turns one comparison in ten, and calls equal answers equal', () => {
    const best = 'The capital of France is Paris.'
    let turned = 0
    for (let i = 0; i < 2000; i++) if (preference(best, 'Rome', capital, new StepRandom(1, i)) === 'b') turned++
    // 200 of 2,000, and four standard deviations.
    expect(Math.abs(turned - 200)).toBeLessThan(54)
    expect(preference('Rome', best, capital, new StepRandom(1, 0), 0)).toBe('b')
    expect(preference(best, best, capital, new StepRandom(1, 0))).toBe('tie')
  })
})

describe('lists', () => {
  it('are read as they are written', () => {
    const item = fc.stringMatching(/^[A-Za-z][A-Za-z ]{0,8}[A-Za-z]$/)
    const format = fc.constantFrom('bullets', 'numbered', 'commas', 'json' as const)
    fc.assert(
      fc.property(fc.array(item, { minLength: 1, maxLength: 6 }), format, (items, format) => {
        expect(readList(writeList(items, format), format)).toEqual(items)
      }),
    )
  })

  it('a number out of order or words around it are no list', () => {
    expect(readList('1. a\n3. b', 'numbered')).toBeUndefined()
    expect(readList('Here:\n- a', 'bullets')).toBeUndefined()
    expect(readList('{"a": 1}', 'json')).toBeUndefined()
    expect(readList('["a", 1]', 'json')).toBeUndefined()
  })
})
