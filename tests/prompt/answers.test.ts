import { describe, expect, it } from 'vitest'
import { type AnswerKind, answersIn, firstAnswer, majority, statedAnswer } from '../../src/prompt/answers.ts'

const NUMBER: AnswerKind = { kind: 'number' }
const LETTERS: AnswerKind = { kind: 'letters' }
const YES_OR_NO: AnswerKind = { kind: 'yes or no' }
const choice = (choices: number): AnswerKind => ({ kind: 'choice', choices })

describe('an answer is cleaned', () => {
  it.each<[string, AnswerKind, string]>([
    [' 1,234 apples, or 7', NUMBER, '1234'],
    [' -5. And more', NUMBER, '-5'],
    [' $3.50.', NUMBER, '3.50'],
    ['12.', NUMBER, '12'],
    [' none at all', NUMBER, ''],
    [' (C) because of B', choice(5), 'C'],
    // The first capital counts, whatever word it begins.
    [' Certainly D', choice(5), 'C'],
    [' F', choice(5), ''],
    [' F', choice(6), 'F'],
    [' (D), so B', choice(3), 'B'],
    [' Yes.', YES_OR_NO, 'yes'],
    [': "No", I think; yes', YES_OR_NO, 'no'],
    [' Nobody knows\nyes', YES_OR_NO, 'yes'],
    [' "n a.d\ne"', LETTERS, 'nade'],
    ['', LETTERS, ''],
  ])('%j, the first: %j', (text, kind, answer) => {
    expect(firstAnswer(text, kind)).toBe(answer)
  })

  it('of all that may be meant', () => {
    expect(answersIn('2 and 3.5 make 5.5.', NUMBER)).toEqual(['2', '3.5', '5.5'])
    expect(answersIn('A or B', choice(2))).toEqual(['A', 'B'])
  })
})

describe('after demonstrations', () => {
  it('it is the first after the last “The answer is”', () => {
    expect(statedAnswer(' 3 + 4 = 7. The answer is 7. The answer is 8, not 9.', NUMBER)).toBe('8')
    expect(statedAnswer(' It is A. The answer is (B).', choice(5))).toBe('B')
    expect(statedAnswer(' The answer is 7.\n\nQ: The answer is', NUMBER)).toBe('')
  })

  it('or the last, where that was not said', () => {
    expect(statedAnswer(' 3 + 4 = 7. So 7 and 2.', NUMBER)).toBe('2')
    expect(statedAnswer(' yes and no', YES_OR_NO)).toBe('no')
  })
})

describe('the majority', () => {
  it('is the answer given most often, of equals the first; none is no answer', () => {
    expect(majority(['3', '4', '4', '5'])).toBe('4')
    expect(majority(['3', '4', '4', '3'])).toBe('3')
    expect(majority(['', '', '7'])).toBe('7')
    expect(majority(['', ''])).toBe('')
    expect(majority([])).toBe('')
  })
})
