import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import inContext from '../../recipes/in-context-learning/regression.ts'
import { few, kindOf, linesOf } from './few-steps.ts'

it('reads functions, and is tested with right and shuffled labels after every demonstration', async () => {
  const { out, result } = await few('regression', inContext, { tests: 40, batch: 4, dims: 2, demonstrations: 4 })
  const lines = linesOf(result)
  expect(Object.keys(lines)).toEqual(['GPT-2', 'ridge regression', 'GPT-2, labels shuffled'])
  for (const points of Object.values(lines)) expect(points.map(([x]) => x)).toEqual([0, 1, 2, 3, 4])
  const ridge = lines['ridge regression'].map(([, y]) => y)
  // Without a demonstration it can only say 0, and is off by the variance of y; four of two dimensions tell nearly all.
  expect(ridge[0]).toBeGreaterThan(0.5)
  expect(ridge[4]).toBeLessThan(0.15)
  // One demonstration cannot be shuffled.
  expect(lines['GPT-2, labels shuffled'][1]).toEqual(lines['GPT-2'][1])
  expect(lines['GPT-2, labels shuffled'][4]).not.toEqual(lines['GPT-2'][4])
  expect(await kindOf(out)).toBe('causal')
  const { weight } = JSON.parse(readFileSync(join(out, 'read-in.json'), 'utf8'))
  expect(weight).toHaveLength(3 * inContext.settings.dModel)
  expect(readFileSync(join(out, 'curve.svg'), 'utf8')).toContain('ridge regression')
}, 60_000)
