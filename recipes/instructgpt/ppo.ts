/**
 * PPO against a reward of your own: a model answers prompts, a reward model or a rule says how good the answers are, and
 * the model learns to be told so, at a price for how far it goes from where it began.
 *
 *     jackdaw train instructgpt/ppo --set model=runs/sft --set reward=runs/reward --set data=prompts.jsonl
 *     jackdaw train instructgpt/ppo --set reward=rule:brevity --set data=prompts.jsonl --out runs/brief
 */

import { RandomWindows } from '../../src/data/loader.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { mean } from '../../src/eval/statistics.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import type { LiveWeights, Weights } from '../../src/runtime/compile.ts'
import type { Tokenizer } from '../../src/text/tokenizer.ts'
import {
  answersOf,
  heldOutSplit,
  itemsAt,
  judgeNamed,
  loadChatModel,
  promptsOf,
  rewardGain,
  settingFile,
  shownAnswers,
} from '../../src/train/alignment.ts'
import { Lora } from '../../src/train/lora.ts'
import { PPO_SETTINGS, trainPpo } from '../../src/train/ppo.ts'

export default recipe({
  paper: 'instructgpt',
  claim: 'answers to held-out prompts have a higher mean reward than before: the interval of the difference is above 0',
  settings: {
    /** Prompts: {"messages": […]} or {"prompt": "…"}, one a line. */
    data: '',
    /** A folder, or the name of a model: what the policy begins as and is held to. */
    model: 'jackdaw-base',
    /** The folder of a reward model, or a rule: rule:length, rule:brevity, rule:contains=TEXT, rule:word=WORD. */
    reward: 'rule:brevity',
    steps: 100,
    seed: 1337,
    evalEvery: 20,
    checkpointEvery: 20,
    /** Answers a step, a prompt each. */
    answers: 32,
    minibatch: 16,
    epochs: 1,
    maxNewTokens: 48,
    /** Tokens of the longest prompt; longer ones are left out. */
    maxPromptTokens: 128,
    temperature: 1,
    learningRate: 3e-5,
    /** β. */
    klCoef: 0.05,
    /** Nats an answer that β adapts to; 0 leaves it as it is. */
    klTarget: 0,
    /** γ, the weight of pre-training beside; 0 for none. */
    ptxCoef: 0,
    /** A text of what the model was pre-trained on, for ptxCoef. */
    ptxData: '',
    /** What an answer without an end is marked down by. */
    unfinished: 0,
    whitenRewards: true,
    /** A value network that begins as the reward model (`reward`), or a head on the policy (`head`). */
    value: 'head',
    emaDecay: 0,
    /** LoRA’s rank, on every linear layer, merged at the end; 0 trains all weights. */
    lora: 0,
    heldOut: 0.1,
  },
  curve: ['reward', 'kl', 'entropy', 'length', 'heldOutReward'],
  async run(context) {
    const { settings, say, sample, save, claim } = context
    const { seed, maxNewTokens, emaDecay } = settings
    const seq = settings.maxPromptTokens + maxNewTokens
    const chat = await loadChatModel(settings.model)
    const { tokenizer, end, files, model, weights } = chat
    const { prompts, tooLong } = promptsOf(chat, settings.data, settings.maxPromptTokens)
    const judge = await judgeNamed(settings.reward, chat, maxNewTokens)
    const { train, heldOut } = heldOutSplit(prompts, settings.heldOut, seed)
    say(`${train.length} prompts to learn from, ${heldOut.length} held out, ${tooLong} too long`)
    const value = settings.value === 'reward' ? judge.rewardModel : undefined
    if (settings.value !== 'head' && !value) {
      throw new Error(`--set value=${settings.value}: must be head, or reward where --set reward names a reward model`)
    }
    const lora = settings.lora > 0 ? new Lora(model, { rank: settings.lora, alpha: 2 * settings.lora }) : undefined
    const learner = lora ?? model
    /** The policy as a model of its own. */
    const alone = async (policy: Trainer) => {
      const learned = await policy.weights({ averaged: emaDecay > 0 })
      return lora ? lora.merged(learned) : learned
    }
    const sampling = { temperature: settings.temperature, maxNewTokens, stopTokenIds: [end] }
    const score: typeof judge.score = async (episodes) =>
      (await judge.score(episodes)).map((reward, i) => reward - (episodes[i].ended ? 0 : settings.unfinished))
    const asked = heldOut.slice(0, 64)
    /** Rewards of the held-out prompts' answers, with the same draws each time. */
    const judged = async (model: CausalLm, of: Weights | LiveWeights): Promise<number[]> =>
      score(
        await answersOf(
          model,
          of,
          asked.map(({ ids }) => ids),
          { ...sampling, seed, capacity: seq },
        ),
      )
    try {
      const drawn = itemsAt(train, settings.answers, seed)
      const { policy } = await trainPpo(context, {
        ...{ model, adapted: lora, weights, seq, sampling, score, emaDecay },
        steps: settings.steps,
        prompts: (step) => drawn(step).map(({ ids }) => ids),
        minibatch: settings.minibatch,
        epochs: settings.epochs,
        learningRate: constantSchedule(settings.learningRate, { warmupSteps: 5 }),
        settings: { ...PPO_SETTINGS, whitenRewards: settings.whitenRewards, ptxCoef: settings.ptxCoef },
        klCoef: settings.klCoef,
        klTarget: settings.klTarget || undefined,
        value,
        ptx: settings.ptxCoef > 0 ? pretraining(settings, tokenizer) : undefined,
        seen: async (step, episodes, scores) => {
          if (settings.evalEvery > 0 && step % settings.evalEvery === 0) {
            await sample('answers', shownAnswers(tokenizer, episodes.slice(0, 8), scores))
          }
          return undefined
        },
        evaluate: async (policy) => ({ heldOutReward: mean(await judged(learner, policy)) }),
        onStop: async (policy) => save({ model, weights: await alone(policy), files }),
      })
      const learned = await alone(policy)
      const gain = rewardGain(await judged(model, weights), await judged(model, learned))
      await save({ model, weights: learned, files })
      claim(gain, gain.low > 0)
    } finally {
      judge.release()
    }
  },
})

/** Windows of a text, as it was pre-trained on. */
function pretraining({ ptxData, seed }: { ptxData: string; seed: number }, tokenizer: Tokenizer) {
  const shape = { batch: 4, seq: 128 }
  const { text } = settingFile('ptxData', ptxData, 'a text of what the model was pre-trained on')
  const windows = new RandomWindows(TokenDataset.fromText(tokenizer, text), shape, seed)
  return { ...shape, batchAt: (update: number) => ({ ...windows.batchAt(update) }) }
}
