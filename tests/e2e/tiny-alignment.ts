import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { loadModel } from '../../src/load/load.ts'
import { type RecipeContext, recipe } from '../../src/optim/recipe.ts'
import type { TensorData } from '../../src/tensor/index.ts'

/**
 * Stand-ins for the recipes of InstructGPT, with their settings and nothing learned: they read what they are given, log
 * what such runs log, and leave the model that they began from, its weights moved a little.
 */

const settings = {
  ...{ data: '', model: '', reward: '', steps: 12, seed: 1, evalEvery: 0, checkpointEvery: 0 },
  /** Milliseconds a step, so that somebody can look on. */
  pause: 20,
}

type Settings = typeof settings

async function train(context: RecipeContext<Settings>, noise: number) {
  const { steps, log, sample, save, claim, settings } = context
  for await (const { step } of steps({ steps: settings.steps, trainers: {} })) {
    await delay(settings.pause)
    const share = step / settings.steps
    log({ loss: 1 - share / 2, reward: share, kl: 2 * share, entropy: 3 - share, length: 20 + step })
    if (step % 5 === 0) await sample('answer', [`after ${step} steps`])
  }
  const { model, weights, releaseFiles } = await loadModel(settings.model)
  const moved = new Map(
    [...weights].map(([name, weight]) => [
      name,
      {
        dtype: 'float32' as const,
        shape: weight.shape,
        data: Float32Array.from((weight as TensorData).data as Float32Array, (x, i) => x + noise * ((i % 3) - 1)),
      },
    ]),
  )
  releaseFiles()
  const files = Object.fromEntries(
    ['tokenizer.json', 'tokenizer_config.json'].map((name) => [name, readFileSync(join(settings.model, name), 'utf8')]),
  )
  await save({ model, weights: moved, files })
  claim({ steps: settings.steps }, true)
}

const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { messages: unknown[]; answers?: unknown[] })

export const reward = recipe({
  paper: 'instructgpt',
  claim: 'a reward model stands in for people',
  settings,
  async run(context) {
    const lines = linesOf(context.settings.data)
    if (lines.some(({ answers }) => (answers?.length ?? 0) < 2)) throw new Error('a line has nothing to compare')
    await train(context, 0)
  },
})

export const ppo = recipe({
  paper: 'instructgpt',
  claim: 'a policy answers as the reward model likes',
  settings,
  async run(context) {
    const { data, reward } = context.settings
    if (linesOf(data).some(({ messages }) => messages.length === 0)) throw new Error('a line asks nothing')
    if (!existsSync(join(reward, 'config.json'))) throw new Error(`${reward} holds no reward model`)
    await train(context, 0.3)
  },
})
