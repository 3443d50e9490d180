/** Scaled rotary positions: `rope_scaling` of a Hugging Face configuration, and what GGUF says instead. */
import type { GgufValue } from './file.ts'

type Settings = Record<string, unknown>

const numberOf = (settings: Settings, key: string, missing?: number): number => {
  const value = settings[key] ?? missing
  if (typeof value !== 'number' || !(value > 0)) throw new Error(`config.json: rope_scaling.${key} is not a number`)
  return value
}

/** The shortest decimal that is the same float32: 9.999999747378752e-06 is 1e-5 again. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits))
    if (Math.fround(short) === Math.fround(value)) return short
  }
  return value
}

/**
 * By what LLaMA 3.1 divides each rotary frequency: 1 for short wave lengths, `factor` for those beyond the original
 * context, a smooth step between.
 *
 * @returns [headDim / 2]
 */
export function llama3Factors(scaling: Settings, ropeTheta: number, headDim: number): Float32Array {
  const factor = numberOf(scaling, 'factor', 8)
  const low = numberOf(scaling, 'low_freq_factor', 1)
  const high = numberOf(scaling, 'high_freq_factor', 4)
  const context = numberOf(scaling, 'original_max_position_embeddings', 8192)
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const waveLength = 2 * Math.PI * ropeTheta ** ((2 * i) / headDim)
    if (waveLength < context / high) return 1
    if (waveLength > context / low) return factor
    const smooth = (context / waveLength - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
  })
}

/** Contexts that models with such factors were first trained with. */
const ORIGINAL_CONTEXTS = [8192, 4096, 2048, 16384, 32768, 1024]

/**
 * The `rope_scaling` that a GGUF file stands for; undefined where positions are not scaled. GGUF stores LLaMA 3's
 * factors without the settings that they come from, so those are found by trying.
 */
export function ropeScalingFromGguf(
  metadata: Settings,
  architecture: string,
  factors: Float32Array | undefined,
  ropeTheta: number,
  headDim: number,
  fail: (what: string) => never,
): Settings | undefined {
  if (factors) {
    if (factors.length !== headDim / 2) return fail(`its rope_freqs.weight has ${factors.length} factors`)
    if (factors.every((factor) => factor === 1)) return undefined
    const factor = factors.reduce((a, b) => Math.max(a, b))
    for (const context of ORIGINAL_CONTEXTS) {
      const settings = {
        rope_type: 'llama3',
        factor,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: context,
      }
      const expected = llama3Factors(settings, ropeTheta, headDim)
      if (factors.every((value, i) => Math.abs(value - expected[i]) <= 1e-3 * expected[i])) return settings
    }
    return fail('its rope_freqs.weight are not of the LLaMA 3 form')
  }
  const said = (key: string): unknown => metadata[`${architecture}.rope.scaling.${key}`]
  const type = said('type') ?? 'none'
  const stored = said('factor')
  if (type === 'none') return undefined
  if (typeof stored !== 'number' || !(stored > 0)) return fail(`its ${architecture}.rope.scaling.factor is no number`)
  const factor = shortest(stored)
  if (type === 'linear') return { rope_type: 'linear', factor }
  if (type === 'yarn') {
    const context = said('original_context_length')
    const beta = (key: string) => {
      const value = said(`yarn_${key}`)
      return typeof value === 'number' && value > 0 ? { [key]: shortest(value) } : {}
    }
    return {
      rope_type: 'yarn',
      factor,
      ...(context === undefined ? {} : { original_max_position_embeddings: context }),
      ...beta('beta_fast'),
      ...beta('beta_slow'),
    }
  }
  return fail(`its positions are scaled by "${String(type)}", which is not known here`)
}

/** The metadata for a `rope_scaling`. LLaMA 3's needs none: it is in the factors. */
export function ropeScalingToGguf(scaling: Settings, config: Settings, architecture: string): [string, GgufValue][] {
  const type = scaling.rope_type ?? scaling.type ?? 'default'
  if (type === 'default' || type === 'llama3') return []
  const key = (name: string): string => `${architecture}.rope.scaling.${name}`
  const entries: [string, GgufValue][] = [
    [key('type'), { type: 'string', value: String(type) }],
    [key('factor'), { type: 'float32', value: numberOf(scaling, 'factor') }],
  ]
  if (type === 'linear') return entries
  if (type === 'yarn') {
    const context = numberOf(scaling, 'original_max_position_embeddings', Number(config.max_position_embeddings))
    for (const setting of ['attention_factor', 'mscale', 'mscale_all_dim'] as const) {
      if (typeof scaling[setting] === 'number') {
        throw new Error(`config.json: GGUF has no word for ${setting} of rope_scaling of type "yarn"`)
      }
    }
    if (scaling.truncate === false) throw new Error('config.json: GGUF has no word for truncate of rope_scaling')
    const betas = (['beta_fast', 'beta_slow'] as const).flatMap((setting): [string, GgufValue][] =>
      typeof scaling[setting] === 'number'
        ? [[key(`yarn_${setting}`), { type: 'float32', value: scaling[setting] }]]
        : [],
    )
    return [...entries, [key('original_context_length'), { type: 'uint32', value: context }], ...betas]
  }
  throw new Error(`config.json: GGUF has no word for rope_scaling of type "${String(type)}"`)
}
