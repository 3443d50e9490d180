import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { bucketsByOffset, T5, T5_SIZES, T5Config } from '../../src/models/t5.ts'
import { Scope } from '../../src/nn/scope.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import '../../src/runtime/node.ts'
import { input, sizeOf, type Tensor } from '../../src/tensor/index.ts'

const TINY: Partial<T5Config> = { vocabSize: 23, dModel: 8, headDim: 6, dInner: 12, nLayers: 2, nHeads: 2 }

/** Names and shapes of what a model learns. */
function parametersOf(model: T5): Map<string, readonly number[]> {
  const { parameters } = trace((scope, { inputIds, labels }) => model.forward(scope, { inputIds, labels }), {
    inputIds: int32('batch', 'seq'),
    labels: int32('batch', 'targetSeq'),
  })
  return new Map([...parameters.values()].map(({ name, shape }) => [name, shape]))
}

describe('relative positions', () => {
  interface Case {
    count: number
    maxDistance: number
    bidirectional: [bucket: number, length: number][]
    causal: [bucket: number, length: number][]
  }
  const cases = JSON.parse(readFileSync(new URL('../parity/t5-buckets.json', import.meta.url), 'utf8')) as Case[]

  it.each(cases)('$count buckets up to $maxDistance are the reference implementation’s', (expected) => {
    const { count, maxDistance } = expected
    const spread = (runs: Case['causal']) => runs.flatMap(([bucket, length]) => Array(length).fill(bucket))
    expect([...bucketsByOffset(count, maxDistance, true)]).toEqual(spread(expected.bidirectional))
    expect([...bucketsByOffset(count, maxDistance, false)]).toEqual(spread(expected.causal))
  })

  it('have buckets that grow with the distance, and use no bucket outside the table', () => {
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 80 }), fc.integer({ min: 1, max: 400 }), (count, further) => {
        const maxDistance = Math.floor(count / 2) + further
        const causal = [...bucketsByOffset(count, maxDistance, false)].reverse().slice(maxDistance)
        expect(causal).toEqual([...causal].sort((a, b) => a - b))
        expect(causal[causal.length - 1]).toBe(count - 1)
        const both = bucketsByOffset(count, maxDistance, true)
        expect(Math.min(...both)).toBe(0)
        expect(Math.max(...both)).toBeLessThan(count)
      }),
    )
  })

  it('are refused where buckets and distance do not fit each other', () => {
    expect(() => bucketsByOffset(32, 16, false)).toThrow('a largest distance beyond 16, half of the buckets')
    expect(() => bucketsByOffset(2, 128, true)).toThrow('at least 4 buckets')
  })
})

