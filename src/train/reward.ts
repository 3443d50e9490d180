/**
 * Training language models to follow instructions with human feedback — the reward model
 * Ouyang, Wu, Jiang, Almeida, Wainwright et al., OpenAI, 2022. arXiv 2203.02155, §3.5, eq. 1
 *
 * New over comparisons of two:
 * - labelers rank K = 4 to 9 answers to a prompt, and all K (K − 1) / 2 comparisons of it are one element of a batch:
 *   each answer is read once, and no prompt counts more often than another, so that one epoch does not overfit;
 * - the model is the supervised one without its unembedding, with a scalar in its place;
 * - when it is trained a bias makes the mean reward of demonstrations 0.
 *
 * Departures: ranks that are tied make no pair. The first values of the scalar's weights and the other normalisation,
 * rewards ∼ N(0, 1) by a gain and a bias, are those of Ziegler et al., 2019 (arXiv 1909.08593, §2.1).
 *
 * | paper         | here                                                   |
 * |---------------|--------------------------------------------------------|
 * | r_θ(x, y)     | `rewards`: a scalar at the last token                  |
 * | y_w, y_l      | `winners`, `losers`: rows of a batch                   |
 * | 1 / C(K, 2)   | `pairWeights`, which add up to 1 for every prompt      |
 */

import type { Preference } from '../data/instruction/preferences.ts'
import { StepRandom } from '../data/random.ts'
import { normal } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import type { CausalLm, Model } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { float32, type InputSpecs, int32, type Tensors, trace } from '../nn/trace.ts'
import type { Batch, Objective } from '../optim/trainer.ts'
import { compile, type LiveWeights, type Weights } from '../runtime/compile.ts'
import {
  gather,
  indicator,
  type SumAndCount,
  softplus,
  sum,
  type Tensor,
  type TensorData,
  takeRows,
  tensorData,
} from '../tensor/index.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { answerTokens, promptTokens } from './chat-tokens.ts'

type Ids = readonly number[]

/** r_θ: a language model without its head, and a scalar at a text's last token. */
export class RewardModel implements Model {
  readonly kind = 'reward'
  readonly inputs: InputSpecs = { inputIds: int32('batch', 'seq'), lastAt: int32('batch') }
  /** The language model; of a head beside the table of tokens there is none. */
  readonly trunk: CausalLm

  /** @param bias - added to every reward: not a parameter, but what is known once the model is trained */
  constructor(
    model: CausalLm,
    readonly bias = 0,
  ) {
    this.trunk = headless(model)
  }

  /**
   * @param inputIds - int32 [batch, seq]: prompt, answer, and padding at the right
   * @param lastAt - int32 [batch]: where each answer's last token stands, counted through all rows
   * @returns rewards [batch], without the bias
   */
  forward(scope: Scope, { inputIds, lastAt }: Tensors): { rewards: Tensor } {
    const { lastHiddenState } = this.trunk.forward(scope, { inputIds })
    const states = takeRows(lastHiddenState, lastAt as Tensor) // [batch, dModel]
    const init = normal(1 / Math.sqrt((states.shape[1] as number) + 1))
    return { rewards: linear(scope.at('score'), states, 1, { bias: false, init }).reshape([-1]) }
  }

  /** As transformers and TRL have a model with a scalar head; the bias is a field that they leave alone. */
  toConfig(): Record<string, unknown> {
    const config = this.trunk.toConfig()
    const architectures = (config.architectures as string[]).map((name) => name.replace(CAUSAL, CLASSIFIER))
    return { ...config, architectures, id2label: { 0: 'LABEL_0' }, label2id: { LABEL_0: 0 }, [BIAS]: this.bias }
  }
}

const CAUSAL = /ForCausalLM$|LMHeadModel$/
export const CLASSIFIER = 'ForSequenceClassification'
export const BIAS = 'reward_bias'

/** The same model, whose head is its table of tokens: where nobody asks for logits it then has no parameter for them. */
function headless(model: CausalLm): CausalLm {
  const { config } = model as CausalLm & { config?: object }
  if (!config || !('tieWordEmbeddings' in config)) return model
  const make = model.constructor as new (config: object) => CausalLm
  return new make({ ...config, tieWordEmbeddings: true })
}

/** Answers to one prompt, as the model reads them. */
export interface Comparison {
  /** Prompt and answer, one sequence each. */
  readonly sequences: readonly Ids[]
  /** Of each; the best is 0, and those that are tied share one. */
  readonly ranks: readonly number[]
  /** Where pairs were judged one by one, and so may contradict each other: winner and loser, by their places. */
  readonly pairs?: readonly (readonly [winner: number, loser: number])[]
}

export function encodePreference(tokenizer: Tokenizer, { messages, answers }: Preference): Comparison {
  const prompt = promptTokens(tokenizer, messages)
  const ranked = answers.flatMap((tied, rank) => tied.map((answer) => ({ answer, rank })))
  return {
    sequences: ranked.map(({ answer }) => [...prompt, ...answerTokens(tokenizer, answer)]),
    ranks: ranked.map(({ rank }) => rank),
  }
}

