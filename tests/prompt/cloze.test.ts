import { describe, expect, it } from 'vitest'
import { causalFiller, fillTemplate, type MaskedLm, maskedFiller, shapeOf } from '../../src/prompt/cloze.ts'
import { ScriptedModel } from './scripted-model.ts'

describe('a template', () => {
  it('takes the input at [X] and leaves a blank at [Z]', () => {
    expect(fillTemplate('[X] Overall, it was a [Z] film.', 'No plot.')).toEqual({
      before: 'No plot. Overall, it was a ',
      after: ' film.',
    })
    expect(fillTemplate('[X1]? [Z], [X2]', ['A man sleeps', 'A man is awake'])).toEqual({
      before: 'A man sleeps? ',
      after: ', A man is awake',
    })
    // What an input says is not a place.
    expect(fillTemplate('[X] [Z]', 'an [X] with $& in it')).toEqual({ before: 'an [X] with $& in it ', after: '' })
  })

  it('is a cloze with text after the blank, else a prefix', () => {
    expect(shapeOf(fillTemplate('[X] It was [Z].', 'Fine.'))).toBe('cloze')
    expect(shapeOf(fillTemplate('English: [X] Finnish: [Z]', 'Hi'))).toBe('prefix')
  })

  it('needs one blank, and a place for every input', () => {
    expect(() => fillTemplate('[X]', 'a')).toThrow('has 0 places for an answer; it needs one [Z]')
    expect(() => fillTemplate('[X] [Z] [Z]', 'a')).toThrow('has 2 places')
    expect(() => fillTemplate('[X1] [X2] [Z]', ['a'])).toThrow('the template has [X2], and there are 1 inputs')
    expect(() => fillTemplate('[X1] [Z]', ['a', 'b'])).toThrow('has no place for input 2')
  })
})

describe('a left-to-right model', () => {
  it('is asked for the answer and all after it', async () => {
    const model = new ScriptedModel({ score: () => ({ logProb: -3, tokens: 2 }) })
    const scores = await causalFiller(model).score([
      { before: 'It was ', answer: 'good', after: ' fun.' },
      { before: 'Finnish: ', answer: 'moi', after: '' },
    ])
    expect(model.asked).toEqual([
      { context: 'It was ', continuation: 'good fun.' },
      { context: 'Finnish: ', continuation: 'moi' },
    ])
    expect(scores[0]).toMatchObject({ logProb: -3, tokens: 2 })
  })
})

describe('a masked model', () => {
  // Words are tokens: their number is their place here.
  const words = ['good', 'bad', 'very', 'bread']
  const asked: string[] = []
  const model: MaskedLm = {
    mask: '[MASK]',
    encodeAnswer: (answer) => answer.split(' ').map((word) => words.indexOf(word)),
    async logProbsAtMasks(texts) {
      asked.push(...texts)
      return texts.map((text) =>
        Array.from(text.matchAll(/\[MASK\]/g), (_, i) =>
          Float32Array.from(i === 0 ? [0.5, 0.125, 0.25, 0.125] : [0.125, 0.5, 0.25, 0.125], Math.log),
        ),
      )
    },
  }

  it('fills as many masks as the answer has tokens, and reads a text once', async () => {
    const blank = { before: 'It was ', after: '.' }
    const scores = await maskedFiller(model).score([
      { ...blank, answer: 'good' },
      { ...blank, answer: 'very bad' },
      { ...blank, answer: 'bad' },
      { ...blank, answer: 'good bad' },
    ])
    expect(asked).toEqual(['It was [MASK].', 'It was [MASK] [MASK].'])
    const probabilities = scores.map(({ logProb }) => Math.exp(logProb))
    for (const [i, p] of [0.5, 0.25 * 0.5, 0.125, 0.5 * 0.5].entries()) expect(probabilities[i]).toBeCloseTo(p, 6)
    expect(scores.map(({ tokens }) => tokens)).toEqual([1, 2, 1, 2])
    expect(scores.map(({ isGreedy }) => isGreedy)).toEqual([true, false, false, true])
  })

  it('cannot fill a blank with nothing', async () => {
    const empty: MaskedLm = { ...model, encodeAnswer: () => [] }
    await expect(maskedFiller(empty).score([{ before: '', answer: '', after: '' }])).rejects.toThrow(
      'an answer without tokens fills no blank',
    )
  })
})
