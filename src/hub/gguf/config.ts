/** A model's settings in GGUF's words, as metadata, and in Hugging Face's, as config.json. */
import { quote } from '../file.ts'
import { architectureOf, GGUF_ARCHITECTURES, type GgufArchitecture } from './architectures.ts'
import type { GgufCheckpoint, GgufValue } from './file.ts'
import { llama3Factors, ropeScalingFromGguf, ropeScalingToGguf, shortest } from './rope.ts'

type Settings = Record<string, unknown>

export const ROPE_FACTORS = 'rope_freqs.weight'

/** What llama.cpp takes for granted of Gemma 3: each sixth layer sees everything, and the others turn by this base. */
const GEMMA3_PATTERN = 6
const GEMMA3_LOCAL_BASE = 10000
/** The size whose scores llama.cpp scales by the width of the model, and not of a head: 27B, by its layers. */
const GEMMA3_27B_LAYERS = 62

/**
 * What `config.json` would say of a GGUF file.
 *
 * @throws Error where the architecture is an unknown one, or a size is missing or senseless.
 */
export function configFromGguf(
  file: GgufCheckpoint,
  path: string,
): { config: Settings; architecture: GgufArchitecture } {
  const { metadata } = file
  const fail = (what: string): never => {
    throw new Error(`${path}: ${what}`)
  }
  const named = metadata['general.architecture']
  const architecture = GGUF_ARCHITECTURES.find(({ name }) => name === named)
  if (!architecture) {
    const known = GGUF_ARCHITECTURES.map(({ name }) => quote(name)).join(', ')
    return fail(`is a GGUF file of architecture ${quote(String(named))}; a model can be made of ${known} ones`)
  }
  const { name } = architecture
  const names = new Set(file.names())
  const optional = (key: string): number | undefined => {
    const stored = metadata[`${name}.${key}`]
    // Some writers repeat the number for each layer.
    const value = Array.isArray(stored) && stored.every((item) => item === stored[0]) ? stored[0] : stored
    if (value === undefined) return undefined
    if (typeof value !== 'number' || !(value > 0) || value > 1e9) {
      return fail(`its metadata say ${name}.${key} = ${quote(String(value))}, which is no size`)
    }
    return value
  }
  const positive = (key: string, missing?: number): number =>
    optional(key) ?? missing ?? fail(`its metadata lack ${name}.${key}`)
  const tokenId = (key: string) => {
    const id = metadata[`tokenizer.ggml.${key}_token_id`]
    return typeof id === 'number' ? id : undefined
  }
  if (!names.has('token_embd.weight')) fail('has no tensor "token_embd.weight"')
  const nLayers = positive('block_count')
  const heads = positive('attention.head_count')
  const hidden = positive('embedding_length')
  const headDim = positive('attention.key_length', hidden / heads)
  if (positive('attention.value_length', headDim) !== headDim) fail('has values of another size than keys')
  if (positive('rope.dimension_count', headDim) !== headDim) fail('turns only a part of each head')
  const ropeFactors = names.has(ROPE_FACTORS) ? file.read(ROPE_FACTORS) : undefined
  const ropeTheta = shortest(positive('rope.freq_base', 10000))
  const [activationKey, activation] = architecture.activation
  const [huggingFaceName, modelType] = architecture.huggingFace[0]
  const biases = names.has('blk.0.attn_q.bias')
  const shared: Settings = {
    architectures: [huggingFaceName],
    model_type: modelType,
    vocab_size: file.info('token_embd.weight').shape[0],
    hidden_size: hidden,
    intermediate_size: positive('feed_forward_length'),
    num_hidden_layers: nLayers,
    num_attention_heads: heads,
    num_key_value_heads: positive('attention.head_count_kv', heads),
    head_dim: headDim,
    [activationKey]: activation,
    max_position_embeddings: positive('context_length'),
    rms_norm_eps: shortest(positive('attention.layer_norm_rms_epsilon')),
    rope_theta: ropeTheta,
    rope_scaling: ropeScalingFromGguf(metadata, name, ropeFactors, ropeTheta, headDim, fail),
    tie_word_embeddings: !names.has('output.weight'),
    torch_dtype: 'float32',
    bos_token_id: tokenId('bos'),
    eos_token_id: tokenId('eos'),
    pad_token_id: tokenId('padding'),
  }
  const own = (): Settings => {
    const window = optional('attention.sliding_window')
    const pattern = metadata[`${name}.attention.sliding_window_pattern`]
    switch (name) {
      case 'llama': {
        if (window === undefined) return { attention_bias: biases, mlp_bias: names.has('blk.0.ffn_gate.bias') }
        if (biases) fail('has both a window and biases, as no model has')
        const [mistral, type] = architecture.huggingFace[1]
        return { architectures: [mistral], model_type: type, sliding_window: window }
      }
      case 'gemma3': {
        const layerTypes = typesOfLayers(window === undefined ? 1 : (pattern ?? GEMMA3_PATTERN), nLayers, fail)
        const unsaid = nLayers === GEMMA3_27B_LAYERS ? Math.floor(hidden / heads) : headDim
        const scale = optional('attention.scale')
        return {
          attention_bias: biases,
          query_pre_attn_scalar: scale === undefined ? unsaid : inverseSquare(scale),
          sliding_window: window ?? null,
          layer_types: layerTypes,
          rope_local_base_freq: shortest(positive('rope.freq_base_swa', GEMMA3_LOCAL_BASE)),
          final_logit_softcapping: optional('final_logit_softcapping'),
        }
      }
      default: {
        // llama.cpp knows no windows of these; those that we write come with their layers.
        const windows =
          window !== undefined && pattern !== undefined
            ? {
                use_sliding_window: true,
                sliding_window: window,
                layer_types: typesOfLayers(pattern, nLayers, fail),
              }
            : {}
        return name === 'qwen3' ? { attention_bias: biases, ...windows } : windows
      }
    }
  }
  const config = { ...shared, ...own() }
  return {
    config: Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined)),
    architecture,
  }
}

