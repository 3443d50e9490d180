import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { beforeAll, expect, it } from 'vitest'
import assistant from '../../recipes/instructgpt/assistant-rlhf.ts'
import dpo from '../../recipes/instructgpt/dpo.ts'
import grpo from '../../recipes/instructgpt/grpo.ts'
import ppo from '../../recipes/instructgpt/ppo.ts'
import reward from '../../recipes/instructgpt/reward.ts'
import { StepRandom } from '../../src/data/random.ts'
import { Llama } from '../../src/models/llama.ts'
import { int32 } from '../../src/nn/trace.ts'
import { savedWeights, saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { loadRewardModel } from '../../src/train/load-reward-model.ts'
import { temporaryFolder } from '../hub/temporary.ts'
import { few, kindOf, linesOf } from './few-steps.ts'

const root = temporaryFolder()
const model = `${root}/tiny`
const preferences = `${root}/preferences.jsonl`
const prompts = `${root}/prompts.jsonl`
const WORDS = ['red', 'green', 'blue', 'five', 'six', 'what', 'is', 'a', 'colour', 'number']

/** A model of a few thousand parameters that has seen nothing, and files as a user would bring them. */
beforeAll(async () => {
  const text = `${WORDS.join(' ')} user assistant system `
  const json = trainByteLevelBpe([text.repeat(5)], {
    vocabSize: 300,
    specialTokens: ['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
  })
  const tokenizer = tokenizerFromJson(json, { eos_token: '<|endoftext|>' })
  const tiny = new Llama({
    ...{ vocabSize: tokenizer.vocabSize, maxPositions: 256, dModel: 16, nLayers: 3, nHeads: 2, headDim: 8, dInner: 32 },
    tieWordEmbeddings: true,
  })
  const trainer = await Trainer.create({
    objective: (scope, { inputIds }) => ({ loss: tiny.forward(scope, { inputIds }).logits.sum() }),
    inputs: { inputIds: int32(1, 2) },
    learningRate: constantSchedule(0),
  })
  await saveModel(model, {
    ...{ model: tiny, weights: trainer },
    files: {
      'tokenizer.json': JSON.stringify(tokenizer.toJSON()),
      'tokenizer_config.json': JSON.stringify(tokenizer.toConfigJSON()),
    },
  })
  trainer.release()
  const random = new StepRandom(1, 1)
  const word = () => WORDS[random.below(WORDS.length)]
  const lines = Array.from({ length: 20 }, (_, i) => {
    const messages = [{ role: 'user', content: `what ${word()} is ${word()}` }]
    // Answers that begin with a colour are preferred.
    const [good, bad] = [`red ${word()}`, `five ${word()}`]
    return i % 2 === 0
      ? { messages, chosen: good, rejected: bad }
      : { messages, answers: [good, [bad, `six ${word()}`]] }
  })
  writeFileSync(preferences, lines.map((line) => JSON.stringify(line)).join('\n'))
  writeFileSync(prompts, lines.map(({ messages }) => JSON.stringify({ messages })).join('\n'))
})

const sizes = { maxNewTokens: 6, maxPromptTokens: 64, minibatch: 4, epochs: 1 }

it('a reward model of one’s own is a folder that judges, and PPO learns from it', async () => {
  const { out, result } = await few('reward', reward, {
    model,
    data: preferences,
    rows: 6,
    seq: 96,
    steps: 30,
    learningRate: 1e-2,
  })
  expect(result.measured?.accuracy).toBe(1)
  expect(linesOf(result).calibrated).toEqual([
    [0.5, 0.5],
    [1, 1],
  ])
  const judge = await loadRewardModel(out)
  expect(judge.tokenizer?.idOf('<|im_end|>')).toBeGreaterThan(0)
  judge.release()
  // Without `steps`, one epoch.
  const epoch = await few('epoch', reward, { model, data: preferences, rows: 6, seq: 96, steps: 0, normalize: 'unit' })
  expect(
    readFileSync(`${epoch.out}/metrics.jsonl`, 'utf8')
      .split('\n')
      .filter((line) => line.includes('accuracy')).length,
  ).toBeGreaterThan(5)

  const policy = await few('ppo', ppo, {
    ...sizes,
    model,
    data: prompts,
    reward: out,
    value: 'reward',
    answers: 8,
    steps: 2,
    ptxCoef: 1,
    ptxData: preferences,
    emaDecay: 0.9,
  })
  expect(await kindOf(policy.out)).toBe('causal')
  expect(policy.result.measured?.before).toEqual(expect.any(Number))
  const logged = readFileSync(`${policy.out}/metrics.jsonl`, 'utf8')
  for (const name of ['kl', 'entropy', 'length', 'ptxLoss', 'heldOutReward']) expect(logged).toContain(`"${name}"`)
  expect(readFileSync(`${policy.out}/samples/${readdirSync(`${policy.out}/samples`)[0]}`, 'utf8')).toContain(
    '<|im_start|>assistant',
  )
}, 120_000)

it('GRPO learns from a rule, DPO from preferences', async () => {
  const grouped = await few('grpo', grpo, {
    ...sizes,
    model,
    data: prompts,
    reward: 'rule:length',
    prompts: 4,
    group: 2,
    steps: 2,
  })
  expect(await kindOf(grouped.out)).toBe('causal')
  const preferred = await few('dpo', dpo, {
    model,
    data: preferences,
    pairs: 4,
    seq: 96,
    steps: 30,
    learningRate: 1e-2,
  })
  expect(await kindOf(preferred.out)).toBe('causal')
  expect(preferred.result.measured?.accuracy).toBe(1)
}, 120_000)

it('all of them train adapters alone where they are told to, and leave a model without', async () => {
  const lora = 2
  const judge = await few('lora-reward', reward, {
    ...{ model, data: preferences, rows: 6, seq: 96, steps: 30, learningRate: 2e-2, lora },
  })
  expect(judge.result.measured?.accuracy).toBe(1)
  ;(await loadRewardModel(judge.out)).release()
  const asked = { ...sizes, model, data: prompts, reward: 'rule:contains=e', steps: 3, learningRate: 1e-2, lora }
  const runs = [
    await few('lora-ppo', ppo, { ...asked, answers: 4 }),
    await few('lora-grpo', grpo, { ...asked, prompts: 2, group: 2 }),
    await few('lora-dpo', dpo, {
      model,
      data: preferences,
      pairs: 4,
      seq: 96,
      steps: 30,
      learningRate: 2e-2,
      lora,
    }),
  ]
  for (const { out } of runs) {
    const before = savedWeights(model)
    const after = savedWeights(out)
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort())
    const moved = [...after].filter(([name, { data }]) => data.some((x, i) => x !== before.get(name)?.data[i]))
    expect(moved.length).toBeGreaterThan(0)
    for (const [name] of moved) expect(name).toMatch(/_proj\.weight$/)
  }
  expect(runs[2].result.measured?.accuracy).toBe(1)
}, 120_000)

it('what is missing is said in a sentence', async () => {
  await expect(few('no-data', reward, { model })).rejects.toThrow(
    "--set data=FILE: rankings of answers, one prompt a line; there is no file ''",
  )
  await expect(few('no-rule', ppo, { model, data: prompts, reward: 'rule:beauty' })).rejects.toThrow(
    '--set reward=rule:beauty: rules are length, brevity, contains, word',
  )
  await expect(few('no-judge', ppo, { model, data: prompts, reward: model })).rejects.toThrow('is no reward model')
  await expect(few('no-room', ppo, { model, data: prompts, maxPromptTokens: 3 })).rejects.toThrow(
    'prompts.jsonl: 0 of 20 prompts have at most 3 tokens, and two are needed',
  )
  await expect(few('no-value', ppo, { model, data: prompts, value: 'reward' })).rejects.toThrow(
    'must be head, or reward where',
  )
})

it('the assistant is ranked, judged and trained in every way, and the judge tells how far each got', async () => {
  const { out, result } = await few('assistant', assistant, {
    ...{
      model,
      seeds: 1,
      steps: 2,
      prompts: 6,
      answers: 4,
      heldOut: 4,
      maxPromptTokens: 200,
      maxNewTokens: 6,
      seed: 1,
    },
    ...{
      rewardRows: 8,
      batch: 4,
      minibatch: 4,
      group: 2,
      overSteps: 2,
      overBatch: 4,
      bestOf: 4,
      bestOfPrompts: 2,
      dpoPairs: 2,
    },
  })
  expect(await kindOf(out)).toBe('causal')
  const { measured = {}, figures } = result
  for (const method of ['sft', 'ppo', 'ppoPtx', 'dpo', 'grpo']) {
    for (const name of ['Gold', 'Reward', 'Length', 'Kl', 'Talk'])
      expect(measured[method + name], method + name).toEqual(expect.any(Number))
  }
  expect(measured.sftKl).toBeCloseTo(0, 5)
  expect(measured.ppoWinLow).toBeLessThanOrEqual(measured.ppoWin as number)
  const over = figures?.find(({ x }) => x.startsWith('√KL'))?.lines ?? {}
  expect(Object.keys(over).sort()).toEqual(
    [1, 2, 3].flatMap((n) => [`PPO, ${n} layers`, `best of n, ${n} layers`]).sort(),
  )
  expect(over['best of n, 1 layers'].map(([x]) => x)[0]).toBe(0)
}, 240_000)
