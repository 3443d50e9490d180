import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  type ConfigOf,
  classes,
  config,
  count,
  diffusersConfig,
  flag,
  listOf,
  maybe,
  oneOf,
  ownSetting,
  positive,
  rate,
  size,
  text,
  tokenIds,
} from '../../src/nn/config.ts'

const BirdConfig = config(
  'Bird',
  ['BirdForSinging', 'BirdModel'],
  {
    // Before what it depends on: the order of the table does not matter.
    headDim: ['head_dim', size, (c) => c.dModel / c.nHeads],
    dModel: ['hidden_size', size, 64],
    nHeads: ['num_heads', size, 4],
    nKvHeads: ['num_kv_heads', size, (c) => c.nHeads],
    nLayers: ['num_layers', count, 2],
    dropout: ['dropout', rate, 0.1],
    epsilon: ['norm_eps', positive, 1e-5],
    activation: ['hidden_act', text, 'silu'],
    kind: ['kind', oneOf('finch', 'crow'), 'crow'],
    tied: ['tie_word_embeddings', flag, (c) => c.kind === 'crow'],
    sizes: ['sizes', listOf(size), [1, 2]],
    window: ['sliding_window', maybe(size), undefined],
    stem: ownSetting('stem', oneOf('large', 'small'), 'large'),
    endTokenIds: tokenIds('eos_token_id', [1]),
    nLabels: classes('BirdModel', 7),
  },
  {
    constants: { is_bird: true },
    architecture: (c) => (c.nLabels === 0 ? 'BirdModel' : 'BirdForSinging'),
    check: (c) => (c.sizes.length > 3 ? 'sizes: at most 3' : undefined),
  },
)
type BirdConfig = ConfigOf<typeof BirdConfig>

const settings: fc.Arbitrary<Partial<BirdConfig>> = fc.record(
  {
    headDim: fc.integer({ min: 1, max: 99 }),
    dModel: fc.integer({ min: 1, max: 9 }).map((n) => n * 12),
    nHeads: fc.constantFrom(1, 2, 4),
    nKvHeads: fc.integer({ min: 1, max: 8 }),
    nLayers: fc.nat(1e9),
    dropout: fc.double({ min: 0, max: 1, noNaN: true }).map((x) => x + 0), // −0 is not written apart from 0
    epsilon: fc.double({ min: 1e-12, max: 1, noNaN: true }),
    activation: fc.string(),
    kind: fc.constantFrom('finch', 'crow'),
    tied: fc.boolean(),
    sizes: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 3 }),
    window: fc.integer({ min: 1, max: 9 }),
    stem: fc.constantFrom('large', 'small'),
    endTokenIds: fc.array(fc.nat(9), { minLength: 1, maxLength: 2 }),
    nLabels: fc.nat(12),
  },
  { requiredKeys: [] },
)

