import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { Embedder } from '../../src/generate/embedder.ts'
import { loadServedModel } from '../../src/generate/served.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { loadModel } from '../../src/load/load.ts'
import { forward } from '../../src/load/run.ts'
import { type Pooling, readSentenceEncoding } from '../../src/load/sentence-transformer.ts'
import type { TextEncoder } from '../../src/nn/model.ts'
import '../../src/runtime/node.ts'
import { tensorData } from '../../src/tensor/index.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-embedder-'))
afterAll(() => rmSync(folder, { recursive: true }))
const TINY = fileURLToPath(new URL('../parity/bert-encoder', import.meta.url))

/** A copy of the tiny encoder with files of sentence-transformers and a vocabulary of 47 words beside it. */
function tinyEncoder(name: string, files: Record<string, unknown> = {}): string {
  const path = join(folder, name)
  cpSync(TINY, path, { recursive: true })
  const words = Array.from({ length: 42 }, (_, i) => `w${i}`)
  writeFileSync(join(path, 'vocab.txt'), ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...words].join('\n'))
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(join(path, file, '..'), { recursive: true })
    writeFileSync(join(path, file), JSON.stringify(content))
  }
  return path
}

const modules = (...kinds: string[]) =>
  kinds.map((kind, idx) => ({
    idx,
    name: `${idx}`,
    path: kind === 'Transformer' ? '' : `${idx}_${kind}`,
    type: `sentence_transformers.models.${kind}`,
  }))

describe('how a folder says that states become one vector', () => {
  it('is the mean at unit length where nothing is said, and where the pooling has no file', () => {
    expect(readSentenceEncoding(tinyEncoder('plain'))).toEqual({ pooling: ['mean'], normalize: true, lowerCase: false })
    const listed = tinyEncoder('listed', { 'modules.json': modules('Transformer', 'Pooling', 'Normalize') })
    expect(readSentenceEncoding(listed)).toMatchObject({ pooling: ['mean'], normalize: true })
  })

  it('is read as the library writes it: which states, whether normalised, how long', () => {
    const path = tinyEncoder('said', {
      'modules.json': modules('Transformer', 'Pooling'),
      '1_Pooling/config.json': {
        word_embedding_dimension: 12,
        pooling_mode_cls_token: true,
        pooling_mode_mean_tokens: true,
      },
      'sentence_bert_config.json': { max_seq_length: 9, do_lower_case: true },
      'tokenizer_config.json': { model_max_length: 512 },
    })
    expect(readSentenceEncoding(path)).toEqual({
      pooling: ['cls', 'mean'],
      normalize: false,
      maxLength: 9,
      lowerCase: true,
    })
    const word = tinyEncoder('word', {
      'modules.json': modules('Transformer', 'Pooling'),
      '1_Pooling/config.json': { pooling_mode: 'lasttoken' },
      'tokenizer_config.json': { model_max_length: 1e30 },
    })
    expect(readSentenceEncoding(word)).toEqual({
      pooling: ['last'],
      normalize: false,
      maxLength: undefined,
      lowerCase: false,
    })
  })

  it('is refused in one sentence where it is something else', () => {
    const dense = tinyEncoder('dense', { 'modules.json': modules('Transformer', 'Pooling', 'Dense') })
    expect(() => readSentenceEncoding(dense)).toThrow(
      'has a module Dense; known are Transformer, Pooling and Normalize',
    )
    const none = tinyEncoder('none', {
      'modules.json': modules('Transformer', 'Pooling'),
      '1_Pooling/config.json': { pooling_mode_mean_tokens: false },
    })
    expect(() => readSentenceEncoding(none)).toThrow('1_Pooling/config.json: names a pooling that is not known')
    const path = tinyEncoder('outside', { 'modules.json': [{ path: '../../etc', type: 'x.Pooling' }] })
    expect(() => readSentenceEncoding(path)).toThrow('is not a list of modules')
  })
})

