import { describe, expect, it } from 'vitest'
import { QuestionAnswerer } from '../../src/generate/question-answerer.ts'
import { Mqan } from '../../src/models/mqan.ts'
import { int32 } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import '../../src/runtime/node.ts'
import type { Tensor } from '../../src/tensor/index.ts'

const END = 1
const model = new Mqan({
  ...{
    vocabSize: 14,
    generativeVocabSize: 9,
    extraWords: 3,
    dModel: 8,
    dInner: 8,
    nLayers: 1,
    maxAnswer: 4,
    dropout: 0,
  },
})
/** 14 to 16 are words that a pair alone has; what the answers hold beyond 8 can only be copied. */
const QUESTIONS = [
  { contextIds: [3, 9, 14, 4, 12, 3], questionIds: [6, 7, 13] },
  { contextIds: [5, 16, 10], questionIds: [8, 6, 11, 15] },
]
const ANSWERS = [
  [14, 4],
  [11, 16, 5],
]

describe('QuestionAnswerer', () => {
  it('answers word by word, side by side as alone, and tells where each word comes from', {
    timeout: 60_000,
  }, async () => {
    const trainer = await Trainer.create({
      objective: (scope, { contextIds, questionIds, labels }) => ({
        loss: model.forward(scope, { contextIds, questionIds, labels }).loss as Tensor,
      }),
      inputs: { contextIds: int32(2, 6), questionIds: int32(2, 4), labels: int32(2, 4) },
      learningRate: constantSchedule(1e-2),
      weightDecay: 0,
    })
    const padded = (rows: readonly (readonly number[])[], length: number, filler: number) =>
      Int32Array.from(rows.flatMap((row) => [...row, ...new Array<number>(length - row.length).fill(filler)]))
    const batch = {
      contextIds: padded(
        QUESTIONS.map(({ contextIds }) => contextIds),
        6,
        0,
      ),
      questionIds: padded(
        QUESTIONS.map(({ questionIds }) => questionIds),
        4,
        0,
      ),
      labels: padded(
        ANSWERS.map((ids) => [...ids, END]),
        4,
        -100,
      ),
    }
    for (let step = 0; step < 90; step++) await trainer.train(batch)
    const answerer = await QuestionAnswerer.create(model, trainer)
    const together = await answerer.answer(QUESTIONS)
    expect(together.map(({ words }) => words.map(({ id }) => id))).toEqual(ANSWERS)
    for (const [i, { words, ended }] of together.entries()) {
      expect(ended).toBe(true)
      const { contextIds, questionIds } = QUESTIONS[i]
      for (const { id, probability, gamma, lambda, contextAttention, questionAttention } of words) {
        expect(probability).toBeGreaterThan(0.5)
        const pointed = (ids: readonly number[], shares: readonly number[]) =>
          ids.reduce((sum, other, place) => sum + (other === id ? shares[place] : 0), 0)
        expect(contextAttention.reduce((a, b) => a + b)).toBeCloseTo(1, 4)
        expect(questionAttention.reduce((a, b) => a + b)).toBeCloseTo(1, 4)
        const copied =
          lambda * pointed(contextIds, contextAttention) + (1 - lambda) * pointed(questionIds, questionAttention)
        // What no vocabulary has, or none that is generated from, was copied and nothing else.
        if (id >= 9) expect(probability).toBeCloseTo((1 - gamma) * copied, 4)
        else expect(probability).toBeGreaterThan((1 - gamma) * copied - 1e-5)
      }
    }
    const [alone] = await answerer.answer(QUESTIONS.slice(1))
    expect(alone.words.map(({ id }) => id)).toEqual(ANSWERS[1])
    expect(alone.words[0].gamma).toBeCloseTo(together[1].words[0].gamma, 5)
    await expect(answerer.answer([{ contextIds: [], questionIds: [3] }])).rejects.toThrow('at least one word each')
    answerer.release()
  })
})
