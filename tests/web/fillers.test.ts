import { expect, it } from 'vitest'
import { beamSearch } from '../../src/generate/beam.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { blankIdsOf, fillBlanks } from '../../src/generate/fill-blanks.ts'
import { Bert } from '../../src/models/bert.ts'
import { GLM } from '../../src/models/glm.ts'
import { type Model, traceModel } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import { embedding, sizeOf, type Tensor, type TensorData } from '../../src/tensor/index.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { fillerKinds } from '../../web/src/demos/parts/fillers.ts'
import { wordIds } from '../../web/src/demos/parts/words.ts'
import { fractions } from '../tensor/check.ts'

// This is what runs in a page, on WebAssembly as there.

const specialTokens = ['[MASK]', '<extra_id_0>', '<extra_id_1>', '<extra_id_2>', '<|startofpiece|>', '<|endofpiece|>']
const text = 'the jackdaw sat on a tower and saw the coins shine'
const tokenizer = tokenizerFromJson(trainByteLevelBpe([text], { vocabSize: 290, specialTokens }))
const { vocabSize } = tokenizer
const idOf = (token: string) => tokenizer.idOf(token) as number

function loaded(model: Model) {
  const draw = fractions(5)
  const weights = new Map(
    [...traceModel(model).parameters.values()].map(({ name, shape }): [string, TensorData] => {
      const data = Float32Array.from({ length: sizeOf(shape) }, () => draw() - 0.5)
      return [name, { dtype: 'float32', shape, data }]
    }),
  )
  return { name: 'a model', model, weights, tokenizer }
}

const kind = (name: string) => {
  const found = fillerKinds.find((one) => one.name === name)
  if (!found) throw new Error(`there is no ${name}`)
  return found
}
const { signal } = new AbortController()
const ints = (ids: readonly number[]): TensorData => ({
  dtype: 'int32',
  shape: [1, ids.length],
  data: Int32Array.from(ids),
})

/** log-softmax of the rows of logits. */
const logProbs = ({ data, shape }: TensorData) =>
  Array.from({ length: shape[1] }, (_, at) => {
    const row = [...(data as Float32Array).subarray(at * vocabSize, (at + 1) * vocabSize)]
    const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0))
    return row.map((logit) => logit - total)
  })

it('BERT fills each blank with one token, from both sides', async () => {
  const bert = loaded(
    new Bert({ vocabSize, maxPositions: 32, dModel: 16, nLayers: 2, nHeads: 2, dInner: 24, head: 'masked-lm' }),
  )
  const filled = await kind('BERT').open(bert).fill('the ___ sat on a _____', signal)
  expect(filled.map(({ length }) => length)).toEqual([4, 4])
  const ids = tokenizer.encode('the [MASK] sat on a [MASK]')
  const run = await compile(
    trace((scope, { inputIds }) => ({ logits: bert.model.forward(scope, { inputIds }).logits as Tensor }), {
      inputIds: int32(1, 'seq'),
    }),
    bert.weights,
  )
  const rows = logProbs((await run({ inputIds: ints(ids) })).logits)
  for (const [blank, at] of [...ids.keys()].filter((at) => ids[at] === idOf('[MASK]')).entries()) {
    const best = [...rows[at].keys()].sort((a, b) => rows[at][b] - rows[at][a])[0]
    expect(filled[blank][0].text).toBe(tokenizer.decode([best]))
    expect(filled[blank][0].share).toBeCloseTo(Math.exp(rows[at][best]), 5)
  }
})

/** A model whose next token follows from the one before alone, by a table of probabilities. */
function bigram(
  reads: 'decoderInputIds' | 'inputIds',
  follows: Readonly<Record<string, Readonly<Record<string, number>>>>,
) {
  const data = new Float32Array(vocabSize * vocabSize).fill(Math.log(1e-9))
  for (const [before, after] of Object.entries(follows)) {
    for (const [token, share] of Object.entries(after)) {
      data[onlyId(before) * vocabSize + onlyId(token)] = Math.log(share)
    }
  }
  const model: Model & { decoderStartTokenId: number } = {
    kind: reads === 'inputIds' ? 'causal' : 'encoder-decoder',
    decoderStartTokenId: 0,
    inputs: {},
    toConfig: () => ({}),
    forward: (scope, inputs) => ({
      logits: embedding(scope.param('table', [vocabSize, vocabSize]), inputs[reads] as Tensor),
    }),
  }
  const table: TensorData = { dtype: 'float32', shape: [vocabSize, vocabSize], data }
  return { name: 'a model', model, weights: new Map([['table', table]]), tokenizer }
}

