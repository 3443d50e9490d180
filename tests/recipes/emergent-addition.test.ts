import { join } from 'node:path'
import { expect, it } from 'vitest'
import emergentAbilities from '../../recipes/emergent-abilities/addition.ts'
import { few, kindOf, linesOf } from './few-steps.ts'

it('a family of sizes, each with its parameters, scores and FLOPs', async () => {
  const { out, result } = await few('addition', emergentAbilities, { tests: 12, batch: 4, widths: '8,16', digits: 3 })
  const flops = linesOf(result)['exact match'].map(([x]) => x)
  // Two layers of attention, SwiGLU of three times the width and norms, and the last norm; 6ND over 11 tokens a sum.
  const parameters = (d: number) => 2 * (4 * d * d + 3 * d * 3 * d + 2 * d) + d
  expect(flops).toEqual([8, 16].map((d) => 6 * parameters(d) * 3 * 4 * 11))
  expect(result.figures?.map(({ logX }) => logX)).toEqual([true, true])
  expect(await kindOf(join(out, 'stages', 'width16'))).toBe('causal')
  await expect(few('nothing', emergentAbilities, { widths: '8,10' })).rejects.toThrow('--set widths')
}, 60_000)