/** Which of the answers beat which, by their places: all C(K, 2) but the ties, or those that were judged. */
export const pairsOf = ({
  ranks,
  pairs,
}: Pick<Comparison, 'ranks' | 'pairs'>): readonly (readonly [winner: number, loser: number])[] =>
  pairs ?? ranks.flatMap((rank, i) => ranks.flatMap((other, j) => (rank < other ? [[i, j] as const] : [])))

export interface ComparisonShape {
  /** Answers a batch, of as many prompts as fit. */
  readonly rows: number
  readonly seq: number
  /** The most answers that a prompt has. */
  readonly answers: number
}

/** As many pairs as prompts in so many rows can have. */
const pairsIn = ({ rows, answers }: ComparisonShape): number => Math.ceil((rows * (answers - 1)) / 2)

/** The inputs of `rewardObjective`. */
export const comparisonInputs = (shape: ComparisonShape): InputSpecs => ({
  inputIds: int32(shape.rows, shape.seq),
  lastAt: int32(shape.rows),
  winners: int32(pairsIn(shape)),
  losers: int32(pairsIn(shape)),
  pairWeights: float32(pairsIn(shape)),
})

/**
 * Prompts with all their answers side by side; rows and pairs that are left over weigh nothing.
 *
 * @throws RangeError where they do not fit
 */
export function comparisonBatch(comparisons: readonly Comparison[], shape: ComparisonShape): Batch {
  const { rows, seq } = shape
  const batch = {
    inputIds: new Int32Array(rows * seq),
    lastAt: Int32Array.from({ length: rows }, (_, row) => row * seq),
    winners: new Int32Array(pairsIn(shape)),
    losers: new Int32Array(pairsIn(shape)),
    pairWeights: new Float32Array(pairsIn(shape)),
  }
  let [row, pair] = [0, 0]
  for (const comparison of comparisons) {
    const { sequences } = comparison
    if (sequences.length > shape.answers || row + sequences.length > rows) {
      const most = Math.min(shape.answers, rows - row)
      throw new RangeError(`a prompt of ${sequences.length} answers does not fit where ${most} do`)
    }
    const pairs = pairsOf(comparison)
    for (const [winner, loser] of pairs) {
      batch.winners[pair] = row + winner
      batch.losers[pair] = row + loser
      batch.pairWeights[pair++] = 1 / pairs.length
    }
    for (const ids of sequences) {
      if (ids.length > seq)
        throw new RangeError(`an answer and its prompt have ${ids.length} tokens, and seq is ${seq}`)
      batch.inputIds.set(ids, row * seq)
      batch.lastAt[row] += ids.length - 1
      row++
    }
  }
  return batch
}

/**
 * −1/C(K, 2) E[log σ(r_θ(x, y_w) − r_θ(x, y_l))] (eq. 1), over prompts. Answers also with the share of pairs that are in
 * their order, and with how far apart they are.
 */
export const rewardObjective =
  (model: RewardModel): Objective =>
  (scope, { inputIds, lastAt, winners, losers, pairWeights }) => {
    const { rewards } = model.forward(scope, { inputIds, lastAt }) // [rows]
    const margin = gather(rewards, winners, 0).sub(gather(rewards, losers, 0)) // [pairs]
    const count = sum(pairWeights)
    const overPrompts = (perPair: Tensor): SumAndCount => ({ sum: sum(perPair.mul(pairWeights)), count })
    return {
      loss: overPrompts(softplus(margin.neg())),
      accuracy: overPrompts(indicator(margin.greater(0))),
      margin: overPrompts(margin),
    }
  }

/**
 * Epochs of prompts, each in an order of its own, as many a batch as fit: batch `step` is a pure function of the seed and
 * `step`. Prompts whose answers are all tied say nothing and are left out.
 *
 * @throws RangeError where there is none left
 */
export function comparisonLoader(
  comparisons: readonly Comparison[],
  shape: ComparisonShape,
  seed: number,
): { readonly stepsPerEpoch: number; batchAt(step: number): Batch } {
  const telling = comparisons.filter((comparison) => pairsOf(comparison).length > 0)
  if (telling.length === 0)
    throw new RangeError('there are no two answers of which one is better: nothing to learn from')
  const epochs: (readonly Comparison[])[][] = []
  const batchesOf = (epoch: number): (readonly Comparison[])[] => {
    for (let next = epochs.length; next <= epoch; next++) {
      const order = new StepRandom(seed, next).permutation(telling.length)
      epochs.push(
        packed(
          Array.from(order, (i) => telling[i]),
          shape.rows,
        ),
      )
    }
    return epochs[epoch]
  }
  return {
    stepsPerEpoch: batchesOf(0).length,
    batchAt(step) {
      // Epochs may differ by a batch: what fits together depends on the order.
      let [epoch, at] = [0, step]
      while (at >= batchesOf(epoch).length) at -= batchesOf(epoch++).length
      return comparisonBatch(batchesOf(epoch)[at], shape)
    },
  }
}