describe('config.json', () => {
  const read = (json: Record<string, unknown>, stored?: string[]) => T5Config.read(json, stored && new Set(stored))

  it('of transformers 4 says by tie_word_embeddings whether the head is the embeddings, and scaled', () => {
    expect(read({})).toMatchObject({ tieWordEmbeddings: true, scaleDecoderOutputs: true })
    expect(read({}, ['lm_head.weight'])).toMatchObject({ tieWordEmbeddings: true, scaleDecoderOutputs: true })
    expect(read({ tie_word_embeddings: false })).toMatchObject({ tieWordEmbeddings: false, scaleDecoderOutputs: false })
  })

  it('of transformers 5 leaves it to the file whether there is a head', () => {
    const json = { tie_word_embeddings: true, scale_decoder_outputs: false }
    expect(read(json, ['shared.weight'])).toMatchObject({ tieWordEmbeddings: true, scaleDecoderOutputs: false })
    expect(read(json, ['shared.weight', 'lm_head.weight'])).toMatchObject({
      tieWordEmbeddings: false,
      scaleDecoderOutputs: false,
    })
  })

  it('names the feed-forward network in any of the ways that are in use', () => {
    const kind = (feed_forward_proj: string, more = {}) => {
      const { activation, gated } = read({ feed_forward_proj, ...more })
      return [activation, gated]
    }
    expect(kind('relu')).toEqual(['relu', false])
    expect(kind('gated-gelu')).toEqual(['gelu_new', true])
    expect(kind('gated-silu')).toEqual(['silu', true])
    expect(kind('gelu')).toEqual(['gelu', false])
    expect(kind('gated-gelu', { dense_act_fn: 'gelu' })).toEqual(['gelu', true])
  })

  it('reads as what was written', () => {
    const configs = fc.record({
      vocabSize: fc.integer({ min: 1, max: 99 }),
      dModel: fc.integer({ min: 1, max: 64 }),
      headDim: fc.integer({ min: 1, max: 64 }),
      dInner: fc.integer({ min: 1, max: 64 }),
      nLayers: fc.integer({ min: 1, max: 9 }),
      nDecoderLayers: fc.integer({ min: 1, max: 9 }),
      nHeads: fc.integer({ min: 1, max: 9 }),
      relativeBuckets: fc.integer({ min: 4, max: 64 }),
      dropout: fc.constantFrom(0, 0.1),
      activation: fc.constantFrom('relu', 'gelu', 'gelu_new', 'silu'),
      gated: fc.boolean(),
      tieWordEmbeddings: fc.boolean(),
      scaleDecoderOutputs: fc.boolean(),
      decoderStartTokenId: fc.integer({ min: 0, max: 9 }),
      endTokenIds: fc.array(fc.nat(9), { minLength: 1, maxLength: 3 }),
    })
    fc.assert(
      fc.property(configs, (config) => {
        const written = new T5(config)
        const stored = config.tieWordEmbeddings ? ['shared.weight'] : ['shared.weight', 'lm_head.weight']
        expect(read(written.toConfig(), stored)).toEqual(written.config)
      }),
    )
  })

  it('is refused with one sentence where it is no T5’s', () => {
    expect(() => read({ d_model: 'wide' })).toThrow(/^config.json is not a T5 configuration: d_model: /)
    expect(() => read({ feed_forward_proj: 'gated-gelu-new' })).toThrow('feed_forward_proj: must be an activation')
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...Object.keys(new T5().toConfig())), fc.jsonValue()), (json) => {
        try {
          read(json)
        } catch (error) {
          expect((error as Error).message).toMatch(/^config.json is not a T5 configuration: [^\n]+$/)
        }
      }),
    )
  })
})

describe('parameters', () => {
  it('of the small model of the paper are 60 million', () => {
    const sizes = [...parametersOf(new T5(T5_SIZES.small)).values()].map(sizeOf)
    expect(sizes.reduce((a, b) => a + b)).toBe(60_506_624)
  })

  it('hold one table of relative positions for each stack, and none for cross-attention', () => {
    const tables = [...parametersOf(new T5(TINY)).keys()].filter((name) => name.includes('relative_attention_bias'))
    expect(tables).toEqual([
      'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
      'decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
    ])
  })

  it('have a head of their own where it is not tied', () => {
    expect(parametersOf(new T5(TINY)).has('lm_head.weight')).toBe(false)
    expect(parametersOf(new T5({ ...TINY, tieWordEmbeddings: false })).get('lm_head.weight')).toEqual([23, 8])
  })
})

it('says what it lacks where there is nothing to decode', () => {
  const inputIds = input('inputIds', [1, 3], 'int32')
  expect(() => new T5(TINY).forward(Scope.root(), { inputIds })).toThrow('T5 needs decoder_input_ids, or labels')
})

it('learns one batch by heart', async () => {
  const model = new T5({
    ...TINY,
    gated: true,
    activation: 'gelu_new',
    tieWordEmbeddings: false,
    scaleDecoderOutputs: false,
  })
  const trainer = await Trainer.create({
    objective: (scope, { inputIds, labels }) => ({ loss: model.forward(scope, { inputIds, labels }).loss as Tensor }),
    inputs: { inputIds: int32(2, 3), labels: int32(2, 4) },
    learningRate: constantSchedule(0.03),
    weightDecay: 0,
  })
  const batch = {
    inputIds: Int32Array.of(3, 4, 5, 6, 7, 8),
    labels: Int32Array.of(9, 10, 1, -100, 11, 12, 13, 1),
  }
  const first = await trainer.train([batch])
  let last = first
  for (let i = 0; i < 60; i++) last = await trainer.train([batch])
  trainer.release()
  expect(first.loss).toBeGreaterThan(1)
  expect(last.loss).toBeLessThan(0.05)
})
