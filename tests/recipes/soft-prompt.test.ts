import { expect, it } from 'vitest'
import softPrompt from '../../recipes/prompting/soft-prompt.ts'
import { few } from './few-steps.ts'

it('pre-trains, and learns the new task in three ways, of which two leave the model alone', async () => {
  const { result } = await few('soft-prompt', softPrompt, {
    ...{ tuneSteps: 3, batch: 8, dModel: 16, nLayers: 2, nHeads: 2, virtualTokens: 3, encoderHidden: 8 },
    ...{ examples: 16, heldOut: 16 },
  })
  const { measured = {}, holds } = result
  expect(measured.promptParameters).toBe(3 * 16)
  expect(measured.prefixParameters).toBe(3 * 2 * 2 * 16)
  expect(measured.fullParameters).toBeGreaterThan(4000)
  for (const name of ['zeroShot', 'words', 'old', 'prompt', 'prefix', 'full', 'oldAfter']) {
    expect(measured[name], name).toBeGreaterThanOrEqual(0)
    expect(measured[name], name).toBeLessThanOrEqual(1)
  }
  expect(holds).toBe(false)
}, 60_000)
