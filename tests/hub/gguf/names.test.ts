import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TensorSource } from '../../../src/hub/checkpoint.ts'
import { ggufName, huggingFaceName } from '../../../src/hub/gguf/architectures.ts'
import { ggufFromConfig } from '../../../src/hub/gguf/config.ts'
import { type GgufValue, openGguf } from '../../../src/hub/gguf/file.ts'
import { openGgufAsHuggingFace, reorderRotaryRows } from '../../../src/hub/gguf/names.ts'
import { quantize } from '../../../src/hub/gguf/quantize.ts'
import { dequantize } from '../../../src/hub/gguf/quants.ts'
import { llama3Factors } from '../../../src/hub/gguf/rope.ts'
import { writeGguf } from '../../../src/hub/gguf/write.ts'
import { lacksShared, sharedPath } from '../../shared.ts'
import { temporaryFolder } from '../temporary.ts'

const path = join(temporaryFolder(), 'a.gguf')
const smollm2 = 'models/SmolLM2-135M-Instruct.Q4_1.gguf'

const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 10,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  hidden_act: 'silu',
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  attention_bias: false,
  mlp_bias: false,
  tie_word_embeddings: true,
  torch_dtype: 'float32',
}

const random = (rows: number, columns: number) =>
  Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 12.9898) * 2)

async function writeModel(settings: Record<string, unknown>, extra: TensorSource[] = []): Promise<void> {
  const tensor = (name: string, rows: number, columns: number): TensorSource => ({
    name,
    type: 'Q8_0',
    shape: [rows, columns],
    bytes: () => quantize('Q8_0', random(rows, columns)),
  })
  await writeGguf(path, ggufFromConfig(settings).metadata, [
    tensor('token_embd.weight', 10, 32),
    tensor('blk.0.attn_q.weight', 64, 32),
    tensor('blk.0.attn_k.weight', 32, 32),
    tensor('blk.0.attn_v.weight', 32, 32),
    ...extra,
  ])
}

