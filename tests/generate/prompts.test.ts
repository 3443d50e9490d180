import { describe, expect, it } from 'vitest'
import { CachedDecoder, type Decodable, type Prompt } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { Llama } from '../../src/models/llama.ts'
import { attention } from '../../src/nn/attention.ts'
import type { KvCache } from '../../src/nn/kv-cache.ts'
import { embedding as embeddingLayer, linear } from '../../src/nn/layers.ts'
import { rotaryTables } from '../../src/nn/positions.ts'
import {
  arange,
  expandDims,
  indicator,
  scalar,
  type Tensor,
  type TensorData,
  takeRows,
} from '../../src/tensor/index.ts'
import { PARITY_TOLERANCE } from '../parity/parity.ts'
import { drawnWeights, fullLogits, logProbsOf } from './tiny.ts'

/** Prompts that are more than ids: embeddings, prefixes read in both directions, keys and values that no token made. */

const sizes = { vocabSize: 50, maxPositions: 40, dModel: 48, nLayers: 2, nHeads: 4, dInner: 64 }
const MODELS: [string, Decodable, string][] = [
  ['GPT-2', new GPT2(sizes), 'transformer.wte.weight'],
  ['LLaMA', new Llama({ ...sizes, nKvHeads: 2 }), 'model.embed_tokens.weight'],
  ['LLaMA with wide heads', new Llama({ ...sizes, nKvHeads: 2, headDim: 16 }), 'model.embed_tokens.weight'],
]
const TEXT = [4, 19, 33, 8, 8, 41, 2, 16, 27, 30, 11, 45]
const PREFIX = 7

/** Every position sees the prefix, and itself and those before: the mask as it stands in the paper, without a cache. */
function prefixLm(length: number, prefix: number): KvCache {
  const rows = arange(length).reshape([length, 1])
  const columns = arange(length).reshape([1, length])
  const seen = indicator(columns.lessOrEqual(rows).or(columns.less(prefix)))
  return {
    positionIds: expandDims(arange(length), 0),
    totalLength: scalar(length),
    attend: (query, key, value, options): Tensor =>
      attention(query, key, value, {
        ...options,
        cache: undefined,
        causal: false,
        bias: scalar(1).sub(seen).mul(-1e9).reshape([1, 1, length, length]),
      }),
  }
}

/** Embeddings of ids, as the model looks them up. */
function embeddingsOf(weights: ReadonlyMap<string, TensorData>, table: string, ids: readonly number[]): Float32Array {
  const { shape, data } = weights.get(table) as TensorData
  const result = new Float32Array(ids.length * shape[1])
  for (const [i, id] of ids.entries())
    result.set((data as Float32Array).subarray(id * shape[1], (id + 1) * shape[1]), i * shape[1])
  return result
}

function expectClose(actual: Float32Array, expected: Float32Array): void {
  const largest = Math.max(...expected.map(Math.abs))
  const difference = Math.max(...actual.map((value, i) => Math.abs(value - expected[i])))
  expect(difference / largest).toBeLessThan(PARITY_TOLERANCE)
}

/** Logits after the prompt and after each id that then follows. */
async function decoded(decoder: CachedDecoder, prompt: Prompt, following: readonly number[]): Promise<Float32Array[]> {
  const opened = await decoder.open(0, prompt)
  const rest = decoder.restOf(prompt)
  let length = opened.length
  const all = [(rest.length > 0 ? await decoder.prefill(0, rest, length) : (opened.logits as Float32Array)).slice()]
  length += rest.length
  for (const id of following) all.push((await decoder.decode([id], [length++])).slice())
  return all
}

async function greedy(engine: Engine, prompt: Prompt, maxNewTokens = 6) {
  const ids: number[] = []
  for await (const event of engine.generate({ ...prompt, maxNewTokens, temperature: 0 })) {
    if (event.type === 'token') ids.push(event.id)
    else if (event.type === 'end') return { ids, ...event }
  }
  throw new Error('the answer has no end')
}

