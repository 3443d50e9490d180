/**
 * The LLaMA architecture in GGUF's words and in Hugging Face's. The two differ in names, in the keys of the
 * configuration, and in the order of the query and key rows: a GGUF file keeps the two halves of a rotary pair beside
 * each other (rows 2i and 2i + 1 of a head), Hugging Face half a head apart (rows i and i + headDim/2).
 */
import { sizeOf } from '../../tensor/data.ts'
import { type Checkpoint, elementsToRead, type FilePlace, type TensorInfo } from '../checkpoint.ts'
import { quote } from '../file.ts'
import { type GgufCheckpoint, type GgufValue, openGguf } from './file.ts'
import { llama3Factors, ropeScalingFromGguf, ropeScalingToGguf, shortest } from './rope.ts'

const OUTER_NAMES: readonly (readonly [gguf: string, huggingFace: string])[] = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
]

const BLOCK_NAMES: readonly (readonly [gguf: string, huggingFace: string])[] = [
  ['attn_norm', 'input_layernorm'],
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_output', 'self_attn.o_proj'],
  ['ffn_norm', 'post_attention_layernorm'],
  ['ffn_gate', 'mlp.gate_proj'],
  ['ffn_up', 'mlp.up_proj'],
  ['ffn_down', 'mlp.down_proj'],
]

const ROPE_FACTORS = 'rope_freqs.weight'

/** `blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`; undefined where LLaMA has no such tensor. */
export const huggingFaceName = (ggufName: string): string | undefined =>
  translate(ggufName, /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/, 'model.layers.', (pair) => pair)

/** `model.layers.3.self_attn.q_proj.weight` → `blk.3.attn_q.weight`; undefined where LLaMA has no such tensor. */
export const ggufName = (huggingFaceName: string): string | undefined =>
  translate(huggingFaceName, /^(?:model\.layers\.(\d+)\.)?([\w.]+)\.(weight|bias)$/, 'blk.', ([a, b]) => [b, a])

function translate(
  name: string,
  pattern: RegExp,
  blockPrefix: string,
  direction: (pair: readonly [string, string]) => readonly [string, string],
): string | undefined {
  const match = pattern.exec(name)
  if (!match) return undefined
  const [, layer, part, kind] = match
  const names = layer === undefined ? OUTER_NAMES : BLOCK_NAMES
  const found = names.map(direction).find(([from]) => from === part)
  return found && `${layer === undefined ? '' : `${blockPrefix}${layer}.`}${found[1]}.${kind}`
}

/** How many heads the rows of a tensor with this Hugging Face name are cut into; 0 where their order is the same. */
export function rotaryHeads(name: string, config: Record<string, unknown>): number {
  if (/\.self_attn\.q_proj\./.test(name)) return config.num_attention_heads as number
  if (/\.self_attn\.k_proj\./.test(name)) return config.num_key_value_heads as number
  return 0
}

/**
 * The rows of a query or key projection, from GGUF's order into Hugging Face's or back.
 *
 * @param rows - [heads · headDim, anything]: values or stored blocks, as long as a row is a whole number of items
 */
export function reorderRotaryRows<T extends Float32Array | Uint8Array>(
  rows: T,
  rowCount: number,
  heads: number,
  to: 'huggingFace' | 'gguf',
): T {
  const headDim = rowCount / heads
  if (!Number.isInteger(headDim / 2)) throw new Error(`GGUF: ${rowCount} rows do not make ${heads} heads of even size`)
  const rowLength = rows.length / rowCount
  const reordered = rows.slice() as T
  for (let head = 0; head < heads; head++) {
    for (let pair = 0; pair < headDim / 2; pair++) {
      for (let half = 0; half < 2; half++) {
        const interleaved = head * headDim + 2 * pair + half
        const halved = head * headDim + half * (headDim / 2) + pair
        const [source, target] = to === 'huggingFace' ? [interleaved, halved] : [halved, interleaved]
        reordered.set(rows.subarray(source * rowLength, (source + 1) * rowLength), target * rowLength)
      }
    }
  }
  return reordered
}

/**
 * A GGUF file of a LLaMA-type model as if it were a Hugging Face checkpoint: its tensor names, its `config`, its row
 * order. `readRaw` gives stored blocks, reordered too.
 *
 * @throws Error where the file is damaged or of another architecture.
 */
