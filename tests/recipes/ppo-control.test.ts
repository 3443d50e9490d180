import { join } from 'node:path'
import { expect, it } from 'vitest'
import ablation from '../../recipes/ppo/ablation.ts'
import cartpole from '../../recipes/ppo/cartpole.ts'
import pendulum from '../../recipes/ppo/pendulum.ts'
import rlhf from '../../recipes/rlhf/pendulum.ts'
import { few, kindOf, linesOf } from './few-steps.ts'

it('trains and judges a policy on either world, a seed each', async () => {
  const { out, result } = await few('cartpole', cartpole, { steps: 4, episodes: 4 })
  expect(Object.keys(result.measured ?? {})).toEqual(['mean', 'seed1', 'seed2'])
  expect(result.measured?.seed1).toBeGreaterThanOrEqual(8)
  expect(result.measured?.seed1).toBeLessThanOrEqual(500)
  expect(linesOf(result)['seed 1'].at(-1)?.[0]).toBe(4 * 512)
  expect(await kindOf(join(out, 'stages', 'seed-1'))).toBe('policy')
  // The same seed is the same run.
  const { result: again } = await few('cartpole-again', cartpole, { steps: 4, episodes: 4, seeds: 1 })
  expect(linesOf(again)['seed 1']).toEqual(linesOf(result)['seed 1'])

  const swung = await few('pendulum', pendulum, { steps: 1, episodes: 2, seeds: 1 })
  expect(swung.result.measured?.mean).toBeLessThan(0)
  expect(swung.result.holds).toBe(false)
}, 120_000)

it('tells what each part is worth, over both worlds', async () => {
  const { result } = await few('ablation', ablation, { steps: 2, episodes: 2, seeds: 1 })
  const { measured = {} } = result
  expect(Object.keys(measured)).toContain('no clipping')
  // Of each world, the best result is 1.
  for (const score of Object.values(measured)) expect(score).toBeLessThanOrEqual(1)
  expect(Object.keys(linesOf(result))).toHaveLength(6)
}, 120_000)

it('learns a reward from so many comparisons, and a policy by it', async () => {
  const { out, result } = await few('rlhf', rlhf, {
    ...{ steps: 2, episodes: 2, seeds: 1, comparisons: 24, firstRewardSteps: 3, rewardSteps: 2 },
  })
  expect(Object.keys(result.measured ?? {})).toEqual(['share', 'share1', 'truth1', 'comparisons1'])
  expect(Object.keys(linesOf(result))).toEqual(['true reward, seed 1', 'comparisons, seed 1'])
  expect(await kindOf(join(out, 'stages', 'comparisons-1'))).toBe('policy')
}, 120_000)
