import { join } from 'node:path'
import { expect, it } from 'vitest'
import chainOfThought from '../../recipes/chain-of-thought/arithmetic.ts'
import { few, kindOf, linesOf } from './few-steps.ts'

it('the same base is tuned in five ways, whose texts are what they are called', async () => {
  const { out, result } = await few('arithmetic', chainOfThought, { tests: 6, batch: 4, pretrainSteps: 3 })
  const ways = ['standard', 'chain-of-thought', 'equation-only', 'dots-only', 'reasoning-after']
  expect(Object.keys(result.measured ?? {})).toEqual([...ways, 'leastOfChains'])
  expect(Object.keys(linesOf(result))).toEqual(ways)
  for (const way of ways) expect(await kindOf(join(out, 'stages', way, 'seed2'))).toBe('causal')
}, 60_000)