const onlyId = (token: string): number => {
  const [id, ...more] = tokenizer.encode(token)
  if (more.length > 0) throw new Error(`${token} is several tokens`)
  return id
}

it('T5 writes after each sentinel, up to the next one', async () => {
  const t5 = bigram('decoderInputIds', {
    '<extra_id_0>': { a: 0.6, b: 0.4 },
    a: { c: 0.5, '<extra_id_1>': 0.5 },
    b: { '<extra_id_1>': 1 },
    c: { '<extra_id_1>': 1 },
    '<extra_id_1>': { b: 0.3, a: 0.7 },
  })
  const filled = await kind('T5').open(t5).fill('the ___ sat on a ___', signal)
  // The likeliest first token does not begin the likeliest answer.
  expect(filled[0].slice(0, 3).map(({ text }) => text)).toEqual([
    'b',
    expect.stringMatching(/^ac?$/),
    expect.any(String),
  ])
  expect(filled[0][0].share).toBeCloseTo(0.4, 3)
  expect(filled[0][1].share).toBeCloseTo(0.3, 3)
})

it('GLM writes into each blank from its start to its end', async () => {
  const glm = bigram('inputIds', {
    '<|startofpiece|>': { a: 0.9, b: 0.1 },
    a: { b: 0.8, '<|endofpiece|>': 0.2 },
    b: { '<|endofpiece|>': 1 },
  })
  const filled = await kind('GLM').open(glm).fill('the ___ sat on a ___', signal)
  for (const [best, second] of filled) {
    expect([best.text, second.text]).toEqual(['ab', 'a'])
    expect(best.share).toBeCloseTo(0.72, 3)
    expect(second.share).toBeCloseTo(0.18, 3)
  }
})

it('GLM fills as it does over a cache, on a server', async () => {
  const glm = loaded(new GLM({ vocabSize, maxPositions: 40, dModel: 16, nLayers: 2, nHeads: 2 }))
  const filled = await kind('GLM').open(glm).fill('the ___ sat on a ___ tower', signal)
  const specials = blankIdsOf(tokenizer, 'GLM')
  const ids = tokenizer.encode('the [MASK] sat on a [MASK] tower')
  const decoder = await CachedDecoder.create(glm.model as GLM, glm.weights, { slots: 4, capacity: 40 })
  const options = { nBeams: 4, lengthPenalty: 0, maxNewTokens: 8, stopTokenIds: [specials.endId] }
  const served = await fillBlanks(ids, specials, (prompt) => beamSearch(decoder, prompt, options))
  decoder.release()
  expect(filled.map(([best]) => best.text)).toEqual(served.map((ids) => tokenizer.decode(ids)))
})

it('words that no vocabulary has get ids of their own, in all texts the same', () => {
  const known = new Map([
    ['has', 3],
    ['?', 4],
  ])
  const idOf = (word: string) => known.get(word)
  const { ids, textOf } = wordIds(['Zoe has coins', 'coins has zoe?'], idOf, 10, 2)
  expect(ids).toEqual([
    [10, 3, 11],
    [11, 3, 10, 4],
  ])
  expect([9, 10, 11].map(textOf)).toEqual([undefined, 'zoe', 'coins'])
  expect(() => wordIds(['a b c'], idOf, 10, 2)).toThrow('room for 2 words that it does not know; there are 3')
})

it('says which token a model lacks', () => {
  const bare = tokenizerFromJson(trainByteLevelBpe([text], { vocabSize: 270, specialTokens: [] }))
  const bert = loaded(new Bert({ vocabSize, maxPositions: 8, dModel: 8, nLayers: 1, nHeads: 1, head: 'masked-lm' }))
  expect(() => kind('BERT').open({ ...bert, tokenizer: bare })).toThrow('a model has no token [MASK] or <mask>')
})
