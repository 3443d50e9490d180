import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { rankClassification } from '../../src/eval/rank-classification.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { Llama } from '../../src/models/llama.ts'
import '../../src/runtime/node.ts'
import { drawnWeights, fullLogits, logProbsOf } from '../generate/tiny.ts'

const model = new Llama({ vocabSize: 12, maxPositions: 40, dModel: 16, nLayers: 1, nHeads: 2, dInner: 24 })
const weights = drawnWeights(model)
const ids = (minLength: number, maxLength: number) => fc.array(fc.nat(11), { minLength, maxLength })

describe('rank classification', () => {
  it('takes the option whose whole likelihood is largest', async () => {
    const decoder = await CachedDecoder.create(model, weights, { slots: 4 })
    const question = fc
      .record({ contextIds: ids(1, 6), options: fc.array(ids(1, 4), { minLength: 1, maxLength: 4 }), at: fc.nat() })
      .map(({ at, ...question }) => ({ ...question, answer: at % question.options.length }))
    await fc.assert(
      fc.asyncProperty(fc.array(question, { minLength: 1, maxLength: 4 }), async (questions) => {
        const { chosen, accuracy, chance } = await rankClassification(decoder, questions)
        let right = 0
        for (const [i, { contextIds, options, answer }] of questions.entries()) {
          const likelihoods: number[] = []
          for (const option of options) {
            const all = [...contextIds, ...option]
            const logProbs = logProbsOf(await fullLogits(model, weights, all), all, contextIds.length)
            likelihoods.push(logProbs.reduce((a, b) => a + b, 0))
          }
          expect(likelihoods[chosen[i]]).toBeCloseTo(Math.max(...likelihoods), 3)
          right += Number(chosen[i] === answer)
        }
        expect(accuracy).toBeCloseTo(right / questions.length, 12)
        const guessed = questions.map(({ options }) => 1 / options.length)
        expect(chance).toBeCloseTo(guessed.reduce((a, b) => a + b, 0) / questions.length, 12)
      }),
      { numRuns: 10 },
    )
    decoder.release()
  })

  it('needs the right answer among the options', async () => {
    const decoder = await CachedDecoder.create(model, weights)
    const asked = rankClassification(decoder, [{ contextIds: [1], options: [[2]], answer: 1 }])
    await expect(asked).rejects.toThrow('question 0 has no option number 1')
    decoder.release()
  })
})