/** @param pattern - which layers have a window; or a number n: all but each n-th */
function typesOfLayers(pattern: unknown, nLayers: number, fail: (what: string) => never): string[] {
  const isList = Array.isArray(pattern) && pattern.length === nLayers
  if (!isList && !(Number.isInteger(pattern) && (pattern as number) >= 0)) {
    fail('its attention.sliding_window_pattern is neither a number nor a list of all layers')
  }
  const slides = (i: number): boolean =>
    isList ? Boolean(pattern[i]) : pattern === 0 || (i + 1) % (pattern as number) !== 0
  return Array.from({ length: nLayers }, (_, i) => (slides(i) ? 'sliding_attention' : 'full_attention'))
}

/** The shortest number whose inverse square root is the same float32. */
function inverseSquare(scale: number): number {
  const value = scale ** -2
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits))
    if (Math.fround(1 / Math.sqrt(short)) === Math.fround(scale)) return short
  }
  return value
}

export interface GgufModel {
  readonly architecture: GgufArchitecture
  readonly metadata: Map<string, GgufValue>
  /** The factors of `rope_freqs.weight`, where positions are scaled in LLaMA 3's way. */
  readonly ropeFactors: Float32Array | undefined
  /** What llama.cpp would compute otherwise. */
  readonly notes: readonly string[]
}

/**
 * The metadata of a GGUF file for a Hugging Face `config`, without its tokenizer.
 *
 * @throws Error where GGUF has no word for the model or a setting.
 */
