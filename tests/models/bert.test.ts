import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { finder } from '../../src/load/weights.ts'
import { BERT_SIZES, Bert, BertConfig } from '../../src/models/bert.ts'
import { traceModel } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { forward } from '../../src/load/run.ts'
import { sizeOf, type Tensor, tensorData } from '../../src/tensor/index.ts'

const TINY: Partial<BertConfig> = { vocabSize: 23, maxPositions: 12, dModel: 16, nLayers: 2, nHeads: 2 }
const still = { hiddenDropout: 0, attentionDropout: 0 }

const parametersOf = (config: Partial<BertConfig>) =>
  new Map([...traceModel(new Bert(config)).parameters.values()].map(({ name, shape }) => [name, shape]))

describe('config.json', () => {
  const read = (json: Record<string, unknown>, stored?: string[]) => BertConfig.read(json, stored && new Set(stored))

  it('names the head by its architecture, and reads as what was written', () => {
    for (const head of ['pre-training', 'masked-lm', 'classification', 'none'] as const) {
      const written = new Bert({ ...TINY, head, nLabels: head === 'classification' ? 3 : 2, padTokenId: 'none' })
      expect(read(written.toConfig())).toEqual(written.config)
    }
    expect(read({ architectures: ['BertForMaskedLM'] }).head).toBe('masked-lm')
  })

  it('of an encoder has a pooler where the file has one', () => {
    const json = { architectures: ['BertModel'] }
    expect(read(json, ['embeddings.LayerNorm.weight']).pooler).toBe(false)
    expect(read(json, ['pooler.dense.weight']).pooler).toBe(true)
    expect([...parametersOf({ ...TINY, head: 'none', pooler: false }).keys()].some((n) => n.includes('pooler'))).toBe(
      false,
    )
  })

  it('is refused with one sentence where it asks for something else', () => {
    expect(() => read({ position_embedding_type: 'relative_key' })).toThrow(
      /^config.json is not a BERT configuration: position_embedding_type: /,
    )
    expect(() => read({ is_decoder: true })).toThrow(
      'config.json is not a BERT configuration: is_decoder: must be false: this model reads in both directions',
    )
    expect(() => read({ num_attention_heads: 5 })).toThrow('num_attention_heads: 5 heads cannot share 768 features')
    expect(() => read({ architectures: ['BertForSequenceClassification'], num_labels: 1 })).toThrow(
      'at least two classes',
    )
  })
})

describe('parameters', () => {
  it('of the base model are 110 million', () => {
    const sizes = [...parametersOf({ ...BERT_SIZES.base, head: 'none' }).values()].map(sizeOf)
    expect(sizes.reduce((a, b) => a + b)).toBe(109_482_240)
  })

  it('are found under the names that older and other checkpoints have', () => {
    const info = (shape: number[]) => () => ({ dtype: 'F32', shape })
    const stored = (name: string) => ({ names: () => [name], info: info([16]) as never })
    const shape = [16]
    const find = (name: string, parameter: string) => finder(stored(name), Bert)({ name: parameter, shape })
    const old = 'bert.embeddings.LayerNorm.gamma'
    expect(find(old, 'bert.embeddings.LayerNorm.weight')).toBe(old)
    expect(find(old, 'embeddings.LayerNorm.weight')).toBe(old)
    expect(find('embeddings.LayerNorm.bias', 'bert.embeddings.LayerNorm.bias')).toBe('embeddings.LayerNorm.bias')
    expect(() => find(old, 'bert.embeddings.LayerNorm.bias')).toThrow('has no parameter bert.embeddings.LayerNorm.bias')
  })
})

const ids = [
  [1, 5, 6, 7, 2, 8, 9, 2],
  [1, 9, 8, 2, 7, 2, 0, 0],
]
const feed = (rows: readonly (readonly number[])[]) => tensorData('int32', [rows.length, rows[0].length], rows.flat())

