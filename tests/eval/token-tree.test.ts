import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { logLikelihoods } from '../../src/eval/log-likelihoods.ts'
import { TreeScorer } from '../../src/eval/token-tree.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { Llama } from '../../src/models/llama.ts'
import { Mistral } from '../../src/models/mistral.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import '../../src/runtime/node.ts'
import { drawnWeights } from '../generate/tiny.ts'

const llama = new Llama({
  vocabSize: 30,
  maxPositions: 600,
  dModel: 32,
  nLayers: 2,
  nHeads: 4,
  nKvHeads: 2,
  dInner: 48,
})
const gpt2 = new GPT2({ vocabSize: 30, maxPositions: 600, dModel: 32, nLayers: 2, nHeads: 4 })

const id = fc.nat(29)
const ids = (minLength: number, maxLength: number) => fc.array(id, { minLength, maxLength })
/** Questions after one beginning, each with several answers, some of which begin alike. */
const requests = fc
  .record({
    beginning: ids(1, 60),
    questions: fc.array(
      fc.record({ question: ids(0, 20), answers: fc.array(ids(1, 6), { minLength: 1, maxLength: 4 }) }),
      { minLength: 1, maxLength: 12 },
    ),
  })
  .map(({ beginning, questions }) =>
    questions.flatMap(({ question, answers }) =>
      answers.map((continuationIds) => ({ contextIds: [...beginning, ...question], continuationIds })),
    ),
  )

describe.each<[string, CausalLm]>([
  ['LLaMA', llama],
  ['GPT-2', gpt2],
])('a tree of texts: %s', (_, model) => {
  it('gives what each text by itself gives, whatever it has in common with others', async () => {
    const weights = drawnWeights(model)
    const scorer = (await TreeScorer.create(model, weights)) as TreeScorer
    const decoder = await CachedDecoder.create(model, weights, { slots: 2 })
    await fc.assert(
      fc.asyncProperty(requests, async (asked) => {
        const scores = await scorer.score(asked)
        const expected = await logLikelihoods(decoder, asked)
        for (const [i, { perToken, logProb, isGreedy }] of expected.entries()) {
          expect(scores[i].perToken).toHaveLength(perToken.length)
          for (const [j, value] of perToken.entries()) expect(scores[i].perToken[j]).toBeCloseTo(value, 3)
          expect(scores[i].logProb).toBeCloseTo(logProb, 3)
          expect(scores[i].isGreedy).toBe(isGreedy)
        }
      }),
      { numRuns: 25 },
    )
    scorer.release()
    decoder.release()
  })

  it('of several pieces, after a beginning of several pieces, which the next call finds computed', async () => {
    const weights = drawnWeights(model)
    const scorer = (await TreeScorer.create(model, weights)) as TreeScorer
    const decoder = await CachedDecoder.create(model, weights)
    const beginning = Array.from({ length: 300 }, (_, i) => (i * i + 3 * i) % 30)
    const questions = (from: number) =>
      Array.from({ length: 20 }, (_, i) =>
        Array.from({ length: 30 }, (_, j) => (7 * (from + i) + 3 * j * j) % 30),
      ).flatMap((question) =>
        [[1], [2, 3], [2, 4]].map((continuationIds) => ({ contextIds: [...beginning, ...question], continuationIds })),
      )
    for (const from of [0, 20]) {
      const asked = questions(from)
      const told: number[] = []
      const scores = await scorer.score(asked, { onProgress: (done) => told.push(done) })
      const expected = await logLikelihoods(decoder, asked)
      for (const [i, { logProb }] of expected.entries()) expect(scores[i].logProb).toBeCloseTo(logProb, 3)
      expect(told.length).toBeGreaterThan(2)
      expect(told.at(-1)).toBe(60)
    }
    scorer.release()
    decoder.release()
  })
})

it('finds families within families, and texts that have nothing in common with any', async () => {
  const weights = drawnWeights(llama)
  const scorer = (await TreeScorer.create(llama, weights)) as TreeScorer
  const decoder = await CachedDecoder.create(llama, weights)
  const draw = (seed: number, length: number) => Array.from({ length }, (_, i) => (seed * (i + 3) + i * i) % 30)
  const articles = [1, 2].map((seed) => [...draw(11, 40), ...draw(seed, 270)])
  const asked = [
    ...articles.flatMap((article) => [4, 5, 6].map((seed) => [...article, ...draw(seed, 12)])),
    draw(7, 3),
    draw(8, 300),
    draw(9, 20),
  ].flatMap((contextIds) => [[1], [2, 3]].map((continuationIds) => ({ contextIds, continuationIds })))
  const told: number[] = []
  const scores = await scorer.score(asked, { onProgress: (done) => told.push(done) })
  const expected = await logLikelihoods(decoder, asked)
  for (const [i, { logProb }] of expected.entries()) expect(scores[i].logProb, `${i}`).toBeCloseTo(logProb, 3)
  expect(told.at(-1)).toBe(asked.length)
  scorer.release()
  decoder.release()
})

it('takes no text that is too long or has nothing to predict', async () => {
  const scorer = (await TreeScorer.create(llama, drawnWeights(llama))) as TreeScorer
  const many = new Array<number>(600).fill(1)
  expect(scorer.takes({ contextIds: many, continuationIds: [1] })).toBe(true)
  expect(scorer.takes({ contextIds: many, continuationIds: [1, 2] })).toBe(false)
  expect(scorer.takes({ contextIds: [1], continuationIds: [] })).toBe(false)
  expect(scorer.takes({ contextIds: [1], continuationIds: many.slice(0, 256) })).toBe(true)
  expect(scorer.takes({ contextIds: [1], continuationIds: many.slice(0, 257) })).toBe(false)
  scorer.release()
})

it('is not for models that see through a window', async () => {
  const model = new Mistral({
    vocabSize: 30,
    maxPositions: 64,
    dModel: 32,
    nLayers: 2,
    nHeads: 4,
    nKvHeads: 2,
    dInner: 48,
    slidingWindow: 8,
  })
  expect(await TreeScorer.create(model, drawnWeights(model))).toBeUndefined()
})