/** Whole prompts, one after another, as many as go into so many rows. */
function packed(comparisons: readonly Comparison[], rows: number): Comparison[][] {
  const batches: Comparison[][] = []
  let left = 0
  for (const comparison of comparisons) {
    const count = comparison.sequences.length
    if (count > left) {
      batches.push([])
      left = rows
    }
    batches[batches.length - 1].push(comparison)
    left -= count
  }
  return batches
}

export interface RewardScorer {
  /** r of each answer to its prompt, the bias added. */
  score(prompts: readonly Ids[], answers: readonly Ids[]): Promise<number[]>
  /** The same of prompts and answers in one. */
  scoreSequences(sequences: readonly Ids[]): Promise<number[]>
  release(): void
}

/**
 * A reward model that judges.
 *
 * @param weights - constants, or those of a trainer, as they are when it is asked
 * @param options.rows - sequences that are read at a time, those of like length together
 */
export async function rewardScorer(
  model: RewardModel,
  weights: Weights | LiveWeights,
  { rows = 32 } = {},
): Promise<RewardScorer> {
  const run = await compile(
    trace((scope, inputs) => model.forward(scope, inputs), model.inputs, { name: 'the reward model' }),
    weights,
  )
  const scoreSequences = async (sequences: readonly Ids[]): Promise<number[]> => {
    const scores = new Array<number>(sequences.length)
    const byLength = sequences.map((_, i) => i).sort((a, b) => sequences[a].length - sequences[b].length)
    for (let start = 0; start < byLength.length; start += rows) {
      const chosen = byLength.slice(start, start + rows)
      const seq = sequences[chosen[chosen.length - 1]].length
      const inputIds = new Int32Array(chosen.length * seq)
      for (const [row, i] of chosen.entries()) inputIds.set(sequences[i], row * seq)
      const { rewards } = await run({
        inputIds: tensorData('int32', [chosen.length, seq], inputIds),
        lastAt: tensorData(
          'int32',
          [chosen.length],
          chosen.map((i, row) => row * seq + sequences[i].length - 1),
        ),
      })
      for (const [row, i] of chosen.entries()) scores[i] = Number(rewards.data[row]) + model.bias
    }
    return scores
  }
  return {
    scoreSequences,
    score: (prompts, answers) => scoreSequences(prompts.map((prompt, i) => [...prompt, ...answers[i]])),
    release: () => run.release(),
  }
}

/**
 * The same judge on another scale.
 *
 * @param rewards - what the model says of demonstrations, whose mean shall be 0 (InstructGPT); or of answers of the
 *   policy that it will judge, which shall be ∼ N(0, 1) with `unit` (Ziegler et al.): a gain goes into the weights
 */
export function normalizedReward(
  model: RewardModel,
  weights: ReadonlyMap<string, TensorData>,
  rewards: readonly number[],
  { unit = false } = {},
): { model: RewardModel; weights: Map<string, TensorData> } {
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length
  const variance = rewards.reduce((a, b) => a + (b - mean) ** 2, 0) / rewards.length
  const gain = unit && variance > 0 ? 1 / Math.sqrt(variance) : 1
  const score = weights.get(SCORE) as TensorData
  const scaled = (score.data as Float32Array).map((weight) => gain * weight)
  return {
    model: new RewardModel(model.trunk, gain * (model.bias - mean)),
    weights: new Map([...weights, [SCORE, { ...score, data: scaled }]]),
  }
}

export const SCORE = 'score.weight'

/** Of pairs with one confidence, how many are in the order that the model gives them. */
export interface CalibrationRow {
  readonly from: number
  readonly to: number
  readonly pairs: number
  /** Mean σ(|r_i − r_j|): the share that would be right were the model calibrated. */
  readonly confidence: number
  readonly accuracy: number
}

/**
 * Whether σ(r_w − r_l) is the probability that eq. 1 takes it for.
 *
 * @param margins - r_w − r_l of held-out pairs
 */
export function calibration(margins: readonly number[], bins = 5): CalibrationRow[] {
  const rows = Array.from({ length: bins }, () => ({ pairs: 0, confidence: 0, right: 0 }))
  for (const margin of margins) {
    const confidence = 1 / (1 + Math.exp(-Math.abs(margin)))
    const row = rows[Math.min(Math.floor((confidence - 0.5) * 2 * bins), bins - 1)]
    row.pairs++
    row.confidence += confidence
    row.right += margin > 0 ? 1 : margin === 0 ? 0.5 : 0
  }
  return rows.map(({ pairs, confidence, right }, i) => ({
    from: 0.5 + i / (2 * bins),
    to: 0.5 + (i + 1) / (2 * bins),
    pairs,
    confidence: pairs === 0 ? 0 : confidence / pairs,
    accuracy: pairs === 0 ? 0 : right / pairs,
  }))
}

/** Σ pairs |accuracy − confidence| over all pairs: 0 where the model is calibrated. */
export const calibrationError = (rows: readonly CalibrationRow[]): number =>
  rows.reduce((total, { pairs, confidence, accuracy }) => total + pairs * Math.abs(accuracy - confidence), 0) /
  Math.max(
    rows.reduce((total, { pairs }) => total + pairs, 0),
    1,
  )