describe('what is computed', () => {
  const model = new Bert({ ...TINY, ...still, head: 'masked-lm' })
  const specs = { inputIds: int32('batch', 'seq'), attentionMask: int32('batch', 'seq') }
  const states = async () => {
    const trainer = await Trainer.create({
      objective: (scope, inputs) => ({ loss: model.forward(scope, inputs).loss as Tensor }),
      inputs: { inputIds: int32(2, 8), labels: int32(2, 8) },
      learningRate: constantSchedule(1e-3),
    })
    const run = await compile(
      trace((scope, inputs) => ({ x: model.encode(scope, inputs) }), specs),
      trainer,
    )
    return {
      trainer,
      encode: async (rows: number[][], mask: number[][]) =>
        (await run({ inputIds: feed(rows), attentionMask: feed(mask) })).x,
    }
  }

  it('does not depend on padding, nor on what stands there', async () => {
    const { encode } = await states()
    const [row] = ids
    const alone = await encode([row], [row.map(() => 1)])
    const padded = await encode([[...row, 3, 4]], [[...row.map(() => 1), 0, 0]])
    const size = row.length * 16
    for (let i = 0; i < size; i++) expect(padded.data[i]).toBeCloseTo(Number(alone.data[i]), 5)
  })

  it('sees what comes after a position', async () => {
    const { encode } = await states()
    const ones = [ids[0].map(() => 1)]
    const [a, b] = [await encode([ids[0]], ones), await encode([[...ids[0].slice(0, -1), 5]], ones)]
    expect(Math.abs(Number(a.data[0]) - Number(b.data[0]))).toBeGreaterThan(1e-5)
  })
})

describe('training', () => {
  const labels = [
    [-100, 11, -100, -100, -100, 12, -100, -100],
    [-100, -100, 13, -100, -100, -100, -100, -100],
  ]

  it('learns one batch of both tasks by heart, and is saved, loaded and computed the same', async () => {
    const model = new Bert({ ...TINY, ...still })
    const inputs = {
      inputIds: int32(2, 8),
      attentionMask: int32(2, 8),
      tokenTypeIds: int32(2, 8),
      labels: int32(2, 8),
      nextSentenceLabel: int32(2),
    }
    const trainer = await Trainer.create({
      objective: (scope, given) => ({ loss: model.forward(scope, given).loss as Tensor }),
      inputs,
      learningRate: constantSchedule(1e-2),
      weightDecay: 0,
    })
    const types = [
      [0, 0, 0, 0, 0, 1, 1, 1],
      [0, 0, 0, 0, 1, 1, 1, 1],
    ]
    const mask = ids.map((row) => row.map((id) => (id === 0 ? 0 : 1)))
    const batch = {
      inputIds: Int32Array.from(ids.flat()),
      attentionMask: Int32Array.from(mask.flat()),
      tokenTypeIds: Int32Array.from(types.flat()),
      labels: Int32Array.from(labels.flat()),
      nextSentenceLabel: Int32Array.of(0, 1),
    }
    let loss = Number.POSITIVE_INFINITY
    for (let step = 0; step < 60; step++) loss = (await trainer.train(batch)).loss
    expect(loss).toBeLessThan(0.05)

    const folder = mkdtempSync(join(tmpdir(), 'jackdaw-bert-'))
    try {
      await saveModel(folder, { model, weights: trainer })
      const checkpoint = openCheckpoint(folder)
      const given = {
        input_ids: feed(ids),
        attention_mask: feed(mask),
        token_type_ids: feed(types),
        labels: feed(labels),
      }
      const next = { next_sentence_label: tensorData('int32', [2], [0, 1]) }
      const outputs = await forward(checkpoint, { ...given, ...next })
      checkpoint.close()
      expect(Number(outputs.loss.data[0])).toBeLessThan(0.05)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('goes on from an encoder to a classifier, whose layer alone is new', async () => {
    const encoder = new Bert({ ...TINY, head: 'masked-lm', ...still })
    const pretrained = await Trainer.create({
      objective: (scope, given) => ({ loss: encoder.forward(scope, given).loss as Tensor }),
      inputs: { inputIds: int32(2, 8), labels: int32(2, 8) },
      learningRate: constantSchedule(1e-2),
    })
    const classifier = new Bert({ ...TINY, ...still, head: 'classification', nLabels: 2 })
    const tuned = await Trainer.create({
      objective: (scope, given) => ({ loss: classifier.forward(scope, given).loss as Tensor }),
      inputs: { inputIds: int32(2, 8), labels: int32(2) },
      learningRate: constantSchedule(1e-2),
      weights: await pretrained.weights(),
      missing: 'init',
      unused: 'ignore',
    })
    expect([...tuned.initialized].sort()).toEqual([
      'bert.pooler.dense.bias',
      'bert.pooler.dense.weight',
      'classifier.bias',
      'classifier.weight',
    ])
    let loss = Number.POSITIVE_INFINITY
    for (let step = 0; step < 40; step++) {
      loss = (await tuned.train({ inputIds: Int32Array.from(ids.flat()), labels: Int32Array.of(0, 1) })).loss
    }
    expect(loss).toBeLessThan(0.1)
  })
})