describe.each(MODELS)('%s', (_, model, table) => {
  const weights = drawnWeights(model)
  const create = (options = {}) => CachedDecoder.create(model, weights, { slots: 2, ...options })

  it('decodes after embeddings as after the tokens that they are of', async () => {
    const decoder = await create()
    const expected = await fullLogits(model, weights, TEXT)
    const promptEmbeds = embeddingsOf(weights, table, TEXT.slice(0, PREFIX))
    const alone = await decoded(decoder, { promptEmbeds }, TEXT.slice(PREFIX))
    for (const [i, logits] of alone.entries()) expectClose(logits, expected[PREFIX - 1 + i])
    const withIds = await decoded(decoder, { promptEmbeds, promptIds: TEXT.slice(PREFIX, 9) }, TEXT.slice(9))
    for (const [i, logits] of withIds.entries()) expectClose(logits, expected[8 + i])
    decoder.release()
  })

  it('reads a prefix in both directions, and goes on causally, as under the mask of a prefix LM', async () => {
    const decoder = await create()
    const expected = await fullLogits(model, weights, TEXT, prefixLm(TEXT.length, PREFIX))
    const promptIds = TEXT.slice(0, PREFIX)
    const promptEmbeds = embeddingsOf(weights, table, promptIds)
    for (const prompt of [{ promptIds }, { promptEmbeds }]) {
      const all = await decoded(decoder, { ...prompt, bidirectional: true }, TEXT.slice(PREFIX))
      for (const [i, logits] of all.entries()) expectClose(logits, expected[PREFIX - 1 + i])
    }
    const causal = await fullLogits(model, weights, TEXT)
    expect(Math.abs(causal[PREFIX][0] - expected[PREFIX][0])).toBeGreaterThan(1e-3)
    decoder.release()
  })

  it('takes the keys and values of a prefix for the prefix itself', async () => {
    const decoder = await create()
    const expected = await fullLogits(model, weights, TEXT)
    await decoder.prefill(1, TEXT.slice(0, PREFIX), 0)
    const initialCache = decoder.getCache(1, PREFIX)
    const all = await decoded(decoder, { initialCache, promptIds: TEXT.slice(PREFIX, 9) }, TEXT.slice(9))
    for (const [i, logits] of all.entries()) expectClose(logits, expected[8 + i])
    decoder.release()
  })

  it('answers such prompts in the engine beside plain ones, each as alone', async () => {
    const decoder = await create()
    await decoder.prefill(0, [9, 1], 0)
    const initialCache = decoder.getCache(0, 2)
    const promptEmbeds = embeddingsOf(weights, table, [7, 7, 3])
    const prompts: Prompt[] = [
      { promptIds: [1, 2, 3] },
      { promptEmbeds },
      { promptEmbeds, bidirectional: true, promptIds: [5] },
      { promptIds: [1, 2, 3, 4], bidirectional: true },
      { initialCache, promptIds: [1, 2, 3] },
      { promptIds: [1, 2, 3] },
      { promptEmbeds, bidirectional: true, promptIds: [5, 6] },
    ]
    const engine = new Engine(decoder)
    const together = await Promise.all(prompts.map((prompt) => greedy(engine, prompt)))
    for (const [i, prompt] of prompts.entries()) {
      expect(together[i].ids).toEqual((await greedy(new Engine(decoder), prompt)).ids)
    }
    expect(together.map(({ promptTokens }) => promptTokens)).toEqual([3, 3, 4, 4, 5, 3, 5])
    // What stood in front is kept with the ids behind it.
    expect((await greedy(engine, prompts[6])).cachedTokens).toBe(4)
    decoder.release()
  })

  it('says in one sentence what it cannot take, and answers the others', async () => {
    const decoder = await create()
    const engine = new Engine(decoder)
    const initialCache = decoder.getCache(0, 2).slice(1)
    const refused: [Prompt, string][] = [
      [{ promptEmbeds: new Float32Array(7) }, 'a prompt of embeddings is [seq, 48], got 7 numbers'],
      [{ promptEmbeds: new Float32Array(48 * 41) }, 'the prompt has 41 positions; the model takes 40'],
      [{ initialCache, promptIds: [1] }, 'the cache has 2 layers, got 1'],
      [{ sourceIds: [1] }, 'the model has no encoder: give promptIds'],
      [{}, 'the prompt has no tokens'],
    ]
    const other = greedy(engine, { promptIds: [1, 2] })
    for (const [prompt, message] of refused) await expect(greedy(engine, prompt)).rejects.toThrow(message)
    expect((await other).ids).toHaveLength(6)
    decoder.release()
    const copied = await create({ copyWeights: true })
    await expect(greedy(new Engine(copied), { promptIds: [1], bidirectional: true })).rejects.toThrow(
      'the decoder no longer has its weights for another kind of prompt: create it without copyWeights',
    )
    copied.release()
  })
})

