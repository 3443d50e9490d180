import { describe, expect, it } from 'vitest'
import { openLanguageModel } from '../../src/prompt/language-model.ts'
import {
  answerPrompt,
  answerTrigger,
  reasoningPrompt,
  zeroShotAnswer,
  zeroShotPrompt,
  zeroShotReason,
} from '../../src/prompt/zero-shot-cot.ts'
import '../../src/runtime/node.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { ScriptedModel } from './scripted-model.ts'

describe('prompts', () => {
  it('of the first stage end with the trigger, of the second with what asks for the answer', () => {
    const first = reasoningPrompt('What is 2 + 3?')
    expect(first).toBe("Q: What is 2 + 3?\nA: Let's think step by step.")
    expect(answerPrompt(first, ' Two and three are five.', { kind: 'number' })).toBe(
      "Q: What is 2 + 3?\nA: Let's think step by step. Two and three are five. \nTherefore, the answer (arabic numerals) is",
    )
    expect(reasoningPrompt('Why?', 'First,')).toBe('Q: Why?\nA: First,')
  })

  it('ask in the form of the data set', () => {
    expect(answerTrigger({ kind: 'choice', choices: 5 })).toBe('Therefore, among A through E, the answer is')
    expect(answerTrigger({ kind: 'choice', choices: 6 })).toBe('Therefore, among A through F, the answer is')
    expect(answerTrigger({ kind: 'choice', choices: 3 })).toBe('Therefore, among A through C, the answer is')
    expect(answerTrigger({ kind: 'yes or no' })).toBe('Therefore, the answer (Yes or No) is')
    expect(answerTrigger({ kind: 'letters' })).toBe('Therefore, the answer is')
  })

  it('without reasoning begin a sentence', () => {
    expect(zeroShotPrompt('Why?', { kind: 'number' })).toBe('Q: Why?\nA: The answer (arabic numerals) is')
    expect(zeroShotPrompt('Why?', { kind: 'choice', choices: 5 })).toBe('Q: Why?\nA: Among A through E, the answer is')
  })
})

describe('two stages', () => {
  it('hand what was reasoned on, and clean what comes of it', async () => {
    const model = new ScriptedModel({
      write: (prompt) => (prompt.endsWith('step by step.') ? ' 40 is 4 tens.' : ' 1,040. Or 3.'),
    })
    const answers = await zeroShotReason(model, ['How many?', 'And then?'], { kind: 'number' })
    expect(answers).toEqual([1, 2].map(() => ({ reasoning: ' 40 is 4 tens.', text: ' 1,040. Or 3.', answer: '1040' })))
    expect(model.prompts[2]).toBe(
      "Q: How many?\nA: Let's think step by step. 40 is 4 tens. \nTherefore, the answer (arabic numerals) is",
    )
    expect(model.options.map(({ maxNewTokens }) => maxNewTokens)).toEqual([128, 32])
  })

  it('are one without reasoning', async () => {
    const model = new ScriptedModel({ write: () => ' (B)' })
    expect(await zeroShotAnswer(model, ['Which?'], { kind: 'choice', choices: 3 })).toEqual([
      { reasoning: '', text: ' (B)', answer: 'B' },
    ])
    expect(model.prompts).toEqual(['Q: Which?\nA: Among A through C, the answer is'])
    expect(model.options[0].maxNewTokens).toBe(32)
  })
})

it.skipIf(lacksShared('models/smollm2.json'))(
  'SmolLM2 reasons, and then answers with a number',
  async () => {
    const model = await openLanguageModel(`gguf:${sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf')}`, {
      contextLength: 256,
      slots: 2,
    })
    const question = 'Tom has 2 apples and buys 3 more apples. How many apples does Tom have?'
    const [answer] = await zeroShotReason(model, [question], { kind: 'number' }, { maxReasoningTokens: 48 })
    expect(answer.reasoning).toMatch(/apples/)
    expect(answer.answer).toMatch(/^-?\d+(\.\d+)?$/)
    expect(answer.text).toContain(answer.answer)
    // Stage by stage it is the same.
    const first = reasoningPrompt(question)
    const [reasoning] = await model.generate([first], { maxNewTokens: 48 })
    expect(reasoning).toBe(answer.reasoning)
    expect(await model.generate([answerPrompt(first, reasoning, { kind: 'number' })], { maxNewTokens: 32 })).toEqual([
      answer.text,
    ])
    model.release()
  },
  120_000,
)
