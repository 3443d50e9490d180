/**
 * GRPO against a reward of your own: as PPO, but every prompt is answered several times, and an answer is worth what it
 * has over the others of its group. No value is learned.
 *
 *     jackdaw train instructgpt/grpo --set model=runs/sft --set reward=runs/reward --set data=prompts.jsonl
 */

import { mean } from '../../src/eval/statistics.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import type { LiveWeights, Weights } from '../../src/runtime/compile.ts'
import {
  answersOf,
  heldOutSplit,
  itemsAt,
  judgeNamed,
  loadChatModel,
  promptsOf,
  rewardGain,
  shownAnswers,
} from '../../src/train/alignment.ts'
import { GRPO_SETTINGS, trainGrpo } from '../../src/train/grpo.ts'
import { Lora } from '../../src/train/lora.ts'

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
    /** Prompts a step, and answers to each. */
    prompts: 8,
    group: 4,
    minibatch: 16,
    epochs: 1,
    maxNewTokens: 48,
    /** Tokens of the longest prompt; longer ones are left out. */
    maxPromptTokens: 128,
    temperature: 1,
    learningRate: 3e-5,
    /** β. */
    klCoef: GRPO_SETTINGS.klCoef,
    heldOut: 0.1,
    /** LoRA’s rank, on every linear layer, merged at the end; 0 trains all weights. */
    lora: 0,
  },
  curve: ['reward', 'kl', 'entropy', 'length', 'heldOutReward'],
  async run(context) {
    const { settings, say, sample, save, claim } = context
    const { seed, maxNewTokens } = settings
    const seq = settings.maxPromptTokens + maxNewTokens
    const chat = await loadChatModel(settings.model)
    const { tokenizer, end, files, model, weights } = chat
    const { prompts, tooLong } = promptsOf(chat, settings.data, settings.maxPromptTokens)
    const judge = await judgeNamed(settings.reward, chat, maxNewTokens)
    const { train, heldOut } = heldOutSplit(prompts, settings.heldOut, seed)
    say(`${train.length} prompts to learn from, ${heldOut.length} held out, ${tooLong} too long`)
    const lora = settings.lora > 0 ? new Lora(model, { rank: settings.lora, alpha: 2 * settings.lora }) : undefined
    const learner = lora ?? model
    /** The policy as a model of its own. */
    const alone = async (policy: Trainer) => {
      const learned = await policy.weights()
      return lora ? lora.merged(learned) : learned
    }
    const sampling = { temperature: settings.temperature, maxNewTokens, stopTokenIds: [end] }
    const asked = heldOut.slice(0, 64).map(({ ids }) => ids)
    /** Rewards of the held-out prompts' answers, with the same draws each time. */
    const judged = async (model: CausalLm, of: Weights | LiveWeights): Promise<number[]> =>
      judge.score(await answersOf(model, of, asked, { ...sampling, seed, capacity: seq }))
    try {
      const drawn = itemsAt(train, settings.prompts, seed)
      const { policy } = await trainGrpo(context, {
        ...{ model, adapted: lora, weights, seq, sampling, score: judge.score },
        steps: settings.steps,
        prompts: (step) => drawn(step).map(({ ids }) => ids),
        group: settings.group,
        minibatch: settings.minibatch,
        epochs: settings.epochs,
        learningRate: constantSchedule(settings.learningRate, { warmupSteps: 5 }),
        settings: { ...GRPO_SETTINGS, klCoef: settings.klCoef },
        seen: async (step, episodes, scores) => {
          if (settings.evalEvery > 0 && step % settings.evalEvery === 0) {
            await sample('answers', shownAnswers(tokenizer, episodes.slice(0, 2 * settings.group), scores))
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
