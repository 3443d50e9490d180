import { describe, expect, it } from 'vitest'
import {
  answerFreely,
  chooseAnswers,
  drawDemonstrations,
  fewShotPrompt,
  withShuffledLabels,
} from '../../src/prompt/few-shot.ts'
import { openLanguageModel } from '../../src/prompt/language-model.ts'
import '../../src/runtime/node.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { ScriptedModel } from './scripted-model.ts'

const CAPITALS = [
  { input: 'Capital of France?', output: 'Paris' },
  { input: 'Capital of Japan?', output: 'Tokyo' },
]

describe('a prompt of K demonstrations', () => {
  it('has the description, the demonstrations and the input, and ends where the output begins', () => {
    expect(fewShotPrompt('Capital of Peru?', CAPITALS, { description: 'Answer in a word.' })).toBe(
      'Answer in a word.\n\nQ: Capital of France?\nA: Paris\n\nQ: Capital of Japan?\nA: Tokyo\n\nQ: Capital of Peru?\nA:',
    )
    expect(fewShotPrompt('Capital of Peru?')).toBe('Q: Capital of Peru?\nA:')
    expect(fewShotPrompt('sea', CAPITALS.slice(0, 1), { inputPrefix: '', outputPrefix: ' =>', separator: '\n' })).toBe(
      'Capital of France? => Paris\nsea =>',
    )
  })

  it('draws them without repetition, the same for a seed', () => {
    const pool = Array.from({ length: 10 }, (_, i) => i)
    const drawn = drawDemonstrations(pool, 6, 3)
    expect(new Set(drawn).size).toBe(6)
    expect(drawDemonstrations(pool, 6, 3)).toEqual(drawn)
    expect(drawDemonstrations(pool, 6, 4)).not.toEqual(drawn)
    expect(drawDemonstrations(pool, 3, 3)).toEqual(drawn.slice(0, 3))
    expect(() => drawDemonstrations(pool, 11)).toThrow('there are 10 demonstrations to draw from, not 11')
  })

  it('as a control gives every input the output of some other one', () => {
    const pool = Array.from({ length: 8 }, (_, i) => ({ input: `${i}`, output: `${i}` }))
    const shuffled = withShuffledLabels(pool)
    expect(shuffled.map(({ input }) => input)).toEqual(pool.map(({ input }) => input))
    expect(shuffled.map(({ output }) => output).sort()).toEqual(pool.map(({ output }) => output))
    expect(shuffled).not.toEqual(pool)
  })
})

describe('an answer is chosen', () => {
  // log P(choice | question), its tokens, log P(choice | Answer: )
  const table: Record<string, [number, number, number]> = {
    yes: [-2, 1, -1],
    'of course not': [-3.9, 3, -9],
    no: [-1.9, 1, -0.8],
  }
  const model = () =>
    new ScriptedModel({
      score: ({ context, continuation }) => {
        const [given, tokens, alone] = table[continuation.trim()]
        return { logProb: context === 'Answer: ' ? alone : given, tokens }
      },
    })
  const choices = ['yes', 'of course not', 'no']

  it('by its whole likelihood, or that of a token, of a character, or over the answer context', async () => {
    const ask = async (normalization: 'none' | 'tokens' | 'characters' | 'unconditional') => {
      const [answer] = await chooseAnswers(model(), [{ prompt: 'Q: Well?\nA:', choices }], { normalization })
      return answer
    }
    expect(await ask('none')).toEqual({ scores: [-2, -3.9, -1.9], best: 2 })
    const byTokens = await ask('tokens')
    expect(byTokens.scores[1]).toBeCloseTo(-1.3, 12)
    expect(byTokens.best).toBe(1)
    const byCharacters = await ask('characters')
    expect(byCharacters.scores).toEqual([-2 / 3, -3.9 / 13, -1.9 / 2])
    // (−2 + 1), (−3.9 + 9), (−1.9 + 0.8)
    const unconditional = await ask('unconditional')
    for (const [i, score] of [-1, 5.1, -1.1].entries()) expect(unconditional.scores[i]).toBeCloseTo(score, 12)
    expect(unconditional.best).toBe(1)
  })

  it('with the space before it, which is not the context’s', async () => {
    const scripted = model()
    await chooseAnswers(scripted, [{ prompt: 'Q: Well?\nA:', choices }])
    expect(scripted.asked).toEqual(choices.map((choice) => ({ context: 'Q: Well?\nA:', continuation: ` ${choice}` })))
  })

  it('of each question among its own choices', async () => {
    const scripted = new ScriptedModel({ score: ({ continuation }) => ({ logProb: -continuation.length }) })
    const answers = await chooseAnswers(scripted, [
      { prompt: 'a', choices: ['long one', 'x'] },
      { prompt: 'b', choices: ['y', 'zz', 'zzz'] },
    ])
    expect(answers.map(({ best }) => best)).toEqual([1, 0])
    expect(answers[1].scores).toHaveLength(3)
  })
})

it('free answers are searched for with 4 beams and α = 0.6, to the end of the line', async () => {
  const scripted = new ScriptedModel({ write: () => ' Lima ' })
  expect(await answerFreely(scripted, ['Q: Capital of Peru?\nA:'])).toEqual(['Lima'])
  expect(scripted.options[0]).toMatchObject({ numBeams: 4, lengthPenalty: 0.6, lengthNorm: 'gnmt', stop: ['\n'] })
})

describe.skipIf(lacksShared('models/smollm2.json'))('SmolLM2 in context', () => {
  it('knows a capital, in a choice and freely, after two demonstrations', async () => {
    const model = await openLanguageModel(`gguf:${sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf')}`, {
      contextLength: 256,
      slots: 4,
    })
    const prompt = fewShotPrompt('Capital of Italy?', CAPITALS)
    const [{ best, scores }] = await chooseAnswers(model, [{ prompt, choices: ['Berlin', 'Rome', 'banana'] }])
    expect(best).toBe(1)
    expect(scores[1]).toBeGreaterThan(scores[0] + 1)
    expect(await answerFreely(model, [prompt], { maxNewTokens: 8 })).toEqual(['Rome'])
    expect(await model.generate([prompt], { maxNewTokens: 8, stop: ['\n'] })).toEqual([' Rome'])
    model.release()
  }, 120_000)
})
