import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { modelFromConfig } from '../../src/load/registry.ts'
import { Gemma3, Gemma3Config } from '../../src/models/gemma3.ts'
import { MistralConfig } from '../../src/models/mistral.ts'
import { Qwen2Config } from '../../src/models/qwen2.ts'
import { Qwen3Config } from '../../src/models/qwen3.ts'
import type { ConfigTable } from '../../src/nn/config.ts'
import { paddingRow } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'

type Json = Record<string, unknown>

const configOf = (name: string): Json =>
  JSON.parse(readFileSync(fileURLToPath(new URL(`../parity/${name}/config.json`, import.meta.url)), 'utf8'))

/** What the reference implementation's files say that does not change numbers. */
const INERT = /^(bos|eos|pad)_token_id$|^dtype$|^transformers_version$|^use_cache$|^_|^rope_theta$/

const FIXTURES = ['mistral', 'mistral-no-window', 'qwen2', 'qwen2-windows', 'qwen3-windows', 'gemma3', 'gemma3-pattern']

describe('models after LLaMA', () => {
  it.each(FIXTURES)('%s: what its config.json says is written as it was read', (name) => {
    const json = configOf(name)
    const { model } = modelFromConfig(json)
    const written = JSON.parse(JSON.stringify(model.toConfig())) as Json
    const same = Object.entries(json).filter(([key, value]) => !INERT.test(key) && value !== null)
    for (const [key, value] of same) {
      if (key === 'rope_parameters') expect(JSON.stringify(written[key])).toContain('rope_theta')
      else expect(written[key], key).toEqual(value)
    }
    const again = modelFromConfig(written).model
    expect(again.toConfig()).toEqual(model.toConfig())
  })

  it('know null from a setting that is left out', () => {
    expect(MistralConfig.read({}).slidingWindow).toBe(4096)
    expect(MistralConfig.read({ sliding_window: null }).slidingWindow).toBe(0)
    expect(MistralConfig.read({ num_attention_heads: 16 }).nKvHeads).toBe(8)
    expect(MistralConfig.read({ num_attention_heads: 16, num_key_value_heads: null }).nKvHeads).toBe(16)
  })

  it('have a padding token, which may be counted from the end, or none', () => {
    expect(Qwen2Config.read({}).padTokenId).toBe('none')
    expect(Qwen2Config.read({ pad_token_id: 5 }).padTokenId).toBe(5)
    expect(Gemma3Config.read({}).padTokenId).toBe(0)
    expect(Gemma3Config.read({ pad_token_id: null }).padTokenId).toBe('none')
    const { vocabSize } = MistralConfig.read({})
    expect(paddingRow({ vocabSize, padTokenId: MistralConfig.read({ pad_token_id: -1 }).padTokenId })).toBe(31_999)
  })

  it('take no notice of settings that they do not have', () => {
    expect(MistralConfig.read({ attention_bias: true, mlp_bias: true })).toMatchObject({
      attentionBias: false,
      mlpBias: false,
    })
    expect(Qwen2Config.read({ attention_bias: false }).attentionBias).toBe(true)
    expect(Qwen3Config.read({ attention_bias: true }).attentionBias).toBe(true)
  })

  it('have windows in the layers that the file means', () => {
    const kinds = (table: ConfigTable<{ layerTypes: readonly string[] }>, json: Json) =>
      table
        .read({ num_hidden_layers: 4, ...json })
        .layerTypes.map((type) => type[0])
        .join('')
    expect(kinds(Qwen2Config, { max_window_layers: 1, sliding_window: 5 })).toBe('ffff')
    expect(kinds(Qwen2Config, { use_sliding_window: true, max_window_layers: 1, sliding_window: 5 })).toBe('fsss')
    expect(kinds(Qwen3Config, { use_sliding_window: true, max_window_layers: 1, sliding_window: null })).toBe('ffff')
    expect(kinds(Gemma3Config, { sliding_window_pattern: 2 })).toBe('sfsf')
    expect(kinds(Gemma3Config, {})).toBe('ssss')
  })

  it('refuse in one sentence what they cannot do', () => {
    const layer_types = ['sliding_attention', 'full_attention']
    for (const [table, json, sentence] of [
      [Qwen2Config, { num_hidden_layers: 2, layer_types }, 'layer_types: has sliding_attention, and no sliding_window'],
      [Qwen3Config, { layer_types }, 'layer_types: names 2 of 32 layers'],
      [Qwen3Config, { num_hidden_layers: 1, layer_types: ['linear_attention'] }, 'layer_types.0'],
      [Gemma3Config, { use_bidirectional_attention: true }, 'use_bidirectional_attention'],
      [Gemma3Config, { rope_parameters: { rope_type: 'default' } }, 'needs full_attention and sliding_attention'],
      [MistralConfig, { rope_parameters: { full_attention: {} } }, 'rope_parameters tells kinds of layers apart'],
      [MistralConfig, { rope_scaling: { type: 'longrope' } }, "of type 'longrope' is not known"],
      [MistralConfig, { rope_scaling: { type: 'linear', factor: 2, partial_rotary_factor: 0.5 } }, 'turn as a whole'],
      [MistralConfig, { sliding_window: 0 }, 'sliding_window'],
    ] as const) {
      expect(() => table.read(json), sentence).toThrow(sentence)
    }
  })

  it('Gemma 3 reads files from before rope_parameters', () => {
    const c = Gemma3Config.read({
      rope_theta: 5000,
      rope_local_base_freq: 50,
      rope_scaling: { rope_type: 'linear', factor: 8 },
    })
    expect(c).toMatchObject({ ropeTheta: 5000, ropeLocalTheta: 50, ropeScaling: { type: 'linear', factor: 8 } })
    expect(c.ropeLocalScaling).toBeUndefined()
  })

  it('Gemma 3’s norms start as what they are around: at 0', () => {
    const model = new Gemma3({ vocabSize: 9, dModel: 8, nLayers: 1, nHeads: 2, nKvHeads: 1, headDim: 4, dInner: 6 })
    const { parameters } = trace((scope, { inputIds }) => model.forward(scope, { inputIds }), {
      inputIds: int32(1, 2),
    })
    const norms = [...parameters.values()].filter(({ name }) => name.includes('norm'))
    expect(norms.length).toBe(7)
    for (const { init, shape } of norms) {
      const values = new Float32Array(shape[0]).fill(9)
      init(values, shape, { normal: (v) => v.fill(3), uniform: (v) => v.fill(3) })
      expect([...values]).toEqual([...values].fill(0))
    }
  })
})