describe('LLaMA in GGUF and in Hugging Face words', () => {
  it('translates every name both ways, and no other', () => {
    const outer = ['token_embd.weight', 'output_norm.weight', 'output.weight']
    const parts = [
      'attn_norm',
      'attn_q',
      'attn_k',
      'attn_v',
      'attn_output',
      'ffn_norm',
      'ffn_gate',
      'ffn_up',
      'ffn_down',
    ]
    for (const name of [...outer, ...parts.map((part) => `blk.17.${part}.weight`), 'blk.0.attn_q.bias']) {
      expect(ggufName(huggingFaceName(name) ?? ''), name).toBe(name)
    }
    expect(huggingFaceName('blk.3.attn_k.weight')).toBe('model.layers.3.self_attn.k_proj.weight')
    for (const name of ['x', 'attn_q.weight', 'blk.0.token_embd.weight', 'blk.0.attn_q', 'rope_freqs.weight']) {
      expect(huggingFaceName(name), name).toBeUndefined()
    }
  })

  it('moves row 2i + j of a head to row i + j · headDim / 2, and back', () => {
    const rows = Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17)
    const moved = reorderRotaryRows(rows, 8, 2, 'huggingFace')
    expect([...moved]).toEqual([0, 1, 4, 5, 2, 3, 6, 7, 10, 11, 14, 15, 12, 13, 16, 17])
    const sizes = fc.record({ heads: fc.integer({ min: 1, max: 5 }), half: fc.integer({ min: 1, max: 8 }) })
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 7 }), ({ heads, half }, columns) => {
        const count = heads * half * 2
        const bytes = Uint8Array.from({ length: count * columns }, (_, i) => i % 251)
        const there = reorderRotaryRows(bytes, count, heads, 'huggingFace')
        expect(reorderRotaryRows(there, count, heads, 'gguf')).toEqual(bytes)
      }),
    )
  })

  it('gives the configuration back that a file was written with', async () => {
    for (const change of [
      {},
      { num_key_value_heads: 4, head_dim: 8, rope_theta: 10000, rms_norm_eps: 1e-6 },
      { rope_scaling: { rope_type: 'linear', factor: 2.3 } },
      { rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 } },
    ]) {
      const settings = { ...config, ...change }
      await writeModel(settings)
      expect(openGgufAsHuggingFace(path).config).toEqual(settings)
    }
  })

  it('reads the newer form of a configuration too', async () => {
    const { rope_theta: ropeTheta, ...rest } = config
    await writeModel({ ...rest, rope_parameters: { rope_theta: ropeTheta, rope_type: 'default' } })
    expect(openGgufAsHuggingFace(path).config).toEqual(config)
  })

  it("finds LLaMA 3's scaling in the factors that GGUF stores instead", async () => {
    for (const [factor, context] of [
      [8, 8192],
      [32, 8192],
      [8, 4096],
    ]) {
      const scaling = {
        rope_type: 'llama3',
        factor,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: context,
      }
      const settings = { ...config, head_dim: 128, rope_scaling: scaling }
      const { ropeFactors } = ggufFromConfig(settings)
      expect(ropeFactors).toEqual(llama3Factors(scaling, 500000, 128))
      const factors = ropeFactors ?? new Float32Array()
      await writeModel(settings, [
        { name: 'rope_freqs.weight', type: 'F32', shape: [64], bytes: () => quantize('F32', factors) },
      ])
      const model = openGgufAsHuggingFace(path)
      expect(model.config?.rope_scaling).toEqual(scaling)
      expect(model.names()).not.toContain('rope_freqs.weight')
    }
  })

  it('gives values and stored blocks of queries and keys in the same order', async () => {
    await writeModel(config)
    const model = openGgufAsHuggingFace(path)
    const stored = openGguf(path)
    for (const [name, storedName, heads] of [
      ['model.layers.0.self_attn.q_proj.weight', 'blk.0.attn_q.weight', 4],
      ['model.layers.0.self_attn.k_proj.weight', 'blk.0.attn_k.weight', 2],
    ] as const) {
      const values = model.read(name)
      const rows = model.info(name).shape[0]
      expect(values).toEqual(reorderRotaryRows(stored.read(storedName), rows, heads, 'huggingFace'))
      const fromBlocks = new Float32Array(values.length)
      dequantize('Q8_0', model.readRaw(name), fromBlocks)
      expect(fromBlocks).toEqual(values)
      expect(model.read(name, new Float32Array(values.length))).toEqual(values)
    }
    expect(model.readRaw('model.layers.0.self_attn.v_proj.weight')).toEqual(stored.readRaw('blk.0.attn_v.weight'))
  })

  it('says what is missing or not known', async () => {
    const write = async (change: (metadata: Map<string, GgufValue>) => void, name = 'token_embd.weight') => {
      const { metadata } = ggufFromConfig(config)
      change(metadata)
      const shape = [10, 32]
      await writeGguf(path, metadata, [{ name, type: 'Q8_0', shape, bytes: () => quantize('Q8_0', random(10, 32)) }])
    }
    await write((metadata) => metadata.set('general.architecture', { type: 'string', value: 'mamba' }))
    expect(() => openGgufAsHuggingFace(path)).toThrow('of architecture "mamba"')
    await write((metadata) => metadata.delete('llama.block_count'))
    expect(() => openGgufAsHuggingFace(path)).toThrow('lack llama.block_count')
    await write((metadata) => metadata.set('llama.attention.head_count', { type: 'int32', value: -4 }))
    expect(() => openGgufAsHuggingFace(path)).toThrow('llama.attention.head_count = "-4"')
    await write((metadata) => metadata.set('llama.rope.dimension_count', { type: 'uint32', value: 4 }))
    expect(() => openGgufAsHuggingFace(path)).toThrow('turns only a part')
    await write(() => {}, 'blk.0.ffn_gate_inp.weight')
    expect(() => openGgufAsHuggingFace(path)).toThrow('has no tensor "token_embd.weight"')
    expect(() => ggufFromConfig({ architectures: ['GPT2LMHeadModel'] })).toThrow('can be made of LlamaForCausalLM')
  })

  it.skipIf(lacksShared(smollm2))('reads SmolLM2 as Hugging Face describes it', () => {
    const model = openGgufAsHuggingFace(sharedPath(smollm2))
    expect(model.config).toMatchObject({
      vocab_size: 49152,
      hidden_size: 576,
      intermediate_size: 1536,
      num_hidden_layers: 30,
      num_attention_heads: 9,
      num_key_value_heads: 3,
      head_dim: 64,
      rope_theta: 100000,
      rms_norm_eps: 1e-5,
      max_position_embeddings: 8192,
      tie_word_embeddings: true,
      bos_token_id: 1,
      eos_token_id: 2,
    })
    expect(model.names()).toHaveLength(272)
    expect(model.info('model.layers.29.self_attn.k_proj.weight')).toMatchObject({ type: 'Q4_1', shape: [192, 576] })
    model.close()
  })
})
