/**
 * LoRA: Low-Rank Adaptation of Large Language Models
 * Hu, Shen, Wallis et al., Microsoft, 2021. arXiv 2106.09685
 *
 * New over fine-tuning and adapters (§4.1):
 * - the weights stay as they are; beside each, a product of two thin matrices learns what is added to it:
 *   h = W₀x + ΔWx = W₀x + BAx (eq. 3), scaled by α / r;
 * - B is zero at first, so that training starts at the model as it was;
 * - for serving, W₀ + BA is one matrix again, and nothing is slower.
 *
 * Departures: every linear layer is adapted, not the attention's alone (Dettmers et al., 2023, arXiv 2305.14314, §4); A
 * begins even over ±1/√in, where the paper draws from a Gaussian: both as the peft package does, whose files are written
 * and read. Dropout is on x before A (the paper's code). The model itself is without dropout.
 *
 * | paper       | here                                        |
 * |-------------|---------------------------------------------|
 * | W₀          | the model's own parameter, frozen           |
 * | A, B        | `lora_A.weight`, `lora_B.weight`            |
 * | r, α        | `rank`, `alpha`                             |
 */

import { addLowRank, type LoraAdapter, type LowRank, PEFT_PREFIX, readAdapter, writeAdapter } from '../hub/adapter.ts'
import { fanInUniform, zeros } from '../nn/initializers.ts'
import type { CausalInputs, CausalLm, CausalOptions, CausalOutputs } from '../nn/model.ts'
import type { LinearShape, Scope } from '../nn/scope.ts'
import { type InputSpecs, int32, trace } from '../nn/trace.ts'
import { linear, type TensorData } from '../tensor/index.ts'

export interface LoraOptions {
  /** r. Default 16. */
  readonly rank?: number
  /** α. Default: r, which leaves BA as it is (§4.1). */
  readonly alpha?: number
  /** Of x before A. Default 0. */
  readonly dropout?: number
  /** The linear layers that are adapted, by name or by the end of it: `q_proj`. Default: all but the head. */
  readonly targets?: 'all-linear' | readonly string[]
}

type Named = ReadonlyMap<string, TensorData>

/** A frozen model with a product of two thin matrices beside its linear layers. Of all parameters only those are trained. */
export class Lora implements CausalLm {
  readonly kind = 'causal'
  readonly inputs: InputSpecs
  readonly vocabSize: number
  readonly maxPositions: number
  readonly embeddingScale?: number
  readonly rank: number
  readonly alpha: number
  readonly dropout: number
  /** Those that are adapted, by name. */
  readonly layers: ReadonlyMap<string, LinearShape>

  /** @throws Error where a target is no linear layer of the model */
  constructor(
    readonly model: CausalLm,
    { rank = 16, alpha = rank, dropout = 0, targets = 'all-linear' }: LoraOptions = {},
  ) {
    if (!Number.isInteger(rank) || rank < 1) throw new Error(`LoRA's rank is an integer of at least 1, got ${rank}`)
    this.inputs = model.inputs
    this.vocabSize = model.vocabSize
    this.maxPositions = model.maxPositions
    this.embeddingScale = model.embeddingScale
    this.rank = rank
    this.alpha = alpha
    this.dropout = dropout
    this.layers = targetLayers(model, targets)
  }

  toConfig(): Record<string, unknown> {
    return this.model.toConfig()
  }

  forward(scope: Scope, inputs: CausalInputs, options?: CausalOptions): CausalOutputs {
    const adapted = scope.frozen().adding((layer, x, { inFeatures, outFeatures }) => {
      if (!this.layers.has(layer)) return undefined
      const part = scope.at(PEFT_PREFIX + layer)
      const a = part.at('lora_A').param('weight', [this.rank, inFeatures], fanInUniform)
      const b = part.at('lora_B').param('weight', [outFeatures, this.rank], zeros)
      const down = linear(scope.dropout(x, this.dropout), a)
      return linear(this.alpha === this.rank ? down : down.mul(this.alpha / this.rank), b) // eq. 3
    })
    return this.model.forward(adapted, inputs, options)
  }

  /** B and A of each layer, from the values of all parameters. */
  learned(weights: Named): Map<string, LowRank> {
    return new Map(
      [...this.layers.keys()].map((layer) => {
        const [a, b] = ['A', 'B'].map((which) => weights.get(`${PEFT_PREFIX}${layer}.lora_${which}.weight`))
        if (!a || !b) throw new Error(`the weights have no LoRA of ${layer}`)
        return [layer, { a, b }]
      }),
    )
  }

