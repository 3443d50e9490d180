/**
 * A reward model of your own: a model learns from rankings which of two answers is preferred. It is the model without its
 * head and with a scalar at an answer's last token, and what it says of pairs that it never saw is held against them:
 * how often it is right, and whether it is as sure as it should be.
 *
 *     jackdaw train reward --set model=jackdaw-base --set data=preferences.jsonl --out runs/reward
 */

import { readPreferences } from '../../src/data/instruction/preferences.ts'
import { bootstrap, mean } from '../../src/eval/statistics.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { linearSchedule } from '../../src/optim/schedule.ts'
import { heldOutSplit, loadChatModel, settingFile } from '../../src/train/alignment.ts'
import { Lora } from '../../src/train/lora.ts'
import {
  type Comparison,
  calibration,
  calibrationError,
  comparisonInputs,
  comparisonLoader,
  encodePreference,
  normalizedReward,
  pairsOf,
  RewardModel,
  type RewardScorer,
  rewardObjective,
  rewardScorer,
} from '../../src/train/reward.ts'

export default recipe({
  paper: 'instructgpt',
  claim:
    'of held-out pairs of answers the model prefers the preferred one more often than not: the interval is above one half',
  settings: {
    /** Rankings: {"messages": […], "chosen": "…", "rejected": "…"}, or "answers" from the best to the worst, a line. */
    data: '',
    /** A folder, or the name of a model: what the reward model begins as. */
    model: 'jackdaw-base',
    /** 0 for one epoch, as in the paper. */
    steps: 0,
    seed: 1337,
    evalEvery: 50,
    checkpointEvery: 200,
    /** Answers a step, of whole prompts. */
    rows: 32,
    /** Tokens of the longest prompt with its answer; longer ones are left out. */
    seq: 256,
    learningRate: 1e-4,
    /** The share of prompts that are not learned from. */
    heldOut: 0.1,
    /** LoRA’s rank, on every linear layer, merged at the end; 0 trains all weights. */
    lora: 0,
    /** What the rewards are shifted by at the end: `demonstrations` to mean 0 (the best answers), or `unit` for N(0, 1). */
    normalize: 'demonstrations',
  },
  curve: ['accuracy', 'heldOutAccuracy'],
  async run({ settings, say, trainer, trainLoop, save, figure, claim }) {
    const { seq, rows, seed } = settings
    if (!['demonstrations', 'unit'].includes(settings.normalize)) {
      throw new Error(`--set normalize=${settings.normalize}: must be demonstrations or unit`)
    }
    const { text, name } = settingFile('data', settings.data, 'rankings of answers, one prompt a line')
    const chat = await loadChatModel(settings.model)
    const encoded = readPreferences(text, name).map((preference) => encodePreference(chat.tokenizer, preference))
    const fitting = encoded.filter(
      ({ sequences }) => sequences.length <= rows && sequences.every(({ length }) => length <= seq),
    )
    const telling = fitting.filter((comparison) => pairsOf(comparison).length > 0)
    if (telling.length < 2) {
      throw new Error(
        `${name}: ${telling.length} of ${encoded.length} prompts have a better and a worse answer and at most ${seq} tokens (--set seq); two are needed`,
      )
    }
    const { train, heldOut } = heldOutSplit(telling, settings.heldOut, seed)
    const answers = Math.max(...telling.map(({ sequences }) => sequences.length))
    const shape = { rows, seq, answers }
    const loader = comparisonLoader(train, shape, seed)
    const steps = settings.steps || loader.stepsPerEpoch
    say(`${train.length} prompts to learn from in ${loader.stepsPerEpoch} steps an epoch, ${heldOut.length} held out`)
    if (telling.length < encoded.length)
      say(`${encoded.length - telling.length} prompts are too long, or all of a rank`)

    const model = new RewardModel(chat.model)
    const lora =
      settings.lora > 0 ? new Lora(model.trunk, { rank: settings.lora, alpha: 2 * settings.lora }) : undefined
    const learning = lora ? new RewardModel(lora) : model
    const learner = await trainer({
      objective: rewardObjective(learning),
      inputs: comparisonInputs(shape),
      learningRate: linearSchedule(settings.learningRate, { steps, warmupSteps: Math.ceil(steps / 20) }),
      weights: chat.weights,
      missing: 'init',
      unused: 'ignore',
      weightDecay: 0.01,
    })
    const scorer = await rewardScorer(learning, learner)
    try {
      await trainLoop({
        trainer: learner,
        steps,
        batches: loader.batchAt,
        perStep: { answers: rows },
        evaluate: async () => ({ heldOutAccuracy: mean((await marginsOf(scorer, heldOut)).map(accuracyOf)) }),
        save: lora ? undefined : { model, files: chat.files },
      })
      const margins = await marginsOf(scorer, heldOut)
      const accuracy = bootstrap(margins.map(accuracyOf), mean)
      const table = calibration(margins.flat())
      say('sure of its order   right   pairs')
      for (const { from, to, pairs, accuracy } of table) {
        const [low, high, right] = [from, to, accuracy].map((share) => `${(100 * share).toFixed(0)} %`)
        say(`${`${low} to ${high}`.padEnd(18)} ${(pairs === 0 ? '' : right).padStart(6)} ${`${pairs}`.padStart(7)}`)
      }
      const filled = table.filter(({ pairs }) => pairs > 0)
      figure({
        title: 'How often the order is right, by how sure the model is of it',
        x: 'confidence',
        lines: {
          'held-out pairs': filled.map(({ confidence, accuracy }) => [confidence, accuracy]),
          calibrated: [
            [0.5, 0.5],
            [1, 1],
          ],
        },
      })
      const best = train.flatMap(({ sequences, ranks }) =>
        settings.normalize === 'unit' ? sequences : [sequences[ranks.indexOf(0)]],
      )
      const rewards = await scorer.scoreSequences(best.slice(0, 512))
      const unit = settings.normalize === 'unit'
      const trained = await learner.weights()
      const merged = lora ? lora.merged(trained) : trained
      await save({ ...normalizedReward(model, merged, rewards, { unit }), files: chat.files })
      const [low, high] = accuracy.interval
      claim({ accuracy: accuracy.value, low, high, calibrationError: calibrationError(table) }, low > 0.5)
    } finally {
      scorer.release()
    }
  },
})

/** r_w − r_l of every pair, prompt by prompt. */
async function marginsOf(scorer: RewardScorer, comparisons: readonly Comparison[]): Promise<number[][]> {
  const scores = await scorer.scoreSequences(comparisons.flatMap(({ sequences }) => sequences))
  let first = 0
  return comparisons.map((comparison) => {
    const own = scores.slice(first, first + comparison.sequences.length)
    first += own.length
    return pairsOf(comparison).map(([winner, loser]) => own[winner] - own[loser])
  })
}

const accuracyOf = (margins: readonly number[]): number => mean(margins.map((margin) => Number(margin > 0)))
