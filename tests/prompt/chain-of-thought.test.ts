import { describe, expect, it } from 'vitest'
import { type AnswerKind, statedAnswer } from '../../src/prompt/answers.ts'
import { chainOfThoughtPrompt, exemplarOutput, reasonByExample, STYLES } from '../../src/prompt/chain-of-thought.ts'
import {
  ALGEBRA,
  ARITHMETIC,
  COINS,
  COMMON_SENSE,
  DATES,
  type Exemplar,
  LETTERS,
  STRATEGY,
  TRACKING,
} from '../../src/prompt/exemplars.ts'
import { openLanguageModel } from '../../src/prompt/language-model.ts'
import '../../src/runtime/node.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { ScriptedModel } from './scripted-model.ts'

const NUMBER: AnswerKind = { kind: 'number' }
const SUM: Exemplar = {
  question: 'What is 2 + 3?',
  rationale: 'Two and three are five.',
  equation: '2 + 3 = 5',
  answer: '5',
}

describe('an exemplar', () => {
  it('shows what each style has between question and answer', () => {
    expect(STYLES.map((style) => exemplarOutput(SUM, style))).toEqual([
      'The answer is 5.',
      'Two and three are five. The answer is 5.',
      '2 + 3 = 5. The answer is 5.',
      '......... The answer is 5.',
      'The answer is 5. Two and three are five.',
    ])
    const { equation: _, ...words } = SUM
    expect(() => exemplarOutput(words, 'equation only')).toThrow(
      "the style 'equation only' needs exemplars with an equation",
    )
  })

  it('stands before the question', () => {
    expect(chainOfThoughtPrompt('What is 1 + 1?', [SUM])).toBe(
      'Q: What is 2 + 3?\nA: Two and three are five. The answer is 5.\n\nQ: What is 1 + 1?\nA:',
    )
  })

  it.each<[string, readonly Exemplar[], number, AnswerKind]>([
    ['arithmetic', ARITHMETIC, 8, NUMBER],
    ['algebra', ALGEBRA, 4, { kind: 'choice', choices: 5 }],
    ['common sense', COMMON_SENSE, 7, { kind: 'choice', choices: 5 }],
    ['strategies', STRATEGY, 6, { kind: 'yes or no' }],
    ['dates', DATES, 4, { kind: 'choice', choices: 6 }],
    ['tracking', TRACKING, 3, { kind: 'choice', choices: 3 }],
    ['coins', COINS, 8, { kind: 'yes or no' }],
    ['letters', LETTERS, 4, { kind: 'letters' }],
  ])('of %s is answered as its answer reads', (_, exemplars, count, kind) => {
    expect(exemplars).toHaveLength(count)
    for (const exemplar of exemplars) {
      const answer = exemplar.answer.replace(/[()]/g, '')
      expect(statedAnswer(` ${exemplarOutput(exemplar, 'chain of thought')}`, kind)).toBe(answer)
    }
    expect(new Set(exemplars.map(({ answer }) => answer)).size).toBeGreaterThan(1)
  })

  it('of arithmetic is right: its equation holds, and so does every one in its rationale', () => {
    for (const { equation = '', rationale, answer } of [...ARITHMETIC, ...ALGEBRA]) {
      const stated = [equation, ...(rationale.match(/\d[\d\s+*/.-]*= [\d.]+\d|\d[\d\s+*/.-]*= \d/g) ?? [])]
      for (const [left, right] of stated.map((text) => text.split('='))) {
        expect(computed(left), `${left} = ${right}`).toBeCloseTo(Number(right), 10)
      }
      if (!answer.startsWith('(')) expect(Number(equation.split('=')[1])).toBe(Number(answer))
      else {
        const { question } = ALGEBRA.find((exemplar) => exemplar.equation === equation) as Exemplar
        expect(question).toContain(`${answer} ${equation.split('=')[1].trim()}`)
      }
    }
  })

  it('of coins and letters is right', () => {
    expect(COINS[1].rationale).toBe(
      'The coin was flipped by Carla. So it was flipped 1 time, which is an odd number. It began heads up, so after an odd number of flips it is tails up.',
    )
    for (const { question, answer } of COINS) {
      const flips = question.match(/ flips the coin/g)?.length ?? 0
      expect(answer).toBe(flips % 2 === 0 ? 'yes' : 'no')
    }
    expect(LETTERS.map(({ answer }) => answer)).toEqual(['sr', 'bd', 'ak', 'os'])
  })
})

/** Of sums, products and brackets: numbers and + - * / only. */
function computed(text: string): number {
  expect(text).toMatch(/^[\d\s+*/().-]+$/)
  return Function(`return (${text})`)() as number
}

describe('reasoning by example', () => {
  it('is greedy for one chain, and ends before the next question', async () => {
    const model = new ScriptedModel({ write: () => ' It is 3 + 4 = 7. The answer is 7.' })
    const [answer] = await reasonByExample(model, ['How many?'], [SUM], NUMBER)
    expect(answer).toEqual({ texts: [' It is 3 + 4 = 7. The answer is 7.'], answers: ['7'], answer: '7' })
    expect(model.options[0]).toMatchObject({ temperature: 0, stop: ['Q:'] })
  })

  it('takes the answer of most of several chains, each of which draws from a stream of its own', async () => {
    const said = ['The answer is 7.', 'The answer is 8.', 'The answer is 8.', 'I do not know', 'The answer is 1.', '']
    const model = new ScriptedModel({ write: (_, i) => ` ${said[i]}` })
    const answers = await reasonByExample(model, ['How many?', 'And then?'], [SUM], NUMBER, { samples: 3 })
    expect(answers.map(({ answer }) => answer)).toEqual(['8', '1'])
    expect(answers[1].answers).toEqual(['', '1', ''])
    expect(model.options[0].temperature).toBe(0.7)
    const seeds = model.options[0].seed as number[]
    expect(new Set(seeds).size).toBe(6)
    // Whatever else is asked, a question draws the same.
    await reasonByExample(model, ['And then?'], [SUM], NUMBER, { samples: 3, streams: [1] })
    expect(model.options[1].seed).toEqual(seeds.slice(3))
  })
})

it.skipIf(lacksShared('models/smollm2.json'))(
  'SmolLM2 answers in the form that it was shown, the same for a seed',
  async () => {
    const model = await openLanguageModel(`gguf:${sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf')}`, {
      contextLength: 256,
      slots: 4,
    })
    const question = 'Eva has 3 dogs and 4 cats. How many pets does she have?'
    const exemplars = ARITHMETIC.slice(0, 2)
    const [{ texts, answer }] = await reasonByExample(model, [question], exemplars, NUMBER, { maxNewTokens: 40 })
    expect(texts[0]).toContain('The answer is')
    expect(answer).toMatch(/^\d+$/)
    const draw = () => reasonByExample(model, [question], exemplars, NUMBER, { samples: 2, maxNewTokens: 24 })
    const [drawn] = await draw()
    expect(drawn.texts).toHaveLength(2)
    expect(new Set(drawn.texts).size).toBeGreaterThan(1)
    expect(await draw()).toEqual([drawn])
    model.release()
  },
  180_000,
)
