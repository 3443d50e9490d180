import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { logLikelihoods, type ScoringRequest } from '../../src/eval/log-likelihoods.ts'
import { CachedDecoder, writerOf } from '../../src/generate/decoder.ts'
import { loadModel } from '../../src/load/load.ts'
import type { EncoderDecoderLm } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { Llama } from '../../src/models/llama.ts'
import { drawnWeights, fullLogits, logProbsOf } from '../generate/tiny.ts'

const model = new Llama({
  vocabSize: 30,
  maxPositions: 400,
  dModel: 32,
  nLayers: 2,
  nHeads: 4,
  nKvHeads: 2,
  dInner: 48,
})
const weights = drawnWeights(model)

/** By a full pass over each sequence by itself. */
async function expected({ contextIds, continuationIds }: ScoringRequest) {
  const ids = [...contextIds, ...continuationIds]
  const logits = await fullLogits(model, weights, ids)
  const perToken = logProbsOf(logits, ids, contextIds.length)
  const rows = logits.slice(contextIds.length - 1)
  const isGreedy = continuationIds.every((id, i) => rows[i].every((value) => value <= rows[i][id]))
  return { perToken, logProb: perToken.reduce((a, b) => a + b, 0), isGreedy }
}

const id = fc.nat(29)
const beginnings = fc.array(fc.array(id, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 3 })
/** Requests of which some share their context, whole or in part. */
const requests = beginnings.chain((starts) =>
  fc.array(
    fc.record({
      contextIds: fc
        .tuple(fc.constantFrom(...starts), fc.array(id, { maxLength: 3 }))
        .map(([start, more]) => [...start, ...more]),
      continuationIds: fc.array(id, { maxLength: 6 }),
    }),
    { minLength: 1, maxLength: 8 },
  ),
)

describe('log-likelihoods of continuations', () => {
  it('are the sums of log-softmax of a full pass, in whatever order and company they are asked for', async () => {
    const decoder = await CachedDecoder.create(model, weights, { slots: 3 })
    await fc.assert(
      fc.asyncProperty(requests, fc.infiniteStream(fc.nat()), async (asked, keys) => {
        const scores = await logLikelihoods(decoder, asked)
        for (const [i, request] of asked.entries()) {
          const want = await expected(request)
          expect(scores[i].perToken).toHaveLength(request.continuationIds.length)
          for (const [j, value] of want.perToken.entries()) expect(scores[i].perToken[j]).toBeCloseTo(value, 4)
          expect(scores[i].logProb).toBeCloseTo(want.logProb, 3)
          expect(scores[i].isGreedy).toBe(want.isGreedy)
        }
        const order = asked.map((_, i) => ({ i, key: keys.next().value as number })).sort((a, b) => a.key - b.key)
        const again = await logLikelihoods(
          decoder,
          order.map(({ i }) => asked[i]),
        )
        expect(order.map(({ i }) => scores[i])).toEqual(again)
      }),
      { numRuns: 12 },
    )
    decoder.release()
  })

  it('of long continuations, piece by piece, to the end of the context', async () => {
    const decoder = await CachedDecoder.create(model, weights)
    const ids = Array.from({ length: 401 }, (_, i) => (i * i + 3 * i) % 30)
    const contextIds = ids.slice(0, 70)
    const asked = [401, 260].map((end) => ({ contextIds, continuationIds: ids.slice(70, end) }))
    const told: number[] = []
    const scores = await logLikelihoods(decoder, asked, { onProgress: (done) => told.push(done) })
    for (const [i, request] of asked.entries()) {
      // The last token is only predicted: a full pass has no position for it.
      const fed = [...contextIds, ...request.continuationIds]
      const logits = await fullLogits(model, weights, fed.slice(0, -1))
      for (const [j, value] of logProbsOf(logits, fed, 70).entries()) {
        expect(scores[i].perToken[j]).toBeCloseTo(value, 4)
      }
    }
    expect(told).toEqual([2])
    await expect(logLikelihoods(decoder, [{ contextIds: ids, continuationIds: [1] }])).rejects.toThrow(
      'request 0 has 402 tokens; the model takes 401',
    )
    await expect(logLikelihoods(decoder, [{ contextIds: [], continuationIds: [1] }])).rejects.toThrow(
      'request 0 has no context: give it the token that texts begin with',
    )
    decoder.release()
  })

  it('of answers to sources, for a model with an encoder', async () => {
    const loaded = await loadModel(fileURLToPath(new URL('../parity/t5', import.meta.url)))
    const t5 = writerOf(loaded.model) as EncoderDecoderLm
    const decoder = await CachedDecoder.create(t5, loaded.weights, { slots: 3 })
    const sources = [
      [9, 41, 3, 17, 30],
      [8, 22],
      [5, 6, 7, 8, 9, 10, 11],
    ]
    const asked = sources.flatMap((contextIds) =>
      [[4, 19, 33], [44], [10, 23, 42, 31]].map((continuationIds) => ({ contextIds, continuationIds })),
    )
    // Of one source several answers, of another only one: both ways through the decoder.
    const scores = await logLikelihoods(decoder, [...asked.slice(0, 4), asked[8]])
    const specs = { inputIds: int32(1, 'sourceSeq'), decoderInputIds: int32(1, 'seq') }
    const traced = trace((scope, inputs) => ({ logits: t5.forward(scope, inputs as never).logits }), specs)
    const run = await compile(traced, loaded.weights)
    const row = (ids: readonly number[]) => ({
      ...{ dtype: 'int32' as const, shape: [1, ids.length], data: Int32Array.from(ids) },
    })
    for (const [i, { contextIds, continuationIds }] of [...asked.slice(0, 4), asked[8]].entries()) {
      const ids = [t5.decoderStartTokenId, ...continuationIds]
      const { logits } = await run({ inputIds: row(contextIds), decoderInputIds: row(ids) })
      const rows = ids.map((_, at) =>
        (logits.data as Float32Array).subarray(at * t5.vocabSize, (at + 1) * t5.vocabSize),
      )
      for (const [j, value] of logProbsOf(rows, ids, 1).entries()) {
        expect(scores[i].perToken[j]).toBeCloseTo(value, 4)
      }
    }
    run.release()
    decoder.release()
  })
})
