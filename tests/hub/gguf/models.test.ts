import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { convertModel } from '../../../src/hub/convert.ts'
import { ggufName } from '../../../src/hub/gguf/architectures.ts'
import { ggufFromConfig } from '../../../src/hub/gguf/config.ts'
import { type GgufValue, openGguf } from '../../../src/hub/gguf/file.ts'
import { openGgufAsHuggingFace } from '../../../src/hub/gguf/names.ts'
import { quantize } from '../../../src/hub/gguf/quantize.ts'
import { writeGguf } from '../../../src/hub/gguf/write.ts'
import { openCheckpoint } from '../../../src/hub/open.ts'
import { readTensors } from '../../../src/hub/safetensors.ts'
import { loadModel } from '../../../src/load/load.ts'
import { modelFromCheckpoint } from '../../../src/load/registry.ts'
import { forward } from '../../../src/load/run.ts'
import '../../../src/runtime/node.ts'
import { PARITY_TOLERANCE, relativeError } from '../../parity/parity.ts'
import { temporaryFolder } from '../temporary.ts'

const folder = temporaryFolder()
const at = (name: string): string => join(folder, name)
const fixture = (name: string): string => fileURLToPath(new URL(`../../parity/${name}`, import.meta.url))
const convert = (from: string, to: string) => convertModel(from, to, {}, async () => {})

const FIXTURES = [
  ['llama-rope-linear', 'llama'],
  ['llama-own-head', 'llama'],
  ['llama-padding-row', 'llama'],
  ['mistral', 'llama'],
  ['mistral-no-window', 'llama'],
  ['qwen2', 'qwen2'],
  ['qwen3', 'qwen3'],
  ['qwen3-windows', 'qwen3'],
  ['gemma3', 'gemma3'],
] as const

