import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { convertModel, type SaveTokenizer } from '../../src/hub/convert.ts'
import { openGguf } from '../../src/hub/gguf/file.ts'
import { quantize } from '../../src/hub/gguf/quantize.ts'
import { dequantize } from '../../src/hub/gguf/quants.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { openSafetensors, readTensors } from '../../src/hub/safetensors.ts'
import { writeSafetensors } from '../../src/hub/safetensors-write.ts'
import { tensorData } from '../../src/tensor/data.ts'
import { tokenizerFromGguf } from '../../src/text/gguf-tokenizer.ts'
import { saveTokenizer as save } from '../../src/text/load.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { temporaryFolder } from './temporary.ts'

const folder = temporaryFolder()
const at = (name: string) => join(folder, name)
const saveTokenizer: SaveTokenizer = (metadata, target) => save(tokenizerFromGguf(metadata), target)
const convert = (source: string, target: string, options = {}) => convertModel(source, target, options, saveTokenizer)

/** A LLaMA of a few kilobytes with a byte-level tokenizer. */
async function writeLlama(place: string): Promise<void> {
  mkdirSync(place, { recursive: true })
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: 6,
    hidden_size: 32,
    intermediate_size: 40,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 8,
    hidden_act: 'silu',
    max_position_embeddings: 64,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: true,
    torch_dtype: 'float32',
    bos_token_id: 5,
    eos_token_id: 5,
  }
  writeFileSync(join(place, 'config.json'), JSON.stringify(config))
  const shapes: Record<string, number[]> = {
    'model.embed_tokens.weight': [6, 32],
    'model.norm.weight': [32],
    'model.layers.0.input_layernorm.weight': [32],
    'model.layers.0.self_attn.q_proj.weight': [32, 32],
    'model.layers.0.self_attn.k_proj.weight': [16, 32],
    'model.layers.0.self_attn.v_proj.weight': [16, 32],
    'model.layers.0.self_attn.o_proj.weight': [32, 32],
    'model.layers.0.post_attention_layernorm.weight': [32],
    'model.layers.0.mlp.gate_proj.weight': [40, 32],
    'model.layers.0.mlp.up_proj.weight': [40, 32],
    'model.layers.0.mlp.down_proj.weight': [32, 40],
  }
  await writeSafetensors(
    join(place, 'model.safetensors'),
    Object.entries(shapes).map(([name, shape], n) => {
      const length = shape.reduce((a, b) => a * b, 1)
      const values = Float32Array.from({ length }, (_, i) => Math.sin(i * 0.37 + n))
      return [name, tensorData('float32', shape, values)] as const
    }),
  )
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      { id: 5, content: '<end>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: { a: 0, b: 1, ab: 2, Ġ: 3, Ġa: 4 },
      merges: [
        ['a', 'b'],
        ['Ġ', 'a'],
      ],
    },
  }
  writeFileSync(join(place, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(
    join(place, 'tokenizer_config.json'),
    JSON.stringify({ bos_token: '<end>', eos_token: { content: '<end>' }, chat_template: '{{ messages }}' }),
  )
}

describe('convert', () => {
  it.skipIf(lacksShared('parity/gguf/types.gguf'))(
    'dequantises every tensor of a GGUF file under its own name',
    async () => {
      const target = at('types.safetensors')
      expect(await convert(sharedPath('parity/gguf/types.gguf'), target)).toEqual({ tensors: 15, notes: [] })
      expect(readTensors(target)).toEqual(readTensors(sharedPath('parity/gguf/types.safetensors')))
    },
  )

  it('brings a LLaMA folder through GGUF and back unchanged: weights, configuration, tokenizer', async () => {
    await writeLlama(at('llama'))
    expect(await convert(at('llama'), at('llama.gguf'))).toEqual({ tensors: 11, notes: [] })
    expect(openGguf(at('llama.gguf')).names()).toContain('blk.0.attn_q.weight')
    await convert(at('llama.gguf'), at('back'))
    expect(readFileSync(at('back/model.safetensors')).equals(readFileSync(at('llama/model.safetensors')))).toBe(true)
    const json = (path: string) => JSON.parse(readFileSync(at(path), 'utf8'))
    expect(json('back/config.json')).toEqual(json('llama/config.json'))
    expect(json('back/tokenizer.json').model.vocab).toEqual({ ...json('llama/tokenizer.json').model.vocab, '<end>': 5 })
    expect(json('back/tokenizer.json').model.merges).toEqual(json('llama/tokenizer.json').model.merges)
    expect(json('back/tokenizer.json').added_tokens).toEqual(json('llama/tokenizer.json').added_tokens)
    expect(json('back/tokenizer_config.json')).toMatchObject({ eos_token: '<end>', chat_template: '{{ messages }}' })
  })

  it('quantises matrices, keeps vectors in F32, and says which rows did not fit', async () => {
    await writeLlama(at('llama'))
    for (const type of ['Q8_0', 'Q4_0', 'Q4_1'] as const) {
      const { notes } = await convert(at('llama'), at('q.gguf'), { quantize: type })
      expect(notes).toEqual([`1 tensors are in F16: their rows are no multiple of ${type}'s block`])
      const file = openGguf(at('q.gguf'))
      expect(file.info('blk.0.attn_norm.weight').type).toBe('F32')
      expect(file.info('blk.0.ffn_down.weight').type).toBe('F16')
      expect(file.info('blk.0.attn_q.weight').type).toBe(type)
      // Through the reordering, both ways.
      const original = openCheckpoint(at('llama')).read('model.layers.0.self_attn.q_proj.weight')
      const expected = new Float32Array(original.length)
      dequantize(type, quantize(type, original), expected)
      expect(openCheckpoint(at('q.gguf')).read('model.layers.0.self_attn.q_proj.weight')).toEqual(expected)
      file.close()
    }
  })

  it('halves safetensors, keeps integers, and copies what lies beside the weights', async () => {
    await writeLlama(at('llama'))
    await convert(at('llama'), at('half'), { quantize: 'BF16' })
    expect(readdirSync(at('half')).sort()).toEqual(readdirSync(at('llama')).sort())
    expect(JSON.parse(readFileSync(at('half/config.json'), 'utf8')).torch_dtype).toBe('bfloat16')
    const half = openCheckpoint(at('half'))
    expect(half.names().every((name) => half.info(name).type === 'BF16')).toBe(true)
    await writeSafetensors(at('ids.safetensors'), [
      ['ids', tensorData('int64', [2], [3, 4])],
      ['x', tensorData('float32', [2], [0.5, 0.25])],
    ])
    await convert(at('ids.safetensors'), at('ids-half.safetensors'), { quantize: 'F16' })
    const file = openSafetensors(at('ids-half.safetensors'))
    expect([file.info('ids').type, file.info('x').type]).toEqual(['I64', 'F16'])
    await convert(at('ids.safetensors'), at('ids.gguf'))
    await convert(at('ids.gguf'), at('ids-back.safetensors'))
    expect(readTensors(at('ids-back.safetensors'))).toEqual(readTensors(at('ids.safetensors')))
  })

  it('says in one sentence what it cannot do, and leaves nothing behind', async () => {
    await writeLlama(at('llama'))
    const fails = (source: string, target: string, message: string, options = {}) =>
      expect(convert(at(source), at(target), options)).rejects.toThrow(message)
    await fails('llama', 'x.onnx', 'exportOnnx (or jackdaw convert) writes it')
    await fails('llama', 'x.bin', 'cannot write .bin files')
    await fails('llama', 'llama', 'source and target are the same')
    await fails('llama', 'x.safetensors', 'Q4_0 is a type of GGUF files', { quantize: 'Q4_0' })
    await fails('nowhere', 'x.gguf', 'there is no such file or folder')
    writeFileSync(at('llama/config.json'), '{"architectures":["GPT2LMHeadModel"]}')
    await fails('llama', 'x.gguf', 'can be made of LlamaForCausalLM')
    await writeSafetensors(at('bytes.safetensors'), [['b', tensorData('bool', [2], [1, 0])]])
    await fails('bytes.safetensors', 'x.gguf', 'GGUF has no type BOOL')
    expect(readdirSync(folder).filter((name) => name.startsWith('x.') || name.startsWith('.'))).toEqual([])
  })

  const smollm2 = 'models/SmolLM2-135M-Instruct.Q4_1.gguf'
  it.skipIf(lacksShared(smollm2))('requantises a real GGUF file, its metadata kept', async () => {
    const original = openGguf(sharedPath(smollm2))
    await convert(sharedPath(smollm2), at('smol.gguf'), { quantize: 'Q4_0' })
    const file = openGguf(at('smol.gguf'))
    const { 'general.file_type': fileType, ...rest } = file.metadata
    const { 'general.file_type': _, ...expected } = original.metadata
    expect(fileType).toBe(2)
    expect(rest).toEqual(expected)
    expect(file.names()).toEqual(original.names())
    const name = 'blk.7.ffn_up.weight'
    const wanted = new Uint8Array(quantize('Q4_0', original.read(name)))
    expect(Buffer.from(file.readRaw(name)).equals(Buffer.from(wanted))).toBe(true)
    expect(statSync(at('smol.gguf')).size).toBeLessThan(80e6)
    expect(existsSync(at('smol.gguf'))).toBe(true)
  })
})

it('a network of diffusers keeps the file name that diffusers looks for', async () => {
  const source = fileURLToPath(new URL('../parity/ddpm-pipeline/unet', import.meta.url))
  await convert(source, at('unet'), { quantize: 'F16' })
  expect(readdirSync(at('unet')).sort()).toEqual(['config.json', 'diffusion_pytorch_model.safetensors'])
  const [stored, halved] = [openCheckpoint(source), openCheckpoint(at('unet'))]
  expect(halved.names().sort()).toEqual(stored.names().sort())
  expect(halved.config?._class_name).toBe('UNet2DModel')
  stored.close()
  halved.close()
})