export function openGgufAsHuggingFace(path: string): Checkpoint {
  const file = openGguf(path)
  try {
    return new HuggingFaceView(file, path)
  } catch (error) {
    file.close()
    throw error
  }
}

class HuggingFaceView implements Checkpoint {
  readonly config: Record<string, unknown>
  readonly metadata: Record<string, unknown>
  readonly #file: GgufCheckpoint
  readonly #storedName = new Map<string, string>()
  readonly #path: string

  constructor(file: GgufCheckpoint, path: string) {
    this.#file = file
    this.#path = path
    this.metadata = file.metadata
    this.config = configFromGguf(file, path)
    for (const stored of file.names()) {
      if (stored === ROPE_FACTORS) continue
      const name = huggingFaceName(stored)
      if (!name) throw new Error(`${path}: ${quote(stored)} is no tensor of a LLaMA model`)
      this.#storedName.set(name, stored)
      const heads = rotaryHeads(name, this.config)
      const rows = file.info(stored).shape[0]
      if (heads > 0 && !Number.isInteger(rows / heads / 2)) {
        throw new Error(`${path}: the ${rows} rows of ${quote(stored)} do not make ${heads} heads of even size`)
      }
    }
  }

  names(): string[] {
    return [...this.#storedName.keys()]
  }

  info(name: string): TensorInfo {
    return this.#file.info(this.#stored(name))
  }

  read(name: string, into?: Float32Array, firstRow = 0): Float32Array {
    const stored = this.#stored(name)
    const heads = rotaryHeads(name, this.config)
    if (heads === 0) return this.#file.read(stored, into, firstRow)
    const { shape } = this.info(name)
    const { start, length } = elementsToRead(`${this.#path}: ${quote(name)}`, shape, into, firstRow)
    const headLength = sizeOf(shape) / heads
    // Rows change places within their head.
    const firstHead = Math.floor(start / headLength)
    const headCount = Math.ceil((start + length) / headLength) - firstHead
    const headDim = shape[0] / heads
    const whole = this.#file.read(stored, new Float32Array(headCount * headLength), firstHead * headDim)
    const values = reorderRotaryRows(whole, headCount * headDim, headCount, 'huggingFace')
    if (!into) return values
    const from = start - firstHead * headLength
    into.set(values.subarray(from, from + length))
    return into
  }

  readRaw(name: string): Uint8Array<ArrayBuffer> {
    const bytes = this.#file.readRaw(this.#stored(name))
    const heads = rotaryHeads(name, this.config)
    return heads === 0 ? bytes : reorderRotaryRows(bytes, this.info(name).shape[0], heads, 'huggingFace')
  }

  place(name: string): FilePlace | undefined {
    return rotaryHeads(name, this.config) === 0 ? this.#file.place(this.#stored(name)) : undefined
  }

  close(): void {
    this.#file.close()
  }

  #stored(name: string): string {
    const stored = this.#storedName.get(name)
    if (!stored) throw new Error(`${this.#path}: has no tensor ${quote(name)}`)
    return stored
  }
}

/**
 * What `config.json` would say of a LLaMA-type GGUF file.
 *
 * @throws Error where the architecture is another one, or a size is missing or senseless.
 */
