import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { beamSearch } from '../../src/generate/beam.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { loadModel } from '../../src/load/load.ts'
import { AS_IN_THE_PAPER, TRANSFORMER_SIZES, Transformer, TransformerConfig } from '../../src/models/transformer.ts'
import { traceModel } from '../../src/nn/model.ts'
import { sinusoidTable } from '../../src/nn/positions.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { crossEntropySum, sizeOf } from '../../src/tensor/index.ts'

const [PAD, END] = [0, 1]
const TINY: Partial<TransformerConfig> = {
  ...AS_IN_THE_PAPER,
  vocabSize: 17,
  maxPositions: 24,
  dModel: 16,
  dInner: 24,
  nLayers: 1,
  nHeads: 2,
  dropout: 0,
  padTokenId: PAD,
  endTokenIds: [END],
  forcedEndTokenId: 'none',
}

describe('positions', () => {
  it('are the sines and cosines of the paper, side by side or in halves', async () => {
    const both = { paper: true, marian: false }
    for (const features of [6, 7]) {
      for (const [name, interleaved] of Object.entries(both)) {
        const run = await compile(trace(() => ({ table: sinusoidTable(9, features, { interleaved }).add(0) }), {}))
        const { table } = await run({})
        for (let pos = 0; pos < 9; pos++) {
          const expected = Array.from({ length: features }, (_, k) => {
            const angle = pos / 10000 ** ((2 * Math.floor(k / 2)) / features)
            return k % 2 === 0 ? Math.sin(angle) : Math.cos(angle)
          })
          const even = expected.filter((_, k) => k % 2 === 0)
          const odd = expected.filter((_, k) => k % 2 === 1)
          const wanted = name === 'paper' ? expected : [...even, ...odd]
          const got = Array.from(table.data.subarray(pos * features, (pos + 1) * features) as Float32Array)
          for (const [k, value] of wanted.entries()) expect(got[k]).toBeCloseTo(value, 6)
        }
        run.release()
      }
    }
  })

  it('end, and a text that is longer is refused in one sentence', () => {
    const model = new Transformer(TINY)
    const inputs = { inputIds: int32(1, 25), decoderInputIds: int32(1, 3) }
    const traced = () => trace((scope, given) => model.forward(scope, given as never), inputs)
    expect(traced).toThrow('the Transformer has 24 positions, and a text has 25 tokens')
  })
})

describe('config.json', () => {
  const read = (json: Record<string, unknown>, stored?: string[]) =>
    TransformerConfig.read(json, stored && new Set(stored))

  it('reads as what was written', () => {
    const settings: Partial<TransformerConfig>[] = [
      TINY,
      { ...TINY, positionEncoding: 'halves', forcedEndTokenId: 5, barredTokenIds: [3, 4] },
      { ...TINY, shareEmbeddings: false, decoderVocabSize: 12, nDecoderHeads: 4, dDecoderInner: 8 },
    ]
    for (const setting of settings) {
      const written = new Transformer(setting)
      expect(read(written.toConfig())).toEqual(written.config)
    }
  })

  it('of a checkpoint takes what is stored: positions, the bias, tables of their own', () => {
    const stored = ['model.encoder.embed_positions.weight', 'model.encoder.embed_tokens.weight', 'lm_head.weight']
    const expected = { storedPositions: true, logitsBias: false, shareEmbeddings: false }
    expect(read({ tie_word_embeddings: false }, stored)).toMatchObject(expected)
    expect(read({}, ['final_logits_bias'])).toMatchObject({
      storedPositions: false,
      logitsBias: true,
      shareEmbeddings: true,
    })
  })

  it('is refused in one sentence where it does not fit', () => {
    expect(() => read({ d_model: 30, encoder_attention_heads: 4 })).toThrow(
      /^config.json is not a Transformer configuration: d_model: 4 heads/,
    )
    expect(() => read({ vocab_size: 9, decoder_vocab_size: 8 })).toThrow('decoder_vocab_size: must be vocab_size, 9')
    expect(() => read({ bad_words_ids: [[1, 2]] })).toThrow(
      /^config.json is not a Transformer configuration: bad_words_ids/,
    )
  })
})