export function ggufFromConfig(config: Settings): GgufModel {
  const architecture = architectureOf(config)
  if (!architecture) {
    const named = Array.isArray(config.architectures) ? config.architectures[0] : config.model_type
    const known = GGUF_ARCHITECTURES.flatMap(({ huggingFace }) => huggingFace.map(([name]) => name)).join(', ')
    throw new Error(`a GGUF model can be made of ${known}; this is ${quote(String(named))}`)
  }
  const { name, defaults } = architecture
  const number = (key: string, missing = defaults[key]): number => {
    const value = config[key] ?? missing
    if (typeof value !== 'number' || !(value > 0)) throw new Error(`config.json: ${key} is not a positive number`)
    return value
  }
  const refuse = (what: string): never => {
    throw new Error(`config.json: GGUF has no word for ${what}`)
  }
  const [activationKey, ...activations] = architecture.activation
  const activation = config[activationKey] ?? activations[0]
  if (!activations.includes(String(activation))) refuse(`${activationKey} ${quote(String(activation))} of ${name}`)
  const hidden = number('hidden_size')
  const heads = number('num_attention_heads')
  const nLayers = number('num_hidden_layers')
  const headDim = number('head_dim', defaults.head_dim ?? hidden / heads)
  // Newer configurations keep both the base and the scaling in `rope_parameters`, Gemma's by the kind of layer.
  const given = (config.rope_parameters ?? {}) as Settings
  const parameters = (given.full_attention ?? given) as Settings
  const local = (given.sliding_attention ?? {}) as Settings
  const scaling = (config.rope_scaling ?? parameters) as Settings
  const theta = name === 'gemma3' ? 1_000_000 : 10_000
  const base = (settings: Settings, key: string, missing: number) =>
    number(key, typeof settings.rope_theta === 'number' ? settings.rope_theta : missing)
  const ropeTheta = base(parameters, 'rope_theta', theta)
  const uint = (value: number): GgufValue => ({ type: 'uint32', value })
  const float = (value: number): GgufValue => ({ type: 'float32', value })
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: name }],
    ['general.type', { type: 'string', value: 'model' }],
    [`${name}.block_count`, uint(nLayers)],
    [`${name}.context_length`, uint(number('max_position_embeddings'))],
    [`${name}.embedding_length`, uint(hidden)],
    [`${name}.feed_forward_length`, uint(number('intermediate_size'))],
    [`${name}.attention.head_count`, uint(heads)],
    [`${name}.attention.head_count_kv`, uint(number('num_key_value_heads', defaults.num_key_value_heads ?? heads))],
    [`${name}.attention.key_length`, uint(headDim)],
    [`${name}.attention.value_length`, uint(headDim)],
    [`${name}.attention.layer_norm_rms_epsilon`, float(number('rms_norm_eps'))],
    [`${name}.rope.dimension_count`, uint(headDim)],
    [`${name}.rope.freq_base`, float(ropeTheta)],
    [`${name}.vocab_size`, uint(number('vocab_size'))],
    ['general.quantization_version', uint(2)],
  ])
  for (const [key, value] of ropeScalingToGguf(scaling, config, name)) metadata.set(key, value)

  const notes: string[] = []
  const window = config.sliding_window === undefined ? defaults.sliding_window : config.sliding_window
  const isMistral = architecture.huggingFace.slice(1).some((names) => names.includes(namedBy(config)))
  if (isMistral && typeof window === 'number') {
    metadata.set('llama.attention.sliding_window', uint(window))
    notes.push(`llama.cpp does not read the window of ${window} of such a model, and answers otherwise past it`)
  }
  if (name.startsWith('qwen') && config.use_sliding_window === true && typeof window === 'number') {
    const first = typeof config.max_window_layers === 'number' ? config.max_window_layers : 28
    const types = listedTypes(config, nLayers) ?? Array.from({ length: nLayers }, (_, i) => i >= first)
    if (types.includes(true)) {
      metadata.set(`${name}.attention.sliding_window`, uint(window))
      metadata.set(`${name}.attention.sliding_window_pattern`, flags(types))
      notes.push(`llama.cpp does not read the window of ${window} of such a model, and answers otherwise past it`)
    }
  }
  if (name === 'gemma3') {
    if (config.use_bidirectional_attention === true) refuse('use_bidirectional_attention')
    if ((local.rope_type ?? local.type ?? 'default') !== 'default') refuse('scaled positions of sliding_attention')
    const usual = (i: number) => (i + 1) % GEMMA3_PATTERN !== 0
    const period = number('sliding_window_pattern', GEMMA3_PATTERN)
    const types = listedTypes(config, nLayers) ?? Array.from({ length: nLayers }, (_, i) => (i + 1) % period !== 0)
    if (types.includes(true)) {
      if (typeof window !== 'number') throw new Error('config.json: sliding_window is not a positive number')
      metadata.set('gemma3.attention.sliding_window', uint(window))
      if (types.some((slides, i) => slides !== usual(i))) {
        metadata.set('gemma3.attention.sliding_window_pattern', flags(types))
        notes.push('llama.cpp gives each sixth layer, and no other, all of the text')
      }
    }
    const localTheta = base(local, 'rope_local_base_freq', GEMMA3_LOCAL_BASE)
    metadata.set('gemma3.rope.freq_base_swa', float(localTheta))
    const scalar = number('query_pre_attn_scalar')
    const unsaid = nLayers === GEMMA3_27B_LAYERS ? Math.floor(hidden / heads) : headDim
    if (scalar !== unsaid) {
      metadata.set('gemma3.attention.scale', float(1 / Math.sqrt(scalar)))
      notes.push(`llama.cpp scales scores by 1 / √${unsaid}, and not by 1 / √${scalar}`)
    }
    const cap = config.final_logit_softcapping
    if (typeof cap === 'number') metadata.set('gemma3.final_logit_softcapping', float(cap))
  }
  const isLlama3 = (scaling.rope_type ?? scaling.type) === 'llama3'
  return {
    architecture,
    metadata,
    ropeFactors: isLlama3 ? llama3Factors(scaling, ropeTheta, headDim) : undefined,
    notes,
  }
}

const namedBy = (config: Settings): string =>
  String(Array.isArray(config.architectures) ? config.architectures[0] : config.model_type)

const flags = (value: boolean[]): GgufValue => ({ type: 'array', itemType: 'bool', value })

/** Which layers have a window, where config.json lists them. */
function listedTypes({ layer_types: types }: Settings, nLayers: number): boolean[] | undefined {
  if (!Array.isArray(types)) return undefined
  if (types.length !== nLayers) throw new Error(`config.json: layer_types names ${types.length} of ${nLayers} layers`)
  return types.map((type) => type === 'sliding_attention')
}
