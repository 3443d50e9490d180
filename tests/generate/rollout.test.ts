import { describe, expect, it } from 'vitest'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { rollout } from '../../src/generate/rollout.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { countingBatch, tinyOptions } from '../optim/tiny.ts'
import { fullLogits, logProbsOf } from './tiny.ts'

const PROMPTS = [[0, 1, 2], [5], [3, 6, 9, 12, 2], [0, 1, 2], [7, 7], [1, 3], [12, 11, 10], [4]]

describe('a rollout', () => {
  it('draws from the weights in training, with their log-probabilities', async () => {
    const { model, ...options } = tinyOptions({}, { learningRate: constantSchedule(1e-2) })
    const trainer = await Trainer.create(options)
    const decoder = await CachedDecoder.create(model, trainer, { slots: PROMPTS.length })
    let before: number[][] = []
    for (let round = 0; round < 3; round++) {
      const episodes = await rollout(decoder, PROMPTS, { maxNewTokens: 6, stopTokenIds: [8], seed: 3 })
      for (const { promptIds, ids, logProbs, ended } of episodes) {
        const text = [...promptIds, ...ids]
        const expected = logProbsOf(await fullLogits(model, await trainer.weights(), text), text, promptIds.length)
        expect(logProbs).toHaveLength(ids.length)
        for (const [i, value] of expected.entries()) expect(Math.abs(logProbs[i] - value)).toBeLessThan(1e-4)
        expect(ended).toBe(ids.includes(8))
        expect(ids.indexOf(8)).toBe(ended ? ids.length - 1 : -1)
        if (!ended) expect(ids).toHaveLength(6)
      }
      expect(await rollout(decoder, PROMPTS, { maxNewTokens: 6, stopTokenIds: [8], seed: 3 })).toEqual(episodes)
      // The same prompt twice: each draws by itself.
      expect(episodes[0].ids).not.toEqual(episodes[3].ids)
      expect(episodes.map(({ logProbs }) => logProbs)).not.toEqual(before)
      before = episodes.map(({ logProbs }) => logProbs)
      for (let step = 0; step < 5; step++) await trainer.train(countingBatch(step))
    }
    decoder.release()
    trainer.release()
  })
})