  /** W₀ + (α / r) BA: the weights of the model alone, which answers as the two do together (§4.1, no latency). */
  merged(weights: Named): Map<string, TensorData> {
    const merged = new Map([...weights].filter(([name]) => !name.startsWith(PEFT_PREFIX)))
    for (const [layer, lowRank] of this.learned(weights)) {
      const { inFirst } = this.layers.get(layer) as LinearShape
      const weight = merged.get(`${layer}.weight`)
      if (!weight) throw new Error(`the weights have no ${layer}.weight`)
      const data = Float32Array.from(weight.data as Float32Array)
      addLowRank(data, lowRank, { alpha: this.alpha, inFirst })
      merged.set(`${layer}.weight`, { dtype: 'float32', shape: weight.shape, data })
    }
    return merged
  }
}

/** The linear layers of a model by name: what a checkpoint has as `NAME.weight`. The head is not among them. */
export function linearLayers(model: CausalLm): Map<string, LinearShape> {
  const layers = new Map<string, LinearShape>()
  trace(
    (scope, { inputIds }) => {
      const watched = scope.adding((layer, _, shape) => {
        if (layer !== 'lm_head') layers.set(layer, shape)
        return undefined
      })
      return { logits: model.forward(watched, { inputIds }).logits }
    },
    { inputIds: int32(1, 1) },
  )
  return layers
}

function targetLayers(model: CausalLm, targets: 'all-linear' | readonly string[]): Map<string, LinearShape> {
  const all = linearLayers(model)
  if (targets === 'all-linear') return all
  const isOf = (layer: string, target: string): boolean => layer === target || layer.endsWith(`.${target}`)
  const missing = targets.find((target) => ![...all.keys()].some((layer) => isOf(layer, target)))
  if (missing !== undefined || targets.length === 0) {
    const ends = [...new Set([...all.keys()].map(lastPart))]
    throw new Error(
      `${model.constructor.name} has no linear layer ${missing ?? 'of no name'}; there are ${ends.join(', ')}`,
    )
  }
  return new Map([...all].filter(([layer]) => targets.some((target) => isOf(layer, target))))
}

const lastPart = (layer: string): string => layer.slice(layer.lastIndexOf('.') + 1)

/**
 * Writes what was learned as PEFT does: a folder with adapter_config.json and adapter_model.safetensors.
 *
 * @param weights - of all parameters, or of the adapter's alone
 * @param options.base - the model that it was learned for, as `base_model_name_or_path`: `owner/name`, or a path
 */
export async function saveLora(
  folder: string,
  lora: Lora,
  weights: Named,
  { base }: { base?: string } = {},
): Promise<void> {
  const names = [...lora.layers.keys()]
  const ends = [...new Set(names.map(lastPart))]
  // The ends of names say it all where no other layer ends so.
  const all = [...linearLayers(lora.model).keys()].filter((layer) => ends.includes(lastPart(layer)))
  const inFirst = [...lora.layers.values()].some((shape) => shape.inFirst)
  const adapter = {
    rank: lora.rank,
    alpha: lora.alpha,
    dropout: lora.dropout,
    base,
    inFirst,
    layers: lora.learned(weights),
  }
  await writeAdapter(folder, adapter, all.length === names.length ? ends : names)
}

/**
 * Reads what PEFT or we wrote, for a model.
 *
 * @returns the adapted model, and the adapter's parameters by name: beside the model's own, all that it needs
 * @throws Error with one sentence where it is of another kind, or of another model
 */
export function loadLora(folder: string, model: CausalLm): { lora: Lora; weights: Map<string, TensorData> } {
  const adapter: LoraAdapter = readAdapter(folder)
  const lora = new Lora(model, { ...adapter, targets: [...adapter.layers.keys()] })
  const weights = new Map<string, TensorData>()
  for (const [layer, { a, b }] of adapter.layers) {
    const shape = lora.layers.get(layer)
    if (a.shape[1] !== shape?.inFeatures || b.shape[0] !== shape.outFeatures) {
      throw new Error(
        `${folder} takes ${layer} from ${a.shape[1]} to ${b.shape[0]} features; in this model it goes from ${shape?.inFeatures} to ${shape?.outFeatures}`,
      )
    }
    weights.set(`${PEFT_PREFIX}${layer}.lora_A.weight`, a)
    weights.set(`${PEFT_PREFIX}${layer}.lora_B.weight`, b)
  }
  return { lora, weights }
}