it('scores a prompt in the engine as a full pass does', async () => {
  const [, model] = MODELS[1]
  const weights = drawnWeights(model)
  const decoder = await CachedDecoder.create(model, weights)
  const scores: (number | undefined)[] = []
  for await (const event of new Engine(decoder).generate({ promptIds: TEXT, scorePrompt: true, maxNewTokens: 0 })) {
    if (event.type === 'prompt') scores.push(event.logProb)
  }
  const expected = logProbsOf(await fullLogits(model, weights, TEXT), TEXT, 1)
  expect(scores[0]).toBeUndefined()
  expect(scores).toHaveLength(TEXT.length)
  for (const [i, value] of expected.entries()) expect(scores[i + 1]).toBeCloseTo(value, 4)
  decoder.release()
})

/** Every layer has another shape: heads, their width, how they turn, how far they see. */
const uneven: Decodable = {
  kind: 'causal',
  vocabSize: 50,
  maxPositions: 32,
  forward(scope, { inputIds }, { cache, logitsAt } = {}) {
    const layers = [
      { nHeads: 4, nKvHeads: 2, headDim: 16, window: 0 },
      { nHeads: 3, nKvHeads: 1, headDim: 10, window: 4 },
      { nHeads: 2, nKvHeads: 2, headDim: 8, window: 0 },
    ]
    let x = embeddingLayer(scope.at('embed'), inputIds as Tensor, 50, 24)
    for (const [i, { nHeads, nKvHeads, headDim, window }] of layers.entries()) {
      const part = scope.at(i)
      const project = (name: string, width: number) => linear(part.at(name), x, width)
      const attended = attention(
        project('q', nHeads * headDim),
        project('k', nKvHeads * headDim),
        project('v', nKvHeads * headDim),
        {
          ...{ nHeads, nKvHeads, window, cache, causal: true },
          rotary: rotaryTables({ rotaryDim: headDim, theta: 10000, rows: 32 }),
        },
      )
      x = x.add(linear(part.at('o'), attended, 24))
    }
    return { logits: linear(scope.at('head'), logitsAt ? takeRows(x, logitsAt) : x, 50), lastHiddenState: x }
  },
}

it('keeps layers of different shapes apart', async () => {
  const weights = drawnWeights(uneven)
  const decoder = await CachedDecoder.create(uneven, weights, { slots: 2 })
  const expected = await fullLogits(uneven, weights, TEXT)
  const all = await decoded(decoder, { promptIds: TEXT.slice(0, 5) }, TEXT.slice(5))
  for (const [i, logits] of all.entries()) expectClose(logits, expected[4 + i])
  expect(decoder.getCache(0, 3).map(({ key }) => key.shape)).toEqual([
    [2, 3, 16],
    [1, 3, 16],
    [2, 3, 8],
  ])
  decoder.copySlot(0, 1, 6)
  expectClose(await decoder.prefill(1, TEXT.slice(6, 9), 6), expected[8])
  decoder.release()
})