export function configFromGguf(file: GgufCheckpoint, path: string): Record<string, unknown> {
  const { metadata } = file
  const fail = (what: string): never => {
    throw new Error(`${path}: ${what}`)
  }
  const architecture = metadata['general.architecture']
  if (architecture !== 'llama') {
    fail(`is a GGUF file of architecture ${quote(String(architecture))}; a model can be made of "llama" ones only`)
  }
  const names = new Set(file.names())
  const positive = (key: string, missing?: number): number => {
    const stored = metadata[`llama.${key}`] ?? missing
    if (stored === undefined) fail(`its metadata lack llama.${key}`)
    // Some writers repeat the number for each layer.
    const value = Array.isArray(stored) && stored.every((item) => item === stored[0]) ? stored[0] : stored
    if (typeof value !== 'number' || !(value > 0) || value > 1e9) {
      return fail(`its metadata say llama.${key} = ${quote(String(value))}, which is no size`)
    }
    return value
  }
  const tokenId = (key: string) => {
    const id = metadata[`tokenizer.ggml.${key}_token_id`]
    return typeof id === 'number' ? id : undefined
  }
  if (!names.has('token_embd.weight')) fail('has no tensor "token_embd.weight"')
  const heads = positive('attention.head_count')
  const hidden = positive('embedding_length')
  const headDim = positive('attention.key_length', hidden / heads)
  if (positive('attention.value_length', headDim) !== headDim) fail('has values of another size than keys')
  if (positive('rope.dimension_count', headDim) !== headDim) fail('turns only a part of each head')
  const ropeFactors = names.has(ROPE_FACTORS) ? file.read(ROPE_FACTORS) : undefined
  const ropeTheta = shortest(positive('rope.freq_base', 10000))
  const config: Record<string, unknown> = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: file.info('token_embd.weight').shape[0],
    hidden_size: hidden,
    intermediate_size: positive('feed_forward_length'),
    num_hidden_layers: positive('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: positive('attention.head_count_kv', heads),
    head_dim: headDim,
    hidden_act: 'silu',
    max_position_embeddings: positive('context_length'),
    rms_norm_eps: shortest(positive('attention.layer_norm_rms_epsilon')),
    rope_theta: ropeTheta,
    rope_scaling: ropeScalingFromGguf(metadata, ropeFactors, ropeTheta, headDim, fail),
    attention_bias: names.has('blk.0.attn_q.bias'),
    mlp_bias: names.has('blk.0.ffn_gate.bias'),
    tie_word_embeddings: !names.has('output.weight'),
    torch_dtype: 'float32',
    bos_token_id: tokenId('bos'),
    eos_token_id: tokenId('eos'),
    pad_token_id: tokenId('padding'),
  }
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined))
}

/**
 * The metadata of a GGUF file for a Hugging Face LLaMA `config`, without its tokenizer, and the factors of
 * `rope_freqs.weight` where the positions are scaled in LLaMA 3's way.
 *
 * @throws Error where the model is no `LlamaForCausalLM`, or GGUF has no word for a setting.
 */
export function ggufFromConfig(config: Record<string, unknown>): {
  metadata: Map<string, GgufValue>
  ropeFactors: Float32Array | undefined
} {
  const architecture = Array.isArray(config.architectures) ? config.architectures[0] : config.model_type
  if (architecture !== 'LlamaForCausalLM' && architecture !== 'llama') {
    throw new Error(`a GGUF model can be made of LlamaForCausalLM only, this is ${quote(String(architecture))}`)
  }
  const number = (key: string, missing?: number): number => {
    const value = config[key] ?? missing
    if (typeof value !== 'number' || !(value > 0)) throw new Error(`config.json: ${key} is not a positive number`)
    return value
  }
  const hidden = number('hidden_size')
  const heads = number('num_attention_heads')
  const headDim = number('head_dim', hidden / heads)
  // Newer configurations keep both the base and the scaling in `rope_parameters`.
  const parameters = (config.rope_parameters ?? {}) as Record<string, unknown>
  const scaling = (config.rope_scaling ?? parameters) as Record<string, unknown>
  const ropeTheta = number('rope_theta', typeof parameters.rope_theta === 'number' ? parameters.rope_theta : 10000)
  const uint = (value: number): GgufValue => ({ type: 'uint32', value })
  const float = (value: number): GgufValue => ({ type: 'float32', value })
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['general.type', { type: 'string', value: 'model' }],
    ['llama.block_count', uint(number('num_hidden_layers'))],
    ['llama.context_length', uint(number('max_position_embeddings', 2048))],
    ['llama.embedding_length', uint(hidden)],
    ['llama.feed_forward_length', uint(number('intermediate_size'))],
    ['llama.attention.head_count', uint(heads)],
    ['llama.attention.head_count_kv', uint(number('num_key_value_heads', heads))],
    ['llama.attention.key_length', uint(headDim)],
    ['llama.attention.value_length', uint(headDim)],
    ['llama.attention.layer_norm_rms_epsilon', float(number('rms_norm_eps', 1e-6))],
    ['llama.rope.dimension_count', uint(headDim)],
    ['llama.rope.freq_base', float(ropeTheta)],
    ['llama.vocab_size', uint(number('vocab_size'))],
    ['general.quantization_version', uint(2)],
  ])
  for (const [key, value] of ropeScalingToGguf(scaling, config)) metadata.set(key, value)
  const ropeFactors =
    (scaling.rope_type ?? scaling.type) === 'llama3' ? llama3Factors(scaling, ropeTheta, headDim) : undefined
  return { metadata, ropeFactors }
}
