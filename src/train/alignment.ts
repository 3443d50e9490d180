import { existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { JACKDAW_CHAT_TEMPLATE, type Message } from '../data/instruction/conversation.ts'
import { readPrompts } from '../data/instruction/preferences.ts'
import { StepRandom } from '../data/random.ts'
import { bootstrap, mean } from '../eval/statistics.ts'
import { CachedDecoder } from '../generate/decoder.ts'
import { type Episode, type RolloutOptions, rollout } from '../generate/rollout.ts'
import { loadModel } from '../load/load.ts'
import type { CausalLm } from '../nn/model.ts'
import type { LiveWeights, Weights } from '../runtime/compile.ts'
import type { TensorData } from '../tensor/index.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { answerText, endOfAnswer, promptTokens } from './chat-tokens.ts'
import { loadRewardModel } from './load-reward-model.ts'
import type { RewardScorer } from './reward.ts'

/** What recipes that align a model with what is preferred begin with: the model, its prompts, and who judges. */

/** A model that answers, or is to. */
export interface ChatModel {
  readonly model: CausalLm
  readonly weights: Map<string, TensorData>
  readonly tokenizer: Tokenizer
  /** Ends an answer. */
  readonly end: number
  /** What a folder of it has beside weights and config.json: its tokenizer, and the chat template it was taught with. */
  readonly files: Readonly<Record<string, string>>
}

/** @throws Error with one sentence where it is no model that continues text, or has no tokenizer */
export async function loadChatModel(reference: string): Promise<ChatModel> {
  const { model, weights, tokenizer } = await loadModel(reference)
  if (model.kind !== 'causal')
    throw new Error(`${reference}: is no model that continues text; only such a one can answer`)
  if (!tokenizer) throw new Error(`${reference}: has no tokenizer; put its tokenizer.json into the folder`)
  const end = endOfAnswer(tokenizer)
  const config = { chat_template: JACKDAW_CHAT_TEMPLATE, ...tokenizer.toConfigJSON() }
  const ends = [...new Set([end, tokenizer.eosTokenId])].filter((id) => id !== undefined)
  return {
    model: model as CausalLm,
    weights: weights as Map<string, TensorData>,
    tokenizer,
    end,
    files: {
      'tokenizer.json': JSON.stringify(tokenizer.toJSON()),
      'tokenizer_config.json': JSON.stringify(config, null, 2),
      'generation_config.json': JSON.stringify({ eos_token_id: ends, bos_token_id: tokenizer.bosTokenId }),
    },
  }
}

/**
 * The text of a file that a setting names.
 *
 * @param holds - what is in such a file
 * @throws Error with one sentence where there is none
 */
export function settingFile(setting: string, path: string, holds: string): { text: string; name: string } {
  if (!existsSync(path)) throw new Error(`--set ${setting}=FILE: ${holds}; there is no file '${path}'`)
  return { text: readFileSync(path, 'utf8'), name: basename(path) }
}

/** Part of a list, drawn by the seed, kept apart from the rest. */
export function heldOutSplit<T>(all: readonly T[], share: number, seed: number): { train: T[]; heldOut: T[] } {
  const order = Array.from(new StepRandom(seed, 0).permutation(all.length), (i) => all[i])
  const count = Math.min(Math.ceil(share * all.length), all.length - 1)
  return { train: order.slice(count), heldOut: order.slice(0, count) }
}

/** `count` of a list's items a step, all of them once before any comes again: a function of the seed and the step. */
export function itemsAt<T>(all: readonly T[], count: number, seed: number): (step: number) => T[] {
  let epoch: { number: number; order: Uint32Array } = { number: -1, order: new Uint32Array() }
  return (step) =>
    Array.from({ length: count }, (_, i) => {
      const at = step * count + i
      const number = Math.floor(at / all.length)
      if (epoch.number !== number) epoch = { number, order: new StepRandom(seed, number).permutation(all.length) }
      return all[epoch.order[at % all.length]]
    })
}

/** A prompt as a conversation and as tokens. */
export interface Prompt {
  readonly messages: readonly Message[]
  readonly ids: readonly number[]
}

/**
 * The prompts of a file that leave room for an answer.
 *
 * @throws Error with one sentence where there is no file, or fewer than two such prompts
 */
export function promptsOf(
  { tokenizer }: Pick<ChatModel, 'tokenizer'>,
  path: string,
  longest: number,
): { prompts: Prompt[]; tooLong: number } {
  const { text, name } = settingFile('data', path, 'prompts, one {"messages": […]} or {"prompt": "…"} a line')
  const all = readPrompts(text, name).map((messages) => ({ messages, ids: promptTokens(tokenizer, messages) }))
  const prompts = all.filter(({ ids }) => ids.length <= longest)
  if (prompts.length < 2) {
    throw new Error(
      `${name}: ${prompts.length} of ${all.length} prompts have at most ${longest} tokens, and two are needed`,
    )
  }
  return { prompts, tooLong: all.length - prompts.length }
}

/** Who says how good answers are. */
export interface Judge {
  score(episodes: readonly Episode[]): Promise<number[]>
  /** The reward model, where it is one. */
  readonly rewardModel?: Awaited<ReturnType<typeof loadRewardModel>>
  release(): void
}

/** What a rule makes of an answer. */
type Rule = (answer: { text: string; tokens: number; mostTokens: number }) => number

/** Rules by name; what follows an equals sign is the rule's own. */
export const RULES: Readonly<Record<string, (argument: string) => Rule>> = {
  /** The longer the better: the share of the tokens that it may have. */
  length:
    () =>
    ({ tokens, mostTokens }) =>
      tokens / mostTokens,
  /** The shorter the better. */
  brevity:
    () =>
    ({ tokens, mostTokens }) =>
      1 - tokens / mostTokens,
  /** 1 where the text is in the answer. */
  contains:
    (argument) =>
    ({ text }) =>
      Number(text.includes(argument)),
  /** The share of an answer's words that are the word. */
  word:
    (argument) =>
    ({ text }) => {
      const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
      return words.filter((word) => word === argument.toLowerCase()).length / Math.max(words.length, 1)
    },
}

/**
 * A judge by its name: `rule:length`, `rule:contains=TEXT`, …, or the folder of a reward model.
 *
 * @throws Error with one sentence where it is neither, or its tokens are not the policy's
 */
export async function judgeNamed(
  name: string,
  { tokenizer }: Pick<ChatModel, 'tokenizer'>,
  mostTokens: number,
): Promise<Judge> {
  if (name.startsWith('rule:')) {
    const [rule, ...rest] = name.slice('rule:'.length).split('=')
    if (!Object.hasOwn(RULES, rule)) {
      throw new Error(`--set reward=${name}: rules are ${Object.keys(RULES).join(', ')}`)
    }
    const judge = RULES[rule](rest.join('='))
    const score = async (episodes: readonly Episode[]) =>
      episodes.map(({ ids }) => judge({ text: answerText(tokenizer, ids), tokens: ids.length, mostTokens }))
    return { score, release: () => {} }
  }
  const rewardModel = await loadRewardModel(name)
  if (rewardModel.tokenizer && JSON.stringify(rewardModel.tokenizer.toJSON()) !== JSON.stringify(tokenizer.toJSON())) {
    rewardModel.release()
    throw new Error(`${name}: the reward model has another tokenizer than the policy: train it on the same model`)
  }
  return { score: scoreWith(rewardModel), rewardModel, release: () => rewardModel.release() }
}

/** What a reward model says of episodes. */
export const scoreWith =
  ({ score }: Pick<RewardScorer, 'score'>) =>
  (episodes: readonly Episode[]): Promise<number[]> =>
    score(
      episodes.map(({ promptIds }) => promptIds),
      episodes.map(({ ids }) => ids),
    )

/** Answers to look at, beside what they were asked and what they are worth. */
export const shownAnswers = (tokenizer: Tokenizer, episodes: readonly Episode[], scores: readonly number[]) =>
  episodes.map(({ promptIds, ids }, i) => ({
    prompt: tokenizer.decode(promptIds),
    answer: answerText(tokenizer, ids),
    reward: scores[i],
  }))

/** Rewards of the same prompts before and after, and what was gained, with its interval. */
export function rewardGain(before: readonly number[], after: readonly number[]) {
  const { value: gain, interval } = bootstrap(
    after.map((reward, i) => reward - before[i]),
    mean,
  )
  const [low, high] = interval
  return { before: mean(before), after: mean(after), gain, low, high }
}

/** Answers of a model, or of one in training, to prompts: as many at a time as `slots`. */
export async function answersOf(
  model: CausalLm,
  weights: Weights | LiveWeights,
  prompts: readonly (readonly number[])[],
  { slots = 32, capacity, ...options }: RolloutOptions & { slots?: number; capacity: number },
): Promise<Episode[]> {
  const decoder = await CachedDecoder.create(model, weights, { slots: Math.min(slots, prompts.length), capacity })
  try {
    return await rollout(decoder, prompts, options)
  } finally {
    decoder.release()
  }
}