describe('models in GGUF', () => {
  it.each(FIXTURES)('%s answers from GGUF, and from a folder made of that, as from its own', async (name, word) => {
    const { notes } = await convert(fixture(name), at(`${name}.gguf`))
    const file = openGguf(at(`${name}.gguf`))
    expect(file.metadata['general.architecture']).toBe(word)
    expect(notes.filter((note) => !/tokenizer/.test(note)).length > 0).toBe(
      /^(mistral|qwen3-windows|gemma3)$/.test(name),
    )
    mkdirSync(at(`${name}-back`))
    await convert(at(`${name}.gguf`), at(`${name}-back/`))
    const inputs = readTensors(`${fixture(name)}/inputs.safetensors`)
    const { logits } = readTensors(`${fixture(name)}/outputs.safetensors`)
    for (const path of [at(`${name}.gguf`), at(`${name}-back`)]) {
      const checkpoint = openCheckpoint(path)
      const answer = await forward(checkpoint, inputs)
      expect(relativeError(answer.logits, logits), path).toBeLessThan(PARITY_TOLERANCE)
      checkpoint.close()
    }
    if (name === 'mistral-no-window') return // which is LLaMA
    const settings = (path: string) => modelFromCheckpoint(openCheckpoint(path)).model.toConfig()
    const { initializer_range: _, max_window_layers: __, ...own } = settings(fixture(name))
    expect(settings(at(`${name}.gguf`))).toMatchObject(own)
  })

  it('are loaded without a tokenizer where there was none, and end where the folder does', async () => {
    await convert(fixture('llama-padding-row'), at('silent.gguf'))
    const [file, own] = [await loadModel(at('silent.gguf')), await loadModel(fixture('llama-padding-row'))]
    expect(file.tokenizer).toBeUndefined()
    expect(file.stopTokenIds).toEqual(own.stopTokenIds)
  })

  it('stores Gemma’s norms as what they multiply by', async () => {
    await convert(fixture('gemma3'), at('norms.gguf'))
    const [file, own] = [openGguf(at('norms.gguf')), openCheckpoint(fixture('gemma3'))]
    for (const [stored, name] of [
      ['output_norm', 'model.norm'],
      ['blk.1.attn_norm', 'model.layers.1.input_layernorm'],
      ['blk.1.post_attention_norm', 'model.layers.1.post_attention_layernorm'],
      ['blk.1.ffn_norm', 'model.layers.1.pre_feedforward_layernorm'],
      ['blk.1.post_ffw_norm', 'model.layers.1.post_feedforward_layernorm'],
      ['blk.1.attn_q_norm', 'model.layers.1.self_attn.q_norm'],
      ['blk.1.attn_k_norm', 'model.layers.1.self_attn.k_norm'],
    ]) {
      expect(ggufName(`${name}.weight`, ggufFromConfig(own.config ?? {}).architecture)).toBe(`${stored}.weight`)
      const expected = own.read(`${name}.weight`).map((value) => Math.fround(value + 1))
      expect(file.read(`${stored}.weight`), name).toEqual(expected)
    }
    const view = openGgufAsHuggingFace(at('norms.gguf'))
    const values = view.read('model.norm.weight')
    expect(new Float32Array(view.readRaw('model.norm.weight').buffer)).toEqual(values)
    expect(view.place('model.norm.weight')).toBeUndefined()
    expect(view.read('model.norm.weight', new Float32Array(values.length))).toEqual(values)
  })

  it('takes of a file what llama.cpp takes for granted', async () => {
    const write = async (change: Record<string, GgufValue>) => {
      const gemma = JSON.parse(readFileSync(`${fixture('gemma3')}/config.json`, 'utf8'))
      const { metadata } = ggufFromConfig({ ...gemma, num_hidden_layers: 7, layer_types: undefined })
      for (const key of ['attention.scale', 'rope.freq_base_swa']) metadata.delete(`gemma3.${key}`)
      for (const [key, value] of Object.entries(change)) metadata.set(key, value)
      const bytes = () => quantize('F32', new Float32Array(32))
      await writeGguf(at('a.gguf'), metadata, [{ name: 'token_embd.weight', type: 'F32', shape: [2, 16], bytes }])
      return openGgufAsHuggingFace(at('a.gguf')).config as Record<string, unknown>
    }
    const uint = (value: number): GgufValue => ({ type: 'uint32', value })
    const config = await write({})
    const kinds = ({ layer_types }: Record<string, unknown>) =>
      (layer_types as string[]).map((kind) => kind[0]).join('')
    expect(kinds(config)).toBe('sssssfs')
    expect(config).toMatchObject({ query_pre_attn_scalar: 6, rope_local_base_freq: 10000, sliding_window: 4 })
    expect(kinds(await write({ 'gemma3.attention.sliding_window_pattern': uint(2) }))).toBe('sfsfsfs')
    const large = await write({ 'gemma3.block_count': uint(62), 'gemma3.embedding_length': uint(5376) })
    expect(large.query_pre_attn_scalar).toBe(5376 / 4)
    const capped = await write({ 'gemma3.final_logit_softcapping': { type: 'float32', value: 30 } })
    expect(capped.final_logit_softcapping).toBe(30)
  })

  it('refuses what GGUF has no word for', () => {
    const config = (name: string) => JSON.parse(readFileSync(`${fixture(name)}/config.json`, 'utf8'))
    expect(() => ggufFromConfig(config('gemma3-pattern'))).toThrow('no word for hidden_activation "silu" of gemma3')
    expect(() => ggufFromConfig(config('llama-multi-query-tied'))).toThrow('no word for hidden_act "gelu" of llama')
    expect(() => ggufFromConfig({ ...config('qwen2-windows'), hidden_act: 'silu' })).toThrow('no word for mscale')
    expect(() => ggufFromConfig({ ...config('gemma3'), layer_types: ['full_attention'] })).toThrow(
      'names 1 of 3 layers',
    )
    const local = { sliding_attention: { rope_type: 'linear', factor: 2 } }
    expect(() => ggufFromConfig({ ...config('gemma3'), rope_parameters: local })).toThrow('scaled positions')
  })
})