describe('Embedder', () => {
  const texts = [
    [2, 7, 9, 3],
    [2, 5, 3],
    [2, 11, 12, 13, 14, 3],
    [2, 5, 3],
  ]

  /** The states of one text alone, row by row. */
  async function statesOf(ids: readonly number[]): Promise<number[][]> {
    const checkpoint = openCheckpoint(TINY)
    const shape = [1, ids.length] as const
    const { last_hidden_state: states } = await forward(checkpoint, { input_ids: tensorData('int32', shape, [...ids]) })
    checkpoint.close()
    return ids.map((_, i) => Array.from(states.data.subarray(12 * i, 12 * (i + 1)) as Float32Array))
  }

  const column = (rows: number[][], of: (values: number[]) => number) =>
    rows[0].map((_, k) => of(rows.map((row) => row[k])))
  const sum = (values: number[]) => values.reduce((a, b) => a + b)
  const POOLED: Record<Pooling, (rows: number[][]) => number[]> = {
    cls: (rows) => rows[0],
    last: (rows) => rows[rows.length - 1],
    max: (rows) => column(rows, (values) => Math.max(...values)),
    mean: (rows) => column(rows, (values) => sum(values) / values.length),
    'mean-sqrt-length': (rows) => column(rows, (values) => sum(values) / Math.sqrt(values.length)),
    'weighted-mean': (rows) =>
      column(rows, (values) => sum(values.map((value, i) => value * (i + 1))) / sum(values.map((_, i) => i + 1))),
  }

  it.each([
    [['cls']],
    [['last']],
    [['max']],
    [['mean']],
    [['mean-sqrt-length']],
    [['weighted-mean']],
    [['cls', 'max']],
  ] as Pooling[][][])('pools by %j as a loop over each text alone does, whatever is in its batch', async (pooling) => {
    const { model, weights } = await loadModel(TINY)
    const embedder = await Embedder.create(model as TextEncoder, weights, { pooling, normalize: false })
    const vectors = await embedder.embed(texts)
    expect(embedder.width).toBe(12 * pooling.length)
    for (const [i, ids] of texts.entries()) {
      const rows = await statesOf(ids)
      const expected = pooling.flatMap((mode) => POOLED[mode](rows))
      for (const [k, value] of expected.entries()) expect(vectors[i][k]).toBeCloseTo(value, 5)
    }
    embedder.release()
  })

  it('cuts long batches into several, and refuses what the model does not take', async () => {
    const { model, weights } = await loadModel(TINY)
    const embedder = await Embedder.create(model as TextEncoder, weights, { pooling: ['mean'], normalize: true })
    const many = Array.from({ length: 100 }, (_, i) => [2, ...Array.from({ length: i % 7 }, () => 5 + (i % 40)), 3])
    const [all, last] = [await embedder.embed(many), await embedder.embed(many.slice(-1))]
    expect(all).toHaveLength(100)
    for (const vector of all) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
    for (const [k, value] of last[0].entries()) expect(all[99][k]).toBeCloseTo(value, 5)
    await expect(embedder.embed([[]])).rejects.toThrow('has 1 to 20 tokens, got 0')
    await expect(embedder.embed([new Array(21).fill(5)])).rejects.toThrow('has 1 to 20 tokens, got 21')
    const gone = AbortSignal.abort(new Error('gone'))
    await expect(embedder.embed(texts, gone)).rejects.toThrow('gone')
    embedder.release()
  })
})

describe('an encoder that is served', () => {
  it('cuts a text to the longest that its folder allows, special tokens kept', async () => {
    const path = tinyEncoder('cut', { 'sentence_bert_config.json': { max_seq_length: 5 } })
    const model = await loadServedModel(path)
    expect(model).toMatchObject({ canWrite: false, canChat: false, canEmbed: true, contextLength: 5, vocabSize: 47 })
    expect(await model.encode('w0 w1')).toEqual([2, 5, 6, 3])
    expect(await model.encode('w0 w1 w2 w3 w4 w5')).toEqual([2, 5, 6, 7, 3])
    expect(() => model.renderChat([])).toThrow('cut makes embeddings and writes no text')
    await expect(
      model
        .generate({ promptIds: [2] })
        [Symbol.asyncIterator]()
        .next(),
    ).rejects.toThrow('writes no text')
  })

  it.skipIf(lacksShared('models/minilm.json'))('MiniLM gives the reference’s ids and embeddings', async () => {
    const { sentences, inputIds, embeddings, maxLength } = JSON.parse(
      readFileSync(sharedPath('models/minilm.json'), 'utf8'),
    ) as { sentences: string[]; inputIds: number[][]; embeddings: number[][]; maxLength: number }
    const model = await loadServedModel(sharedPath('models/all-MiniLM-L6-v2'))
    expect(model.contextLength).toBeGreaterThanOrEqual(maxLength)
    const ids: number[][] = []
    for (const sentence of sentences) ids.push(await model.encode(sentence))
    expect(ids).toEqual(inputIds)
    const vectors = await model.embed(ids)
    const differences = vectors.map((vector, i) => Math.max(...embeddings[i].map((x, k) => Math.abs(x - vector[k]))))
    expect(Math.max(...differences)).toBeLessThan(1e-5)
  })
})
