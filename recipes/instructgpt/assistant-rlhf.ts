/**
 * The second and third step of InstructGPT on an assistant that was fine-tuned: it answers questions of the generated
 * world several times, a judge that knows what was asked for ranks the answers and errs in one comparison of ten, a
 * reward model learns from the comparisons alone, and the assistant learns from the reward model by PPO, with and without
 * pre-training beside. DPO and GRPO learn from the same comparisons and the same reward. What the judge itself says, which
 * nobody learned from, tells how far each of them got, and where the reward model is believed too far (Gao et al., 2022,
 * arXiv 2210.10760): gold over √KL, of PPO without a price of distance and of best-of-n, for reward models of three sizes.
 *
 *     jackdaw train assistant-rlhf --set model=runs/assistant-sft --out runs/assistant-rlhf
 */

import { callLocalTool } from '../../src/agent/toolset.ts'
import type { Conversation } from '../../src/data/instruction/conversation.ts'
import { judge as goldJudge } from '../../src/data/instruction/gold-judge.ts'
import type { Expected, Split } from '../../src/data/instruction/turn.ts'
import { generateConversation, openWorld } from '../../src/data/instruction/world.ts'
import { RandomWindows } from '../../src/data/loader.ts'
import { StepRandom } from '../../src/data/random.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { bootstrap, mean } from '../../src/eval/statistics.ts'
import type { Episode } from '../../src/generate/rollout.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { trace } from '../../src/nn/trace.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { type RecipeContext, recipe, type Scalars } from '../../src/optim/recipe.ts'
import { constantSchedule, linearSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { meanOf, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { answersOf, type ChatModel, itemsAt, loadChatModel, scoreWith } from '../../src/train/alignment.ts'
import { answerText, answerTokens, promptTokens } from '../../src/train/chat-tokens.ts'
import { type AnswerPair, dpoInputs, dpoLoader, dpoObjective, judgePairs, logProbsOf } from '../../src/train/dpo.ts'
import { GRPO_SETTINGS, trainGrpo } from '../../src/train/grpo.ts'
import { type PolicyResult, type PolicyRun, PPO_SETTINGS, trainPpo } from '../../src/train/ppo.ts'
import {
  type Comparison,
  calibration,
  calibrationError,
  comparisonInputs,
  comparisonLoader,
  normalizedReward,
  pairsOf,
  RewardModel,
  rewardObjective,
  rewardScorer,
} from '../../src/train/reward.ts'

const settings = {
  data: '',
  /** The folder of the fine-tuned assistant. */
  model: 'jackdaw-base',
  /** Of PPO, and of GRPO. */
  steps: 25,
  seed: 1337,
  evalEvery: 0,
  checkpointEvery: 20,
  seeds: 1,
  /** Prompts whose answers are compared, and K of them. */
  prompts: 200,
  answers: 5,
  /** Comparisons that say the wrong thing. */
  flips: 0.1,
  /** Prompts that are only judged. */
  heldOut: 150,
  maxPromptTokens: 108,
  maxNewTokens: 36,
  rewardRows: 30,
  rewardLearningRate: 3e-4,
  rewardEpochs: 1,
  /** Of the smaller two reward models: the first so many of the assistant's layers. */
  smallLayers: 1,
  middleLayers: 2,
  /** Answers a step of PPO and GRPO. */
  batch: 32,
  minibatch: 16,
  group: 4,
  learningRate: 2e-4,
  klCoef: 0.05,
  ptxCoef: 1,
  /** Of the runs that show over-optimisation, whose distance costs nothing. */
  overSteps: 20,
  overBatch: 16,
  overLearningRate: 4e-4,
  /** Best of at most so many: a power of 2. */
  bestOf: 16,
  bestOfPrompts: 60,
  dpoPairs: 16,
  /** Pairs of each prompt that DPO learns from. */
  dpoPairsAPrompt: 3,
  dpoLearningRate: 5e-5,
  dpoBeta: 0.1,
}

type Context = RecipeContext<typeof settings>
type Weights = Map<string, TensorData>

/** A question with what a good answer to it has. */
interface Question {
  readonly promptIds: readonly number[]
  readonly expected: Expected
}

const METHODS = ['sft', 'ppo', 'ppoPtx', 'dpo', 'grpo'] as const

export default recipe({
  paper: 'instructgpt',
  claim:
    'the judge, whom nobody learned from, prefers PPO’s answers to those of the fine-tuned model on held-out prompts: the interval of the win rate is above one half in every seed',
  settings,
  curve: ['reward', 'gold', 'kl', 'entropy', 'length', 'accuracy'],
  async run(context) {
    const { settings, say, claim } = context
    const chat = await loadChatModel(settings.model)
    const results: Record<string, number>[] = []
    for (let i = 0; i < settings.seeds; i++) {
      results.push(await assistant(context, chat, settings.seed + i, i === 0))
      say(`seed ${settings.seed + i}: ${JSON.stringify(results[i])}`)
    }
    const names = Object.keys(results[0])
    const measured = Object.fromEntries(names.map((name) => [name, mean(results.map((result) => result[name]))]))
    claim(
      measured,
      results.every(({ ppoWinLow }) => ppoWinLow > 0.5),
    )
  },
})

/** One seed, from the questions to the table. */
async function assistant(context: Context, chat: ChatModel, seed: number, draws: boolean) {
  const { settings, stage, say, sample, figure, save } = context
  const { model, weights, tokenizer, files } = chat
  const world = openWorld((call) => callLocalTool(call))
  const questions = (split: Split, count: number, from: number): Question[] => {
    const drawn: Question[] = []
    for (let i = 0; drawn.length < count; i++) {
      const { conversation, turns } = generateConversation(world, new StepRandom(seed, from + i), split, {
        mostTurns: 2,
      })
      const { answerAt, expected } = turns[turns.length - 1]
      const promptIds = promptTokens(tokenizer, conversation.messages.slice(0, answerAt))
      if (promptIds.length <= settings.maxPromptTokens) drawn.push({ promptIds, expected })
    }
    return drawn
  }
  const asked = questions('train', settings.prompts, 0)
  const heldOut = questions('heldOut', settings.heldOut, 1_000_000)
  const talk = conversationsText(world, tokenizer, seed)
  const seq = settings.maxPromptTokens + settings.maxNewTokens
  const sampling = { temperature: 1, maxNewTokens: settings.maxNewTokens, stopTokenIds: [chat.end] }
  const goldOf = ({ expected }: Question, ids: readonly number[]): number =>
    goldJudge(answerText(tokenizer, ids), expected).score
  const answersTo = (of: Parameters<typeof answersOf>[1], some: readonly Question[], draw: number) =>
    answersOf(
      model,
      of,
      some.map(({ promptIds }) => promptIds),
      { ...sampling, seed: draw, capacity: seq },
    )

  // K answers to every prompt, of which the judge says in pairs which is better, and now and then the wrong one.
  const compared = await stage(`comparisons-${seed}`, async () => {
    const K = settings.answers
    const repeated = [...asked, ...heldOut].flatMap((question) => Array.from({ length: K }, () => question))
    const answers = (await answersTo(weights, repeated, seed)).map(({ ids }) => ids)
    return [...asked, ...heldOut].map((question, i) => {
      const own = distinct(answers.slice(i * K, (i + 1) * K))
      return { answers: own, gold: own.map((ids) => goldOf(question, ids)) }
    })
  })
  const comparisons = compared.value.map(({ answers, gold }, i) =>
    judged([...asked, ...heldOut][i], answers, gold, new StepRandom(seed, 2_000_000 + i), settings.flips),
  )
  const [learned, kept] = [comparisons.slice(0, asked.length), comparisons.slice(asked.length)]

  // Reward models of three sizes, from the comparisons alone.
  const config = (model as CausalLm & { config: { nLayers: number } }).config
  const layers = [settings.smallLayers, settings.middleLayers, config.nLayers]
  const judges: { size: number; model: RewardModel; weights: Weights; accuracy: Scalars }[] = []
  for (const size of layers) {
    const trunk = new (model.constructor as new (config: object) => CausalLm)({ ...config, nLayers: size })
    const reward = new RewardModel(trunk)
    const product = await stage(`reward-${size}-${seed}`, () =>
      learnReward(context, reward, chat, { asked, learned, kept }),
    )
    const { bias, ...accuracy } = product.value
    judges.push({ size, model: new RewardModel(trunk, bias), weights: product.weights(), accuracy })
    say(`reward model of ${size} layers: ${JSON.stringify(accuracy)}`)
  }
  const best = judges[judges.length - 1]
  if (draws) {
    const table = calibration(
      await marginsOf(
        best,
        kept.map(({ labelled }) => labelled),
      ),
      5,
    )
    const filled = table.filter(({ pairs }) => pairs > 0)
    figure({
      title: 'How often the order is right, by how sure the reward model is of it',
      x: 'confidence',
      lines: {
        'held-out comparisons': filled.map(({ confidence, accuracy }) => [confidence, accuracy] as const),
        calibrated: [
          [0.5, 0.5],
          [1, 1],
        ],
      },
    })
  }

  // Policies.
  const promptsAt = itemsAt(asked, settings.batch, seed)
  /** What PPO and GRPO have in common, judged by one of the reward models. */
  const against = async (
    judge: (typeof judges)[number],
    learn: (run: PolicyRun) => Promise<PolicyResult>,
    { steps = settings.steps, batch = settings.batch, learningRate = settings.learningRate, each = 1 } = {},
  ) => {
    const scorer = await rewardScorer(judge.model, judge.weights)
    try {
      const { policy, history } = await learn({
        ...{ model, weights, seq, sampling, steps, minibatch: settings.minibatch },
        prompts: (step) =>
          promptsAt(step)
            .slice(0, batch / each)
            .map(({ promptIds }) => promptIds),
        score: scoreWith(scorer),
        learningRate: constantSchedule(learningRate, { warmupSteps: 5 }),
        seen: async (step, episodes, scores) => {
          const questions = promptsAt(step)
          const gold = episodes.map(({ ids }, i) => goldOf(questions[Math.floor(i / each)], ids))
          if (step % 10 === 0) {
            const shown = episodes.slice(0, 4).map(({ promptIds, ids }, i) => ({
              prompt: tokenizer.decode(promptIds),
              answer: answerText(tokenizer, ids),
              ...{ reward: scores[i], gold: gold[i] },
            }))
            await sample('answers', shown)
          }
          return { gold: mean(gold) }
        },
      })
      await save({ model, weights: policy, files })
      return history as Scalars[]
    } finally {
      scorer.release()
    }
  }
  const ppo = (name: string, ptxCoef: number) =>
    stage(`${name}-${seed}`, () =>
      against(best, (run) => {
        const ppoSettings = { ...PPO_SETTINGS, whitenRewards: true, ptxCoef }
        const ptx = ptxCoef > 0 ? talk.ptx : undefined
        return trainPpo(context, { ...run, klCoef: settings.klCoef, settings: ppoSettings, ptx })
      }),
    )
  const plain = await ppo('ppo', 0)
  const mixed = await ppo('ppo-ptx', settings.ptxCoef)
  const { group } = settings
  const grouped = await stage(`grpo-${seed}`, () =>
    against(best, (run) => trainGrpo(context, { ...run, group, settings: GRPO_SETTINGS }), { each: group }),
  )
  const direct = await stage(`dpo-${seed}`, () => learnDpo(context, chat, asked, learned, seq, seed))
  const policies: Readonly<Record<(typeof METHODS)[number], Weights>> = {
    sft: weights,
    ppo: plain.weights(),
    ppoPtx: mixed.weights(),
    dpo: direct.weights(),
    grpo: grouped.weights(),
  }

  // How far a reward model can be believed.
  const lines: Record<string, (readonly [number, number])[]> = {}
  for (const judge of judges) {
    const over = await stage(`over-${judge.size}-${seed}`, () =>
      against(
        judge,
        (run) => trainPpo(context, { ...run, klCoef: 0, settings: { ...PPO_SETTINGS, whitenRewards: true } }),
        { steps: settings.overSteps, batch: settings.overBatch, learningRate: settings.overLearningRate },
      ),
    )
    lines[`PPO, ${judge.size} layers`] = smoothed(over.value)
  }
  const bestOf = await stage(`best-of-n-${seed}`, async () => {
    const some = heldOut.slice(0, settings.bestOfPrompts)
    const repeated = some.flatMap((question) => Array.from({ length: settings.bestOf }, () => question))
    const episodes = await answersTo(weights, repeated, seed + 1)
    const gold = episodes.map(({ ids }, i) => goldOf(repeated[i], ids))
    const found: Record<string, [number, number][]> = {}
    for (const judge of judges) {
      const scorer = await rewardScorer(judge.model, judge.weights)
      found[`best of n, ${judge.size} layers`] = bestOfN(await scoreWith(scorer)(episodes), gold, settings.bestOf)
      scorer.release()
    }
    return found
  })
  Object.assign(lines, bestOf.value)
  if (draws) {
    figure({ title: 'What the judge says over √KL, for reward models of three sizes', x: '√KL (nats)', lines })
    const at = (name: string) => plain.value.map((told, step) => [step, told[name]] as const)
    figure({
      title: 'PPO: reward, and what the judge says',
      x: 'step',
      lines: { reward: at('reward'), gold: at('gold') },
    })
    figure({ title: 'PPO: distance from the fine-tuned model', x: 'step', lines: { KL: at('kl') } })
  }

  // The table: held-out prompts, every method with the same draws.
  const product = await stage(`table-${seed}`, async () => {
    const row: Record<string, number> = {}
    const rewarded = await rewardScorer(best.model, best.weights)
    let first: number[] = []
    const shown: Record<string, string>[] = heldOut
      .slice(0, 12)
      .map(({ promptIds }) => ({ prompt: tokenizer.decode(promptIds) }))
    for (const method of METHODS) {
      const episodes = await answersTo(policies[method], heldOut, seed + 2)
      const gold = episodes.map(({ ids }, i) => goldOf(heldOut[i], ids))
      if (method === 'sft') first = gold
      const wins = gold.map((score, i) => (score > first[i] ? 1 : score < first[i] ? 0 : 0.5))
      const { value, interval } = bootstrap(wins, mean)
      row[`${method}Gold`] = mean(gold)
      row[`${method}Reward`] = mean(await scoreWith(rewarded)(episodes))
      row[`${method}Length`] = mean(episodes.map(({ ids }) => ids.length))
      row[`${method}Kl`] = await distance(model, policies[method], weights, episodes, seq)
      row[`${method}Talk`] = await talk.loss(model, policies[method])
      if (method !== 'sft') {
        row[`${method}Win`] = value
        row[`${method}WinLow`] = interval[0]
        row[`${method}WinHigh`] = interval[1]
      }
      for (const [i, texts] of shown.entries()) texts[method] = answerText(tokenizer, episodes[i].ids)
    }
    rewarded.release()
    await sample('answers', shown)
    return row
  })
  for (const method of METHODS) {
    const of = (name: string) => product.value[method + name]?.toFixed(3).padStart(7) ?? '      –'
    say(
      `${method.padEnd(7)} gold ${of('Gold')} wins ${of('Win')} [${of('WinLow')}, ${of('WinHigh')}] KL ${of('Kl')} reward ${of('Reward')} length ${of('Length')} talk ${of('Talk')}`,
    )
  }
  if (draws) await save({ model, weights: policies.ppoPtx, files })
  const [small, middle, large] = judges.map(({ accuracy }) => accuracy)
  return {
    ...product.value,
    ...{ accuracy: large.accuracy, accuracyLow: large.low, accuracyHigh: large.high },
    ...{ calibrationError: large.calibrationError, smallAccuracy: small.accuracy, middleAccuracy: middle.accuracy },
  }
}

/** Answers that differ: twice the same says nothing. */
const distinct = (answers: readonly number[][]): number[][] => [
  ...new Map(answers.map((ids) => [ids.join(), ids])).values(),
]

/** Answers as the judge orders them, and as it was heard: some pairs the wrong way round. */
function judged(
  { promptIds }: Question,
  answers: readonly (readonly number[])[],
  gold: readonly number[],
  random: StepRandom,
  flips: number,
): { true: Comparison; labelled: Comparison } {
  const sequences = answers.map((ids) => [...promptIds, ...ids])
  const ranks = gold.map((score) => gold.filter((other) => other > score).length)
  const pairs = pairsOf({ ranks }).map(([winner, loser]) =>
    random.uniform() < flips ? ([loser, winner] as const) : ([winner, loser] as const),
  )
  return { true: { sequences, ranks }, labelled: { sequences, ranks, pairs } }
}

type Judged = ReturnType<typeof judged>

/** r_w − r_l of all pairs. */
async function marginsOf(
  { model, weights }: { model: RewardModel; weights: Weights | Trainer },
  comparisons: readonly Comparison[],
): Promise<number[]> {
  const scorer = await rewardScorer(model, weights)
  const scores = await scorer.scoreSequences(comparisons.flatMap(({ sequences }) => sequences))
  scorer.release()
  let first = 0
  return comparisons.flatMap((comparison) => {
    const start = first
    first += comparison.sequences.length
    return pairsOf(comparison).map(([winner, loser]) => scores[start + winner] - scores[start + loser])
  })
}

/** Trains a reward model, shifts demonstrations to mean 0, and tells how often it is right where the judge is. */
async function learnReward(
  { settings, trainer, trainLoop, save }: Context,
  model: RewardModel,
  { weights, tokenizer, files }: ChatModel,
  { asked, learned, kept }: { asked: readonly Question[]; learned: readonly Judged[]; kept: readonly Judged[] },
) {
  const seq = settings.maxPromptTokens + settings.maxNewTokens
  const shape = { rows: settings.rewardRows, seq, answers: settings.answers }
  const loader = comparisonLoader(
    learned.map(({ labelled }) => labelled),
    shape,
    settings.seed,
  )
  const steps = settings.rewardEpochs * loader.stepsPerEpoch
  const learner = await trainer({
    objective: rewardObjective(model),
    inputs: comparisonInputs(shape),
    learningRate: linearSchedule(settings.rewardLearningRate, { steps, warmupSteps: Math.ceil(steps / 10) }),
    weights,
    missing: 'init',
    unused: 'ignore',
    weightDecay: 0.01,
  })
  await trainLoop({ trainer: learner, steps, batches: loader.batchAt, save: { model, files } })
  const trained = await learner.weights()
  const truth = await marginsOf(
    { model, weights: trained },
    kept.map((one) => one.true),
  )
  const labelled = await marginsOf(
    { model, weights: trained },
    kept.map((one) => one.labelled),
  )
  const right = bootstrap(
    truth.map((margin) => Number(margin > 0)),
    mean,
  )
  const scorer = await rewardScorer(model, trained)
  const demonstrations = asked
    .slice(0, 200)
    .map(({ promptIds, expected }) => [...promptIds, ...answerTokens(tokenizer, expected.reference)])
  const rewards = await scorer.scoreSequences(demonstrations)
  scorer.release()
  const normal = normalizedReward(model, trained, rewards)
  await save({ ...normal, files })
  const [low, high] = right.interval
  return {
    ...{ bias: normal.model.bias, accuracy: right.value, low, high },
    calibrationError: calibrationError(calibration(labelled)),
  }
}

/** DPO on some of each prompt's comparisons, as they were labelled. */
async function learnDpo(
  { settings, trainer, trainLoop }: Context,
  { model, weights, files }: ChatModel,
  asked: readonly Question[],
  learned: readonly Judged[],
  seq: number,
  seed: number,
): Promise<null> {
  const pairs = learned.flatMap(({ labelled }, i): AnswerPair[] => {
    const { promptIds } = asked[i]
    const all = pairsOf(labelled)
    const order = new StepRandom(seed, 3_000_000 + i).permutation(all.length).slice(0, settings.dpoPairsAPrompt)
    const answer = (k: number) => labelled.sequences[k].slice(promptIds.length)
    return Array.from(order, (at) => ({ promptIds, chosen: answer(all[at][0]), rejected: answer(all[at][1]) }))
  })
  const loader = dpoLoader(await judgePairs(model, weights, pairs, { seq }), { pairs: settings.dpoPairs, seq }, seed)
  const steps = loader.stepsPerEpoch
  await trainLoop({
    trainer: await trainer({
      objective: dpoObjective(model, { beta: settings.dpoBeta }),
      inputs: dpoInputs(settings.dpoPairs, seq),
      learningRate: linearSchedule(settings.dpoLearningRate, { steps, warmupSteps: Math.ceil(steps / 10) }),
      weights,
      weightDecay: 0,
      beta2: 0.999,
    }),
    steps,
    batches: loader.batchAt,
    save: { model, files },
  })
  return null
}

/** What the model was taught before: conversations, to go on with beside PPO, and to see what is forgotten. */
function conversationsText(world: ReturnType<typeof openWorld>, tokenizer: ChatModel['tokenizer'], seed: number) {
  const shape = { batch: 4, seq: 128 }
  const tokens = (split: Split, count: number, from: number): TokenDataset => {
    const ids: number[] = []
    for (let i = 0; i < count; i++) {
      const { conversation } = generateConversation(world, new StepRandom(seed, from + i), split)
      ids.push(...conversationTokens(tokenizer, conversation))
    }
    return TokenDataset.from(ids, tokenizer.vocabSize)
  }
  const windows = new RandomWindows(tokens('train', 400, 4_000_000), shape, seed)
  const judged = new RandomWindows(tokens('heldOut', 100, 5_000_000), shape, seed)
  return {
    ptx: { ...shape, batchAt: (update: number) => ({ ...windows.batchAt(update) }) },
    /** Loss on held-out conversations. */
    async loss(model: CausalLm, weights: Weights): Promise<number> {
      const objective = nextTokenObjective(model)
      const run = await compile(
        trace(
          (scope, inputs) => ({ loss: meanOf(objective(scope, inputs).loss) }),
          languageModelInputs(shape.batch, shape.seq),
        ),
        weights,
      )
      const losses: number[] = []
      for (let step = 0; step < 16; step++) {
        const { inputIds, shiftLabels } = judged.batchAt(step)
        const of = (data: Int32Array) => tensorData('int32', [shape.batch, shape.seq], data)
        losses.push(Number((await run({ inputIds: of(inputIds), shiftLabels: of(shiftLabels) })).loss.data[0]))
      }
      run.release()
      return mean(losses)
    },
  }
}

function conversationTokens(tokenizer: ChatModel['tokenizer'], { messages }: Conversation): number[] {
  const last = messages[messages.length - 1]
  return [...promptTokens(tokenizer, messages.slice(0, -1)), ...answerTokens(tokenizer, last.content)]
}

/** log π − log π_SFT of answers of π: an estimate of the KL, in nats an answer. */
async function distance(
  model: CausalLm,
  policy: Weights,
  reference: Weights,
  episodes: readonly Episode[],
  seq: number,
) {
  const of = (weights: Weights) => logProbsOf(model, weights, episodes, { seq })
  return mean(await of(policy)) - mean(await of(reference))
}

/** Gold over √KL, some steps at a time. */
function smoothed(history: readonly Scalars[], width = 4): (readonly [number, number])[] {
  const points: (readonly [number, number])[] = []
  for (let start = 0; start < history.length; start += width) {
    const some = history.slice(start, start + width)
    points.push([Math.sqrt(Math.max(mean(some.map(({ kl }) => kl)), 0)), mean(some.map(({ gold }) => gold))])
  }
  return points.sort(([a], [b]) => a - b)
}

/**
 * What the judge says of the answer that the reward model likes best of n, over √KL = √(log n − (n − 1) / n).
 *
 * @param rewards - `most` answers of each prompt, prompt after prompt
 */
function bestOfN(rewards: readonly number[], gold: readonly number[], most: number): [number, number][] {
  const points: [number, number][] = []
  for (let n = 1; n <= most; n *= 2) {
    const chosen: number[] = []
    for (let start = 0; start + n <= rewards.length; start += n) {
      let best = start
      for (let i = start; i < start + n; i++) if (rewards[i] > rewards[best]) best = i
      chosen.push(gold[best])
    }
    points.push([Math.sqrt(Math.log(n) - (n - 1) / n), mean(chosen)])
  }
  return points
}
