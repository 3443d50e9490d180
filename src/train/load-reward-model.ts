import { openCheckpoint, resolveModelRef } from '../hub/open.ts'
import { openTokenizer } from '../load/load-tokenizer.ts'
import { modelFromCheckpoint } from '../load/registry.ts'
import { finder, readWeights } from '../load/weights.ts'
import { type CausalLm, traceModel } from '../nn/model.ts'
import type { TensorData } from '../tensor/index.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { BIAS, CLASSIFIER, RewardModel, type RewardScorer, rewardScorer } from './reward.ts'

/** A reward model from a folder, ready to judge. */
export interface LoadedRewardModel extends RewardScorer {
  readonly model: RewardModel
  readonly weights: Map<string, TensorData>
  readonly tokenizer?: Tokenizer
}

/**
 * Loads what was saved as a `RewardModel`, or by transformers or TRL as a sequence classifier of one label.
 *
 * @throws Error with one sentence where it is none
 */
export async function loadRewardModel(reference: string, options: { rows?: number } = {}): Promise<LoadedRewardModel> {
  const files = await resolveModelRef(reference)
  const checkpoint = openCheckpoint(files.path)
  try {
    const { architectures, [BIAS]: bias = 0, ...config } = checkpoint.config ?? {}
    const name = [architectures].flat().find((one) => typeof one === 'string' && one.endsWith(CLASSIFIER))
    if (typeof name !== 'string') {
      throw new Error(
        `${reference}: is no reward model: its config.json must name a …${CLASSIFIER}, as \`jackdaw train reward\` writes it`,
      )
    }
    const before = name.slice(0, -CLASSIFIER.length)
    const causal = {
      ...config,
      architectures: [`${before}ForCausalLM`, `${before}LMHeadModel`],
      tie_word_embeddings: true,
    }
    const { model: trunk, modelClass } = modelFromCheckpoint(checkpoint, causal)
    if (trunk.kind !== 'causal' || typeof bias !== 'number') {
      throw new Error(`${reference}: is no reward model: ${trunk.kind === 'causal' ? `${BIAS} is no number` : name}`)
    }
    const model = new RewardModel(trunk as CausalLm, bias)
    const { parameters } = traceModel(model, { onDeclare: finder(checkpoint, modelClass) })
    const weights = readWeights(parameters.values(), checkpoint, modelClass)
    const scorer = await rewardScorer(model, weights, options)
    return { ...scorer, model, weights, tokenizer: await openTokenizer(files) }
  } finally {
    checkpoint.close()
  }
}
