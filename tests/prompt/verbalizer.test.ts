import { describe, expect, it } from 'vitest'
import { causalFiller } from '../../src/prompt/cloze.ts'
import { openLanguageModel } from '../../src/prompt/language-model.ts'
import {
  answerProbability,
  bestLabel,
  classify,
  ensemble,
  type LabelProbabilities,
  verbalize,
} from '../../src/prompt/verbalizer.ts'
import '../../src/runtime/node.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { ScriptedModel } from './scripted-model.ts'

describe('a verbalizer', () => {
  it('gives a label the mean probability of its words, as a share of all', () => {
    const probabilities = verbalize({ positive: ['great', 'good'], negative: ['bad'] }, [0.3, 0.1, 0.2])
    // Means 0.2 and 0.2.
    expect(probabilities.positive).toBeCloseTo(0.5, 12)
    expect(verbalize({ a: ['x'], b: ['y'] }, [0, 0])).toEqual({ a: 0.5, b: 0.5 })
    expect(() => verbalize({ a: ['x'], b: [] }, [1])).toThrow("the verbalizer has no word for 'b'")
  })

  it('takes the probability of a token on average: three at 1/2 are as likely as one', () => {
    expect(answerProbability({ logProb: 3 * Math.log(0.5), tokens: 3, isGreedy: false })).toBeCloseTo(0.5, 12)
    expect(answerProbability({ logProb: Math.log(0.5), tokens: 1, isGreedy: false })).toBeCloseTo(0.5, 12)
  })

  it('classifies by what is tried in the blank', async () => {
    const table: Record<string, [number, number]> = {
      great: [Math.log(0.4), 1],
      'not bad': [2 * Math.log(0.2), 2],
      awful: [Math.log(0.1), 1],
    }
    const model = new ScriptedModel({
      score: ({ continuation }) => {
        const [logProb, tokens] = table[continuation]
        return { logProb, tokens }
      },
    })
    const labels = await classify(causalFiller(model), '[X] It was [Z]', ['Nice.', 'Hm.'], {
      positive: ['great', 'not bad'],
      negative: ['awful'],
    })
    // (0.4 + 0.2) / 2 = 0.3 against 0.1.
    expect(labels[0].positive).toBeCloseTo(0.75, 12)
    expect(labels[1]).toEqual(labels[0])
    expect(bestLabel(labels[0])).toBe('positive')
    expect(model.asked.map(({ context }) => context)).toEqual([
      ...new Array<string>(3).fill('Nice. It was '),
      ...new Array<string>(3).fill('Hm. It was '),
    ])
  })
})

describe('an ensemble of prompts', () => {
  const answers = [
    { yes: 0.6, no: 0.4 },
    { yes: 0.55, no: 0.45 },
    { yes: 0.1, no: 0.9 },
  ]

  it('averages probabilities, multiplies them, or counts votes', () => {
    expect(ensemble(answers, 'mean').yes).toBeCloseTo(1.25 / 3, 12)
    const [yes, no] = [0.6 * 0.55 * 0.1, 0.4 * 0.45 * 0.9].map(Math.cbrt)
    expect(ensemble(answers, 'product').yes).toBeCloseTo(yes / (yes + no), 12)
    expect(ensemble(answers, 'vote').yes).toBeCloseTo(2 / 3, 12)
  })

  it('with weights', () => {
    expect(ensemble(answers, 'mean', [2, 1, 1]).yes).toBeCloseTo((2 * 0.6 + 0.55 + 0.1) / 4, 12)
    expect(bestLabel(ensemble(answers, 'vote', [1, 1, 3]))).toBe('no')
    expect(() => ensemble(answers, 'mean', [1])).toThrow('an ensemble of 3 prompts needs as many weights, got 1')
    expect(() => ensemble([])).toThrow('needs the answers of a prompt or more')
  })
})

it.skipIf(lacksShared('models/smollm2.json'))(
  'SmolLM2 finds a good review better than a bad one, by prompts of both shapes together',
  async () => {
    const model = await openLanguageModel(`gguf:${sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf')}`, {
      contextLength: 128,
      slots: 4,
    })
    const filler = causalFiller(model)
    const reviews = ['I loved every minute of this film.', 'A dull and stupid waste of time.']
    const verbalizer = { positive: ['great', 'wonderful'], negative: ['terrible', 'boring'] }
    const byPrompt: LabelProbabilities[][] = []
    for (const template of ['[X] All in all, the film was [Z]', '[X] It was a [Z] film.']) {
      byPrompt.push(await classify(filler, template, reviews, verbalizer))
    }
    const [good, bad] = reviews.map((_, i) => ensemble(byPrompt.map((answers) => answers[i])).positive)
    expect(good).toBeGreaterThan(0.5)
    expect(bad).toBeLessThan(good)
    model.release()
  },
  120_000,
)