describe('a table of settings', () => {
  it('gives the type', () => {
    expectTypeOf<BirdConfig>().toEqualTypeOf<{
      headDim: number
      dModel: number
      nHeads: number
      nKvHeads: number
      nLayers: number
      dropout: number
      epsilon: number
      activation: string
      kind: 'finch' | 'crow'
      tied: boolean
      sizes: readonly number[]
      window: number | undefined
      stem: 'large' | 'small'
      endTokenIds: readonly number[]
      nLabels: number
    }>()
  })

  it('gives what is left out, from the settings that are given', () => {
    expect(BirdConfig.complete({ dModel: 36, nHeads: 3 })).toEqual({
      headDim: 12,
      dModel: 36,
      nHeads: 3,
      nKvHeads: 3,
      nLayers: 2,
      dropout: 0.1,
      epsilon: 1e-5,
      activation: 'silu',
      kind: 'crow',
      tied: true,
      sizes: [1, 2],
      window: undefined,
      stem: 'large',
      endTokenIds: [1],
      nLabels: 7,
    })
    expect(BirdConfig.complete({ dModel: undefined }).dModel).toBe(64)
  })

  it('reads what it wrote, whatever the settings', () => {
    fc.assert(
      fc.property(settings, (partial) => {
        const complete = BirdConfig.complete(partial)
        expect(BirdConfig.read(JSON.parse(JSON.stringify(BirdConfig.write(complete))))).toEqual(complete)
      }),
    )
  })

  it('writes the checkpoint’s names, and its own settings only where they differ', () => {
    const written = BirdConfig.write(BirdConfig.complete({ nLabels: 1 }))
    expect(written).toEqual({
      architectures: ['BirdForSinging'],
      model_type: 'bird',
      is_bird: true,
      head_dim: 16,
      hidden_size: 64,
      num_heads: 4,
      num_kv_heads: 4,
      num_layers: 2,
      dropout: 0.1,
      norm_eps: 1e-5,
      hidden_act: 'silu',
      kind: 'crow',
      tie_word_embeddings: true,
      sizes: [1, 2],
      eos_token_id: 1,
      id2label: { 0: 'LABEL_0' },
      label2id: { LABEL_0: 0 },
    })
    expect(BirdConfig.write(BirdConfig.complete({ stem: 'small', nLabels: 0 }))).toMatchObject({
      architectures: ['BirdModel'],
      stem: 'small',
    })
  })

  it('takes null for left out, and leaves alone what it does not know', () => {
    const read = BirdConfig.read({ num_kv_heads: null, head_dim: null, dropout: null, transformers_version: '5.0.0' })
    expect(read).toEqual({ ...BirdConfig.complete(), nLabels: 2 })
  })

  it('refuses with one sentence what does not fit', () => {
    const read = (json: Record<string, unknown>) => () => BirdConfig.read(json)
    expect(read({ hidden_size: [64] })).toThrow(
      'config.json is not a Bird configuration: hidden_size: Invalid input: expected number, received array',
    )
    for (const value of [Number.NaN, -1, 0, 0.5, '64', Number.POSITIVE_INFINITY, {}, true]) {
      expect(read({ hidden_size: value })).toThrow(/^config.json is not a Bird configuration: hidden_size: [^\n]+$/)
    }
    expect(read({ sizes: [1, -1] })).toThrow(/^config.json is not a Bird configuration: sizes\.1: /)
    expect(read({ sizes: [] })).toThrow(/: sizes: /)
    expect(read({ dropout: 1.5 })).toThrow(/: dropout: /)
    expect(read({ kind: 'jay' })).toThrow(/: kind: /)
    expect(read({ stem: 'none' })).toThrow(/: stem: /)
    expect(read({ id2label: [1] })).toThrow(/: id2label: /)
    expect(read({ hidden_size: 10, num_heads: 3 })).toThrow(/: head_dim: /)
    expect(read({ sizes: [1, 1, 1, 1] })).toThrow('config.json is not a Bird configuration: sizes: at most 3')
    expect(() => BirdConfig.complete({ dModel: -1 })).toThrow(/^Bird: dModel: /)
    expect(read(JSON.parse('{"__proto__": {"hidden_size": -1}}'))).not.toThrow()
  })

  it('reads sizes that no machine could hold', () => {
    expect(BirdConfig.read({ num_layers: 1e9 }).nLayers).toBe(1e9)
  })

  it('says so where defaults wait for each other', () => {
    const circular = config<{ a: number; b: number }>('circular', [], {
      a: ['a', size, (c) => c.b],
      b: ['b', size, (c) => c.a],
    })
    expect(() => circular.complete()).toThrow('internal: circular: the default of a depends on itself')
    expect(circular.complete({ b: 3 })).toEqual({ a: 3, b: 3 })
  })

  it('has a class name where the layout is that of diffusers', () => {
    const table = diffusersConfig('NestModel', { nChannels: ['in_channels', size, 3] })
    expect(table.write(table.complete())).toEqual({ _class_name: 'NestModel', in_channels: 3 })
    expect(table.architectures).toEqual(['NestModel'])
    expect(() => table.read({ in_channels: 0 })).toThrow('config.json is not a NestModel configuration: in_channels: ')
  })
})
