/** The architectures that GGUF and Hugging Face both have words for, and where the two differ. */

type Names = readonly (readonly [gguf: string, huggingFace: string])[]

export interface GgufArchitecture {
  /** `general.architecture`, which begins the keys of the metadata. */
  readonly name: string
  /** Which of Hugging Face's `architectures` it is, the plainest first, each with its `model_type`. */
  readonly huggingFace: readonly (readonly [architecture: string, modelType: string])[]
  readonly blockNames: Names
  /** The two halves of a rotary pair are beside each other (rows 2i and 2i + 1 of a head), not half a head apart. */
  readonly interleaved: boolean
  /** Norms scale by their `weight`, which Hugging Face stores as its difference from 1. */
  readonly normsAroundOne: boolean
  /** Whether the head is the embedding where a config.json does not say. */
  readonly tied: boolean
  /** What a config.json may leave out. */
  readonly defaults: Readonly<Record<string, number>>
  /** The key of the activation function in config.json, and those that the architecture means. */
  readonly activation: readonly [key: string, ...names: string[]]
}

const OUTER_NAMES: Names = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
]

const LLAMA_NAMES: Names = [
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

const HEAD_NORMS: Names = [
  ['attn_q_norm', 'self_attn.q_norm'],
  ['attn_k_norm', 'self_attn.k_norm'],
]

/** A norm before each sub-layer and one after it: of LLaMA's two names one stands for another place. */
const GEMMA3_NAMES: Names = [
  ...LLAMA_NAMES.filter(([gguf]) => gguf !== 'ffn_norm'),
  ...HEAD_NORMS,
  ['post_attention_norm', 'post_attention_layernorm'],
  ['ffn_norm', 'pre_feedforward_layernorm'],
  ['post_ffw_norm', 'post_feedforward_layernorm'],
]

const plain = { interleaved: false, normsAroundOne: false, tied: false } as const

export const GGUF_ARCHITECTURES: readonly GgufArchitecture[] = [
  {
    ...plain,
    name: 'llama',
    // Mistral is LLaMA with a window: `llama.attention.sliding_window` tells them apart.
    huggingFace: [
      ['LlamaForCausalLM', 'llama'],
      ['MistralForCausalLM', 'mistral'],
    ],
    blockNames: LLAMA_NAMES,
    interleaved: true,
    defaults: { max_position_embeddings: 2048, rms_norm_eps: 1e-6 },
    activation: ['hidden_act', 'silu', 'swish'],
  },
  {
    ...plain,
    name: 'qwen2',
    huggingFace: [['Qwen2ForCausalLM', 'qwen2']],
    blockNames: LLAMA_NAMES,
    defaults: { max_position_embeddings: 32768, rms_norm_eps: 1e-6 },
    activation: ['hidden_act', 'silu', 'swish'],
  },
  {
    ...plain,
    name: 'qwen3',
    huggingFace: [['Qwen3ForCausalLM', 'qwen3']],
    blockNames: [...LLAMA_NAMES, ...HEAD_NORMS],
    defaults: { max_position_embeddings: 32768, rms_norm_eps: 1e-6, head_dim: 128 },
    activation: ['hidden_act', 'silu', 'swish'],
  },
  {
    name: 'gemma3',
    huggingFace: [['Gemma3ForCausalLM', 'gemma3_text']],
    blockNames: GEMMA3_NAMES,
    interleaved: false,
    normsAroundOne: true,
    tied: true,
    defaults: {
      max_position_embeddings: 131072,
      rms_norm_eps: 1e-6,
      head_dim: 256,
      num_key_value_heads: 4,
      query_pre_attn_scalar: 256,
      sliding_window: 4096,
    },
    activation: ['hidden_activation', 'gelu_pytorch_tanh', 'gelu_new'],
  },
]

/** The architecture of a config.json; undefined where GGUF has no word for it. */
export function architectureOf(config: Readonly<Record<string, unknown>>): GgufArchitecture | undefined {
  const { architectures, model_type: modelType } = config
  const named = Array.isArray(architectures) ? architectures[0] : modelType
  return GGUF_ARCHITECTURES.find(({ huggingFace }) => huggingFace.some((names) => names.includes(String(named))))
}

const [LLAMA] = GGUF_ARCHITECTURES

/** `blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`; undefined where there is no such tensor. */
export const huggingFaceName = (ggufName: string, architecture = LLAMA): string | undefined =>
  translate(ggufName, /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/, 'model.layers.', architecture, (pair) => pair)

/** `model.layers.3.self_attn.q_proj.weight` → `blk.3.attn_q.weight`; undefined where there is no such tensor. */
export const ggufName = (huggingFaceName: string, architecture = LLAMA): string | undefined =>
  translate(
    huggingFaceName,
    /^(?:model\.layers\.(\d+)\.)?([\w.]+)\.(weight|bias)$/,
    'blk.',
    architecture,
    ([gguf, huggingFace]) => [huggingFace, gguf],
  )

function translate(
  name: string,
  pattern: RegExp,
  blockPrefix: string,
  { blockNames }: GgufArchitecture,
  direction: (pair: readonly [string, string]) => readonly [string, string],
): string | undefined {
  const match = pattern.exec(name)
  if (!match) return undefined
  const [, layer, part, kind] = match
  const names = layer === undefined ? OUTER_NAMES : blockNames
  const found = names.map(direction).find(([from]) => from === part)
  return found && `${layer === undefined ? '' : `${blockPrefix}${layer}.`}${found[1]}.${kind}`
}

/** What is between a tensor's values in the one form and in the other. */
export interface Difference {
  /** How many heads its rows are cut into, each in another order; 0 where the order is the same. */
  readonly heads: number
  /** What is added on the way into a GGUF file. */
  readonly offset: number
}

/** @param name - as Hugging Face has it */
export function differenceOf(name: string, config: Readonly<Record<string, unknown>>): Difference {
  const architecture = architectureOf(config)
  const offset = architecture?.normsAroundOne && /norm\.weight$/.test(name) ? 1 : 0
  if (!architecture?.interleaved) return { heads: 0, offset }
  if (/\.self_attn\.q_proj\./.test(name)) return { heads: config.num_attention_heads as number, offset }
  if (/\.self_attn\.k_proj\./.test(name)) return { heads: config.num_key_value_heads as number, offset }
  return { heads: 0, offset }
}
