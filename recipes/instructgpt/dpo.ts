/**
 * DPO on preferences of your own: a model learns from pairs of answers which is preferred, without a reward model and
 * without sampling.
 *
 *     jackdaw train dpo --set model=runs/sft --set data=preferences.jsonl --out runs/dpo
 */

import { readPreferences } from '../../src/data/instruction/preferences.ts'
import { shareOf } from '../../src/eval/statistics.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { linearSchedule } from '../../src/optim/schedule.ts'
import { answersOf, heldOutSplit, loadChatModel, settingFile } from '../../src/train/alignment.ts'
import { answerText, answerTokens, promptTokens } from '../../src/train/chat-tokens.ts'
import { type AnswerPair, dpoInputs, dpoLoader, dpoObjective, judgePairs } from '../../src/train/dpo.ts'
import { Lora } from '../../src/train/lora.ts'
import { pairsOf } from '../../src/train/reward.ts'

export default recipe({
  paper: 'instructgpt',
  claim:
    'of held-out pairs the preferred answer has become likelier, against the model as it was, more often than the other one: the interval is above one half',
  settings: {
    /** Rankings: {"messages": […], "chosen": "…", "rejected": "…"}, or "answers" from the best to the worst, a line. */
    data: '',
    /** A folder, or the name of a model: what the policy begins as and is held to. */
    model: 'jackdaw-base',
    /** 0 for `epochs`. */
    steps: 0,
    epochs: 1,
    seed: 1337,
    evalEvery: 50,
    checkpointEvery: 200,
    /** Pairs a step. */
    pairs: 16,
    /** Tokens of the longest prompt with its answer; longer ones are left out. */
    seq: 256,
    learningRate: 3e-5,
    /** β. */
    beta: 0.1,
    /** The share of pairs that may be the wrong way round (cDPO). */
    labelSmoothing: 0,
    /** The share of prompts that are not learned from. */
    heldOut: 0.1,
    /** LoRA’s rank, on every linear layer, merged at the end; 0 trains all weights. */
    lora: 0,
  },
  curve: ['accuracy', 'margin', 'heldOutAccuracy'],
  async run({ settings, say, trainer, trainLoop, sample, save, claim }) {
    const { seq, seed, beta, labelSmoothing } = settings
    const { text, name } = settingFile('data', settings.data, 'rankings of answers, one prompt a line')
    const { model, weights, tokenizer, end, files } = await loadChatModel(settings.model)
    /** All pairs of each prompt, as far as they are short enough. */
    const byPrompt = readPreferences(text, name).map(({ messages, answers }): AnswerPair[] => {
      const promptIds = promptTokens(tokenizer, messages)
      const ranked = answers.flatMap((tied, rank) =>
        tied.map((answer) => ({ ids: answerTokens(tokenizer, answer), rank })),
      )
      return pairsOf({ ranks: ranked.map(({ rank }) => rank) })
        .map(([winner, loser]) => ({ promptIds, chosen: ranked[winner].ids, rejected: ranked[loser].ids }))
        .filter(({ chosen, rejected }) => promptIds.length + Math.max(chosen.length, rejected.length) <= seq)
    })
    const prompts = byPrompt.filter(({ length }) => length > 0)
    if (prompts.length < 2) {
      throw new Error(
        `${name}: ${prompts.length} of ${byPrompt.length} prompts have a better and a worse answer and at most ${seq} tokens (--set seq); two are needed`,
      )
    }
    const split = heldOutSplit(prompts, settings.heldOut, seed)
    say(
      `${split.train.length} prompts to learn from, ${split.heldOut.length} held out; what the model says of them now`,
    )
    const judged = (pairs: readonly AnswerPair[]) => judgePairs(model, weights, pairs, { seq })
    const [train, heldOut] = [await judged(split.train.flat()), await judged(split.heldOut.flat())]
    const loader = dpoLoader(train, { pairs: Math.min(settings.pairs, train.length), seq }, seed)
    const steps = settings.steps || settings.epochs * loader.stepsPerEpoch
    const lora = settings.lora > 0 ? new Lora(model, { rank: settings.lora, alpha: 2 * settings.lora }) : undefined
    const policy = lora ?? model
    const learner = await trainer({
      objective: dpoObjective(policy, { beta, labelSmoothing }),
      inputs: dpoInputs(Math.min(settings.pairs, train.length), seq),
      learningRate: linearSchedule(settings.learningRate, { steps, warmupSteps: Math.ceil(steps / 10) }),
      weights,
      missing: lora ? 'init' : 'error',
      weightDecay: 0,
      beta2: 0.999,
    })
    /** β times what the chosen answer has gained on the reference more than the rejected one, of each held-out pair. */
    const margins = async (): Promise<number[]> => {
      const now = await judgePairs(policy, learner, heldOut, { seq })
      return now.map(({ refChosen, refRejected }, i) => {
        const before = heldOut[i]
        return beta * (refChosen - before.refChosen - (refRejected - before.refRejected))
      })
    }
    const prefers = async (): Promise<number[]> => (await margins()).map((margin) => Number(margin > 0))
    await trainLoop({
      trainer: learner,
      steps,
      batches: loader.batchAt,
      perStep: { pairs: settings.pairs },
      evaluate: async () => ({ heldOutAccuracy: shareOf(await prefers()).value }),
      save: lora ? undefined : { model, files },
    })
    const asked = split.heldOut.slice(0, 8).map(([{ promptIds }]) => promptIds)
    const options = { seed, maxNewTokens: 64, stopTokenIds: [end], capacity: seq + 64 }
    const [before, after] = [
      await answersOf(model, weights, asked, options),
      await answersOf(policy, learner, asked, options),
    ]
    const shown = asked.map((ids, i) => ({
      prompt: tokenizer.decode(ids),
      before: answerText(tokenizer, before[i].ids),
      after: answerText(tokenizer, after[i].ids),
    }))
    await sample('answers', shown)
    if (lora) await save({ model, weights: lora.merged(await learner.weights()), files })
    const { value, interval } = shareOf(await prefers())
    claim({ accuracy: value, low: interval[0], high: interval[1] }, interval[0] > 0.5)
  },
})