it('of the paper’s base size has 63 million parameters, where table 3 says 65', () => {
  const model = new Transformer({ ...AS_IN_THE_PAPER, ...TRANSFORMER_SIZES.base, vocabSize: 37_000, padTokenId: 0 })
  const trained = [...traceModel(model).parameters.values()].filter(({ trainable }) => trainable)
  expect(trained.map(({ shape }) => sizeOf(shape)).reduce((a, b) => a + b) / 1e6).toBeCloseTo(63.1, 1)
})

describe('trained on one batch with label smoothing', () => {
  const model = new Transformer(TINY)
  const sources = [
    [5, 6, 7, 8],
    [9, 10, 11, 12],
  ]
  const targets = [
    [8, 7, 6, 5, END],
    [12, 11, 10, 9, END],
  ]
  const train = async () => {
    const trainer = await Trainer.create({
      objective: (scope, { inputIds, labels }) => ({
        loss: crossEntropySum(model.forward(scope, { inputIds, labels }).logits, labels, { labelSmoothing: 0.1 }),
      }),
      inputs: { inputIds: int32(2, 4), labels: int32(2, 5) },
      learningRate: constantSchedule(5e-3),
      weightDecay: 0,
    })
    const batch = { inputIds: Int32Array.from(sources.flat()), labels: Int32Array.from(targets.flat()) }
    for (let step = 0; step < 80; step++) await trainer.train(batch)
    return trainer
  }

  it('answers by heart, greedily and with beams, as it does when saved and loaded', async () => {
    const trainer = await train()
    const folder = mkdtempSync(join(tmpdir(), 'jackdaw-transformer-'))
    try {
      await saveModel(folder, { model, weights: trainer })
      const loaded = await loadModel(folder)
      expect(loaded.model.toConfig()).toEqual(model.toConfig())
      for (const weights of [trainer, loaded.weights as never]) {
        const decoder = await CachedDecoder.create(model, weights, { slots: 3 })
        expect(decoder.capacity).toBe(24)
        for (const [i, sourceIds] of sources.entries()) {
          const ids: number[] = []
          for await (const event of new Engine(decoder).generate({ sourceIds, stopTokenIds: [END], temperature: 0 })) {
            if (event.type === 'token') ids.push(event.id)
          }
          expect(ids).toEqual(targets[i])
          const options = { nBeams: 3, lengthPenalty: 0.6, lengthNorm: 'gnmt', stopTokenIds: [END] } as const
          expect(await beamSearch(decoder, { sourceIds }, options)).toEqual(targets[i])
        }
        decoder.release()
      }
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('ends with the forced token where it reaches its length, and never says a barred one', async () => {
    const trainer = await train()
    const strict = new Transformer({ ...TINY, forcedEndTokenId: 16, barredTokenIds: [7, 11] })
    const decoder = await CachedDecoder.create(strict, trainer, { slots: 2 })
    const [sourceIds] = sources
    const ids: number[] = []
    let reason = ''
    for await (const event of new Engine(decoder).generate({
      sourceIds,
      maxNewTokens: 4,
      temperature: 0,
      stopTokenIds: [16],
    })) {
      if (event.type === 'token') ids.push(event.id)
      if (event.type === 'end') reason = event.reason
    }
    expect(ids).toHaveLength(4)
    expect(ids.at(-1)).toBe(16)
    expect(ids).not.toContain(7)
    expect(reason).toBe('length')
    const found = await beamSearch(decoder, { sourceIds }, { nBeams: 2, maxNewTokens: 4 })
    expect(found.at(-1)).toBe(16)
    expect(found).not.toContain(7)
  })

  it('refuses a source that is longer than its positions', async () => {
    const trainer = await train()
    const decoder = await CachedDecoder.create(model, trainer)
    const sourceIds = new Array(25).fill(5)
    await expect(beamSearch(decoder, { sourceIds }, { nBeams: 1 })).rejects.toThrow(
      'the prompt has 25 tokens; the model takes 24',
    )
  })
})

it('keeps interleaved positions in the checkpoint, where the reference implementation reads them', () => {
  const buffersOf = (model: Transformer) =>
    [...traceModel(model).parameters.values()].filter(({ trainable }) => !trainable).map(({ name }) => name)
  const tables = ['model.encoder.embed_positions.weight', 'model.decoder.embed_positions.weight']
  expect(buffersOf(new Transformer(TINY))).toEqual(expect.arrayContaining(tables))
  expect(buffersOf(new Transformer({ ...TINY, positionEncoding: 'halves' }))).toEqual(['final_logits_bias'])
})
